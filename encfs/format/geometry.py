"""Where a plain byte lies in the lower file, and what the lower size says of the plain size.

Owns: the arithmetic of FORMAT.md sections 9.2 and 9.3. Must not know: what is in a cell. Plain
integers in and out; nothing here allocates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from encfs.errors import FormatError, SizeError
from encfs.format import limits
from encfs.units import CellIndex, LowerOffset, PlainOffset


@dataclass(frozen=True, slots=True)
class Geometry:
    """The cell arithmetic of a volume.

    Attributes:
        cell_size: bytes of a cell on the disk.
        C: the same, under the name that FORMAT.md uses.
        P: plain bytes of a full cell.
        P0: plain bytes of a full cell 0, which shares its page with the header.

    Raises:
        FormatError: the cell size is not one of version 1.
    """

    cell_size: int
    C: int = field(init=False, repr=False, compare=False)
    P: int = field(init=False, repr=False, compare=False)
    P0: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cell_size not in limits.CELL_SIZES:
            raise FormatError("the cell size is not one that this version knows")
        object.__setattr__(self, "C", self.cell_size)
        object.__setattr__(self, "P", self.cell_size - limits.CELL_OVERHEAD)
        object.__setattr__(self, "P0", self.cell_size - limits.CELL_OVERHEAD - limits.FRAME_SIZE)

    @property
    def log2_cell(self) -> int:
        """What byte 6 of a file header holds."""
        return self.cell_size.bit_length() - 1

    def cell_of(self, offset: int) -> CellIndex:
        """The cell that holds plain byte ``offset``."""
        return CellIndex(0 if offset < self.P0 else 1 + (offset - self.P0) // self.P)

    def start_of(self, index: int) -> PlainOffset:
        """The plain offset of the first byte of a cell."""
        return PlainOffset(self.P0 + (index - 1) * self.P if index else 0)

    def capacity(self, index: int) -> int:
        """How many plain bytes a cell holds when full."""
        return self.P if index else self.P0

    def lower_offset(self, index: int) -> LowerOffset:
        """Where the bytes of a cell start in the lower file."""
        return LowerOffset(self.C * index if index else limits.FRAME_SIZE)

    def cells_for(self, size: int) -> int:
        """How many cells a plain file of ``size`` bytes has."""
        if size <= self.P0:
            return 1 if size else 0
        return 1 + (size - self.P0 + self.P - 1) // self.P

    def lower_size(self, size: int) -> int:
        """L of section 9.3: the length of the lower file of a plain file of ``size`` bytes."""
        if size <= self.P0:
            if not size:
                return limits.FRAME_SIZE
            return self.C + (size if size < self.P0 else 0)
        full, rest = divmod(size - self.P0, self.P)
        return self.C * (full + 2) + rest if rest else self.C * (full + 1)

    def plain_size(self, lower_size: int) -> int:
        """S of section 9.3, the inverse of ``lower_size``.

        Raises:
            SizeError: no plain size has this lower size; also 0, a create that never finished.
        """
        cells, rest = divmod(lower_size, self.C)
        if cells > 1:
            if rest < self.P:
                size = self.P0 + (cells - 2) * self.P + (rest or self.P)
                if size <= limits.PLAIN_SIZE_MAX:
                    return size
        elif cells == 1:
            if rest < self.P0:
                return rest or self.P0
        elif lower_size == limits.FRAME_SIZE:
            return 0
        raise SizeError("the length of a lower file is not one that cloakfs writes")
