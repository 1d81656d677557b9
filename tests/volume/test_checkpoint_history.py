"""Long random lives of a volume with checkpoints in between: no comparison calls any of it tampering (FORMAT.md 12)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from encfs.volume import Volume
from tests.support.checkpoints import compare_in, make_in
from tests.support.evidence import record
from tests.support.volumes import LONG, LowerVolume, open_file, pattern

NAMES = [b"a", b"b", b"c", b"d/a", b"d/b", b"e/f/g", LONG, b"e/" + LONG]
MILD = {"file-missing", "checkpoint-crash"}


def change(volume: Volume, chosen: random.Random) -> None:
    """One random change; what cannot be done now is left out."""
    name, other = chosen.sample(NAMES, 2)
    size, offset = chosen.randrange(30_000), chosen.randrange(30_000)
    try:
        match chosen.randrange(10):
            case 0 | 1:
                volume.write_file(name, pattern(size, chosen.random()))
            case 2 | 3 | 4:
                with open_file(volume, name) as file:
                    file.write(offset, pattern(size + 1, chosen.random()))
            case 5:
                with open_file(volume, name) as file:
                    file.truncate(offset)
            case 6:
                volume.rename(name, other)
            case 7:
                volume.remove(name)
            case 8:
                parent, _, last = other.rpartition(b"/")
                volume.changes.link(volume.resolve(name), volume.resolve(parent), last)
            case 9:
                volume.rename(b"e", b"d/e")
                volume.rename(b"d/e", b"e")
    except OSError:
        return


def unsettled(volume: Volume, chosen: random.Random) -> None:
    """Work, and then cells without a header: what a killed process leaves."""
    for _ in range(chosen.randrange(6)):
        change(volume, chosen)
    name = chosen.choice(NAMES)
    handle = volume.open(name, writable=True, create=True)
    handle.write(chosen.randrange(20_000), pattern(chosen.randrange(1, 20_000), chosen.random()))


@pytest.mark.parametrize("seed", range(15))
def test_random_life(fast_path: Path, seed: int) -> None:
    """Section 12: sessions, crashes and checkpoints in any order; deletions are the only thing that is asked about."""
    chosen = random.Random(seed)
    lower = LowerVolume(fast_path / "volume")
    with lower.unlock() as volume:
        for directory in (b"d", b"e", b"e/f"):
            volume.make_directory(directory)
        for name in NAMES:
            volume.write_file(name, pattern(chosen.randrange(30_000), name))
        make_in(volume, alone=chosen.random() < 0.5)
    checked = 0
    for _ in range(12):
        if chosen.random() < 0.25:
            lower.crash(lambda volume: unsettled(volume, chosen))
            chosen.seed(chosen.random())  # The child's draws were its own.
        with lower.unlock() as volume:
            alone = chosen.random() < 0.3
            for _ in range(0 if alone else chosen.randrange(8)):
                change(volume, chosen)
            checked += _check(volume)
            if chosen.random() < 0.5:
                findings = make_in(volume, alone=alone)[1]
                assert {str(one.code) for one in findings} <= {"checkpoint-crash"}
                assert _check(volume) == 1
                for _ in range(0 if alone else chosen.randrange(4)):
                    change(volume, chosen)
        with lower.unlock(read_only=True) as volume:
            checked += _check(volume)
    assert lower.findings() == []
    record("checkpoint", "random sessions, crashes and checkpoints", cases=checked, note="no false alarm")


def _check(volume: Volume) -> int:
    findings, _ = compare_in(volume)
    assert {str(one.code) for one in findings} <= MILD, findings
    return 1
