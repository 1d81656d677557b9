"""The log in its directory: appending to it, and going on after whatever happened to it.

Owns: FORMAT.md section 16, "Directory" and "Writing": files, their order of writing, the lock. Must not know: what is
recorded, which keys mean what.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from encfs.audit import clock, noticing
from encfs.audit.gaps import Gaps
from encfs.core.audit import FIRST, LogEnd, open_state, seal_state
from encfs.crypto import rng
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, FormatError
from encfs.format import limits
from encfs.format.audit import NO_VOLUME, AuditState, CheckpointReason, Moment, whole_size
from encfs.format.audit_body import AuditBody, Outcome
from encfs.format.audit_tombstone import Tombstone
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.base import Store
from encfs.units import VolumeId

STATE: Final = b"state"
_STATE_MADE: Final = b"state.new"
LOCK: Final = b"lock"
_PREFIX: Final = b"log-"
# A segment is what retention removes as a whole; so much is some ten thousand records.
SEGMENT_BYTES: Final = 4 << 20
# Where little happens it ends by its age, or nothing of it would ever be old as a whole.
SEGMENT_MS: Final = 90 * 24 * 60 * 60 * 1000
_EPOCHS_PER_CHECKPOINT: Final = 4
_CHUNK: Final = 1 << 20
_SUITE: Final = CLOAKFS_1


@dataclass(frozen=True, slots=True)
class LogKeys:
    """What the host needs to write: the auditor's public key, and its own private one of Ed25519 to sign with."""

    auditor: bytes = field(repr=False)
    signer: Signer


@dataclass(frozen=True, slots=True)
class Place:
    """One segment of one log."""

    log_id: bytes
    segment: int


RecordsOf = Callable[[Place], Sequence[tuple[VolumeId, AuditBody]]]


def segment_name(number: int) -> bytes:
    """``log-00000001``."""
    return b"%b%08d" % (_PREFIX, number)


def segments(store: Store, dirfd: int) -> list[int]:
    """The numbers of all that are there, in order."""
    names = [name.removeprefix(_PREFIX) for name in store.list(dirfd) if name.startswith(_PREFIX)]
    return sorted(int(name) for name in names if len(name) == 8 and name.isdigit())


def frames_of(store: Store, dirfd: int, number: int, offset: int = 0) -> Iterator[bytes]:
    """Each whole frame of a segment; then what is left, if that is not nothing: it is no frame, or one cut short."""
    fd = store.open(dirfd, segment_name(number), os.O_RDONLY)
    try:
        left = b""
        while True:
            piece = store.pread(fd, _CHUNK, offset)
            offset += len(piece)
            left += piece
            at = 0
            try:
                while (size := whole_size(memoryview(left)[at:])) is not None and at + size <= len(left):
                    yield left[at : at + size]
                    at += size
            except FormatError:
                yield left[at:]
                return
            left = left[at:]
            if not piece:
                if left:
                    yield left
                return
    finally:
        store.close(fd)


