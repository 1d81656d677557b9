"""Removing what was kept long enough, and every way of removing more (FORMAT.md section 16, "Pruning", "Verifying")."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from encfs.audit.log import SEGMENT_MS, LogKeys, segment_name, segments
from encfs.audit.pruning import KEPT_MS, Plan, prune, survey
from encfs.audit.reading import too_early
from encfs.core.audit import FIRST
from encfs.core.audit_verify import Trouble
from encfs.crypto.signing import Signer
from encfs.errors import AuditError, UsageError
from encfs.format import limits
from encfs.format.anchor import Anchor
from encfs.format.audit import CheckpointReason
from encfs.format.audit_tombstone import PrunedSegment, Tombstone
from encfs.store.base import Store
from encfs.store.local import LocalStore
from tests.support.audit_logs import (
    AUDITOR,
    DAY,
    KEYS,
    PUBLIC,
    VOLUME,
    Clocks,
    body,
    log_in,
    modelled,
    read,
    read_in,
    troubles,
    years_of,
)
from tests.support.evidence import record
from tests.support.model_store import ModelStore, disk_of
from tests.support.stores import DyingStore, FailingStore

UID = 1234


@pytest.fixture(autouse=True)
def _long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Years have many quarters of an hour."""
    monkeypatch.setattr(limits, "AUDIT_EPOCH_MS", DAY)


@pytest.fixture
def now() -> Clocks:
    """The clocks of the host."""
    return Clocks()


@pytest.fixture
def old(tmp_path: Path, now: Clocks) -> Path:
    """A log of seven years, with a record every thirty days."""
    path = tmp_path / "audit"
    path.mkdir()
    years_of(path, now)
    return path


def plan_of(store: Store, dirfd: int, now: Clocks, *, auditor: bytes | None = None, keep_ms: int = KEPT_MS) -> Plan:
    """As the host makes it, which has no auditor's key."""
    return survey(store, dirfd, read(store, dirfd, auditor=auditor)[0], now_ms=now.wall_ms, keep_ms=keep_ms)


def pruned(path: Path, now: Clocks, store_on: Callable[[int], Store] = LocalStore) -> Plan:
    """Prune a directory."""
    with log_in(path, now, store_on=store_on) as (log, store, dirfd):
        plan = plan_of(LocalStore(dirfd), dirfd, now)
        prune(log, store, dirfd, plan, uid=UID)
    return plan


def there(path: Path) -> list[int]:
    """Numbers of the segments."""
    return sorted(int(each.name[4:]) for each in path.glob("log-*"))


def take_out(path: Path, *numbers: int) -> None:
    """Somebody deletes segments."""
    for number in numbers:
        (path / os.fsdecode(segment_name(number))).unlink()


def bury(path: Path, now: Clocks, stone: Tombstone, keys: LogKeys = KEYS) -> None:
    """Somebody with the key of the host writes a tombstone, whatever is there."""
    with log_in(path, now, keys=keys) as (log, _, _):
        log.prune(stone, check=lambda _: None, remove=lambda: None)


def stone_of(path: Path, *numbers: int) -> Tombstone:
    """A right one, of segments that are there."""
    verifier, _ = read_in(path, auditor=None)
    seen = verifier.gone.segments
    named = tuple(PrunedSegment(each, seen[each].first, seen[each].last, b"d" * 32) for each in numbers)
    following = next(one for one in seen.values() if one.first == named[-1].last + 1)
    assert following.previous is not None
    return Tombstone(
        previous=FIRST, first=named[0].first, last=named[-1].last, head=following.previous, uid=0, segments=named
    )


# -- what has expired ------------------------------------------------------------------------------------------


def test_a_segment_ends_by_its_age(old: Path, tmp_path: Path) -> None:
    """After 90 days, where it never fills: 85 records in seven years are 29 segments; 89 days are one."""
    assert SEGMENT_MS == 90 * DAY
    verifier, numbers = read_in(old)
    assert (verifier.problems, numbers) == ([], list(range(85)))
    assert there(old) == list(range(1, 30))
    (tmp_path / "young").mkdir()
    years_of(tmp_path / "young", Clocks(), years=89 / 366, every=89 / 4)
    assert there(tmp_path / "young") == [1]


