"""Cells flipped, zeroed, cut, swapped, copied; files cut and lengthened (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from encfs.format.geometry import Geometry
from encfs.volume import Volume
from tests.support import evidence
from tests.support.attack_batch import Batch, Case, attacked
from tests.support.attack_checks import check_yard, delete_and_write_anew
from tests.support.volumes import CELLS
from tests.support.yards import Yard

COUNT = 5  # cells of the file that most of these attack
PLACES = (0, 1, 2, 3, 4, 10, 15, 16, 1000, -17, -16, -1)


def _shorten(yard: Yard, volume: Volume) -> None:
    yard.shorten(volume, "multi", volume.ctx.geometry.start_of(2))


def _one_cell(cell: int) -> list[Case]:
    found = [Case("cell-flip", cell=cell, offset=offset, seed=offset) for offset in PLACES]
    found += [Case(name, cell=cell) for name in ("cell-zero", "cell-punch", "cell-cut")]
    found += [Case("cell-of-another-file", other="twin", cell=cell)]
    return [*found, Case("cell-of-another-volume", other="!multi", cell=cell)]


def _cuts(c: int) -> list[Case]:
    borders = [cell * c + d for cell in range(1, COUNT + 1) for d in (-1, 0, 1)]
    between = [cell * c + 2000 for cell in range(COUNT)]
    offsets = [512, 513, *borders, *between, COUNT * c + 699]
    return [Case("truncate", offset=offset) for offset in offsets] + [Case("truncate", "long", offset=c)]


def _longer(c: int) -> list[Case]:
    sizes = (1, 511, 700, c - 700, c, 3 * c + 5, 1 << 20)
    found = [Case("append-garbage", offset=size) for size in sizes]
    found += [Case("append-garbage", file, offset=size) for file in ("small", "empty", "long") for size in (1, c)]
    return [*found, Case("append-own-cells"), Case("append-old-cells", grow=_shorten)]


def cases(c: int) -> list[Case]:
    """All cases for one cell size; the order of cells does not depend on it."""
    found = [case for cell in range(COUNT) for case in _one_cell(cell)]
    found += [Case("cells-swap", cell=cell) for cell in (1, 2, 3)]
    found += [Case("cell-copy", cell=cell) for cell in (1, 2, 3)]
    found += [Case(name, other="twin") for name in ("cells-of-another-file", "header-of-another-file")]
    found += [Case("cell-zero-in-sparse", "sparse", cell=0), Case("cell-zero-in-sparse", "sparse", cell=3)]
    found += [Case("cell-zero", "sparse", cell=4), Case("cell-flip", "sparse", cell=1, offset=100)]
    return [*found, Case("cells-rotate"), Case("cell-flip", "linkfile"), *_cuts(c), *_longer(c)]


def some(c: int) -> list[Case]:
    """Those that arithmetic on the cell size could break."""
    found = [case for case in cases(c) if case.attack in ("truncate", "append-garbage", "cell-cut", "append-own-cells")]
    return found + [Case("cell-zero", cell=cell) for cell in range(COUNT)] + [Case("cells-swap", cell=2)]


ALL = [(4096, case) for case in cases(4096)] + [(c, case) for c in CELLS[1:] for case in some(c)]


@pytest.fixture(scope="module")
def batch() -> Iterator[dict[int, Batch]]:
    """One volume for each cell size."""
    with ExitStack() as stack:
        yield {c: stack.enter_context(attacked([case for size, case in ALL if size == c], c)) for c in CELLS}


@pytest.mark.parametrize(("c", "case"), ALL, ids=lambda value: getattr(value, "id", str(value)))
def test_cell(batch: dict[int, Batch], c: int, case: Case) -> None:
    """Damaged cells give EIO and an event, ``verify`` names the file, no byte is wrong (FORMAT.md section 9.2)."""
    mine = batch[c]
    found = mine.found(case, mine.findings)
    cells = {("cell-damaged", path) for code, path in mine.expected(case) if code == "file-size"}
    assert found - cells == mine.expected(case) - cells
    check_yard(mine, case)
    _check_holes(mine, case)
    delete_and_write_anew(mine, case)
    evidence.record("attacks", case.attack, note=case.kind.outcome)


def _check_holes(batch: Batch, case: Case) -> None:
    """The documented limit and no more: the cell that was zeroed in a file with holes reads as zeros."""
    if case.attack == "cell-zero-in-sparse":
        yard, g = batch.yards[case], Geometry(batch.geometry.C)
        content = bytearray(yard.files[yard.path("sparse")])
        content[g.start_of(case.cell) : g.start_of(case.cell + 1)] = bytes(g.capacity(case.cell))
        assert batch.at(yard.path("sparse")).read_bytes() == bytes(content)
