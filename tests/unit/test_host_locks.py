"""Why a mount ended, in this host's memory (encfs/host/locks.py, FORMAT.md section 13)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from encfs.host.database import path_for
from encfs.host.locks import HostLocks, all_last_locks, last_lock
from encfs.locking import LockReason
from encfs.units import VolumeId

ONE, TWO = VolumeId(b"1" * 16), VolumeId(b"2" * 16)


def test_only_the_last_end_is_known(host_memory: Path) -> None:
    """A new end replaces the one before, a new mount forgets it, and to ask makes no file."""
    assert last_lock(ONE) is None
    assert all_last_locks() == []
    assert not path_for(ONE).exists()
    locks = HostLocks(ONE, "/srv/one.vault")
    locks.locked(LockReason.IDLE)
    locks.locked(LockReason.SUSPEND)
    HostLocks(TWO, "/srv/two\udcff.vault").locked(LockReason.SIGNAL)
    found = last_lock(ONE)
    assert found is not None
    assert (found.reason, found.volume) == (LockReason.SUSPEND, "/srv/one.vault")
    assert {lock.volume for lock in all_last_locks()} == {"/srv/one.vault", "/srv/two\udcff.vault"}
    locks.mounted()
    assert last_lock(ONE) is None
    assert [lock.reason for lock in all_last_locks()] == [LockReason.SIGNAL]


def test_a_reason_of_a_newer_version_is_passed_over(host_memory: Path) -> None:
    """Nothing is said rather than something false."""
    HostLocks(ONE, "/srv/one.vault").locked(LockReason.IDLE)
    with sqlite3.connect(path_for(ONE)) as connection:
        connection.execute("UPDATE locks SET reason = 'full-moon'")
    connection.close()
    assert last_lock(ONE) is None


def test_without_a_place_nothing_is_known(host_memory: Path) -> None:
    """A state directory that cannot be made stops nobody's work."""
    host_memory.write_text("no directory")
    HostLocks(ONE, "/srv/one.vault").locked(LockReason.IDLE)
    assert last_lock(ONE) is None
    assert all_last_locks() == []
