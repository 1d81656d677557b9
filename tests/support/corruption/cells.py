"""Attacks on the cells of one lower file, and on its size (FORMAT.md sections 9.2 and 9.3)."""

from __future__ import annotations

from tests.support.corruption.attack import (
    HEADER,
    Effect,
    Hit,
    Outcome,
    Target,
    attack,
    damaged_cells,
    flip,
    overwrite,
    same_times,
    truncate,
)

SPARSE = "Sparse files."
OLD_CELL = "One old cell."


def _bytes_of(target: Target, cell: int) -> bytes:
    begin, end = target.span(cell)
    return target.file.read_bytes()[begin:end]


@attack("cell-flip", Outcome.EIO, "cell-damaged")
def cell_flip(target: Target) -> list[Hit]:
    """One bit of a cell is flipped: its length, flags, nonce, ciphertext, padding or tag."""
    begin, end = target.span(target.cell)
    flip(target.file, begin + target.offset % (end - begin), target.seed)
    return damaged_cells(target.file, target.cell)


@attack("cell-zero", Outcome.EIO, "cell-damaged")
def cell_zero(target: Target) -> list[Hit]:
    """A cell is overwritten with zeros."""
    begin, end = target.span(target.cell)
    overwrite(target.file, begin, bytes(end - begin))
    return damaged_cells(target.file, target.cell)


@attack("cell-zero-in-sparse", Outcome.CHECKPOINT, limit=SPARSE, checkpoint="cell-replayed")
def cell_zero_in_sparse(target: Target) -> list[Hit]:
    """A cell of a file that has holes, not its last, is overwritten with zeros."""
    begin, end = target.span(target.cell)
    overwrite(target.file, begin, bytes(end - begin))
    return [Hit(target.file, Effect.OLD)]


@attack("cell-punch", Outcome.EIO, "cell-damaged")
def cell_punch(target: Target) -> list[Hit]:
    """A cell and all behind it are cut off, and the size is set back: a hole."""
    size, count = target.file.stat().st_size, target.cells()
    truncate(target.file, target.span(target.cell)[0])
    truncate(target.file, size)
    return damaged_cells(target.file, *range(target.cell, count))


@attack("cell-cut", Outcome.EIO, "file-size")
def cell_cut(target: Target) -> list[Hit]:
    """A cell is cut out, and what follows moves up."""
    begin, end = target.span(target.cell)
    raw, count = target.file.read_bytes(), target.cells()
    with same_times(target.file):
        target.file.write_bytes(raw[:begin] + raw[end:])
    return [Hit(target.file, Effect.CELLS, "file-size", frozenset(range(target.cell, count)))]


@attack("cells-swap", Outcome.EIO, "cell-damaged")
def cells_swap(target: Target) -> list[Hit]:
    """Two cells of a file change places."""
    one, two = _pair(target)
    first, second = _bytes_of(target, one), _bytes_of(target, two)
    overwrite(target.file, target.span(one)[0], second)
    overwrite(target.file, target.span(two)[0], first)
    return damaged_cells(target.file, one, two)


def _pair(target: Target) -> tuple[int, int]:
    """Two cells of full length, so neither is cell 0."""
    one = max(1, target.cell)
    count = target.cells()
    two = one + 1 if one + 1 < count else one - 1
    if count < 3:
        raise ValueError("the file needs three cells")
    return one, max(1, two)


@attack("cells-rotate", Outcome.EIO, "cell-damaged")
def cells_rotate(target: Target) -> list[Hit]:
    """All cells but the first are put into another order."""
    count = target.cells()
    cells = [_bytes_of(target, index) for index in range(1, count)]
    overwrite(target.file, target.cell_size, b"".join(cells[1:] + cells[:1]))
    return damaged_cells(target.file, *range(1, count))


@attack("cell-copy", Outcome.EIO, "cell-damaged")
def cell_copy(target: Target) -> list[Hit]:
    """One cell of a file is copied over another one."""
    one, two = _pair(target)
    overwrite(target.file, target.span(two)[0], _bytes_of(target, one))
    return damaged_cells(target.file, two)


