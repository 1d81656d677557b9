"""What is done to the audit log by hand or by accident, bit by bit, and what its clocks do (FORMAT.md section 16)."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from encfs.audit import clock
from encfs.audit.log import frames_of
from encfs.core.audit import FIRST, LogEnd, mac_of, next_head, next_key, open_state, seal_state
from encfs.core.audit_verify import LogVerifier, Trouble
from encfs.crypto.suite import CLOAKFS_1 as SUITE
from encfs.format import limits
from encfs.format.audit import CLEAR_SIZE, AuditKind, CheckpointReason, Moment, parse_audit_frame, parse_epoch_end
from encfs.store.local import LocalStore
from tests.support.audit_logs import AUDITOR, DAY, VOLUME, Clocks, body, log_in, read_in, troubles
from tests.support.evidence import record

MINUTES = 1 / 24 / 60


@pytest.fixture
def now() -> Clocks:
    """The clocks of the host."""
    return Clocks()


def begun(path: Path, now: Clocks, hours: int = 2) -> Path:
    """A log with a record every five minutes, and a checkpoint at its end."""
    path.mkdir(exist_ok=True)
    with log_in(path, now) as (log, _, _):
        log.begin()
        for number in range(hours * 12):
            now.pass_days(5 * MINUTES)
            log.record(VOLUME, body(number))
        log.checkpoint(CheckpointReason.LOCK)
    return path


def frames(path: Path) -> list[bytes]:
    """Of the first segment."""
    with log_in(path, Clocks()) as (_, store, dirfd):
        return list(frames_of(store, dirfd, 1))


def test_every_bit_that_is_changed_is_found(tmp_path: Path, now: Clocks) -> None:
    """Each byte of a small log in turn, with the auditor's key: head, records, checkpoint, sizes, MACs."""
    with log_in(tmp_path, now) as (log, _, _):
        log.begin()
        for number in range(3):
            log.record(VOLUME, body(number))
        now.pass_days(16 * MINUTES)
        log.record(VOLUME, body(3))
        log.checkpoint(CheckpointReason.LOCK)
    whole = (tmp_path / "log-00000001").read_bytes()
    assert {parse_audit_frame(each)[0].kind for each in frames(tmp_path)} == {
        AuditKind.HEAD,
        AuditKind.RECORD,
        AuditKind.EPOCH_END,
        AuditKind.CHECKPOINT,
    }
    missed = []
    for at in range(len(whole)):
        (tmp_path / "log-00000001").write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        if not read_in(tmp_path)[0].problems:
            missed.append(at)
    assert missed == []
    record("audit", "one bit of the log changed, every byte in turn: found with the auditor's key", cases=len(whole))


def test_what_signatures_alone_show_of_a_changed_bit(tmp_path: Path, now: Clocks) -> None:
    """Without the auditor's key: all but MACs, and what the last checkpoint does not vouch for."""
    with log_in(tmp_path, now) as (log, _, _):
        log.begin()
        log.record(VOLUME, body(0))
        log.checkpoint(CheckpointReason.LOCK)
    whole = (tmp_path / "log-00000001").read_bytes()
    macs, end = set[int](), 0
    for each in frames(tmp_path):
        end += len(each)
        macs |= set(range(end - 32, end))
    for at in range(0, len(whole), 3):
        (tmp_path / "log-00000001").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        problems = read_in(tmp_path, auditor=None)[0].problems
        assert bool(problems) == (at not in macs), at


def test_every_place_where_it_can_be_cut(tmp_path: Path, now: Clocks) -> None:
    """The state knows more: whatever is missing at the end is a gap as soon as the log goes on."""
    begun(tmp_path, now, hours=1)
    segment, state = tmp_path / "log-00000001", (tmp_path / "state").read_bytes()
    whole = segment.read_bytes()
    for size in range(0, len(whole), 61):
        segment.write_bytes(whole[:size])
        with log_in(tmp_path, now) as (log, _, _):
            log.record(VOLUME, body(99))
        verifier, _ = read_in(tmp_path)
        assert Trouble.GAP in troubles(verifier), size
        segment.write_bytes(whole)
        (tmp_path / "state").write_bytes(state)
        (tmp_path / "log-00000002").unlink()


# -- the flaws of journald ------------------------------------------------------------------------------------------


