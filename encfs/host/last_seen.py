"""What a volume was like when this host last saw it, for the day on which it is not here (FORMAT.md section 13).

Owns: rows in the volume's memory: its sessions, what lay on its medium. Must not know: keys, names of files, what
follows from it.

The rows need no key to be read, and none to be written: what they say is remembered, not proved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from encfs.host.database import Database, is_begun
from encfs.units import VolumeId

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS seen(name TEXT PRIMARY KEY, at INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
)
_QUERY: Final = "SELECT at, value FROM seen WHERE name = ?"
_PUT: Final = (
    "INSERT INTO seen VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE SET at = excluded.at, value = excluded.value"
)
_SESSIONS, _LOOKS = "sessions", "looks"
LOOKS_KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class Look:
    """A search of the medium of a volume for what opens it.

    Attributes:
        at: when, seconds since 1970.
        complete: whether all of the medium was looked at.
        looked_at: so many entries.
        kinds: of each file that was found, what it is (``encfs/doctor/near.py``); where it lies is not kept.
    """

    at: int
    complete: bool
    looked_at: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered.

    Attributes:
        sessions_at, sessions: when, and the objects of docs/json.md (``last_session``) in the order of use.
        looks: the oldest first.
    """

    sessions_at: int | None = None
    sessions: tuple[Mapping[str, Any], ...] = ()
    looks: tuple[Look, ...] = ()


def last_seen(volume_id: VolumeId) -> Seen:
    """What this host remembers; nothing where it cannot be read."""
    if not is_begun(volume_id):
        return Seen()  # Nothing is begun for somebody who only asks.
    database = Database(volume_id, _TABLES)
    try:
        sessions = _read(database, _SESSIONS)
        looks = tuple(_looks(database))
    finally:
        database.close()
    return Seen(
        sessions_at=None if sessions is None else sessions[0],
        sessions=_objects(None if sessions is None else sessions[1]),
        looks=looks,
    )


def remember_sessions(volume_id: VolumeId, sessions: Sequence[Mapping[str, Any]], at: int) -> list[str]:
    """After it was opened: who had used it. Returns what is wrong with the memory, for a user."""
    return _put(volume_id, _SESSIONS, list(sessions), at)


def remember_look(volume_id: VolumeId, look: Look) -> list[str]:
    """One more search; the oldest are forgotten. Returns as :func:`remember_sessions`."""
    database = Database(volume_id, _TABLES)
    try:
        kept = [*_looks(database), look][-LOOKS_KEPT:]
    finally:
        database.close()
    rows = [
        {"at": one.at, "complete": one.complete, "looked_at": one.looked_at, "kinds": list(one.kinds)} for one in kept
    ]
    return _put(volume_id, _LOOKS, rows, look.at)


def _put(volume_id: VolumeId, name: str, value: object, at: int) -> list[str]:
    database = Database(volume_id, _TABLES)
    row = (name, at, json.dumps(value))
    database.write(lambda connection: connection.execute(_PUT, row))
    database.close()
    return database.problems


def _read(database: Database, name: str) -> tuple[int, Any] | None:
    rows = database.read(_QUERY, (name,), kinds=(int, str))
    if not rows:
        return None
    at, text = rows[0]
    try:
        return at, json.loads(text)
    except ValueError:
        return None  # Not ours: as if it were not there.


def _looks(database: Database) -> list[Look]:
    found = _read(database, _LOOKS)
    looks = []
    for one in _objects(None if found is None else found[1]):
        try:
            kinds = tuple(str(kind) for kind in one["kinds"])
            looks.append(Look(int(one["at"]), one["complete"] is True, int(one["looked_at"]), kinds))
        except (KeyError, TypeError, ValueError):
            continue  # Of a version that wrote something else.
    return looks


def _objects(value: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()
