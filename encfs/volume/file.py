"""One open file: reading and writing plain bytes over sealed cells (FORMAT.md section 9).

Owns: which cells a request touches, holes, truncation, the cached plaintext of the last partial cell. Must not know:
names in the tree, FUSE, threads. A file is used by one thread at a time; the caller sees to that.
"""

from __future__ import annotations

from dataclasses import replace
from errno import EFBIG

from encfs.core import frames
from encfs.core.cells import CellCodec, CellError, runs
from encfs.crypto import rng
from encfs.errors import FormatError, SizeError
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import FRAME_SIZE, PLAIN_SIZE_MAX
from encfs.units import FileId
from encfs.volume.context import Context
from encfs.volume.rekey_file import RekeyFile

# The end of a file, which a failed write puts back: size, lower size, last partial cell, whether the header is written.
_End = tuple[int, int, tuple[int, bytes] | None, bool]


class OpenFile(RekeyFile):
    """A regular file (or a symlink in a file) with its lower descriptor.

    ``handles`` counts the users; the last one calls :meth:`close`.
    """

    __slots__ = ()

    @classmethod
    def new(cls, ctx: Context, fd: int, inode: int, header: FileHeader) -> OpenFile:
        """A file whose lower file was just created and is empty; its header is written with its first bytes."""
        file = cls(ctx, fd, inode, header, writable=True)
        file.header_stored = False
        file._stamped = True
        file._lower_size = 0
        if ctx.freshness is not None:
            ctx.freshness.made(header.fid)
        return file

    @classmethod
    def load(cls, ctx: Context, fd: int, inode: int, *, writable: bool) -> OpenFile:
        """Read and open the header, and hold the lower size against it.

        A lower size that does not fit, with no crash to explain it, is evidence: ``damaged_size`` is set, the size
        shown is the header's, what is there can be read, and nothing but :meth:`truncate` to 0 can be written.

        Raises:
            AuthenticationError, FormatError: the header is not one that this volume wrote.
            RollbackError: this host has seen a newer self of the file (FORMAT.md section 13).
            SizeError: shorter than a header; or, while a crash is recovered, shorter than the synced size.
        """
        raw = ctx.store.pread(fd, FRAME_SIZE, 0)
        if len(raw) != FRAME_SIZE:
            raise SizeError("shorter than a header")
        header = frames.open_header(ctx.ring, raw)
        if header.log2_cell != ctx.geometry.C.bit_length() - 1:
            raise FormatError("cell size of the file differs from the volume's")
        file = cls(ctx, fd, inode, header, writable=writable)
        if ctx.freshness is not None:
            file._news = ctx.freshness.check(header.fid, header.generation)
        stat = ctx.store.fstat(fd)
        file.mtime_ns = stat.st_mtime_ns if ctx.kernel_keeps_times else None
        actual = stat.st_size
        fits, file._lower_size = actual == file._lower_size, actual
        if ctx.tolerant:
            if not fits or header.session in ctx.crashed or not file._last_cell_fits():
                file._recover_size()
        elif not fits:
            file.damaged_size = True
            ctx.integrity_event("file-size", inode, "lower size does not fit the header")
        return file

    # -- writing ---------------------------------------------------------------------------------

    def write(self, offset: int, data: bytes | memoryview, *, wait: bool = True) -> int:
        """Write ``data`` at ``offset``; a gap after the old end becomes a hole.

        Raises:
            BlockingIOError: with ``wait`` false, an edge cell would have to be waited for; nothing was written.
            OSError: the store failed (ENOSPC, EIO …). The file keeps its size from before and every byte
                outside [offset, offset + len(data)).
            CellError: an edge cell that has to be read first does not authenticate.
        """
        if offset + len(data) > PLAIN_SIZE_MAX:
            raise OSError(EFBIG, "file too large")
        if not data:
            return 0
        self._refuse_damaged()
        before = self._end(offset + len(data), wait=wait)
        try:
            if offset > self.size:
                self._make_hole(offset, wait=wait)
            self._write_runs(offset, memoryview(data), wait=wait)
            self._take_room()
        except BlockingIOError:
            raise
        except OSError:
            self._undo(before, offset)
            raise
        return len(data)

    def _write_runs(self, offset: int, view: memoryview, *, wait: bool) -> None:
        g = self._ctx.geometry
        first, last = g.cell_of(offset), g.cell_of(offset + len(view) - 1)
        for start, count in runs(first, last, self._ctx.scratch().slots):
            upto = min(g.start_of(start + count), offset + len(view))
            begin = max(offset, g.start_of(start))
            self._write_run(start, count, begin, view[begin - offset : upto - offset], wait=wait)

    def _end(self, end: int, *, wait: bool) -> _End:
        """The end of the file before a write up to ``end``, which it may have to be put back to."""
        if end > self.size:
            g = self._ctx.geometry
            last = g.cells_for(self.size) - 1
            if self.size < g.start_of(last + 1) and (self._tail is None or self._tail[0] != last):
                try:
                    self._tail = (last, self._cell_plain(last, wait=wait))
                except CellError:
                    self._tail = None  # Nothing can put a damaged cell back; a write of all of it heals it.
        return self.size, self._lower_size, self._tail, self.header_stored

    def _write_run(self, first: int, count: int, offset: int, view: memoryview, *, wait: bool) -> None:
        """Write the part of a request that lies in cells ``first`` .. ``first + count - 1``."""
        g = self._ctx.geometry
        last = first + count - 1
        end = offset + len(view)
        size = max(self.size, end)
        head = self._edge(first, offset, end, wait=wait)
        tail = head if count == 1 else self._edge(last, offset, end, wait=wait)
        self._reserve(count)
        scratch = self._ctx.scratch()
        last_start = g.start_of(last)
        last_len = min(size - last_start, g.capacity(last))
        skip = g.start_of(first) - offset
        if count == 1:
            content = view if head is None else self._merge(head, view, offset - g.start_of(first))
            self._codec.seal_one(scratch, 0, first, content, last_len)
        else:
            slot = 0
            if head is not None:
                room = g.start_of(first + 1) - offset
                merged = self._merge(head, view[:room], -skip)
                self._codec.seal_one(scratch, 0, first, merged, g.capacity(first))
                view, slot = view[room:], 1
            full = view if tail is None else view[: last_start - g.start_of(first + slot)]
            self._codec.seal_full(scratch, slot, first + slot, full)
            if tail is not None:
                content = self._merge(tail, view[len(full) :], 0)
                self._codec.seal_one(scratch, count - 1, last, content, last_len)
            else:
                content = view[len(view) - g.capacity(last) :]
        try:
            self._store_run(scratch, first, count, size)
        except OSError:
            self._put_back((first, head), (last, None if count == 1 else tail))
            raise
        at_end = last_start + g.capacity(last) > size
        if at_end:
            self._tail = (last, bytes(content[:last_len]))
        elif self._tail is not None and first <= self._tail[0] <= last:
            self._tail = None

    def _edge(self, index: int, offset: int, end: int, *, wait: bool) -> bytes | None:
        """What is in cell ``index`` already, or None if [offset, end) replaces all of it."""
        g = self._ctx.geometry
        start = g.start_of(index)
        if start >= self.size:
            return None if offset <= start and end >= start + g.capacity(index) else b""
        valid = min(self.size, start + g.capacity(index))
        if offset <= start and end >= valid:
            return None if end >= start + g.capacity(index) else b""
        return self._cell_plain(index, wait=wait)

    @staticmethod
    def _merge(old: bytes, new: memoryview, at: int) -> bytearray:
        content = bytearray(old)
        if at > len(content):
            content.extend(bytes(at - len(content)))
        content[at : at + len(new)] = new
        return content

    def _undo(self, before: _End, offset: int) -> None:
        """After a failed write at ``offset``: the end of the file as it was."""
        self.size, lower_size, self._tail, self.header_stored = before
        try:
            self._cut(self._ctx.store.fstat(self.fd).st_size, lower_size)
            self._lower_size = lower_size
        except OSError:
            self._ctx.integrity_event("undo-failed", self.inode, "the end of the file may be damaged")
        if self._tail is not None and self._ctx.geometry.start_of(self._tail[0] + 1) > min(offset, self.size):
            self._put_back(self._tail)

    # -- holes and truncation ----------------------------------------------------------------------

    def _make_hole(self, size: int, *, wait: bool) -> None:
        """Grow to ``size`` with zero bytes; whole cells in between stay unwritten (FORMAT.md section 9.2)."""
        g = self._ctx.geometry
        last = g.cell_of(size - 1)
        old_cells = g.cells_for(self.size)
        old_last = old_cells - 1
        edge = self._cell_plain(old_last, wait=wait) if old_cells and self.size < g.start_of(old_cells) else None
        if last > old_cells and not self.header.flags & HeaderFlag.SPARSE:
            self.header = replace(self.header, flags=self.header.flags | HeaderFlag.SPARSE)
            self.write_header()
        scratch = self._ctx.scratch()
        if edge is not None:
            length = min(size - g.start_of(old_last), g.capacity(old_last))
            self._reserve(1)
            self._codec.seal_one(scratch, 0, old_last, edge, length)
            self._store_run(scratch, old_last, 1, g.start_of(old_last) + length)
            self._tail = (old_last, edge + bytes(length - len(edge))) if last == old_last else None
        if last >= old_cells:
            length = size - g.start_of(last)
            self._reserve(1)
            self._codec.seal_one(scratch, 0, last, b"", length)
            self._store_run(scratch, last, 1, size)
            self._tail = (last, bytes(length))

    def _refuse_damaged(self) -> None:
        if self.damaged_size:
            raise SizeError("the file is damaged; it can be read, emptied or deleted")

    def truncate_needs_sync(self, size: int) -> bool:
        """Whether :meth:`truncate` has to wait for the medium (FORMAT.md section 11, shrinking)."""
        if size < self._stored_synced:
            return True
        if 0 < size < self.size and self.header.flags & HeaderFlag.SPARSE:
            return True  # On the medium the new last cell may be a hole still, which tells no length after a crash.
        if self._stamped or size >= self.size:
            return False
        g = self._ctx.geometry
        if size == 0:
            return g.cells_for(self.size) > 1
        last = g.cell_of(size - 1)
        return last > 0 and size < g.start_of(last + 1)

    def truncate(self, size: int, *, wait: bool = True) -> None:
        """Set the size. Shrinking below the synced size is made durable first.

        Raises:
            BlockingIOError: with ``wait`` false, an edge cell would have to be waited for.
            OSError, CellError: as :meth:`write`.
        """
        if size > PLAIN_SIZE_MAX:
            raise OSError(EFBIG, "file too large")
        if size == 0 and (self.size or not self.header_stored or self.damaged_size):
            self._empty()
            return
        self._refuse_damaged()
        if size > self.size:
            before = self._end(size, wait=wait)
            try:
                self._make_hole(size, wait=wait)
                self._take_room()
            except OSError:
                self._undo(before, self.size)
                raise
        elif size < self.size:
            self._shrink(size, wait=wait)

    def _shrink(self, size: int, *, wait: bool) -> None:
        g = self._ctx.geometry
        last = g.cell_of(size - 1)
        keep = size - g.start_of(last)
        self._fill_hole(last, wait=wait)
        whole = self._cell_plain(last, wait=wait) if keep < g.capacity(last) else None
        before = self.size, self._confirmed, self._tail
        self._tail = None
        try:
            self._lower_synced(size)
            if whole is not None:
                self._reserve(1)
                self._put_cell(last, whole[:keep])
                self._tail = (last, whole[:keep])
        except OSError:
            self.size, self._confirmed, self._tail = before
            self._put_back((last, whole))
            self.keep_header()
            raise
        self._set_lower_size(g.lower_size(size))

    def _fill_hole(self, index: int, *, wait: bool) -> None:
        """Seal zero bytes where a cell is a hole: it will be the last one, which never is (FORMAT.md section 9.2)."""
        if not self.header.flags & HeaderFlag.SPARSE or (self._tail is not None and self._tail[0] == index):
            return
        content = self._cell_plain(index, wait=wait)
        if not any(self._ctx.scratch().slot(0, index)[0]):
            self._reserve(1)
            self._put_cell(index, content)

    def _empty(self) -> None:
        """Size 0: a fresh fid and content key, so that no old cell can ever come back (FORMAT.md section 9.1)."""
        needs_sync = self.truncate_needs_sync(0)
        old = self.header
        before = self.header, self.size, self._confirmed, self._sealed, self._tail, self._codec
        self.header = replace(
            self.header,
            fid=FileId(rng.random_bytes(16)),
            epoch=self._ctx.ring.active.epoch,
            content_epoch=None,
            size=0,
            synced_size=0,
            flags=self.header.flags & HeaderFlag.MULTI,
            content_key=rng.random_bytes(32),
            previous_content_key=None,
            cells_sealed=0,
        )
        self.size = self._confirmed = self._sealed = 0
        self._tail = None
        self._codec = CellCodec(self._ctx.suite, self._ctx.geometry, self.header)
        try:
            self.write_header()
        except OSError:
            self.header, self.size, self._confirmed, self._sealed, self._tail, self._codec = before
            raise
        self._note_replaced(old)
        if needs_sync:
            self._ctx.store.fdatasync(self.fd)
            self._stamped = True
        self._set_lower_size(FRAME_SIZE)
        self.damaged_size = False

    def _lower_synced(self, size: int) -> None:
        """Before a shrink: the header on disk must claim no synced bytes, and no longer cells, that are about to go."""
        needs_sync = self.truncate_needs_sync(size)
        self._confirmed = min(self._confirmed, size)
        self.size = size
        self.write_header()
        if needs_sync:
            self._ctx.store.fdatasync(self.fd)
            self._stamped = True
