"""Why this host's last mount of a volume ended (FORMAT.md section 13).

Owns: one row in the volume's memory. Must not know: keys, names of files in the volume, how reasons come about.

The row needs no key, so that it can be shown while the volume is locked.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from typing import Final

from encfs import runtime
from encfs.host.database import Database, path_for
from encfs.locking import LockReason
from encfs.units import VolumeId

_TABLES: Final = ("CREATE TABLE IF NOT EXISTS locks(at INTEGER NOT NULL, reason TEXT NOT NULL, volume BLOB NOT NULL)",)
_QUERY: Final = "SELECT at, reason, volume FROM locks ORDER BY rowid DESC LIMIT 1"
# RuntimeError: a user without a home directory.
_NO_PLACE: Final = (OSError, RuntimeError)
_SUFFIX: Final = ".sqlite"
_ID_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class LastLock:
    """How the last mount ended.

    Attributes:
        at: seconds since 1970.
        volume: the directory of the volume.
    """

    at: int
    reason: LockReason
    volume: str


class HostLocks:
    """Satisfies :class:`encfs.locking.LockMemory` for the volume in the directory ``volume``."""

    def __init__(self, volume_id: VolumeId, volume: str) -> None:
        self._database = Database(volume_id, _TABLES)
        self._volume = os.fsencode(volume)

    def mounted(self) -> None:
        self._database.write(lambda connection: connection.execute("DELETE FROM locks"))
        self._database.close()

    def locked(self, reason: LockReason) -> None:
        row = (int(time.time()), str(reason), self._volume)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM locks")
            connection.execute("INSERT INTO locks VALUES(?, ?, ?)", row)

        self._database.write(write)
        self._database.close()


def last_lock(volume_id: VolumeId) -> LastLock | None:
    """How the last mount of a volume on this host ended; None while that is not known, also while it is mounted."""
    try:
        if not path_for(volume_id).exists():
            return None  # Nothing is begun for somebody who only asks.
    except _NO_PLACE:
        return None
    database = Database(volume_id, _TABLES)
    rows = database.read(_QUERY, kinds=(int, str, bytes))
    database.close()
    if not rows or rows[0][1] not in list(LockReason):
        return None  # A newer cloakfs may know more reasons.
    at, reason, volume = rows[0]
    return LastLock(at, LockReason(reason), os.fsdecode(volume))


def all_last_locks() -> list[LastLock]:
    """The same of every volume that this user has mounted on this host, the latest first."""
    try:
        directory = runtime.state_directory() / "volumes"
    except _NO_PLACE:
        return []
    ids = [path.name.removesuffix(_SUFFIX) for path in directory.glob("*" + _SUFFIX)]
    known = [bytes.fromhex(name) for name in ids if len(name) == 2 * _ID_SIZE]
    found = [last_lock(VolumeId(volume_id)) for volume_id in known]
    return sorted((lock for lock in found if lock is not None), key=lambda lock: lock.at, reverse=True)
