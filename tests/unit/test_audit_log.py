"""The audit log in its directory: writers, faults, crashes, what is done to its files (FORMAT.md section 16)."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from encfs.audit.clock import now
from encfs.audit.log import SEGMENT_BYTES, AuditLog, LogKeys, frames_of, segments
from encfs.core.audit import open_state
from encfs.core.audit_verify import LogVerifier, Trouble
from encfs.crypto import kem
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1 as SUITE
from encfs.errors import AuditError
from encfs.format import limits
from encfs.format.audit import CheckpointReason
from encfs.format.audit_body import AuditBody, Outcome
from encfs.store.base import Store
from encfs.store.local import LocalStore
from encfs.units import VolumeId
from tests.support.model_store import ModelStore, disk_of
from tests.support.stores import DyingStore, error

AUDITOR, PUBLIC = kem.generate()
KEYS = LogKeys(PUBLIC, Signer.generate())
VOLUME = VolumeId(b"v" * 16)


def body(number: int) -> AuditBody:
    """The record of that number."""
    return AuditBody(action="test", outcome=Outcome.DONE, uid=os.geteuid(), detail={"number": number})


@contextmanager
def log_in(path: Path, store_on: Callable[[int], Store] = LocalStore) -> Iterator[AuditLog]:
    """The log of a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield AuditLog(store_on(fd), fd, KEYS)
    finally:
        os.close(fd)


def read(store: Store, dirfd: int, anchors: dict[int, bytes] | None = None) -> tuple[LogVerifier, list[AuditBody]]:
    """All that is there, verified."""
    verifier, bodies = LogVerifier(SUITE, AUDITOR, anchors), []
    for number in segments(store, dirfd):
        verifier.begin_segment(number)
        for data in frames_of(store, dirfd, number):
            taken = verifier.take(data)
            if taken is not None and taken.body is not None:
                bodies.append(taken.body)
    verifier.finish()
    return verifier, bodies


def read_in(path: Path, anchors: dict[int, bytes] | None = None) -> tuple[LogVerifier, list[AuditBody]]:
    """The same of a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read(LocalStore(fd), fd, anchors)
    finally:
        os.close(fd)


def numbers(bodies: list[AuditBody]) -> list[object]:
    """Of the records that tests have written."""
    return [each.detail["number"] for each in bodies if each.action == "test"]


def begun(path: Path, records: int = 0) -> Path:
    """A log with some records."""
    with log_in(path) as log:
        log.begin()
        for number in range(records):
            log.record(VOLUME, body(number))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Records in their order, a checkpoint that can be kept elsewhere; files are for their owner only."""
    with log_in(begun(tmp_path, 20)) as log:
        anchor = dict([log.checkpoint(CheckpointReason.ASKED)])
        log.record(VOLUME, body(20))
    verifier, bodies = read_in(tmp_path, anchor)
    assert numbers(bodies) == list(range(21))
    assert (verifier.problems, verifier.sealed.pieces, verifier.anchored) == ([], [(0, 22)], 21)
    assert verifier.intact.pieces == [(0, 21)]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert (tmp_path / "state").stat().st_size == limits.AUDIT_STATE_SIZE


def _write_some(path: Path, first: int, count: int) -> None:
    with log_in(path) as log:
        for number in range(first, first + count):
            log.record(VOLUME, body(number))


def test_several_processes_append(tmp_path: Path) -> None:
    """Four at the same time: every record is there once, in the order of its process, in one chain."""
    begun(tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_some, args=(tmp_path, 100 * each, 25)) for each in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    verifier, bodies = read_in(tmp_path)
    assert verifier.problems == []
    found = numbers(bodies)
    for each in range(4):
        assert [number for number in found if number // 100 == each] == list(range(100 * each, 100 * each + 25))


def test_segments_end_when_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one goes on with the chain; whatever is missing before it, it can be read, and that is told."""
    assert SEGMENT_BYTES == 4 << 20
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", 5000)
    begun(tmp_path, 30)
    verifier, bodies = read_in(tmp_path)
    assert (verifier.problems, numbers(bodies)) == ([], list(range(30)))
    assert len(list(tmp_path.glob("log-*"))) == 3
    (tmp_path / "log-00000001").unlink()
    verifier, bodies = read_in(tmp_path)
    assert [(each.trouble, each.seq) for each in verifier.problems] == [(Trouble.GAP, 0)]
    assert numbers(bodies) == list(range(30))[-len(numbers(bodies)) :] != []


@pytest.mark.parametrize("kept", [1, 40, 100, -1])
def test_a_frame_that_was_cut_short_is_taken_away(tmp_path: Path, kept: int) -> None:
    """What a crash left of it; the next record says how much that was."""
    segment = begun(tmp_path, 3) / "log-00000001"
    size = segment.stat().st_size
    with log_in(tmp_path) as log:
        log.record(VOLUME, body(3))
        whole = segment.read_bytes()
        part = whole[size:kept] if kept < 0 else whole[size : size + kept]
        segment.write_bytes(whole + part)
        log.record(VOLUME, body(4))
    verifier, bodies = read_in(tmp_path)
    assert (verifier.problems, numbers(bodies)) == ([], [0, 1, 2, 3, 4])
    assert [each.detail for each in bodies if each.action == "log.cut-off"] == [{"bytes": len(part)}]


def test_an_older_state_leads_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written over what came later, in later segments too."""
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", 5000)
    old = (begun(tmp_path, 3) / "state").read_bytes()
    with log_in(tmp_path) as log:
        for number in range(3, 30):
            log.record(VOLUME, body(number))
        (tmp_path / "state").write_bytes(old)
        log.record(VOLUME, body(30))
    verifier, bodies = read_in(tmp_path)
    assert (verifier.problems, numbers(bodies)) == ([], list(range(31)))


def test_what_is_missing_stays_a_gap(tmp_path: Path) -> None:
    """The log was cut off: it goes on in another segment, and both the gap and what is missing are told."""
    segment = begun(tmp_path, 10) / "log-00000001"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:4000])
    with log_in(tmp_path) as log:
        log.record(VOLUME, body(10))
    verifier, bodies = read_in(tmp_path)
    assert {problem.trouble for problem in verifier.problems} == {Trouble.DAMAGED, Trouble.GAP}
    assert numbers(bodies)[-1] == 10
    assert [each.detail for each in bodies if each.action == "log.missing"] == [{"bytes": len(whole) - 4000}]
    assert segment.read_bytes() == whole[:4000]


