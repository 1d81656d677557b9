"""What this host remembers of a volume's files and sessions, and what it says of older ones (FORMAT.md section 13).

Owns: what is known to be on the medium, what waits until it is, the rules that call state older. Must not know: the
volume's tree, when things become durable (the volume tells), who is told.

``HostFreshness`` satisfies the protocol of ``encfs/volume/freshness.py``.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from encfs.crypto import kdf, rng
from encfs.errors import RollbackError
from encfs.format.limits import HOST_MAX, SESSIONS_KEPT
from encfs.format.session import SessionRecord, SessionState
from encfs.host.database import Database, is_begun
from encfs.units import FileId, SessionId, VolumeId

_GENERATION_MAX: Final = 2**62 - 1
KEY_SIZE: Final = 16
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS durable(key BLOB PRIMARY KEY, mark INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pending(token BLOB, key BLOB, mark INTEGER NOT NULL, PRIMARY KEY(token, key))",
    "CREATE TABLE IF NOT EXISTS sessions(id BLOB PRIMARY KEY, state INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS accepted(at INTEGER, uid INTEGER, login TEXT, reason TEXT, what TEXT)",
)
_RAISE: Final = "INSERT INTO durable VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET mark = max(mark, excluded.mark)"
_SPILL: Final = (
    "INSERT INTO pending VALUES(?, ?, ?) ON CONFLICT(token, key) DO UPDATE SET mark = max(mark, excluded.mark)"
)
_PROMOTE: Final = (
    "INSERT INTO durable SELECT key, mark FROM pending WHERE token = ?"
    " ON CONFLICT(key) DO UPDATE SET mark = max(mark, excluded.mark)"
)
_SESSION: Final = "INSERT INTO sessions VALUES(?, ?) ON CONFLICT(id) DO UPDATE SET state = max(state, excluded.state)"
_SLOT: Final = "slot-"
# About 200 bytes each: what waits in memory stays below 5 MiB.
_PENDING_MAX: Final = 20_000
_QUEUE_MAX: Final = 8_000
# A file is asked about three to five times while it is made, written and closed; the HMAC is 2.5 us each time.
_KEYS_REMEMBERED: Final = 256


class HostFreshness:
    """The memory of this host for one volume; :meth:`bind` says for which, once it is unlocked.

    Attributes:
        used: when this host used the volume last, seconds since 1970; None if it never did.
        key: what stands for a file id in the tables.
    """

    def __init__(self) -> None:
        self._first = False
        self._lost = False
        self.used: int | None = None
        self._database: Database | None = None
        self._secret: bytes | None = None
        self.key = lru_cache(_KEYS_REMEMBERED)(self._derive_key)
        self._token = rng.random_bytes(8)
        self._lock = threading.Lock()
        # Known to be on the medium, and on the way into the file; what a flush is writing just now.
        self._queue: dict[bytes, int] = {}
        self._flushing: dict[bytes, int] = {}
        # Not known to be on the medium; of these, files that were made in this session and never synced.
        self._pending: dict[bytes, int] = {}
        self._born: set[bytes] = set()
        self._recording = False

    def bind(self, volume_id: VolumeId, key: bytes) -> None:
        """The volume is unlocked. ``key``: its K_freshness."""
        self._database = Database(volume_id, _TABLES)
        self._secret = key

    @property
    def problems(self) -> list[str]:
        """What is wrong with the memory itself, for a user."""
        return [] if self._database is None else self._database.problems

    @property
    def state(self) -> str:
        """``known``; ``new``: this host has never seen the volume; ``lost``: it has, and forgot; ``off``: no memory."""
        if self._database is None or not self._database.usable:
            return "off"
        return "lost" if self._lost else "new" if self._first else "known"

    def _db(self) -> Database:
        if self._database is None:
            raise AssertionError("internal error: a host's memory is used before its volume is known")
        return self._database

    def _derive_key(self, fid: FileId) -> bytes:
        assert self._secret is not None
        return kdf.mac(self._secret, fid)[:KEY_SIZE]

    def forget_keys(self) -> None:
        """Write what is known to be durable, and drop every key; nothing else may be asked after that."""
        self.flush()
        self.key.cache_clear()
        self._secret = None

    # -- files -----------------------------------------------------------------------------------------

    def check(self, fid: FileId, generation: int) -> bool:
        """A header was read. With 100,000 files remembered this takes 7 microseconds, the HMAC included.

        Returns:
            Whether the generation is news, to be told by :meth:`seen` once the file is found to be in its place.

        Raises:
            RollbackError: this host has seen a newer generation of the file, or its deletion.
        """
        known = self._known(self.key(fid))
        mark = _mark(generation)
        if mark < known:
            if known & 1:
                raise RollbackError("the file, or what was in it, was deleted, and is back")
            raise RollbackError(f"the file is older: generation {generation}, and this host knows {known >> 1}")
        return mark > known

    def _known(self, key: bytes) -> int:
        """The highest mark of a file on the medium that is remembered, -1 if there is none."""
        with self._lock:
            known = self._queue.get(key)
            if known is None:
                known = self._flushing.get(key)
        if known is not None:
            return known
        rows = self._db().read("SELECT mark FROM durable WHERE key = ?", (key,), kinds=(int,))
        return int(rows[0][0]) if rows else -1

    def was_removed(self, fid: FileId) -> bool:
        """Whether this host knows that the file was deleted on purpose, durably or in this session."""
        key = self.key(fid)
        rows = self._db().read("SELECT mark FROM pending WHERE token = ? AND key = ?", (self._token, key), kinds=(int,))
        with self._lock:
            waiting = max(self._pending.get(key, -1), int(rows[0][0]) if rows else -1)
        known = max(waiting, self._known(key))
        return known >= 0 and bool(known & 1)

    def recording(self, *, on: bool) -> None:
        """A checkpoint is being made, or no longer: the deletion of what may be in it is worth remembering."""
        with self._lock:
            self._recording = on
            self._born.clear()

    def remember_checkpoint(self, checkpoint_id: bytes) -> None:
        """A checkpoint is durable."""
        self._db().write(lambda connection: _set_facts(connection, checkpoint=checkpoint_id))

    def newest_checkpoint(self) -> bytes:
        """The greatest id of a checkpoint that this host made; empty if it made none."""
        rows = self._db().read("SELECT value FROM facts WHERE name = 'checkpoint'", kinds=(bytes,))
        return bytes(rows[0][0]) if rows else b""

    def slot_used(self, volume_id: VolumeId, slot_id: bytes) -> None:
        """The volume was opened with this slot, now."""
        if self._database is None:
            self._database = Database(volume_id, _TABLES)
        self._database.write(lambda connection: _set_facts(connection, **{_SLOT + slot_id.hex(): int(time.time())}))

    def slot_uses(self, volume_id: VolumeId) -> dict[bytes, int]:
        """When each slot opened the volume last on this host, seconds since 1970. Needs no key."""
        if self._database is None and not is_begun(volume_id):
            return {}  # Nothing is begun for somebody who only asks.
        database = self._database or Database(volume_id, _TABLES)
        rows = database.read("SELECT name, value FROM facts WHERE name LIKE 'slot-%'", kinds=(str, int))
        return {bytes.fromhex(name.removeprefix(_SLOT)): used for name, used in rows}

    def made(self, fid: FileId) -> None:
        """A file begins its life; nobody can have an older self of it."""
        with self._lock:
            if not self._recording:
                self._born.add(self.key(fid))

    def seen(self, fid: FileId, generation: int) -> None:
        """A header was read at its place; not known to be durable yet."""
        self._wait(self.key(fid), _mark(generation))

    wrote = seen

    def synced(self, fid: FileId, generation: int) -> None:
        """A header of this generation, or a later one, is durable."""
        key, mark = self.key(fid), _mark(generation)
        with self._lock:
            self._born.discard(key)
            if mark > self._queue.get(key, -1):
                self._queue[key] = mark
            full = len(self._queue) > _QUEUE_MAX
        if full:
            self.flush()

    def removed(self, fid: FileId, generation: int) -> None:
        """A file is gone, or its content was replaced under a fresh id; not known to be durable yet.

        ``generation`` is the one that it had. What is newer than that was not deleted: it may have been an old copy.
        """
        key = self.key(fid)
        with self._lock:
            if key in self._born:
                # Made and deleted within a session, without an fsync: not worth a row for ever.
                self._born.discard(key)
                self._pending.pop(key, None)
                return
        self._wait(key, _mark(generation) + 1)

    def _wait(self, key: bytes, mark: int) -> None:
        with self._lock:
            if mark > self._pending.get(key, -1):
                self._pending[key] = mark
            full = len(self._pending) + len(self._born) > _PENDING_MAX
        if full:
            self._spill()

    def _spill(self) -> None:
        """Let the file hold what waits. Where it cannot, less will be known."""
        with self._lock:
            pending, self._pending = self._pending, {}
            self._born.clear()
        rows = [(self._token, key, mark) for key, mark in pending.items()]
        self._db().write(lambda connection: connection.executemany(_SPILL, rows))

    def flush(self) -> None:
        """Write what is known to be durable. For any thread; look-ups go on meanwhile."""
        with self._lock:
            if self._flushing or not self._queue:
                return
            rows = self._flushing = self._queue
            self._queue = {}
        done = self._db().write(lambda connection: connection.executemany(_RAISE, rows.items()))
        with self._lock:
            if not done and len(self._queue) < _QUEUE_MAX:
                self._queue = {**rows, **self._queue}
            self._flushing = {}

    def all_durable(self) -> None:
        """The whole filesystem was synced after everything that was told so far."""
        with self._lock:
            pending, self._pending = self._pending, {}
            queue, self._queue = self._queue, {}
            self._born.clear()

        def promote(connection: sqlite3.Connection) -> None:
            connection.execute(_PROMOTE, (self._token,))
            connection.execute("DELETE FROM pending WHERE token = ?", (self._token,))
            connection.executemany(_RAISE, queue.items())
            connection.executemany(_RAISE, pending.items())

        self._db().write(promote)

    # -- the volume -----------------------------------------------------------------------------------------

    def compare(
        self, seq: int, digest: bytes, sessions: Sequence[SessionRecord], damaged: Collection[SessionId]
    ) -> str | None:
        """Why the volume as it lies there is older than what is remembered; None if it is not.

        Args:
            seq: the number of the config that was used.
            digest: SHA-256 of its bytes.
            sessions: the session records that open.
            damaged: the ids of those that do not.
        """
        facts = self._facts()
        if "config_seq" not in facts:
            self._first = True
            self._lost = not self.problems and any(_is_of_this_user(record) for record in sessions)
            return None
        self.used = int(facts["used"])
        known_seq = int(facts["config_seq"])
        if seq < known_seq:
            return f"its config is older (number {seq}, and this host knows {known_seq})"
        if seq == known_seq and digest != facts["config_digest"]:
            return "its config is another one than this host knows under the same number"
        return self._older_sessions(sessions, damaged)

    def _older_sessions(self, sessions: Sequence[SessionRecord], damaged: Collection[SessionId]) -> str | None:
        present = {record.session: record.state for record in sessions}
        ended = sorted(record.session for record in sessions if record.state is not SessionState.OPEN)
        # Pruning keeps this many of the newest that have ended; what is older than all of them may be gone.
        oldest_kept = ended[-SESSIONS_KEPT] if len(ended) >= SESSIONS_KEPT else None
        for row in self._db().read("SELECT id, state FROM sessions ORDER BY id", kinds=(bytes, int)):
            session, state = SessionId(row[0]), int(row[1])
            found = present.get(session)
            if session in damaged:
                return f"the record of the session of {_when(session)} is damaged"
            if found is None and (oldest_kept is None or session > oldest_kept):
                return f"the session of {_when(session)} is missing"
            if found is SessionState.OPEN and state != SessionState.OPEN:
                return f"the session of {_when(session)} had ended, and its record says that it had not"
        return None

    def unknown(self, sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
        """The sessions that this host has no part in and has not seen yet; none if it never used the volume."""
        if "config_seq" not in self._facts():
            return []
        known = {row[0] for row in self._db().read("SELECT id FROM sessions", kinds=(bytes,))}
        return [record for record in sessions if record.session not in known]

    def knows(self, seq: int, digest: bytes, sessions: Iterable[SessionRecord]) -> bool:
        """Whether all of this is remembered already."""
        facts = self._facts()
        known: dict[bytes, int] = dict(self._db().read("SELECT id, state FROM sessions", kinds=(bytes, int)))
        return (int(facts.get("config_seq", -1)), facts.get("config_digest")) == (seq, digest) and all(
            known.get(record.session, 0) >= record.state for record in sessions
        )

    def remember(self, seq: int, digest: bytes, sessions: Iterable[SessionRecord]) -> None:
        """Config and session records are on the medium, as they are here. Leftovers of a session that crashed go."""
        rows = [(record.session, int(record.state)) for record in sessions]

        def write(connection: sqlite3.Connection) -> None:
            _set_facts(connection, config_seq=seq, config_digest=digest, used=int(time.time()))
            connection.executemany(_SESSION, rows)
            connection.execute("DELETE FROM pending WHERE token <> ?", (self._token,))

        self._db().write(write)

    def remember_session(self, record: SessionRecord) -> None:
        """A session record was fsynced."""
        row = (record.session, int(record.state))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SESSION, row)
            _set_facts(connection, used=int(time.time()))

        self._db().write(write)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = dict(self._db().read("SELECT name, value FROM facts", kinds=(str, object)))
        kinds = {"config_seq": int, "config_digest": bytes, "used": int}
        known = facts.keys() & kinds.keys()
        if all(isinstance(facts[name], kinds[name]) for name in known) and not (
            "config_seq" in known and len(known) < len(kinds)
        ):
            return facts
        self._db().move_aside()
        return {}

    def release(self) -> None:
        """Close the file until it is needed again. A fork may come now."""
        if self._database is not None:
            self._database.close()

    # -- older state that is taken on purpose -----------------------------------------------------------------

    def accept(
        self,
        files: Iterable[tuple[FileId, int]],
        volume: tuple[int, bytes, Sequence[SessionRecord]] | None,
        *,
        login: str,
        reason: str,
        what: str,
    ) -> bool:
        """Make the present state the remembered one, and record who wanted it.

        Args:
            files: ids and generations as they are now, on the medium.
            volume: the config's seq and digest and the session records; None if only files are taken.
            login: the user's name.
            reason: in the user's words.
            what: what was older, in ours.

        Returns:
            Whether it was written.
        """
        now = int(time.time())
        rows = [(self.key(fid), _mark(generation)) for fid, generation in files]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO durable VALUES(?, ?)", rows)
            if volume is not None:
                seq, digest, sessions = volume
                connection.execute("DELETE FROM sessions")
                connection.execute("DELETE FROM facts WHERE name = 'checkpoint'")
                connection.executemany(_SESSION, [(record.session, int(record.state)) for record in sessions])
                _set_facts(connection, config_seq=seq, config_digest=digest, used=now)
            row = (now, os.getuid(), login, reason, what)
            connection.execute("INSERT INTO accepted VALUES(?, ?, ?, ?, ?)", row)

        return self._db().write(write)


def _mark(generation: int) -> int:
    """What stands for a generation in the tables; one more if the file was deleted when it had that one."""
    return 2 * min(generation, _GENERATION_MAX)


def _set_facts(connection: sqlite3.Connection, **facts: int | bytes) -> None:
    connection.executemany("INSERT OR REPLACE INTO facts VALUES(?, ?)", facts.items())


def _when(session: SessionId) -> str:
    """When a session began, as far as its id tells."""
    seconds = int.from_bytes(session[:8], "big") / 1000
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def _is_of_this_user(record: SessionRecord) -> bool:
    """Whether this user has mounted the volume on this host; use as a library has no mount point, and no memory."""
    here = os.fsencode(socket.gethostname())[:HOST_MAX]
    return bool(record.mountpoint) and record.host == here and record.uid == os.getuid()
