"""Reading what still authenticates of a damaged lower file (FORMAT.md section 9.2).

Owns: finding every good cell, whatever the header says of the size and whatever the disk refuses. Must not know: what
is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from errno import EIO

from encfs.core.cells import CellCodec, CellError, Scratch, runs
from encfs.errors import FormatError
from encfs.format.header import FileHeader, HeaderFlag
from encfs.volume.context import Context

# What a disk says of a sector that it cannot read.
_BAD_SECTOR = (EIO,)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as it is below.

    Attributes:
        index: its number.
        start: plain offset of its first byte.
        data: its plain bytes, valid until the next step; None if it does not authenticate.
        hole: it was never written, in a file that may have holes.
    """

    index: int
    start: int
    data: memoryview | None = field(repr=False)
    hole: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What a whole lower file holds.

    Attributes:
        run_end: plain offset behind the run of good cells from the start; holes at its end do not count.
        good_end: plain offset behind the last good cell that is no hole.
        good: how many cells are good, holes included.
        bad: how many are not.
    """

    run_end: int
    good_end: int
    good: int
    bad: int


class Salvage:
    """The cells of one lower file under one header.

    Raises:
        FormatError: the header is of a volume with another cell size.
    """

    def __init__(self, ctx: Context, fd: int, header: FileHeader) -> None:
        if header.log2_cell != ctx.geometry.C.bit_length() - 1:
            raise FormatError("cell size of the file differs from the volume's")
        self._ctx = ctx
        self._fd = fd
        self._codec = CellCodec(ctx.suite, ctx.geometry, header)
        self._sparse = bool(header.flags & HeaderFlag.SPARSE)
        self.lower_size: int = ctx.store.fstat(fd).st_size
        self.present: int = self.lower_size // ctx.geometry.C

    def cells(self) -> Iterator[Cell]:
        """Every cell that the lower file has room for, in order; those that end beyond it are not there.

        Raises:
            OSError: the store failed in another way than at a bad sector.
        """
        g, scratch = self._ctx.geometry, self._ctx.scratch()
        for first, count in runs(0, self.present - 1, scratch.slots):
            whole = self._whole_run(scratch, first, count)
            for j in range(count):
                index = first + j
                length = g.capacity(index) if whole else self._length(scratch, j, index)
                data = scratch.slot(j, index)[3][:length] if length else None
                yield Cell(index, g.start_of(index), data, hole=bool(length) and not any(scratch.slot(j, index)[0]))

    def _whole_run(self, scratch: Scratch, first: int, count: int) -> bool:
        """Read a run; whether all of it is good and full, and then it is open."""
        if not self._read(scratch, first, 0, count):
            for j in range(count):
                if not self._read(scratch, first + j, j, 1):
                    # Not zeros, which would pass for a hole.
                    scratch.slot(j, first + j)[0][:] = b"\xff\xff\xff\xff"
            return False
        try:
            self._codec.open_run(scratch, first, count, self._ctx.geometry.capacity(first + count - 1), sparse=False)
        except CellError:
            return False
        return True

    def _read(self, scratch: Scratch, index: int, slot: int, count: int) -> bool:
        c = self._ctx.geometry.C
        skip = self._ctx.geometry.lower_offset(0) if index == 0 else 0
        wanted = scratch.lower[slot * c + skip : (slot + count) * c]
        try:
            return self._ctx.store.preadv(self._fd, wanted, index * c + skip, wait=True) == len(wanted)
        except OSError as exc:
            if exc.errno not in _BAD_SECTOR:
                raise
            return False

    def _length(self, scratch: Scratch, slot: int, index: int) -> int:
        try:
            return self._codec.open_cell(scratch, slot, index, sparse=self._sparse)
        except CellError:
            return 0

    def survey(self) -> Survey:
        """Look at every cell.

        Raises:
            OSError: as :meth:`cells`.
        """
        run_end = good_end = good = bad = 0
        running = True
        for cell in self.cells():
            if cell.data is None:
                running = False
                bad += 1
                continue
            good += 1
            if cell.hole:
                continue
            good_end = cell.start + len(cell.data)
            if running:
                run_end = good_end
                running = len(cell.data) == self._ctx.geometry.capacity(cell.index)
        return Survey(run_end, good_end, good, bad)