def test_only_what_is_six_years_old_goes(old: Path, now: Clocks) -> None:
    """Whole segments whose follower is older; what stays is proved as before, and the tombstone says what went."""
    before, records = read_in(old)
    segments_before = dict(before.gone.segments)
    plan = pruned(old, now)
    verifier, numbers = read_in(old)
    assert verifier.problems == []
    gone = sorted(set(segments_before) - set(there(old)))
    limit = now.wall_ms - KEPT_MS
    assert gone == [one.segment.number for one in plan.expired] != []
    assert segments_before[gone[-1] + 1].began_ms <= limit < segments_before[gone[-1] + 2].began_ms
    assert numbers == [each for each in records if each >= numbers[0]]
    (buried,) = verifier.gone.stones
    assert (buried.stone.first, buried.stone.last) == (0, segments_before[gone[-1]].last)
    assert verifier.gone.pruned.pieces == [(0, buried.stone.last)]
    assert (buried.stone.uid, buried.frame.at) == (UID, now())
    assert verifier.sealed.pieces == [(buried.stone.last + 1, buried.frame.seq)]
    assert verifier.intact.pieces[-1][1] == buried.frame.seq
    assert read_in(old, auditor=None)[0].problems == []
    record("audit", "whole expired segments pruned, a signed tombstone left", cases=len(gone))


def test_nothing_is_old_yet(old: Path, now: Clocks) -> None:
    """A second time nothing goes, and no second tombstone is written; when the next one is due is known."""
    pruned(old, now)
    before = {path.name: path.read_bytes() for path in old.glob("log-*")}
    plan = pruned(old, now)
    assert (plan.expired, plan.unfinished, plan.wrong) == ((), (), None)
    assert {path.name: path.read_bytes() for path in old.glob("log-*")} == before
    assert plan.later_ms is not None
    assert now.wall_ms < plan.later_ms <= now.wall_ms + SEGMENT_MS + 30 * DAY
    now.pass_days((plan.later_ms - now.wall_ms) / DAY)
    with log_in(old, now) as (log, _, _):
        log.record(VOLUME, body(100))
    assert len(pruned(old, now).expired) == 1
    verifier, _ = read_in(old)
    assert verifier.problems == []
    assert [one.stone.first for one in verifier.gone.stones] == [0, 0]


def test_less_than_six_years_is_refused(old: Path, now: Clocks) -> None:
    """Whatever is asked for; more is taken."""
    with log_in(old, now) as (_, store, dirfd):
        with pytest.raises(UsageError, match="six years"):
            plan_of(store, dirfd, now, keep_ms=KEPT_MS - 1)
        assert plan_of(store, dirfd, now, keep_ms=KEPT_MS + 400 * DAY).expired == ()


def test_the_present_segment_stays(tmp_path: Path, now: Clocks) -> None:
    """However old all of it is: a log in which nothing happened for ten years has one segment, and keeps it."""
    years_of(tmp_path, now, years=0.2)
    now.pass_days(10 * 366)
    assert pruned(tmp_path, now).expired == ()
    assert there(tmp_path) == [1]


def test_tombstones_go_too_and_the_next_one_tells_of_all(old: Path, now: Clocks) -> None:
    """Thirteen years, pruned every year: the last tombstones account for all that is missing since the first frame."""
    for _ in range(13):
        pruned(old, now)
        with log_in(old, now) as (log, _, _):
            for number in range(6):
                now.pass_days(61)
                log.record(VOLUME, body(number))
    pruned(old, now)
    verifier, _ = read_in(old)
    assert verifier.problems == []
    assert verifier.gone.stones[0].stone.segments[0].number > 1
    assert {one.stone.first for one in verifier.gone.stones} == {0}
    assert verifier.gone.pruned.pieces == [(0, min(seen.first for seen in verifier.gone.segments.values()) - 1)]