def test_sealed_anew_with_the_present_key(tmp_path: Path, now: Clocks) -> None:
    """CVE-2023-31439: who has the host now rewrites an old record, and seals all that follows with what it has."""
    begun(tmp_path, now)
    old, state = frames(tmp_path), open_state(SUITE, (tmp_path / "state").read_bytes())
    victim = next(i for i, each in enumerate(old) if parse_audit_frame(each)[0].kind is AuditKind.RECORD)
    head, forged = FIRST, []
    for i, data in enumerate(old):
        frame, mac = parse_audit_frame(data)
        if i == victim:
            frame = replace(frame, content=frame.content[:-1] + bytes([frame.content[-1] ^ 1]))
        head = next_head(SUITE, head, frame)
        # All that it can do: the key of now, whatever epoch the frame names.
        forged.append(frame.pack() + (mac if i < victim else mac_of(SUITE, state.key, head)))
    (tmp_path / "log-00000001").write_bytes(b"".join(forged))
    verifier, _ = read_in(tmp_path)
    assert verifier.problems[0].trouble is Trouble.EDITED
    assert verifier.problems[0].seq == victim
    assert Trouble.EDITED in troubles(read_in(tmp_path, auditor=None)[0])


def test_the_present_epoch_in_every_frame(tmp_path: Path, now: Clocks) -> None:
    """The same, with the number of the present epoch put into the frames that are sealed anew."""
    begun(tmp_path, now)
    old, state = frames(tmp_path), open_state(SUITE, (tmp_path / "state").read_bytes())
    victim = next(i for i, each in enumerate(old) if parse_audit_frame(each)[0].kind is AuditKind.RECORD)
    kept = old[:victim]
    head = FIRST
    for data in kept:
        head = next_head(SUITE, head, parse_audit_frame(data)[0])
    thief = LogEnd(SUITE, replace(state, seq=victim, head=head, size=sum(map(len, kept))))
    kept += [thief.record(now(), VOLUME, body(number)) for number in range(5)]
    (tmp_path / "log-00000001").write_bytes(b"".join(kept))
    assert read_in(tmp_path)[0].problems[0].trouble is Trouble.EPOCH


@pytest.mark.parametrize("honest_end", [True, False])
def test_cut_off_and_gone_on(tmp_path: Path, now: Clocks, *, honest_end: bool) -> None:
    """CVE-2023-31438: the log is cut in an earlier period, with or without the frame that ends it, and goes on."""
    begun(tmp_path, now)
    old, state = frames(tmp_path), open_state(SUITE, (tmp_path / "state").read_bytes())
    ends = [i for i, each in enumerate(old) if parse_audit_frame(each)[0].kind is AuditKind.EPOCH_END]
    cut = ends[2] + honest_end
    head = FIRST
    for data in old[:cut]:
        head = next_head(SUITE, head, parse_audit_frame(data)[0])
    following = parse_epoch_end(parse_audit_frame(old[ends[2]])[0].content[:8]).following
    assert following < state.epoch
    thief = replace(state, seq=cut, head=head, size=sum(map(len, old[:cut])))
    (tmp_path / "log-00000001").write_bytes(b"".join(old[:cut]))
    (tmp_path / "state").write_bytes(seal_state(SUITE, thief))
    with log_in(tmp_path, now) as (log, _, _):
        log.record(VOLUME, body(99))
    verifier, _ = read_in(tmp_path)
    assert Trouble.EPOCH in troubles(verifier)
    record("audit", f"cut off in an earlier period, {'after' if honest_end else 'before'} its end, and gone on: told")


# -- older state, crashes -----------------------------------------------------------------------------------------


def test_an_older_log_is_put_back(tmp_path: Path, now: Clocks) -> None:
    """Whole, as it was: only what was kept elsewhere tells. If it goes on, that tells too."""
    begun(tmp_path / "log", now)
    shutil.copytree(tmp_path / "log", tmp_path / "older")
    with log_in(tmp_path / "log", now) as (log, _, _):
        for number in range(30, 40):
            log.record(VOLUME, body(number))
        anchor = dict([log.checkpoint(CheckpointReason.ASKED)])
    assert read_in(tmp_path / "log", anchors=anchor)[0].problems == []
    older = tmp_path / "older"
    assert read_in(older)[0].problems == []
    assert troubles(read_in(older, anchors=anchor)[0]) == [Trouble.FORKED]
    with log_in(older, now) as (log, _, _):
        for number in range(50, 70):
            log.record(VOLUME, body(number))
    assert troubles(read_in(older, anchors=anchor)[0]) == [Trouble.FORKED]


def test_no_fork_after_a_crash(tmp_path: Path, now: Clocks) -> None:
    """The newest segment is lost with a crash, or cut short: the log never begins anew at its first frame."""
    begun(tmp_path, now)
    state = (tmp_path / "state").read_bytes()
    now.pass_days(91)
    with log_in(tmp_path, now) as (log, _, _):
        log.record(VOLUME, body(70))
    newest = (tmp_path / "log-00000002").read_bytes()
    after = (tmp_path / "state").read_bytes()
    for kept, known in ((0, after), (0, state), (100, after), (100, state), (len(newest) - 1, state)):
        (tmp_path / "log-00000002").write_bytes(newest[:kept])
        (tmp_path / "state").write_bytes(known)
        with log_in(tmp_path, now) as (log, _, _):
            log.record(VOLUME, body(71))
        verifier, numbers = read_in(tmp_path)
        seqs = [seen.first for _, seen in sorted(verifier.gone.segments.items())]
        assert seqs == sorted(seqs)
        assert seqs.count(0) == 1
        assert (numbers[:24], numbers[-1]) == (list(range(24)), 71)
        # What was confirmed and is lost is told; what never was, is not.
        assert (Trouble.GAP in troubles(verifier)) == (known is after)
        for path in tmp_path.glob("log-0000000[3-9]"):
            path.unlink()


