"""kill -9 of the daemon again and again, on one volume, under programs that go on from round to round.

What they were told is done is there after every round; at the end the volume is locked and ``verify`` is clean. A host
that remembers the volume (FORMAT.md section 13) never takes a crash for old state that was put back.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support import evidence
from tests.support.killing import REPAIRS, Running, Worker, listen_until, status
from tests.support.killing_load import PROGRAMS, Program
from tests.support.mounting import MountedVolume, cloakfs

ROUNDS = 8


def storm(volume: MountedVolume, programs: list[Program], lines: int) -> None:
    """Let the programs work until they have said so much, and kill the daemon under them."""
    workers = [Running(Worker(lambda _, say, one=one: one.work(say), lambda *_: None), one.top) for one in programs]
    listen_until(workers, lines)
    volume.kill_daemon()
    for one, worker in zip(programs, workers, strict=True):
        one.hear(worker.finish())
    volume.clear_dead_mount()
    assert not list(volume.path.iterdir()), "a program wrote below the mount"


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_again_and_again(mounted: MountedVolume, host_memory: Path, rounds: int) -> None:
    """Whatever is killed in the middle of: nothing done is lost, verify is clean, no alarm (FORMAT.md section 11)."""
    chance = random.Random(50)
    programs = [program(mounted.path / program.__name__) for program in PROGRAMS]
    for one in programs:
        one.top.mkdir()
    for number in range(rounds):
        storm(mounted, programs, chance.randrange(30, 170))
        mounted.mount()
        report = status(mounted)["recovery"]
        assert report["failed"] == 0
        assert set(report["repaired"]) <= REPAIRS
        assert "size" in report["repaired"], "the draft was not being written"
        for one in programs:
            one.check()
        if number % 10 == 9:
            assert json.loads(cloakfs("verify", str(mounted.lower), "--json").stdout)["clean"]
        log = mounted.log.read_text()
        assert "integrity" not in log, log[-4000:]
    mounted.lock()
    assert mounted.findings() == []
    assert list(host_memory.rglob("*.sqlite")), "this host has remembered nothing"
    steps = sum(one.said.done + 1 for one in programs)
    evidence.record("crashes", "kill -9 under load", cases=rounds, note="one volume, checks between", steps=steps)