@contextmanager
def locked(store: Store, dirfd: int, *, shared: bool = False) -> Iterator[None]:
    """Keep others off, or writers only; waits for them."""
    # A reader does without the right to write: the medium may be read-only.
    fd = store.open(dirfd, LOCK, (os.O_RDONLY if shared else os.O_RDWR) | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        store.close(fd)


class AuditLog:
    """The log of a directory; any number of processes may append to it.

    Args:
        dirfd: the directory, which stays the caller's.
        lock: how others are kept off, for tests that have no descriptors of the kernel.
        now: the clocks.
    """

    def __init__(
        self,
        store: Store,
        dirfd: int,
        keys: LogKeys,
        *,
        lock: Callable[[Store, int], AbstractContextManager[None]] = locked,
        now: Callable[[], Moment] = clock.now,
    ) -> None:
        self._store = store
        self._dirfd = dirfd
        self._keys = keys
        self._signer = keys.signer.public.raw
        self._lock = lock
        self._gaps = Gaps(store, dirfd)
        self.now = now

    def begin(self) -> bytes:
        """A new log, where there is none; its id.

        Raises:
            AuditError: there is a log already.
            FormatError: a key is none. OSError: it could not be written; the next try begins anew.
        """
        with self._lock(self._store, self._dirfd):
            if STATE in self._store.list(self._dirfd):
                raise AuditError("there is an audit log already", hint="Nothing was changed.")
            if not self._gaps.read().count:
                self._gaps.clear()
            at = self.now()
            state = AuditState(
                log_id=rng.random_bytes(limits.LOG_ID_SIZE),
                segment=self._free_number(),
                size=0,
                seq=0,
                head=FIRST,
                epoch=0,
                key=rng.random_bytes(limits.KEY_SIZE),
                frames=0,
                began=at,
            )
            raw = seal_state(_SUITE, state)
            replace_file(self._store, self._dirfd, STATE, raw, temporary=_STATE_MADE)
            end = LogEnd(_SUITE, state)
            self._add_head(end, at)
            self._write_state(end.state)
            return state.log_id

    def record(self, volume_id: VolumeId, body: AuditBody) -> None:
        """Append one record; it is on the medium when this returns.

        Raises:
            AuditError: there is no log, or its state is damaged.
            FormatError: the body is too long.
            OSError: it is not certain that it is there; what was there before is.
        """
        self._append(lambda end, at: end.record(at, volume_id, body))

    def record_all(self, records_of: RecordsOf) -> None:
        """Append many records with one write; all are on the medium when this returns. Raises as :meth:`record`.

        Args:
            records_of: what to write, told where it will stand.
        """

        def make(end: LogEnd, at: Moment) -> bytes:
            place = Place(end.state.log_id, end.state.segment)
            return b"".join(end.record(at, volume_id, body) for volume_id, body in records_of(place))

        self._append(make)

    def note_lost(self, count: int) -> None:
        """So many records could not be written: the next append says so, whoever makes it. Raises: OSError."""
        with self._lock(self._store, self._dirfd):
            self._gaps.add(count, self.now().wall_ms)

    def checkpoint(self, reason: CheckpointReason) -> tuple[int, bytes]:
        """Append a signed checkpoint; what to keep elsewhere: its seq and h. Raises as :meth:`record`."""
        end = self._append(lambda end, at: end.checkpoint(at, reason, self._keys.signer))
        return end.state.seq - 1, end.state.head

    def keep_up(self) -> None:
        """End the epoch if it is over, so that its key is gone also while nothing happens. Raises as :meth:`record`."""
        self._append(lambda _end, _at: b"")

    def prune(self, stone: Tombstone | None, *, check: Callable[[int], None], remove: Callable[[], None]) -> None:
        """Append a tombstone if there is one to append, and when it is on the medium, remove what it names.

        ``check`` is given the number of the segment that is written to, while nobody else can write; what it raises
        keeps all of it from being done. ``remove`` is called when the tombstone is on the medium.

        Raises:
            As :meth:`record`; and whatever ``check`` and ``remove`` raise.
        """
        with self._lock(self._store, self._dirfd):
            check(self._read_state().segment)
            if stone is not None:
                self._append_here(lambda end, at: end.tombstone(at, stone, self._keys.signer))
            remove()

    def log_id(self) -> bytes:
        """Which log it is. Raises: AuditError, OSError."""
        with self._lock(self._store, self._dirfd):
            return self._read_state().log_id

    # -- under the lock ----------------------------------------------------------------------------------------

    def _append(self, make: Callable[[LogEnd, Moment], bytes]) -> LogEnd:
        with self._lock(self._store, self._dirfd):
            return self._append_here(make)

    def _append_here(self, make: Callable[[LogEnd, Moment], bytes]) -> LogEnd:
        end = LogEnd(_SUITE, self._read_state())
        before, at = end.state, self.now()
        note, lost = self._find_end(end), self._gaps.read()
        notes = [*filter(None, [note]), *noticing.of_clocks(end.state.last, at), *noticing.of_gap(lost)]
        if end.state.size >= SEGMENT_BYTES or at.wall_ms - end.state.segment_began >= SEGMENT_MS:
            self._next_segment(end, at)
        where = end.state
        data = self._catch_up(end, at)
        data += b"".join(end.record(at, NO_VOLUME, note) for note in notes) + make(end, at)
        if data:
            self._write(where, data)
        if end.state != before:
            self._write_state(end.state)
        if lost.count:
            self._gaps.clear()
        return end

    def _catch_up(self, end: LogEnd, at: Moment) -> bytes:
        """The end of the epoch if it is over, and a signature where an hour is, whoever comes first after it."""
        before = end.state.epoch
        data = end.catch_up(at)
        if end.state.epoch // _EPOCHS_PER_CHECKPOINT != before // _EPOCHS_PER_CHECKPOINT:
            data += end.checkpoint(at, CheckpointReason.HOUR, self._keys.signer)
        return data

    def _read_state(self) -> AuditState:
        try:
            fd = self._store.open(self._dirfd, STATE, os.O_RDONLY)
        except FileNotFoundError as exc:
            raise AuditError("there is no audit log", hint="It begins when something is recorded.") from exc
        try:
            return open_state(_SUITE, self._store.pread(fd, limits.AUDIT_STATE_SIZE, 0))
        except FormatError as exc:
            raise AuditError(
                "the state of the audit log is damaged, so it cannot go on",
                hint="Begin another one: cloakfs audit begin   It keeps this one beside it.",
            ) from exc
        finally:
            self._store.close(fd)

    def _write_state(self, state: AuditState) -> None:
        fd = self._store.open(self._dirfd, STATE, os.O_WRONLY)
        try:
            self._store.pwrite(fd, seal_state(_SUITE, state), 0)
            self._store.fdatasync(fd)
        finally:
            self._store.close(fd)

    def _write(self, where: AuditState, data: bytes) -> None:
        """Append to the segment. What could not be written whole is taken away again, so that no part of it is left."""
        fd = self._store.open(self._dirfd, segment_name(where.segment), os.O_WRONLY)
        try:
            try:
                self._store.pwrite(fd, data, where.size)
                self._store.fdatasync(fd)
            except OSError:
                self._store.truncate(fd, where.size)
                raise
        finally:
            self._store.close(fd)

    # -- segments ----------------------------------------------------------------------------------------------

    def _free_number(self) -> int:
        return max(segments(self._store, self._dirfd), default=0) + 1

    def _next_segment(self, end: LogEnd, at: Moment) -> None:
        """The state goes first: a segment without a head gets one from whoever comes next."""
        end.state = replace(end.state, segment=self._free_number(), size=0)
        self._write_state(end.state)
        self._add_head(end, at)

    def _add_head(self, end: LogEnd, at: Moment) -> None:
        name, state = segment_name(end.state.segment), end.state
        fd = self._store.open(self._dirfd, name, os.O_WRONLY | os.O_CREAT, 0o600)
        self._store.close(fd)
        self._write(state, end.begin_segment(at, auditor=self._keys.auditor, signer=self._signer))
        sync_directory(self._store, self._dirfd)

    def _size_of(self, number: int) -> int:
        try:
            return self._store.stat(self._dirfd, segment_name(number)).st_size
        except FileNotFoundError:
            return 0

    def _find_end(self, end: LogEnd) -> AuditBody | None:
        """Go on to the last frame that is there, whatever the state says; what there is to tell of that."""
        missing = end.state.size - self._size_of(end.state.segment)
        if missing > 0:
            return self._go_on_elsewhere(end, "log.missing", missing)
        note = self._take_all(end)
        there = segments(self._store, self._dirfd)
        # An older state, with the log as it was left: its key leads to all that came later.
        while end.state.size and end.state.segment + 1 in there:
            end.state = replace(end.state, segment=end.state.segment + 1, size=0)
            note = self._take_all(end) or note
        if not end.state.size:
            self._add_head(end, self.now())
        return note

    def _take_all(self, end: LogEnd) -> AuditBody | None:
        """Every frame from the end that is known on, and the rest of the segment away if that is no whole frame."""
        number = end.state.segment
        if self._size_of(number) == end.state.size:
            return None
        for data in frames_of(self._store, self._dirfd, number, end.state.size):
            try:
                end.accept(data)
            except FormatError:
                if is_whole(data):
                    return self._go_on_elsewhere(end, "log.foreign-end", len(data))
                return self._cut_off(end)
        return None

    def _cut_off(self, end: LogEnd) -> AuditBody:
        fd = self._store.open(self._dirfd, segment_name(end.state.segment), os.O_WRONLY)
        try:
            count = self._store.fstat(fd).st_size - end.state.size
            self._store.truncate(fd, end.state.size)
        finally:
            self._store.close(fd)
        return _note("log.cut-off", count)

    def _go_on_elsewhere(self, end: LogEnd, action: str, count: int) -> AuditBody:
        """What is there stays as it is, for the auditor to look at."""
        self._next_segment(end, self.now())
        return _note(action, count)


def is_whole(data: bytes) -> bool:
    """Whether it is one frame, as far as its size tells."""
    try:
        return whole_size(data) == len(data)
    except FormatError:
        return False


def _note(action: str, count: int) -> AuditBody:
    return AuditBody(action=action, outcome=Outcome.DONE, uid=os.geteuid(), detail={"bytes": count})
