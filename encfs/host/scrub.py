"""When the files of a volume were last verified on this host.

Owns: one table in the volume's memory, under names that tell nothing. Must not know: the tree, what verifying is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from encfs.crypto import kdf
from encfs.host.database import Database
from encfs.units import VolumeId

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS checks(key BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS checks_at ON checks(at)",
)
_KEY_SIZE: Final = 16
# A commit waits for the disk; what a break-off loses is checked once more.
_BATCH: Final = 256
_BATCH_SECONDS: Final = 5.0


class HostCheckTimes:
    """Satisfies the protocol of ``encfs/volume/scrub.py``. Close it, or what came last is not remembered.

    Args:
        volume_id: whose memory.
        key: K_freshness of the active epoch.
        now: the clock.
    """

    def __init__(self, volume_id: VolumeId, key: bytes, now: Callable[[], float] = time.time) -> None:
        self._database = Database(volume_id, _TABLES)
        self._secret = kdf.mac(key, b"scrub")
        self._now = now
        self._waiting: dict[bytes, int] = {}
        self._since = now()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the memory itself, for a user."""
        return self._database.problems

    def _key(self, place: bytes) -> bytes:
        return kdf.mac(self._secret, place)[:_KEY_SIZE]

    def last(self, place: bytes) -> float:
        """When a file was last checked, seconds since 1970; 0 for never."""
        key = self._key(place)
        if key in self._waiting:
            return float(self._waiting[key])
        rows = self._database.read("SELECT at FROM checks WHERE key = ?", (key,), kinds=(int,))
        return float(rows[0][0]) if rows else 0.0

    def checked(self, place: bytes) -> None:
        """A file has been checked just now."""
        now = self._now()
        self._waiting[self._key(place)] = int(now)
        if len(self._waiting) >= _BATCH or now - self._since >= _BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what has been checked."""
        rows, self._waiting = list(self._waiting.items()), {}
        self._since = self._now()
        if rows:
            self._database.write(lambda connection: _put(connection, rows))

    def forget_before(self, seconds: float) -> None:
        """All files that there are have been checked since: older rows are of files that are gone."""
        self._database.write(lambda connection: connection.execute("DELETE FROM checks WHERE at < ?", (int(seconds),)))

    def close(self) -> None:
        self.flush()
        self._database.close()


def _put(connection: sqlite3.Connection, rows: list[tuple[bytes, int]]) -> None:
    connection.executemany("INSERT OR REPLACE INTO checks VALUES(?, ?)", rows)