def test_the_whole_log_is_gone(tmp_path: Path) -> None:
    """Deleted but for its state: the next record says so, and the first frame that is there is not the first one."""
    (begun(tmp_path, 3) / "log-00000001").unlink()
    with log_in(tmp_path) as log:
        log.record(VOLUME, body(3))
    verifier, bodies = read_in(tmp_path)
    assert [each.action for each in bodies] == ["log.missing", "test"]
    assert [(each.trouble, each.seq) for each in verifier.problems] == [(Trouble.GAP, 0)]
    assert verifier.sealed.pieces[0][0] == 4


def test_frames_of_somebody_else_stay_and_are_told(tmp_path: Path) -> None:
    """A whole frame behind the end that is not of this chain: kept for the auditor, the log goes on elsewhere."""
    segment = begun(tmp_path, 3) / "log-00000001"
    whole = segment.read_bytes()
    at = next(at for at in range(1, 600) if int.from_bytes(whole[-at:][:4], "big") == at - 4)
    segment.write_bytes(whole + whole[-at:])
    with log_in(tmp_path) as log:
        log.record(VOLUME, body(3))
    verifier, bodies = read_in(tmp_path)
    assert verifier.problems[0].trouble is Trouble.ORDER
    assert [each.action for each in bodies if each.action != "test"] == ["log.foreign-end"]
    assert numbers(bodies) == [0, 1, 2, 3]
    assert segment.read_bytes() == whole + whole[-at:]


def test_no_log_and_a_damaged_state_are_told(tmp_path: Path) -> None:
    """Two messages; nothing is written, nothing is begun anew by itself, and no log is begun twice."""
    with log_in(tmp_path) as log, pytest.raises(AuditError, match="there is no audit log"):
        log.record(VOLUME, body(0))
    state = begun(tmp_path, 2) / "state"
    before = (tmp_path / "log-00000001").read_bytes()
    with log_in(tmp_path) as log, pytest.raises(AuditError, match="already"):
        log.begin()
    state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    with log_in(tmp_path) as log, pytest.raises(AuditError, match="damaged"):
        log.record(VOLUME, body(2))
    assert (tmp_path / "log-00000001").read_bytes() == before


def _change(log: AuditLog) -> None:
    log.record(VOLUME, body(100))


@pytest.mark.parametrize("segment_bytes", [SEGMENT_BYTES, 3000])
@pytest.mark.parametrize("torn", [False, True])
def test_every_call_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_bytes: int, *, torn: bool
) -> None:
    """A full disk at any call: an error, no half frame, and the next record goes on."""
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", segment_bytes)
    begun(tmp_path, 6)
    written, failures = list(range(6)), 0
    for name in ("open", "pwrite", "fdatasync", "fsync", "truncate", "close"):
        for nth in range(12):
            with log_in(tmp_path, partial(_NthFails, name=name, nth=nth, torn=torn)) as log:
                number = len(written) + failures
                try:
                    log.record(VOLUME, body(number))
                except OSError as exc:
                    assert exc.errno == 28
                    failures += 1
                else:
                    written.append(number)
    verifier, bodies = read_in(tmp_path)
    assert verifier.problems == []
    assert failures > 5
    assert set(written) <= set(numbers(bodies))
    assert len(numbers(bodies)) == len(set(numbers(bodies)))


