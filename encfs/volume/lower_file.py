"""What an open file knows of its lower file: header, sizes, and the order in which they are brought in line.

Owns: the header in memory, the lower size, settle, fsync and close (FORMAT.md sections 9.1, 9.3 and 11). Must not know:
cells; ``file.py`` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from stat import S_IMODE, S_ISGID, S_ISUID

from encfs.core import frames
from encfs.core.cells import CellCodec
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import DIRECT_NAME_MAX, FRAME_SIZE
from encfs.units import DirId, FileId
from encfs.volume.context import Context


class LowerFile:
    """A lower file with its header; see :class:`~encfs.volume.file.OpenFile`.

    ``mtime_ns`` is what the kernel says the modification time is, where it keeps the times itself (writeback cache): it
    sends a time only when that changes, so what our own writes do to the lower time has to be undone. ``_stamped``: the
    header on the medium is of this session, or the first one is not there yet; after a crash its cells are looked at.
    ``nameless``: its last name is gone, so nobody can put it back.
    """

    __slots__ = (
        "_codec",
        "_confirmed",
        "_ctx",
        "_dirty",
        "_lower_size",
        "_news",
        "_noted_cell",
        "_owes_tail",
        "_sealed",
        "_stamped",
        "_stored_synced",
        "_syncing",
        "_tail",
        "_touched",
        "damaged_size",
        "fd",
        "handles",
        "header",
        "header_stored",
        "inode",
        "mtime_ns",
        "nameless",
        "size",
        "writable",
    )

    def __init__(self, ctx: Context, fd: int, inode: int, header: FileHeader, *, writable: bool) -> None:
        self._ctx = ctx
        self.fd = fd
        self.inode = inode
        self.header = header
        self.writable = writable
        self.size = header.size
        self.handles = 0
        self.damaged_size = False
        self.nameless = False
        self.mtime_ns: int | None = None
        self._touched = False
        self._codec = CellCodec(ctx.suite, ctx.geometry, header)
        self.header_stored = True
        self._dirty = False
        self._sealed = header.cells_sealed
        self._lower_size = ctx.geometry.lower_size(header.size)
        self._confirmed = header.synced_size
        self._stored_synced = header.synced_size
        self._tail: tuple[int, bytes] | None = None
        self._noted_cell = -1
        self._owes_tail = False
        self._stamped = False
        self._news = False
        self._syncing: tuple[FileId, int] | None = None

    @property
    def dirty(self) -> bool:
        """Whether the header or the lower size still has to be brought in line with the data."""
        if self.damaged_size:
            return False
        if self._touched and self.mtime_ns is not None:
            return True
        return self._dirty or not self.header_stored or self._lower_size != self._ctx.geometry.lower_size(self.size)

    @property
    def cells_changed(self) -> bool:
        """Whether cells were written for which the header does not stand yet; the next one is of a newer generation."""
        return self._dirty or not self.header_stored

    def _bump(self, size: int) -> None:
        self.renew_epoch()
        synced = self._stored_synced = min(self._confirmed, size)
        self.header = self.header.following(
            size=size, synced_size=synced, session=self._ctx.session, cells_sealed=self._sealed
        )

    def renew_epoch(self) -> None:
        """From now on the header belongs to the active epoch (FORMAT.md section 14)."""
        epoch = self._ctx.ring.active.epoch
        if self.header.epoch != epoch:
            self.header = self.header.under(epoch)

    def rewrap(self) -> bool:
        """Bring a header that a retired epoch seals under the active one, with nothing else changed.

        Returns:
            Whether there was anything to do.

        Raises:
            OSError: it could not be written; then it is as it was.
        """
        before = self.header
        if before.epoch == self._ctx.ring.active.epoch:
            return False
        if self.dirty:
            self.settle()
        if self.header.epoch == before.epoch:
            self.renew_epoch()
            try:
                self._keeping_times_and_mode(self._write_same_header)
            except OSError:
                self.header = before
                raise
        return True

    def _write_same_header(self) -> None:
        self._ctx.store.pwrite(self.fd, frames.seal_header(self._ctx.ring, self.header), 0)

    def write_header(self) -> None:
        """Seal and write the header for the present size, place and flags."""
        self._bump(self.size)
        self._ctx.store.pwrite(self.fd, frames.seal_header(self._ctx.ring, self.header), 0)
        self._note_written()
        self.header_stored = True
        self._dirty = False
        self._lower_size = max(self._lower_size, FRAME_SIZE)

    def _note_written(self) -> None:
        """What this host may remember once it is durable (FORMAT.md section 13)."""
        freshness, header = self._ctx.freshness, self.header
        if freshness is not None and not self.nameless:
            freshness.wrote(header.fid, header.generation)

    def _note_replaced(self, old: FileHeader) -> None:
        """The old fid is gone, unless hard links let another file have it: their places are not checked."""
        freshness = self._ctx.freshness
        if freshness is not None:
            freshness.made(self.header.fid)
            if not old.flags & HeaderFlag.MULTI:
                freshness.removed(old.fid, old.generation)

    def found_in_place(self) -> None:
        """The file is where its header says: what was read is worth remembering (FORMAT.md section 13)."""
        freshness, header = self._ctx.freshness, self.header
        if freshness is not None and self._news and not self._ctx.read_only and not header.flags & HeaderFlag.MULTI:
            freshness.seen(header.fid, header.generation)

    def set_place(self, parent: DirId, name: bytes, *, flags: HeaderFlag | None = None) -> None:
        """Write the header for a new place (FORMAT.md section 11: before the rename), leaving mtime alone."""
        before = self.header
        self.header = replace(before, parent=parent, name=name, flags=before.flags if flags is None else flags)
        if self.header_stored:
            try:
                self._keeping_times_and_mode(self.write_header)
                if len(name) > DIRECT_NAME_MAX:
                    self._ctx.store.write_out(self.fd, FRAME_SIZE)  # Nothing else has the text of the name.
            except OSError:
                # Written or not: it is where it was, and the next header that is written says so.
                self.header = replace(self.header, parent=before.parent, name=before.name, flags=before.flags)
                self.keep_header()
                raise

    def move(self, parent: DirId, name: bytes) -> None:
        """The file, of which this is the only name, was renamed: its header says so when it is written next."""
        flags = self.header.flags & ~HeaderFlag.MULTI
        if self.damaged_size:
            self.set_place(parent, name, flags=flags)  # Nothing ever settles it.
            return
        self.header = replace(self.header, parent=parent, name=name, flags=flags)
        self._dirty = True

    def keep_header(self) -> None:
        """After a change that failed: the header for what the file still is."""
        try:
            self.write_header()
        except OSError:
            self._dirty = True  # Closing the file tries again.

    def settle(self) -> None:
        """Bring lower size and header in line with the data, in that order, leaving mtime alone."""
        if self.dirty and self.writable:
            self._keeping_times_and_mode(self._settle)

    def _settle(self) -> None:
        lower = self._ctx.geometry.lower_size(self.size)
        if self.header_stored:
            self._set_lower_size(lower)
        if self._dirty or not self.header_stored or self._stored_synced != min(self._confirmed, self.size):
            self.write_header()
            self._set_lower_size(lower)

    def _keeping_times_and_mode(self, action: Callable[[], None]) -> None:
        """A write of ours moves mtime, and below a daemon that is not root it clears the set-id bits."""
        store = self._ctx.store
        before = store.fstat(self.fd)
        action()
        try:
            mtime_ns = before.st_mtime_ns if self.mtime_ns is None else self.mtime_ns
            store.futime(self.fd, (before.st_atime_ns, mtime_ns))
            self._touched = False
            if before.st_mode & (S_ISUID | S_ISGID):
                store.fchmod(self.fd, S_IMODE(before.st_mode))
        except PermissionError:
            return  # Not the owner: the kernel sends the program's own mtime anyway.

    def prepare_sync(self) -> int:
        """First half of fsync; the caller then runs fdatasync on ``fd`` and :meth:`confirm_sync`."""
        if self._syncing is not None and not self.damaged_size:
            self._dirty = True  # The last fdatasync failed: the kernel may have given up the header that it had.
        if self.writable and (self.dirty or self._stored_synced != min(self._confirmed, self.size)):
            self._keeping_times_and_mode(self._settle)
        self._syncing = self.header.fid, self.header.generation
        return self.size

    def confirm_sync(self, size: int) -> None:
        """The fdatasync after :meth:`prepare_sync` succeeded: the next header may claim these bytes."""
        self._confirmed = min(size, self.size)
        if self._syncing is not None and self._syncing[1] == self.header.generation:
            self._stamped = self._stamped or self.header.session == self._ctx.session
        if self._ctx.freshness is not None and self._syncing is not None and not self.nameless:
            self._ctx.freshness.synced(*self._syncing)
        self._syncing = None

    def sync(self) -> None:
        """fsync as one blocking call."""
        size = self.prepare_sync()
        self._ctx.store.fdatasync(self.fd)
        self.confirm_sync(size)

    def _take_room(self) -> None:
        """Where a hole takes room, the one at the end of the file must find it while the write can still fail."""
        if self._ctx.store.holes_take_room:
            self._set_lower_size(self._ctx.geometry.lower_size(self.size))

    def _set_lower_size(self, lower: int) -> None:
        if self._lower_size != lower:
            self._cut(self._lower_size, lower)
            self._lower_size = lower

    def _cut(self, actual: int, lower: int) -> None:
        """Set the lower size so that what follows the last cell is a hole, never the rest of an old cell."""
        store, cell = self._ctx.store, self._ctx.geometry.C
        end_of_cells = max(lower - lower % cell, FRAME_SIZE)
        if actual > end_of_cells:
            store.truncate(self.fd, end_of_cells)
        if lower != end_of_cells:
            store.truncate(self.fd, lower)

    def forget(self) -> None:
        """Drop keys and plaintext; after that only :meth:`close` with ``discard`` works."""
        self._tail = None
        del self._codec, self.header

    def close(self, *, discard: bool = False) -> None:
        """Settle and close the lower descriptor, which is closed even if settling fails.

        ``discard``: nobody can open the file again, so settling it would be for nothing.
        """
        try:
            if not discard:
                self.settle()
        finally:
            fd, self.fd = self.fd, -1
            self._ctx.store.close(fd)