# -- clocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [0.1, 1])
def test_a_clock_that_was_behind_makes_nothing_old(
    tmp_path: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch, years: float
) -> None:
    """The battery was flat for a year, and every start came up in 1990: those records are as young as those before."""
    monkeypatch.setattr("encfs.audit.log.SEGMENT_BYTES", 3000)
    years_of(tmp_path, now, years=years)
    today = now.wall_ms
    wrong = 631_152_000_000
    with log_in(tmp_path, now) as (log, _, _):
        now.restart(wrong)
        for number in range(12):
            now.pass_days(91)
            log.record(VOLUME, body(number))
        now.set_wall(today + 400 * DAY)
        log.record(VOLUME, body(100))
    assert len(there(tmp_path)) > 5
    assert pruned(tmp_path, now).expired == ()


def test_a_clock_that_runs_ahead_makes_nothing_old(old: Path, tmp_path: Path, now: Clocks) -> None:
    """The log itself has not come so far: six years are counted back from its last record."""
    young = tmp_path / "young"
    young.mkdir()
    clocks = Clocks()
    years_of(young, clocks, years=2)
    clocks.set_wall(clocks.wall_ms + 20 * 366 * DAY)
    assert pruned(young, clocks).expired == ()
    now.set_wall(now.wall_ms + 20 * 366 * DAY)
    assert len(pruned(old, now).expired) < 5


# -- crashes and faults ------------------------------------------------------------------------------------------


def _dying(dies_at: int, root_fd: int, *, torn: bool) -> DyingStore:
    store = DyingStore(root_fd)
    store.dies_at, store.torn = dies_at, torn
    return store


@pytest.mark.parametrize("torn", [False, True])
def test_killed_before_and_within_every_change(old: Path, tmp_path: Path, now: Clocks, *, torn: bool) -> None:
    """Nothing is missing that no tombstone names; the next go finishes it, and every record that stays is there."""
    _, records = read_in(old)
    deaths = 0
    while True:
        path = tmp_path / f"{deaths}"
        shutil.copytree(old, path)
        child = os.fork()
        if child == 0:
            pruned(path, now, partial(_dying, deaths, torn=torn))
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        deaths += 1
        verifier, numbers = read_in(path)
        assert set(troubles(verifier)) <= {Trouble.RETURNED}
        assert numbers == records[len(records) - len(numbers) :]
        pruned(path, now)
        verifier, numbers = read_in(path)
        assert (verifier.problems, there(path)) == ([], list(range(there(path)[0], 30)))
        assert numbers == records[len(records) - len(numbers) :]
        assert verifier.gone.unfinished == []
    # Frame, state, and each of three segments.
    assert deaths == 5
    record("audit", "killed at each change of a pruning", cases=deaths)


def test_power_cuts(old: Path, now: Clocks) -> None:
    """On every disk that a cut leaves, no segment is gone without its tombstone, and another go finishes it."""
    store, disks, chance = ModelStore(disk_of(old)), {}, random.Random(1)

    def cut() -> None:
        for disk in store.medium.crashes(64, chance):
            disks.setdefault(disk.identity(), disk)

    store.before_sync = cut
    _, records = read(store, 0)
    plan = plan_of(store, 0, now)
    prune(modelled(store, now), store, 0, plan, uid=UID)
    cut()
    assert len(disks) > 5
    for disk in disks.values():
        after = ModelStore(disk)
        verifier, numbers = read(after, 0)
        assert set(troubles(verifier)) <= {Trouble.RETURNED, Trouble.CUT_SHORT}
        assert numbers == records[len(records) - len(numbers) :]
        modelled(after, now).keep_up()
        prune(modelled(after, now), after, 0, plan_of(after, 0, now), uid=UID)
        verifier, numbers = read(after, 0)
        assert verifier.problems == []
        assert numbers == records[len(records) - len(numbers) :]
        assert segments(after, 0)[0] == plan.expired[-1].segment.number + 1
    record("audit", "power cut at each sync of a pruning", cases=len(disks))


