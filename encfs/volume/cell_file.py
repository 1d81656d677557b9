"""Runs of cells of one lower file: read and opened, sealed and written (FORMAT.md section 9.2).

Owns: where cells lie in the lower file, the cached plaintext of the last partial cell, the count of cells under the
content key. Must not know: which cells a request touches, what a write has to put back; ``file.py`` does.
"""

from __future__ import annotations

from errno import EIO

from encfs.core import frames
from encfs.core.cells import CellError, Scratch
from encfs.errors import SizeError
from encfs.format.header import HeaderFlag
from encfs.format.limits import FRAME_SIZE, MAX_CELLS_PER_KEY
from encfs.volume.lower_file import LowerFile


class CellFile(LowerFile):
    """The part of :class:`~encfs.volume.file.OpenFile` that moves cells."""

    __slots__ = ()

    def read(self, offset: int, size: int, *, wait: bool = True) -> memoryview:
        """Plain bytes [offset, offset + size), fewer at the end of the file, at most one run (1 MiB).

        The view is of a buffer that the next call of this thread reuses.

        Raises:
            BlockingIOError: with ``wait`` false, the medium would have to be waited for.
            CellError: a cell does not authenticate.
            SizeError: the lower file ends before its header says.
        """
        end = min(offset + size, self.size)
        if end <= offset:
            return memoryview(b"")
        g = self._ctx.geometry
        first = g.cell_of(offset)
        scratch = self._ctx.scratch()
        count = min(g.cell_of(end - 1) - first + 1, scratch.slots)
        base = g.start_of(first) - (FRAME_SIZE if first == 0 else 0)
        end = min(end, g.start_of(first) + self._plain_span(first, count))
        tail = self._tail
        if count == 1 and tail is not None and tail[0] == first:
            start = g.start_of(first)
            return memoryview(tail[1])[offset - start : end - start]
        self._load_run(scratch, first, count, wait=wait)
        return scratch.plain[offset - base : end - base]

    def prefetch(self, offset: int, size: int) -> None:
        """Wait until the medium has brought what :meth:`read` of this range needs into the page cache."""
        g = self._ctx.geometry
        end = min(offset + size, self.size)
        if end > offset and self.fd >= 0:
            first, last = g.cell_of(offset), g.cell_of(end - 1)
            self._ctx.store.pread(self.fd, (last - first + 1) * g.C, first * g.C)

    def _plain_span(self, first: int, count: int) -> int:
        g = self._ctx.geometry
        return g.start_of(first + count) - g.start_of(first)

    def _load_run(self, scratch: Scratch, first: int, count: int, *, wait: bool) -> None:
        g = self._ctx.geometry
        lower = g.lower_offset(first)
        begin = FRAME_SIZE if first == 0 else 0
        wanted = scratch.lower[begin : count * g.C]
        if self._ctx.store.preadv(self.fd, wanted, lower, wait=wait) != len(wanted):
            raise SizeError("the lower file ends before its header says")
        last_len = min(self.size - g.start_of(first + count - 1), g.capacity(first + count - 1))
        sparse = bool(self.header.flags & HeaderFlag.SPARSE)
        self._codec.open_run(scratch, first, count, last_len, sparse=sparse)
        end = first + count
        if sparse and g.start_of(end) >= self.size and not any(scratch.slot(count - 1, end - 1)[0]):
            raise CellError(end - 1, "a hole at the end of the file")

    def _cell_plain(self, index: int, *, wait: bool) -> bytes:
        """Plain content of one existing cell, up to its true length."""
        tail = self._tail
        if tail is not None and tail[0] == index:
            return tail[1]
        g = self._ctx.geometry
        scratch = self._ctx.scratch()
        self._load_run(scratch, index, 1, wait=wait)
        length = min(self.size - g.start_of(index), g.capacity(index))
        return bytes(scratch.slot(0, index)[3][:length])

    def _reserve(self, cells: int) -> None:
        """Count cells against the bound of FORMAT.md section 9.2."""
        if self._sealed + cells > MAX_CELLS_PER_KEY:
            self._ctx.integrity_event("content-key-exhausted", self.inode, "copy the file to go on writing")
            raise OSError(EIO, "content key exhausted")
        self._sealed += cells

    def _store_run(self, scratch: Scratch, first: int, count: int, size: int) -> None:
        """Write sealed slots to the lower file, with the header if it was never written."""
        g = self._ctx.geometry
        begin, where = (FRAME_SIZE, FRAME_SIZE) if first == 0 else (0, first * g.C)
        fresh = first == 0 and not self.header_stored
        if fresh:
            self._bump(size)
            scratch.lower[:FRAME_SIZE] = frames.seal_header(self._ctx.ring, self.header)
            begin = where = 0
        self._ctx.store.pwrite(self.fd, scratch.lower[begin : count * g.C], where)
        self._lower_size = max(self._lower_size, (first + count) * g.C)
        self.size = size
        self._touched = True
        if fresh:
            self.header_stored = True
            self._dirty = False
        else:
            self._dirty = True

    def _put_cell(self, index: int, content: bytes) -> None:
        """Seal one cell, which the caller has counted, and write it in place."""
        g, scratch = self._ctx.geometry, self._ctx.scratch()
        self._codec.seal_one(scratch, 0, index, content, len(content))
        begin = FRAME_SIZE if index == 0 else 0
        self._ctx.store.pwrite(self.fd, scratch.lower[begin : g.C], g.lower_offset(index))

    def _put_back(self, *cells: tuple[int, bytes | None]) -> None:
        """After a failed write: cells as they were. They are in place already, so this needs no space."""
        try:
            for index, content in cells:
                if content:
                    self._sealed += 1  # Past the bound, if need be: it is half of what SP 800-38D allows.
                    self._put_cell(index, content)
        except OSError:
            self._ctx.integrity_event("undo-failed", self.inode, "a cell may be damaged")

    def _probe(self, scratch: Scratch, index: int, *, sparse: bool) -> tuple[int, bool]:
        """Length of a cell as it is on disk (0: not good), and whether it is a hole."""
        g = self._ctx.geometry
        begin = FRAME_SIZE if index == 0 else 0
        wanted = scratch.lower[begin : g.C]
        if self._ctx.store.preadv(self.fd, wanted, g.lower_offset(index), wait=True) != len(wanted):
            return 0, False
        try:
            length = self._codec.open_cell(scratch, 0, index, sparse=sparse)
        except CellError:
            return 0, False
        return length, not any(scratch.slot(0, index)[0])
