"""Runs of cells of one lower file: read and opened, sealed and written (FORMAT.md section 9.2).

Owns: where cells lie in the lower file, the cached plaintext of the last partial cell, the count of cells under the
content key, finding the end of a file after a crash (section 11). Must not know: which cells a request touches, what
a write has to put back; ``file.py`` does.
"""

from __future__ import annotations

from errno import EIO

from encfs.core import frames
from encfs.core.cells import CellError, Scratch
from encfs.errors import SizeError
from encfs.format.header import HeaderFlag
from encfs.format.limits import FRAME_SIZE, MAX_CELLS_PER_KEY
from encfs.volume.lower_file import LowerFile

# A header is written at every close and fsync; between two of them 2^24 cells are 64 GiB of 4 KiB cells.
_CRASH_RESERVE = 1 << 24


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
        tail = self._tail
        try:
            if self._owes_tail and tail is not None and tail[0] == first + count - 1:
                # On the disk it is longer than it should be; what it should be is here.
                if count > 1:
                    self._codec.open_run(scratch, first, count - 1, g.capacity(tail[0] - 1), sparse=sparse)
                scratch.slot(count - 1, tail[0])[3][: len(tail[1])] = tail[1]
                return
            self._codec.open_run(scratch, first, count, last_len, sparse=sparse)
            end = first + count
            if sparse and g.start_of(end) >= self.size and not any(scratch.slot(count - 1, end - 1)[0]):
                raise CellError(end - 1, "a hole at the end of the file")
        except CellError as exc:
            self._note(exc)
            raise

    def _note(self, damage: CellError) -> None:
        """One event for a damaged cell: the kernel asks for the same one again and again."""
        if damage.index != self._noted_cell:
            self._noted_cell = damage.index
            self._ctx.integrity_event("cell", self.inode, str(damage))

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
            self._note_written()
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
        """After a failed write: cells as they were. They are in place already, so this needs no space.

        Sealed anew they are other cells, so the next header has a newer generation (FORMAT.md section 12).
        """
        for index, content in cells:
            if content:
                self._dirty = True
                self._sealed += 1  # Past the bound, if need be: it is half of what SP 800-38D allows.
                try:
                    self._put_cell(index, content)
                except OSError:
                    self._put_back_again(index, content)

    def _put_back_again(self, index: int, content: bytes) -> None:
        """Put a cell back that the store would not take.

        ext4 can lack room for a cell that is not on the disk yet, and has it afterwards. btrfs never writes in place:
        without room the cell stays as the write left it, old or new, which is no damage.
        """
        try:
            self._ctx.store.fdatasync(self.fd)
            self._put_cell(index, content)
        except OSError:
            if not self._is_good(index, len(content)):
                self._ctx.integrity_event("undo-failed", self.inode, "a cell may be damaged")

    def _is_good(self, index: int, length: int) -> bool:
        """Whether a cell on the disk opens with this length. One that is longer is the last, and owed to the file."""
        sparse = bool(self.header.flags & HeaderFlag.SPARSE)  # It may have been a hole, and still be one.
        try:
            found, _ = self._probe(self._ctx.scratch(), index, sparse=sparse)
        except OSError:
            return False
        self._owes_tail = self._owes_tail or found > length
        return found >= length

    def _settle(self) -> None:
        if self._owes_tail and self._tail is not None:
            self._reserve(1)
            self._put_cell(*self._tail)
        self._owes_tail = False
        super()._settle()

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

    def _are_full(self, scratch: Scratch, first: int, count: int) -> bool:
        """Whether some cells are on disk, good and full; 0.9 us each, where :meth:`_probe` takes 12."""
        g = self._ctx.geometry
        wanted = scratch.lower[FRAME_SIZE if first == 0 else 0 : count * g.C]
        if not wanted or self._ctx.store.preadv(self.fd, wanted, g.lower_offset(first), wait=True) != len(wanted):
            return False
        try:
            self._codec.open_run(scratch, first, count, g.capacity(first + count - 1), sparse=False)
        except CellError:
            return False
        return True

    # -- crash recovery ------------------------------------------------------------------------------

    def _recover_size(self) -> None:
        """The file ends where the run of good cells ends that starts at the synced size (FORMAT.md section 11).

        Raises:
            SizeError: even the synced size is not there.
        """
        fits = self._lower_size == self._ctx.geometry.lower_size(self.size)
        floor = self.header.synced_size
        good = self._good_end(floor, fits=fits)
        if fits and (good == self.size or good < floor):
            return
        if good < floor:
            raise SizeError("the lower file ends below the synced size")
        self.size = good
        # The crash hid how many cells were sealed since the header: allow for rewrites of all of them.
        self._sealed += _CRASH_RESERVE
        self._dirty = True

    def _good_end(self, floor: int, *, fits: bool) -> int:
        """Plain offset at which the run of good cells ends that starts at ``floor``; 0 if there is none.

        Where header and lower size agree (``fits``), a cell that does not open is missing only if nothing was ever
        written there, or nothing good follows: else it was damaged in its place, and what follows is not to be lost.
        """
        g = self._ctx.geometry
        present = self._lower_size // g.C
        index = 0 if floor == 0 else g.cell_of(floor - 1)
        scratch = self._ctx.scratch()
        sparse = bool(self.header.flags & HeaderFlag.SPARSE)
        good = one_by_one = 0
        while index < present:
            if not sparse and index >= one_by_one:
                # The last one is rarely full, and one that is not makes the whole run slow.
                count = min(scratch.slots, present - 1 - index)
                if self._are_full(scratch, index, count):
                    index += count
                    good = g.start_of(index)
                    continue
                one_by_one = index + count
            length, hole = self._probe(scratch, index, sparse=sparse)
            if length == 0:
                if not fits or not any(scratch.slot(0, index)[0]):
                    break
                index += 1
                continue
            if not hole:
                good = g.start_of(index) + length
            if length < g.capacity(index):
                break
            index += 1
            if hole:
                # A file can be sparse for ever, and its length is anybody's to change.
                index = max(index, self._ctx.store.next_data(self.fd, g.lower_offset(index)) // g.C)
        return good

    def accept_size(self, size: int) -> None:
        """The file ends at ``size``, whatever its header and its lower size say; for repair, which knows that it does.

        Raises:
            OSError: the lower error; then the size is as damaged as before.
        """
        self.damaged_size = False
        self.size = size
        self._tail = None
        self._confirmed = min(self._confirmed, size)
        self._sealed += _CRASH_RESERVE
        self._dirty = True
        self.sync()

    def _last_cell_fits(self) -> bool:
        """Whether the last cell is as long as the header says; a cell that is damaged tells nothing.

        A write that lengthens the last cell leaves the lower size as it was until the file is settled.
        """
        g = self._ctx.geometry
        last = g.cells_for(self.size) - 1
        if last < 0:
            return True
        length, _ = self._probe(self._ctx.scratch(), last, sparse=False)
        return length in (0, self.size - g.start_of(last))
