"""When a whole volume was last verified on this host, and whether something was wrong then (FORMAT.md section 13).

Owns: one row in the volume's memory. Must not know: keys, names of files in the volume, what verifying is.

The row needs no key, so that it can be shown while the volume is locked; so it proves nothing.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from encfs.host.database import Database, is_begun
from encfs.units import VolumeId

_TABLES: Final = ("CREATE TABLE IF NOT EXISTS verified(at INTEGER NOT NULL, wrong INTEGER NOT NULL)",)
_QUERY: Final = "SELECT at, wrong FROM verified ORDER BY rowid DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Verified:
    """What is remembered.

    Attributes:
        at: every file has been read since then, seconds since 1970; 0 if that never was.
        wrong: warnings and errors that were found last, and not repaired.
    """

    at: int
    wrong: int


def last_verified(volume_id: VolumeId) -> Verified | None:
    """None if nothing is remembered."""
    if not is_begun(volume_id):
        return None  # Nothing is begun for somebody who only asks.
    database = Database(volume_id, _TABLES)
    rows = database.read(_QUERY, kinds=(int, int))
    database.close()
    return Verified(*rows[0]) if rows else None


def remember(volume_id: VolumeId, verified: Verified) -> list[str]:
    """Put it in place of what was remembered.

    Returns:
        What is wrong with the memory, for a user.
    """
    database = Database(volume_id, _TABLES)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM verified")
        connection.execute("INSERT INTO verified VALUES(?, ?)", (verified.at, verified.wrong))

    database.write(write)
    database.close()
    return database.problems
