"""The file in which a host remembers one volume (FORMAT.md section 13): opened late, never trusted to work.

Owns: the SQLite file, its mode, its connections across threads and forks, and what happens when it is damaged or cannot
be written. Must not know: what is remembered, keys.

A memory that fails may not stop anybody's work: it says so once (``problems``, and the log), and reads as empty.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import ELOOP
from pathlib import Path
from typing import Any, Final

from encfs import runtime
from encfs.units import VolumeId

logger = logging.getLogger("cloakfs.host")

_VERSION: Final = 1
# Another process of this user that works on the same volume's memory writes for moments only.
_BUSY_SECONDS: Final = 5.0
# A file that is no database, or one that lost a table, is damaged; every other error is one of the disk or its rights.
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}
)
# RuntimeError: a user without a home directory.
_NO_PLACE: Final = (OSError, RuntimeError)
_FAILURES: Final = (sqlite3.Error, *_NO_PLACE)
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
Row = tuple[Any, ...]


def path_for(volume_id: VolumeId) -> Path:
    """The memory of a volume. Its directory is made.

    Raises:
        OSError: there is no place for it.
    """
    return runtime.private_directory(runtime.state_directory() / "volumes") / (volume_id.hex() + ".sqlite")


def is_begun(volume_id: VolumeId) -> bool:
    """Whether there is a memory of the volume. False too where there is no place for one."""
    try:
        return path_for(volume_id).exists()
    except _NO_PLACE:
        return False


class Database:
    """The memory of one volume. Calls may come from several threads; a forked child opens the file anew.

    Args:
        volume_id: whose memory.
        tables: ``CREATE TABLE IF NOT EXISTS`` statements; parts of ``encfs/host`` share the file.

    Attributes:
        problems: what went wrong with it, in words for a user. Work goes on without what could not be done.
    """

    def __init__(self, volume_id: VolumeId, tables: Sequence[str]) -> None:
        self._volume_id = volume_id
        self._tables = tables
        self.problems: list[str] = []
        self._off = False
        self._damaged = False
        self._moved_aside = False
        self._inherited: object = None
        self._pid = 0
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        # A commit waits for the disk; a look-up in another thread must not wait with it.
        self._read_lock = threading.RLock()
        self._write_lock = threading.RLock()

    @property
    def usable(self) -> bool:
        """False once the file could not be opened."""
        return not self._off

    def read(self, sql: str, parameters: Sequence[object] = (), *, kinds: Sequence[type] = ()) -> list[Row]:
        """All rows of a query; none if the memory does not work, or a value is not of its column's kind."""
        rows: list[Row] = []
        try:  # Not ``_complaining``: every open of a file comes here, and a generator costs it 2 us.
            with self._read_lock:
                reader = self._reader if self._pid == os.getpid() else None
                if reader is None:
                    reader = self._reader = self._connect()
                if reader is not None:
                    rows = reader.execute(sql, parameters).fetchall()
            if not all(isinstance(value, kind) for row in rows for value, kind in zip(row, kinds)):
                self._damaged = True
        except _FAILURES as exc:
            self._complain(exc)
        if self._damaged:
            self.move_aside()
            return []
        return rows

    def write(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Do ``work`` in one transaction, durable when this returns.

        Returns:
            Whether it was done; if not, nothing of it was.
        """
        done = self._write(work)
        if self._damaged:
            self.move_aside()
            done = self._write(work)
        return done

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        done = False
        with self._write_lock, self._complaining():
            writer = self._writer if self._pid == os.getpid() else None
            if writer is None:
                with self._read_lock:
                    writer = self._writer = self._connect()
            if writer is not None:
                writer.execute("BEGIN IMMEDIATE")
                try:
                    work(writer)
                    writer.execute("COMMIT")
                    done = True
                finally:
                    if not done and writer.in_transaction:
                        writer.execute("ROLLBACK")
        return done

    def close(self) -> None:
        """Close the connections. The next call opens them again. Do this before a fork."""
        with self._write_lock, self._read_lock, self._complaining():
            connections, self._reader, self._writer = (self._reader, self._writer), None, None
            if self._pid != os.getpid():
                self._inherited = connections
                return
            for connection in connections:
                if connection is not None:
                    connection.close()

    # -- opening -----------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection | None:
        if self._off:
            return None
        if self._pid != os.getpid():
            # SQLite forbids a child to close its parent's connections, as collecting them would.
            self._inherited = (self._reader, self._writer)
            self._reader = self._writer = None
            self._pid = os.getpid()
        path = path_for(self._volume_id)
        try:
            # A file that is there already is not opened: closing it would take from SQLite the locks that this process
            # has on it, and another process that closes it then deletes the log that we go on writing to.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if path.is_symlink():
                raise OSError(ELOOP, os.strerror(ELOOP)) from None
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > _VERSION:
                self._give_up("was made by a newer cloakfs")
                connection.close()
                return None
            # With a write-ahead log readers do not wait for a commit. Where there can be none it stays as it was.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for table in self._tables:
                connection.execute(table)
            if version != _VERSION:
                connection.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # -- failing ---------------------------------------------------------------------------------------

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """Whatever goes wrong with the file is told and passed over."""
        try:
            yield
        except _FAILURES as exc:
            self._complain(exc)

    def _complain(self, exc: Exception) -> None:
        if isinstance(exc, sqlite3.Error):
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _DAMAGE:
                self._damaged = True  # Dealt with once no lock is held.
            else:
                self._failed(str(exc))
        else:
            self._give_up(f"cannot be used: {getattr(exc, 'strerror', None) or exc}")

    def _failed(self, what: str) -> None:
        if self._reader is None and self._writer is None:
            self._give_up(f"cannot be used: {what}")
        else:
            self._say(f"cannot be written: {what}")

    def _give_up(self, what: str) -> None:
        self._off = True
        self._say(what)

    def _say(self, what: str) -> None:
        text = f"what this host remembers of the volume {what}; older state may not be noticed"
        if text not in self.problems:
            self.problems.append(text)
            logger.warning("%s", text)

    def move_aside(self) -> None:
        """Begin anew beside a damaged file, which is kept for whoever wants to look at it."""
        self._damaged = False
        if self._moved_aside:
            self._give_up("is damaged again and again")
            return
        self._moved_aside = True
        self.close()
        aside = f".damaged-{int(time.time())}"
        with self._complaining():
            path = path_for(self._volume_id)
            for end in _BESIDE:
                try:
                    os.rename(f"{path}{end}", f"{path}{aside}{end}")
                except FileNotFoundError:
                    continue
        self._say(f"was damaged; it was moved aside ({path_name(self._volume_id)}{aside}) and begins anew")


def path_name(volume_id: VolumeId) -> str:
    """The name of the file in the state directory, for messages."""
    return f"volumes/{volume_id.hex()}.sqlite"
