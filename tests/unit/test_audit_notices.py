"""What the audit log tells of itself: clocks that were set, records that were lost (FORMAT.md section 16)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.audit import journal, losing
from encfs.audit.gaps import LOST, Gaps
from encfs.audit.home import home
from encfs.audit.log import AuditLog, LogKeys, frames_of, segments
from encfs.audit.reading import read_log
from encfs.core.audit import open_state
from encfs.core.audit_verify import LogVerifier
from encfs.crypto import kem
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError
from encfs.format.audit import Clock, Moment
from encfs.format.audit_body import AuditBody, Outcome
from encfs.units import VolumeId
from tests.support.stores import FullStore

AUDITOR, PUBLIC = kem.generate()
KEYS = LogKeys(PUBLIC, Signer.generate())
VOLUME = VolumeId(b"v" * 16)
BODY = AuditBody(action="test", outcome=Outcome.DONE, uid=0)
START = Moment(boot_id=b"b" * 16, wall_ms=10_000_000, mono_ms=50_000, clock=Clock.SYNCHRONISED)


class Bench:
    """A log whose clocks and whose room a test sets."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.at = START
        self.store = FullStore(fd)
        self.store.only_growth = True
        self.log = AuditLog(self.store, fd, KEYS, now=lambda: self.at)
        self.log.begin()

    def record(self, mono: int = 0, wall: int = 0, **more: Any) -> None:
        """One more record, so many milliseconds later."""
        self.at = replace(self.at, mono_ms=self.at.mono_ms + mono, wall_ms=self.at.wall_ms + wall, **more)
        self.log.record(VOLUME, BODY)

    def told(self) -> list[tuple[str, dict[str, str | int]]]:
        """What it has said of itself; nothing in it is wrong."""
        verifier, found = LogVerifier(CLOAKFS_1, AUDITOR), []
        for number in segments(self.store, self._fd):
            verifier.begin_segment(number)
            for data in frames_of(self.store, self._fd, number):
                taken = verifier.take(data)
                if taken is not None and taken.body is not None and taken.body.action != "test":
                    found.append((taken.body.action, dict(taken.body.detail)))
        verifier.finish()
        assert verifier.problems == []
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A log that has begun."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Bench(fd)
    finally:
        os.close(fd)


# -- clocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-3_600_000, -1001, 1001, 86_400_000])
def test_a_clock_that_was_set(bench: Bench, step: int) -> None:
    """More than a second: told once, by whoever comes next, with how far."""
    bench.record(500, 500)
    bench.record(60_000, 60_000 + step)
    bench.record(60_000, 60_000)
    assert bench.told() == [("clock.step", {"ms": step})]


def test_a_clock_that_was_nudged(bench: Bench) -> None:
    """A second is none, however often; a host that slept has two clocks that went on."""
    for _ in range(3):
        bench.record(60_000, 61_000)
        bench.record(8 * 3_600_000, 8 * 3_600_000)
    assert bench.told() == []


def test_a_clock_that_was_set_is_told_while_nothing_happens(bench: Bench) -> None:
    """A mount that only keeps up tells it, once."""
    bench.at = replace(bench.at, wall_ms=bench.at.wall_ms - 5_000)
    bench.log.keep_up()
    bench.log.keep_up()
    assert bench.told() == [("clock.step", {"ms": -5_000})]


def test_a_step_before_the_end_of_a_period(bench: Bench) -> None:
    """The frame that ends the period does not hide it."""
    bench.record(20 * 60_000, 20 * 60_000 + 7_000)
    assert bench.told() == [("clock.step", {"ms": 7_000})]


def test_after_another_start_of_the_host(bench: Bench) -> None:
    """Then only a clock that went back tells something: nobody knows how long it was off."""
    bench.record(boot_id=b"c" * 16, mono=-40_000, wall=86_400_000)
    assert bench.told() == []
    bench.record(boot_id=b"d" * 16, mono=0, wall=-7_200_000)
    assert bench.told() == [("clock.step", {"ms": -7_200_000})]


def test_who_sets_the_clock(bench: Bench) -> None:
    """Told when it changes what the kernel says, once."""
    bench.record(clock=Clock.UNSYNCHRONISED)
    bench.record(1000, 1000)
    bench.record(clock=Clock.SYNCHRONISED)
    assert bench.told() == [
        ("clock.sync", {"before": "synchronised", "now": "unsynchronised"}),
        ("clock.sync", {"before": "unsynchronised", "now": "synchronised"}),
    ]