class _NthFails(LocalStore):
    """The nth call of one kind finds no room; of a write, half of it may."""

    def __init__(self, root_fd: int, *, name: str, nth: int, torn: bool) -> None:
        super().__init__(root_fd)
        self._name, self._left, self._torn = name, nth, torn

    def __getattribute__(self, name: str):
        method = super().__getattribute__(name)
        if name.startswith("_") or name != self._name:
            return method

        def call(*arguments, **more):
            self._left -= 1
            if self._left != -1:
                return method(*arguments, **more)
            if name == "close":
                method(*arguments)
            if name == "pwrite" and self._torn:
                # Sectors are written whole or not at all.
                method(arguments[0], arguments[1][: len(arguments[1]) // 1024 * 512], arguments[2])
            raise error(28)

        return call


def _dying(dies_at: int, root_fd: int, *, torn: bool) -> DyingStore:
    store = DyingStore(root_fd)
    store.dies_at, store.torn = dies_at, torn
    return store


@pytest.mark.parametrize("torn", [False, True])
def test_killed_before_and_within_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, torn: bool) -> None:
    """What was confirmed is there, nothing is there twice, the chain has no break; with a new segment in between."""
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", 3000)
    confirmed = [*range(6)]
    begun(tmp_path, 6)
    for at in range(12):
        number = 6 + at
        child = os.fork()
        if child == 0:
            with log_in(tmp_path, partial(_dying, at % 6, torn=torn)) as log:
                log.record(VOLUME, body(number))
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            confirmed.append(number)
    with log_in(tmp_path) as log:
        log.record(VOLUME, body(99))
    verifier, bodies = read_in(tmp_path)
    assert verifier.problems == []
    assert set(confirmed) <= set(numbers(bodies))
    assert len(numbers(bodies)) == len(set(numbers(bodies)))


def test_power_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every disk that a power cut leaves, the log goes on without a break, with all that was confirmed."""
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", 4000)
    begun(tmp_path, 3)
    store, disks, confirmed = ModelStore(disk_of(tmp_path)), {}, [0, 1, 2]
    chance = random.Random(1)

    def cut() -> None:
        for disk in store.medium.crashes(64, chance):
            disks.setdefault((disk.identity(), len(confirmed)), (disk, list(confirmed)))

    store.before_sync = cut
    log = AuditLog(store, 0, KEYS, lock=lambda *_: nullcontext())
    for number in range(3, 12):
        log.record(VOLUME, body(number))
        confirmed.append(number)
        cut()
    assert len(disks) > 40
    for disk, there in disks.values():
        after = ModelStore(disk)
        AuditLog(after, 0, KEYS, lock=lambda *_: nullcontext()).record(VOLUME, body(99))
        verifier, bodies = read(after, 0)
        assert verifier.problems == []
        assert numbers(bodies)[: len(there)] == there
        assert numbers(bodies)[-1] == 99


def test_an_hour_is_signed_whoever_comes_first_after_it(tmp_path: Path) -> None:
    """By a record as well as by a mount that only keeps up, and after hours in which nothing happened."""
    at, ahead = now(), 0
    begun(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for ahead in (1, 5, 30):
            passed = ahead * limits.AUDIT_EPOCH_MS + 1000
            later = replace(at, wall_ms=at.wall_ms + passed, mono_ms=at.mono_ms + passed)
            AuditLog(LocalStore(fd), fd, KEYS, now=lambda later=later: later).record(VOLUME, body(ahead))
    finally:
        os.close(fd)
    verifier, bodies = read_in(tmp_path)
    assert (verifier.problems, numbers(bodies)) == ([], [1, 5, 30])
    # Head; end, record; end, signature, record; the same again.
    assert verifier.frames == 1 + 2 + 3 + 3
    assert verifier.intact.pieces == [(0, 7)]


def test_clocks() -> None:
    """The boot id stays, both times grow."""
    first, second = now(), now()
    assert first.boot_id == second.boot_id
    assert len(first.boot_id) == limits.BOOT_ID_SIZE
    assert second.mono_ms >= first.mono_ms > 0


def test_periods_end_while_nothing_happens(tmp_path: Path) -> None:
    """The key of a quarter of an hour is gone when it is over, and every hour is signed."""
    at, ahead = now(), [0]
    begun(tmp_path, 1)
    first = (tmp_path / "state").read_bytes()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        log = AuditLog(
            LocalStore(fd),
            fd,
            KEYS,
            now=lambda: replace(at, wall_ms=at.wall_ms + ahead[0], mono_ms=at.mono_ms + ahead[0]),
        )
        for ahead[0] in range(0, 9 * limits.AUDIT_EPOCH_MS, limits.AUDIT_EPOCH_MS // 5):
            log.keep_up()
    finally:
        os.close(fd)
    assert open_state(SUITE, first).key not in (tmp_path / "state").read_bytes()
    verifier, _ = read_in(tmp_path)
    assert verifier.problems == []
    assert open_state(SUITE, (tmp_path / "state").read_bytes()).epoch == 8
    assert len(verifier.intact.pieces) == 1
    assert verifier.frames == 1 + 1 + 8 + 2