@pytest.mark.parametrize("call", ["open", "pread", "pwrite", "fdatasync", "fsync", "unlink", "close"])
def test_every_call_that_fails(old: Path, tmp_path: Path, now: Clocks, call: str) -> None:
    """A full, read-only or dead disk at any call: an error, and nothing is gone that no tombstone names."""
    _, records = read_in(old)
    failed = 0
    for after in range(40):
        path = tmp_path / f"{after}"
        shutil.copytree(old, path)

        def failing(root_fd: int, after: int = after) -> FailingStore:
            store = FailingStore(root_fd)
            store.broken, store.after, store.times = {call: 28}, after, 1
            return store

        try:
            pruned(path, now, failing)
        except OSError as exc:
            assert exc.errno == 28
            failed += 1
        verifier, numbers = read_in(path)
        assert set(troubles(verifier)) <= {Trouble.RETURNED}
        assert numbers == records[len(records) - len(numbers) :]
        pruned(path, now)
        assert read_in(path)[0].problems == []
        shutil.rmtree(path)
        if failed <= after:
            break
    assert failed


def test_what_changed_meanwhile_stays(old: Path, now: Clocks) -> None:
    """Between the plan and the deed: nothing is removed, no tombstone is written."""
    with log_in(old, now) as (log, store, dirfd):
        plan = plan_of(store, dirfd, now)
        victim = old / os.fsdecode(segment_name(plan.expired[1].segment.number))
        whole = victim.read_bytes()
        victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        before = {path.name: path.read_bytes() for path in old.glob("log-*")}
        with pytest.raises(AuditError, match="not what was to be pruned"):
            prune(log, store, dirfd, plan, uid=UID)
        take_out(old, plan.expired[1].segment.number)
        with pytest.raises(AuditError, match="not what was to be pruned"):
            prune(log, store, dirfd, plan, uid=UID)
        del before[victim.name]
        assert {path.name: path.read_bytes() for path in old.glob("log-*")} == before


def test_two_at_the_same_time(old: Path, now: Clocks) -> None:
    """The second one finds that its plan is not true any more; what the first one left is whole."""
    with log_in(old, now) as (log, store, dirfd):
        plan = plan_of(store, dirfd, now)
        prune(log, store, dirfd, plan, uid=UID)
        with pytest.raises(AuditError, match="not what was to be pruned"):
            prune(log, store, dirfd, plan, uid=UID)
    verifier, _ = read_in(old)
    assert (verifier.problems, len(verifier.gone.stones)) == ([], 1)


def test_a_segment_in_which_something_is_wrong_stays(old: Path, now: Clocks) -> None:
    """It is evidence: it and what lies behind it stay, what lies before it goes."""
    victim = old / "log-00000002"
    whole = victim.read_bytes()
    # The checkpoint of the hour stands behind the record.
    victim.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    plan = pruned(old, now)
    assert (plan.wrong, [one.segment.number for one in plan.expired]) == (2, [1])
    verifier, _ = read_in(old)
    assert {problem.segment for problem in verifier.problems} == {2}
    assert victim.exists()


# -- tampering ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auditor", [AUDITOR, None], ids=["with the key", "without"])
@pytest.mark.parametrize(("numbers", "at"), [((1,), 0), ((1, 2), 0), ((5,), None), ((5, 6), None)])
def test_segments_without_a_tombstone(
    old: Path, numbers: tuple[int, ...], at: int | None, auditor: bytes | None
) -> None:
    """Deleted by hand, at the beginning or in the middle."""
    first = read_in(old, auditor=None)[0].gone.segments[numbers[0]].first
    take_out(old, *numbers)
    verifier, _ = read_in(old, auditor=auditor)
    assert Trouble.GAP in troubles(verifier)
    assert verifier.problems[0].seq == first == (first if at is None else at)
    assert verifier.gone.pruned.pieces == []