# -- clocks and several writers -------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back(tmp_path: Path, now: Clocks) -> None:
    """An hour, ten years, to 1970: the order stays, no period comes twice, and each step is told with how far."""
    begun(tmp_path, now, hours=1)
    steps = []
    for wall in (now.wall_ms - 3_600_000, now.wall_ms - 3660 * DAY, 0):
        with log_in(tmp_path, now) as (log, _, _):
            before = open_state(SUITE, (tmp_path / "state").read_bytes()).epoch
            steps.append(wall - now.wall_ms)
            now.set_wall(wall)
            log.record(VOLUME, body(80 + len(steps)))
            now.pass_days(20 * MINUTES)
            log.record(VOLUME, body(90 + len(steps)))
            assert open_state(SUITE, (tmp_path / "state").read_bytes()).epoch == before + 1
    verifier, numbers = read_in(tmp_path)
    assert verifier.problems == []
    assert [step.step_ms for step in verifier.clock_steps] == steps
    assert numbers == [*range(12), 81, 91, 82, 92, 83, 93]


def _daemon(path: Path, first: int, moments: list[Moment]) -> None:
    for number, at in enumerate(moments):
        with log_in(path, lambda at=at: at) as (log, _, _):
            log.keep_up()
            log.record(VOLUME, body(first + number))


def test_two_daemons_append_over_the_end_of_periods(tmp_path: Path, now: Clocks) -> None:
    """Each with its own records, and each finds periods that are over: none comes twice, none is missing."""
    begun(tmp_path, now, hours=1)
    moments = []
    for _ in range(20):
        now.pass_days(4 * MINUTES)
        moments.append(now())
    context = multiprocessing.get_context("fork")
    daemons = [context.Process(target=_daemon, args=(tmp_path, first, moments)) for first in (100, 200)]
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.join()
    assert [daemon.exitcode for daemon in daemons] == [0, 0]
    verifier, numbers = read_in(tmp_path)
    assert verifier.problems == []
    for first in (100, 200):
        assert [number for number in numbers if number // 100 * 100 == first] == list(range(first, first + 20))


def _appends(path: Path, told: int) -> None:
    for number in range(10_000):
        with log_in(path, clock.now) as (log, _, _):
            log.record(VOLUME, body(number))
        os.write(told, b"%d\n" % number)


def test_kill_9_between_and_within_records(tmp_path: Path) -> None:
    """Whatever a process had confirmed is there, in its order, and the next one goes on without a break."""
    with log_in(tmp_path, clock.now) as (log, _, _):
        log.begin()
    confirmed = 0
    for wanted in (1, 2, 3, 5, 8, 13):
        reads, writes = os.pipe()
        child = multiprocessing.get_context("fork").Process(target=_appends, args=(tmp_path, writes))
        child.start()
        os.close(writes)
        with open(reads, "rb") as told:
            for _ in range(wanted):
                told.readline()
            child.kill()
            confirmed += wanted + len(told.readlines())
        child.join()
        assert child.exitcode == -9
    with log_in(tmp_path, clock.now) as (log, _, _):
        log.record(VOLUME, body(0))
    verifier, numbers = read_in(tmp_path)
    assert verifier.problems == []
    assert numbers.count(0) == 7
    assert confirmed + 1 <= len(numbers) <= confirmed + 1 + 6
    for before, number in pairwise(numbers):
        assert number in {before + 1, 0}


def test_the_keys_of_earlier_periods_are_gone(tmp_path: Path, now: Clocks) -> None:
    """None of them is in any file of the log."""
    begun(tmp_path, now)
    verifier = LogVerifier(SUITE, AUDITOR)
    verifier.begin_segment(1)
    with log_in(tmp_path, now) as (_, store, dirfd):
        assert isinstance(store, LocalStore)
        verifier.take(next(frames_of(store, dirfd, 1)))
    first = verifier._key
    assert first is not None
    state = open_state(SUITE, (tmp_path / "state").read_bytes())
    assert next_key(SUITE, first, state.epoch) == state.key
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(next_key(SUITE, first, epoch) in content for epoch in range(state.epoch))
    assert (CLEAR_SIZE, limits.AUDIT_EPOCH_MS) == (52, 900_000)
