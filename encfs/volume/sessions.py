"""Sessions: who writes to a volume, and how the last one ended (FORMAT.md section 11).

Owns: the lock file, session records, the answer to "was there a crash". Must not know: what is repaired after one.
"""

from __future__ import annotations

import os
import re
import socket
import stat as stat_module
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from encfs.core import frames
from encfs.core.keys import KeyRing
from encfs.crypto import rng
from encfs.errors import DataError, VolumeInUseError
from encfs.format.limits import FRAME_SIZE, HOST_MAX, LOCK_NAME, MOUNTPOINT_MAX, SESSIONS_KEPT, SESSIONS_NAME, U64_MAX
from encfs.format.session import SessionRecord, SessionState, new_session_id
from encfs.store.atomic import sync_directory, sync_file
from encfs.store.base import Store
from encfs.units import SessionId

_RECORD_NAME = re.compile(rb"[0-9a-f]{32}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def as_dict(record: SessionRecord) -> dict[str, object]:
    """What a session record says, for people and scripts (docs/json.md, ``last_session``)."""
    return {
        "state": "crashed" if record.state is SessionState.OPEN else record.state.name.lower(),
        "started": record.started_ms // 1000,
        "ended": record.ended_ms // 1000 if record.ended_ms else None,
        "host": os.fsdecode(record.host),
        "pid": record.pid,
        "uid": record.uid,
        "mountpoint": os.fsdecode(record.mountpoint),
    }


class Sessions:
    """The folder of session records of one volume, and the lock beside them."""

    def __init__(self, store: Store, ring: KeyRing, root_fd: int) -> None:
        self._store = store
        self._ring = ring
        self._dirfd = store.open_directory(root_fd, SESSIONS_NAME)
        self._lock_fd = -1
        self._current: SessionRecord | None = None
        # Id of the newest checkpoint, empty for none.
        self.checkpoint = b""
        # Told of every record that this process has fsynced.
        self.on_durable: Callable[[SessionRecord], None] = lambda _: None

    def records(self) -> list[SessionRecord]:
        """All records that authenticate, oldest first.

        One that does not is skipped: a forged record could only hide a crash, and then the strict rule holds.
        """
        return self.survey()[0]

    def survey(self) -> tuple[list[SessionRecord], set[SessionId]]:
        """All records that authenticate, oldest first, and the ids of those that do not."""
        found, damaged = [], set()
        for name in self._store.list(self._dirfd):
            if _RECORD_NAME.fullmatch(name):
                record = self._read(name)
                if record is not None:
                    found.append(record)
                else:
                    damaged.add(SessionId(bytes.fromhex(name.decode())))
        return sorted(found, key=lambda record: record.session), damaged

    def make_durable(self) -> None:
        """Bring the records, whoever wrote them, to the medium."""
        for name in self._store.list(self._dirfd):
            if _RECORD_NAME.fullmatch(name):
                sync_file(self._store, self._dirfd, name)
        sync_directory(self._store, self._dirfd)

    def _read(self, name: bytes) -> SessionRecord | None:
        if not stat_module.S_ISREG(self._store.stat(self._dirfd, name).st_mode):
            return None
        fd = self._store.open(self._dirfd, name, os.O_RDONLY)
        try:
            raw = self._store.pread(fd, FRAME_SIZE, 0)
        finally:
            self._store.close(fd)
        try:
            record = frames.open_session(self._ring, raw) if len(raw) == FRAME_SIZE else None
        except DataError:
            return None
        return record if record is not None and record.session.hex().encode() == name else None

    def lock(self) -> None:
        """Become the only writer.

        Raises:
            VolumeInUseError: another process is; the text names its host and process id.
        """
        self._lock_fd = self._store.open(self._dirfd, LOCK_NAME, os.O_RDWR | os.O_CREAT)
        if not self._store.try_lock(self._lock_fd):
            raise VolumeInUseError(self._who_has_it(), hint="Lock it there first: cloakfs lock MOUNTPOINT")

    def _who_has_it(self) -> str:
        opened = [record for record in self.records() if record.state is SessionState.OPEN]
        if not opened:
            return "the volume is in use by another process"
        owner = opened[-1]
        where = f", mounted at {os.fsdecode(owner.mountpoint)}" if owner.mountpoint else ""
        return f"the volume is in use on host {os.fsdecode(owner.host)} by process {owner.pid}{where}"

    def crashed(self) -> list[SessionRecord]:
        """Records of sessions that never ended. Meaningful while a lock is held."""
        mine = self._current.session if self._current is not None else None
        return [r for r in self.records() if r.state is SessionState.OPEN and r.session != mine]

    def lock_for_reading(self) -> None:
        """Keep writers away while this process reads. A volume without a lock file has none.

        Raises:
            VolumeInUseError: a writer is at work.
        """
        try:
            self._lock_fd = self._store.open(self._dirfd, LOCK_NAME, os.O_RDONLY)
        except FileNotFoundError:
            return
        if not self._store.try_lock(self._lock_fd, shared=True):
            raise VolumeInUseError(self._who_has_it(), hint="Lock it there first: cloakfs lock MOUNTPOINT")

    def begin(self, mountpoint: bytes) -> SessionId:
        """Write and fsync the OPEN record of this process.

        Its id is larger than all that are there, that of the newest checkpoint included, also where clocks disagree:
        the order of ids is the order of use.
        """
        known = [self.checkpoint, *(record.session for record in self.records())]
        newest = max(int.from_bytes(one[:8], "big") for one in known)
        started = min(max(_now_ms(), newest + 1), U64_MAX)
        record = SessionRecord(
            epoch=self._ring.active.epoch,
            session=new_session_id(started, rng.random_bytes(8)),
            state=SessionState.OPEN,
            started_ms=started,
            pid=os.getpid(),
            uid=os.getuid(),
            host=os.fsencode(socket.gethostname())[:HOST_MAX],
            mountpoint=mountpoint[:MOUNTPOINT_MAX],
        )
        try:
            self._write(record, os.O_CREAT | os.O_EXCL)
        except OSError:
            with suppress(OSError):  # Each try on a full disk would leave one more empty record.
                self._store.unlink(self._dirfd, record.session.hex().encode())
            raise
        sync_directory(self._store, self._dirfd)
        self.on_durable(record)
        self._current = record
        return record.session

    def adopt(self, pid: int) -> None:
        """The process forked after :meth:`begin`; the record names the one that goes on."""
        if self._current is not None:
            self._current = replace(self._current, pid=pid)
            self._write(self._current, 0)

    def _write(self, record: SessionRecord, flags: int) -> None:
        name = record.session.hex().encode()
        fd = self._store.open(self._dirfd, name, os.O_WRONLY | flags)
        try:
            self._store.pwrite(fd, frames.seal_session(self._ring, record), 0)
            self._store.fsync(fd)
        finally:
            self._store.close(fd)

    def rewrap(self) -> int:
        """Seal the records that a retired epoch seals under the active one (FORMAT.md section 14); how many."""
        active, done = self._ring.active.epoch, 0
        for record in self.records():
            if record.epoch != active:
                self._write(replace(record, epoch=active), 0)
                done += 1
        if self._current is not None:
            self._current = replace(self._current, epoch=active)
        return done

    def recovered(self, records: list[SessionRecord]) -> None:
        """Mark crashed sessions as RECOVERED: the strict rule is back."""
        for record in records:
            self._end(record, SessionState.RECOVERED)

    def _end(self, record: SessionRecord, state: SessionState) -> None:
        ended = replace(record, epoch=self._ring.active.epoch, state=state, ended_ms=_now_ms())
        self._write(ended, 0)
        self.on_durable(ended)

    def end(self) -> None:
        """Write CLEAN for this process's session and delete old records. Everything else is on the disk by now."""
        if self._current is not None:
            # A filesystem that a program serves (FUSE) is not told of syncfs; by fsync it learns to write everything.
            sync_directory(self._store, self._dirfd)
            self._end(self._current, SessionState.CLEAN)
            self._current = None
            self._prune()

    def _prune(self) -> None:
        ended = [record for record in self.records() if record.state is not SessionState.OPEN]
        for record in ended[:-SESSIONS_KEPT]:
            if record.state is SessionState.RECOVERED and self.checkpoint and record.session > self.checkpoint:
                continue  # Whoever compares with the checkpoint has to know of the crash.
            self._store.unlink(self._dirfd, record.session.hex().encode())

    def close(self) -> None:
        """Give the lock back and close the folder."""
        for fd in (self._lock_fd, self._dirfd):
            if fd >= 0:
                with suppress(OSError):  # Nothing was written through these; a dead medium has it fail all the same.
                    self._store.close(fd)
        self._lock_fd = self._dirfd = -1