@pytest.mark.parametrize("auditor", [AUDITOR, None], ids=["with the key", "without"])
def test_more_than_the_tombstone_says(old: Path, now: Clocks, auditor: bytes | None) -> None:
    """Somebody goes on deleting behind it: what is missing begins after its last frame."""
    plan = pruned(old, now)
    last = plan.expired[-1].segment
    take_out(old, last.number + 1)
    verifier, _ = read_in(old, auditor=auditor)
    assert verifier.problems[0].trouble is Trouble.GAP
    assert verifier.problems[0].seq == last.last + 1
    assert verifier.gone.pruned.pieces == [(0, last.last)]


def test_a_tombstone_that_went_with_its_segment(old: Path, now: Clocks) -> None:
    """Without it what was pruned is missing."""
    pruned(old, now)
    with log_in(old, now) as (log, _, _):
        now.pass_days(91)
        log.record(VOLUME, body(99))
    take_out(old, there(old)[-2])
    assert troubles(read_in(old)[0])[:2] == [Trouble.GAP, Trouble.GAP]


@pytest.mark.parametrize("auditor", [AUDITOR, None], ids=["with the key", "without"])
def test_pruned_segments_that_came_back(old: Path, tmp_path: Path, now: Clocks, auditor: bytes | None) -> None:
    """From an old backup, all or one of them: told; the next pruning takes them away again. Edited ones it keeps."""
    shutil.copytree(old, tmp_path / "backup")
    plan = pruned(old, now)
    numbers = [one.segment.number for one in plan.expired]
    assert len(numbers) == 3
    for some in (numbers, numbers[:1], numbers[1:2]):
        for number in some:
            name = os.fsdecode(segment_name(number))
            shutil.copy(tmp_path / "backup" / name, old / name)
        verifier, _ = read_in(old, auditor=auditor)
        assert troubles(verifier) == [Trouble.RETURNED] * len(some)
        assert [problem.segment for problem in verifier.problems] == some
        pruned(old, now)
        assert read_in(old, auditor=auditor)[0].problems == []
        assert there(old)[0] == numbers[-1] + 1
    name = os.fsdecode(segment_name(numbers[0]))
    whole = (tmp_path / "backup" / name).read_bytes()
    (old / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(AuditError, match="not what was to be pruned"):
        pruned(old, now)
    assert (old / name).exists()


def test_a_tombstone_that_claims_more_than_is_gone(old: Path, now: Clocks) -> None:
    """It names what is there, by other numbers than it has: not believed, and what is missing is missing."""
    stone = stone_of(old, 1, 2)
    one, two = stone.segments
    take_out(old, 1)
    claims = replace(stone, segments=(PrunedSegment(1, one.first, two.last, b"d" * 32),))
    bury(old, now, claims)
    for auditor in (AUDITOR, None):
        verifier, _ = read_in(old, auditor=auditor)
        assert Trouble.GAP in troubles(verifier)
        assert Trouble.TOMBSTONE in troubles(verifier)
        assert verifier.gone.pruned.pieces == []


def test_a_tombstone_that_claims_what_is_there(old: Path, now: Clocks) -> None:
    """A segment that it names is there, as it says: told as such."""
    stone = stone_of(old, 1, 2)
    take_out(old, 1)
    bury(old, now, stone)
    verifier, _ = read_in(old)
    assert troubles(verifier) == [Trouble.RETURNED]


def test_a_tombstone_whose_end_is_not_that_of_the_log(old: Path, now: Clocks) -> None:
    """The head behind it states another forerunner: something else lay there."""
    stone = stone_of(old, 1)
    take_out(old, 1)
    bury(old, now, replace(stone, head=b"x" * 32))
    verifier, _ = read_in(old)
    assert troubles(verifier) == [Trouble.GAP, Trouble.TOMBSTONE]


def test_a_tombstone_of_another_log(old: Path, tmp_path: Path, now: Clocks) -> None:
    """Of another practice, or of an earlier log of the same host: its signature is not of this log."""
    other = tmp_path / "other"
    other.mkdir()
    years_of(other, Clocks(), keys=LogKeys(PUBLIC, Signer.generate()))
    stone = stone_of(old, 1)
    for keys in (KEYS, LogKeys(PUBLIC, Signer.generate())):
        path = tmp_path / keys.signer.public.fingerprint()
        shutil.copytree(old, path)
        take_out(path, 1)
        with log_in(path, now, keys=keys) as (log, _, _):
            if keys is KEYS:
                # The right key, for a log with another id.
                signed_for = log._read_state().log_id
                log._write_state(replace(log._read_state(), log_id=bytes(16)))
                log.prune(stone, check=lambda _: None, remove=lambda: None)
                log._write_state(replace(log._read_state(), log_id=signed_for))
            else:
                log.prune(stone, check=lambda _: None, remove=lambda: None)
        verifier, _ = read_in(path)
        assert set(troubles(verifier)) == {Trouble.GAP, Trouble.SIGNATURE}
        assert verifier.gone.pruned.pieces == []


def test_pruned_before_its_time(old: Path, now: Clocks) -> None:
    """Root prunes last year, with a right signature: the head behind it tells how young that was."""
    numbers = there(old)[:-3]
    bury(old, now, stone_of(old, *numbers))
    take_out(old, *numbers)
    for auditor in (AUDITOR, None):
        verifier, _ = read_in(old, auditor=auditor)
        assert troubles(verifier) == [Trouble.TOO_EARLY]
    record("audit", "segments pruned before six years were over: told", cases=2)


def test_tombstones_that_contradict_each_other(old: Path, now: Clocks) -> None:
    """A later one that says less than an earlier one is not true."""
    one, both = stone_of(old, 1), stone_of(old, 1, 2)
    bury(old, now, both)
    bury(old, now, one)
    take_out(old, 1, 2)
    assert troubles(read_in(old)[0]) == [Trouble.TOMBSTONE]


def test_a_tombstone_that_was_edited(old: Path, now: Clocks) -> None:
    """One bit of it, anywhere: found, and it accounts for nothing."""
    pruned(old, now)
    segment = old / f"log-{there(old)[-1]:08}"
    whole = segment.read_bytes()
    size = len(stone_of_last(whole))
    for at in range(len(whole) - size, len(whole), 7):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        verifier, _ = read_in(old)
        assert Trouble.GAP in troubles(verifier), at
        assert len(verifier.problems) > 1


def stone_of_last(segment: bytes) -> bytes:
    """The last frame of a segment."""
    at = 0
    while at < len(segment):
        size = 4 + int.from_bytes(segment[at : at + 4], "big")
        last, at = segment[at : at + size], at + size
    return last


# -- anchors -----------------------------------------------------------------------------------------------------


def test_anchors_of_what_was_pruned(tmp_path: Path, now: Clocks) -> None:
    """They cannot be checked and are no problem; one of the last frame that went can; a young one shows a crime."""
    anchors: dict[int, int] = {}
    heads: dict[int, bytes] = {}
    with log_in(tmp_path, now) as (log, _, _):
        log.begin()
        for number in range(85):
            now.pass_days(30)
            log.record(VOLUME, body(number))
            seq, head = log.checkpoint(CheckpointReason.ASKED)
            anchors[seq], heads[seq] = now.wall_ms, head
    plan = pruned(tmp_path, now)
    last = plan.expired[-1].segment.last
    assert last in heads
    verifier, _ = read_in(tmp_path, anchors=heads)
    assert (verifier.problems, verifier.anchored) == ([], max(heads))
    assert verifier.unchecked == sorted(seq for seq in heads if seq < last) != []
    verifier, _ = read_in(tmp_path, anchors={last: b"x" * 32})
    assert troubles(verifier) == [Trouble.FORKED]
    verifier, _ = read_in(tmp_path, anchors={last: heads[last]})
    assert (verifier.problems, verifier.anchored) == ([], last)
    seq = verifier.unchecked[0] if verifier.unchecked else min(heads)
    honest = Anchor(log_id=bytes(16), seq=seq, head=heads[seq], wall_ms=anchors[seq])
    assert too_early(verifier, [honest]) == []
    young = replace(honest, wall_ms=now.wall_ms - 30 * DAY)
    assert [problem.trouble for problem in too_early(verifier, [honest, young])] == [Trouble.TOO_EARLY]
