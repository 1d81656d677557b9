"""What a host calls older: the rules of FORMAT.md section 13, one by one, without a volume."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from encfs.errors import RollbackError
from encfs.format.limits import SESSIONS_KEPT
from encfs.format.session import SessionRecord, SessionState, new_session_id
from encfs.host.freshness import HostFreshness
from encfs.units import FileId, SessionId
from tests.support.evidence import record

VOLUME = b"v" * 16
OPEN, CLEAN, RECOVERED = SessionState.OPEN, SessionState.CLEAN, SessionState.RECOVERED
DIGEST = b"d" * 32


def fid(number: int) -> FileId:
    """A file id."""
    return FileId(number.to_bytes(16, "big"))


def memory(volume: bytes = VOLUME) -> HostFreshness:
    """What a new process of this host knows."""
    made = HostFreshness()
    made.bind(volume, bytes(32))
    return made


def session(number: int, state: SessionState = CLEAN, host: bytes = b"h") -> SessionRecord:
    """The record of the session that began at a number of seconds."""
    start = number * 1000
    return SessionRecord(
        epoch=0, session=new_session_id(start, b"r" * 8), state=state, started_ms=start,
        ended_ms=0 if state is OPEN else start, pid=1, uid=os.getuid(), host=host, mountpoint=b"/m",
    )  # fmt: skip


def verdict(known: Iterable[SessionRecord], found: Iterable[SessionRecord], damaged: Iterable[SessionId] = ()) -> str:
    """What the host says of a volume with ``found`` when it remembers ``known``; empty: not older."""
    memory().remember(1, DIGEST, list(known))
    return memory().compare(1, DIGEST, list(found), set(damaged)) or ""


# -- files ----------------------------------------------------------------------------------------------------


def test_a_lower_generation_is_a_rollback_and_a_higher_is_news() -> None:
    """FORMAT.md section 13: a header with a lower generation than the durable one is a rollback, others are not."""
    first = memory()
    assert first.check(fid(1), 5)  # Never seen: news.
    first.synced(fid(1), 5)
    for known in (first, memory()):
        assert not known.check(fid(1), 5)
        assert known.check(fid(1), 6)
        assert known.check(fid(2), 0)
        with pytest.raises(RollbackError, match="generation 4, and this host knows 5"):
            known.check(fid(1), 4)
        first.flush()
    assert memory(b"w" * 16).check(fid(1), 0)
    record("freshness", "rules for one file", cases=6, note="older is refused, the same and newer is not")


def test_only_what_is_durable_counts() -> None:
    """FORMAT.md section 13: what was written or deleted counts after the whole filesystem was synced, not before."""
    first = memory()
    first.wrote(fid(1), 7)
    first.seen(fid(2), 3)
    first.removed(fid(3), 5)
    for known in (first, memory()):
        for number in (1, 2, 3):
            known.check(fid(number), 0)
    assert first.was_removed(fid(3))  # In this session it is known, for a checkpoint that is made in it.
    assert not memory().was_removed(fid(3))
    first.all_durable()
    known = memory()
    for number, generation in ((1, 6), (2, 2), (3, 4), (3, 5)):
        with pytest.raises(RollbackError):
            known.check(fid(number), generation)
    assert known.was_removed(fid(3))
    assert not known.was_removed(fid(1))
    assert known.check(fid(3), 6)  # What was deleted was an old copy of this one.


def test_a_generation_is_never_lowered() -> None:
    """FORMAT.md section 13: neither a sync nor the end of a session makes a host forget a newer generation."""
    first = memory()
    first.synced(fid(1), 9)
    first.synced(fid(1), 4)
    first.wrote(fid(2), 9)
    first.wrote(fid(2), 4)
    first.removed(fid(3), 9)
    first.wrote(fid(3), 4)
    first.all_durable()
    again = memory()
    for number in (1, 2, 3):
        again.synced(fid(number), 1)
        again.wrote(fid(number), 1)
    again.all_durable()
    for number in (1, 2, 3):
        with pytest.raises(RollbackError):
            memory().check(fid(number), 8)


def test_what_was_made_and_deleted_unsynced_leaves_no_row(host_memory: Path) -> None:
    """FORMAT.md section 13: a file of one session that was never synced is not noted; a synced one is."""
    first = memory()
    for number in (1, 2):
        first.made(fid(number))
        first.wrote(fid(number), 1)
    first.synced(fid(2), 1)
    for number in (1, 2):
        first.removed(fid(number), 5)
    first.all_durable()
    assert not memory().was_removed(fid(1))
    assert memory().was_removed(fid(2))


def test_much_that_waits_goes_to_the_file_and_is_dropped_with_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT.md section 13: ``pending`` counts at the end of its session; a crashed one's is dropped at the next."""
    monkeypatch.setattr("encfs.host.freshness._PENDING_MAX", 10)
    crashed = memory()
    for number in range(25):
        crashed.wrote(fid(number), 5)
    assert len(crashed._pending) <= 10
    crashed.release()
    later = memory()
    later.remember(1, DIGEST, [])
    for number in range(100, 125):
        later.wrote(fid(number), 5)
    later.removed(fid(101), 5)
    later.all_durable()
    known = memory()
    for number in range(25):
        known.check(fid(number), 0)
    for number in range(100, 125):
        with pytest.raises(RollbackError):
            known.check(fid(number), 4)
    assert known.was_removed(fid(101))
    assert known._db().read("SELECT count(*) FROM pending") == [(0,)]