@attack("cell-of-another-file", Outcome.EIO, "cell-damaged", needs=("other",))
def cell_of_another_file(target: Target) -> list[Hit]:
    """A cell is replaced by the cell of the same number of another file."""
    begin, end = target.span(target.cell)
    overwrite(target.file, begin, target.second.read_bytes()[begin:end])
    return damaged_cells(target.file, target.cell)


@attack("cells-of-another-file", Outcome.EIO, "cell-damaged", needs=("other",))
def cells_of_another_file(target: Target) -> list[Hit]:
    """A file keeps its header and gets all cells of another one."""
    overwrite(target.file, HEADER, target.second.read_bytes()[HEADER:])
    return damaged_cells(target.file, *range(target.cells()))


@attack("header-of-another-file", Outcome.EIO, "file-moved", needs=("other",))
def header_of_another_file(target: Target) -> list[Hit]:
    """A file keeps its cells and gets the header of another one."""
    overwrite(target.file, 0, target.second.read_bytes()[:HEADER])
    return [Hit(target.file, Effect.WHOLE, "file-moved")]


@attack("cell-of-another-volume", Outcome.EIO, "cell-damaged", needs=("old",))
def cell_of_another_volume(target: Target) -> list[Hit]:
    """A cell is replaced by the cell of the same number of a file of another volume."""
    begin, end = target.span(target.cell)
    assert target.old is not None
    source = target.other or next(p for p in sorted(target.old.rglob("*")) if p.is_file() and p.stat().st_size >= end)
    overwrite(target.file, begin, source.read_bytes()[begin:end])
    return damaged_cells(target.file, target.cell)


@attack("cell-older", Outcome.CHECKPOINT, limit=OLD_CELL, checkpoint="cell-replayed", needs=("old",))
def cell_older(target: Target) -> list[Hit]:
    """A cell that was overwritten in place is replaced by its older self."""
    begin, end = target.span(target.cell)
    overwrite(target.file, begin, target.older(target.file).read_bytes()[begin:end])
    return [Hit(target.file, Effect.OLD)]


# -- size ---------------------------------------------------------------------------------------------------------


@attack("truncate", Outcome.EIO, "file-size")
def cut(target: Target) -> list[Hit]:
    """A file is cut at a border of cells, or anywhere else behind its header."""
    count = target.cells()
    truncate(target.file, target.offset)
    bad = frozenset(index for index in range(count) if target.span(index)[1] > target.offset)
    return [Hit(target.file, Effect.CELLS, "file-size", bad)]


@attack("append-garbage", Outcome.EIO, "file-size")
def append_garbage(target: Target) -> list[Hit]:
    """Bytes are appended to a file, from one to some cells."""
    with same_times(target.file), target.file.open("ab") as file:
        file.write(target.random_bytes(max(1, target.offset)))
    return [Hit(target.file, Effect.CELLS, "file-size")]


@attack("append-own-cells", Outcome.EIO, "file-size")
def append_own_cells(target: Target) -> list[Hit]:
    """Cells of the file itself are appended to it, aligned as cells are."""
    count = target.cells()
    data = b"".join(_bytes_of(target, index) for index in range(1, count))
    overwrite(target.file, count * target.cell_size, data)
    truncate(target.file, count * target.cell_size + len(data))
    return [Hit(target.file, Effect.CELLS, "file-size")]


@attack("append-old-cells", Outcome.EIO, "file-size", needs=("old",))
def append_old_cells(target: Target) -> list[Hit]:
    """Cells that a file had before it was made shorter are appended to it again."""
    begin = target.cells() * target.cell_size
    data = target.older(target.file).read_bytes()[begin:]
    overwrite(target.file, begin, data)
    truncate(target.file, begin + len(data))
    return [Hit(target.file, Effect.CELLS, "file-size")]