def test_a_state_that_does_not_know_the_last_moment(bench: Bench, tmp_path: Path) -> None:
    """FORMAT.md section 16: zeros, as a state was written before there was this field; the log goes on."""
    raw = (tmp_path / "state").read_bytes()
    assert raw[148:165] == START.wall_ms.to_bytes(8, "big") + START.mono_ms.to_bytes(8, "big") + b"\x01"
    without = raw[:148] + bytes(332)
    (tmp_path / "state").write_bytes(without + CLOAKFS_1.digest(without))
    assert open_state(CLOAKFS_1, (tmp_path / "state").read_bytes()).last is None
    bench.record(wall=50_000)
    assert bench.told() == []


# -- gaps ------------------------------------------------------------------------------------------------------


def test_a_gap_is_told_once(bench: Bench, tmp_path: Path) -> None:
    """All that was lost since the last record, with the time of the first; FORMAT.md section 16, "Gaps"."""
    bench.record()
    assert (tmp_path / "lost").read_bytes() == bytes(16)
    since = bench.at.wall_ms
    bench.log.note_lost(3)
    bench.at = replace(bench.at, mono_ms=bench.at.mono_ms + 500, wall_ms=since + 500)
    bench.log.note_lost(2)
    assert (tmp_path / "lost").read_bytes() == (5).to_bytes(8, "big") + since.to_bytes(8, "big")
    bench.record()
    bench.record()
    assert bench.told() == [("log.gap", {"lost": 5, "since_ms": since})]
    assert (tmp_path / "lost").read_bytes() == bytes(16)


def test_a_full_disk(bench: Bench) -> None:
    """Nothing more can be written, but how much that is: the file has had its place from the beginning."""
    bench.store.room = 0
    for _ in range(4):
        with pytest.raises(OSError, match="No space"):
            bench.record()
        bench.log.note_lost(1)
    bench.store.room = None
    bench.record()
    assert bench.told() == [("log.gap", {"lost": 4, "since_ms": START.wall_ms})]


def test_a_gap_waits_for_a_record_that_is_written(bench: Bench) -> None:
    """It is not forgotten where the record that tells it finds no room."""
    bench.log.note_lost(7)
    bench.store.room = 100
    with pytest.raises(OSError, match="No space"):
        bench.record()
    bench.store.room = None
    bench.record()
    assert bench.told() == [("log.gap", {"lost": 7, "since_ms": START.wall_ms})]


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_file_that_is_gone_or_cut_short(bench: Bench, tmp_path: Path, content: bytes | None) -> None:
    """It says nothing, and the log goes on."""
    if content is None:
        (tmp_path / "lost").unlink()
    else:
        (tmp_path / "lost").write_bytes(content)
    bench.record()
    bench.log.note_lost(1)
    bench.record()
    assert bench.told() == [("log.gap", {"lost": 1, "since_ms": START.wall_ms})]


# -- this process ----------------------------------------------------------------------------------------------


def broken(monkeypatch: pytest.MonkeyPatch, *, also_noting: bool) -> None:
    """No record can be written; nor, on a read-only disk, how many were not."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(AuditLog, "record_all", fail)
    if also_noting:
        monkeypatch.setattr(Gaps, "add", fail)


def lose(count: int) -> None:
    """So many records that cannot be written."""
    for _ in range(count):
        with pytest.raises(AuditError, match="cannot be recorded"):
            journal.record(BODY)


def gaps() -> list[int | str]:
    """What the log of this test's host says is missing."""
    with home() as here:
        verifier = LogVerifier(CLOAKFS_1, here.auditor_key())
        bodies = [taken.body for taken in read_log(here, verifier) if taken.body]
    return [body.detail["lost"] for body in bodies if body.action == "log.gap"]


@pytest.mark.parametrize("also_noting", [False, True])
@pytest.mark.parametrize("after", [journal.keep_up, lambda: journal.record(BODY)])
def test_a_process_that_could_not_write(
    monkeypatch: pytest.MonkeyPatch, after: Callable[[], None], *, also_noting: bool
) -> None:
    """It tells with its next record, or when the log's time goes on, how many were lost; on a read-only disk too."""
    monkeypatch.setattr(losing, "_unsaved", [0])
    journal.record(BODY)
    with monkeypatch.context() as patch:
        broken(patch, also_noting=also_noting)
        lose(3)
    after()
    after()
    assert gaps() == [3]


def test_another_process_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process has lost on a full disk, the next one tells."""
    monkeypatch.setattr(losing, "_unsaved", [0])
    journal.record(BODY)
    with monkeypatch.context() as patch:
        broken(patch, also_noting=False)
        lose(2)
    with home() as here:
        assert (here.store.list(here.dirfd).count(LOST), losing._unsaved) == (1, [0])
        here.log().record(VOLUME, BODY)  # As a process does that knows nothing of it.
    assert gaps() == [2]