def test_the_file_tells_no_names_and_no_ids(host_memory: Path) -> None:
    """FORMAT.md section 13: rows are keyed by an HMAC; neither fid nor key is in the file; it is its owner's alone."""
    first = memory()
    ids = [os.urandom(16) for _ in range(50)]
    for one in ids:
        first.synced(FileId(one), 3)
        first.removed(FileId(os.urandom(16)), 5)
    first.all_durable()
    first.release()
    (path,) = (host_memory / "volumes").iterdir()
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not any(one in content or one[:8] in content for one in ids)
    assert bytes(32) not in first.key(FileId(ids[0]))
    assert b"cloakfs" not in content


# -- config and sessions ----------------------------------------------------------------------------------------


def test_an_older_or_another_config_is_a_rollback() -> None:
    """FORMAT.md section 13: a lower ``seq``, or the same with other bytes, is a rollback; a higher one is not."""
    assert memory().compare(5, DIGEST, [], set()) is None
    memory().remember(5, DIGEST, [])
    assert memory().compare(5, DIGEST, [], set()) is None
    assert memory().compare(6, b"e" * 32, [], set()) is None
    assert "config is older" in str(memory().compare(4, DIGEST, [], set()))
    assert "another one" in str(memory().compare(5, b"e" * 32, [], set()))


def test_sessions_that_are_missing_reopened_or_damaged() -> None:
    """FORMAT.md section 13: each has a reason of its own; what is there as it was, or further on, is none."""
    one, two = session(10), session(20, OPEN)
    assert verdict([one, two], [one, two]) == ""
    assert verdict([one, two], [one, session(20, CLEAN), session(30, OPEN)]) == ""
    assert verdict([one, two], [one, session(20, RECOVERED)]) == ""
    assert "is missing" in verdict([one, two], [one])
    assert "is missing" in verdict([one, two], [two])
    assert "had ended" in verdict([one, two], [session(10, OPEN), two])
    assert "is damaged" in verdict([one, two], [two], [one.session])
    assert verdict([one, two], [one, two], [session(99).session]) == ""  # One that it never saw.
    record("freshness", "rules for config and session records", cases=11, note="each reason told apart")


def test_a_record_may_be_missing_only_where_pruning_deletes() -> None:
    """FORMAT.md sections 11 and 13: gone is right with 16 newer ended records, and wrong with 15 or with open ones."""
    old = session(10)
    newer = [session(20 + number) for number in range(SESSIONS_KEPT)]
    assert verdict([old], newer) == ""
    assert "is missing" in verdict([old], newer[1:])
    assert "is missing" in verdict([old], [*newer[1:], session(90, OPEN)])
    assert "is missing" in verdict([old], [session(5), *newer[1:]])
    assert "is missing" in verdict([session(55)], [*newer, session(1)])


def test_what_is_remembered_of_sessions_only_moves_forward() -> None:
    """FORMAT.md section 13: a state that was seen once is not forgotten for a smaller one."""
    memory().remember(1, DIGEST, [session(10, CLEAN)])
    memory().remember_session(session(10, OPEN))
    assert "had ended" in str(memory().compare(1, DIGEST, [session(10, OPEN)], set()))


def test_never_seen_and_forgotten() -> None:
    """FORMAT.md section 13: only a volume whose own records name this host and user was forgotten."""
    import socket

    mine = session(10, host=os.fsencode(socket.gethostname())[:64])
    for records, state in (([], "new"), ([session(10)], "new"), ([mine], "lost")):
        fresh = memory(os.urandom(16))
        assert fresh.compare(1, DIGEST, records, set()) is None
        assert fresh.state == state
    memory().remember(1, DIGEST, [mine])
    known = memory()
    assert known.compare(1, DIGEST, [mine], set()) is None
    assert known.state == "known"
    assert known.used is not None
