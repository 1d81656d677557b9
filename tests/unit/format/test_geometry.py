"""encfs/format/geometry.py: the arithmetic of FORMAT.md sections 9.2 and 9.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError, SizeError
from encfs.format import limits
from encfs.format.geometry import Geometry

CELL_SIZES = pytest.mark.parametrize("cell_size", limits.CELL_SIZES)
GEOMETRIES = st.sampled_from([Geometry(size) for size in limits.CELL_SIZES])
PLAIN_SIZES = st.integers(0, limits.PLAIN_SIZE_MAX) | st.integers(0, 300_000)


def is_image(geometry: Geometry, lower: int) -> bool:
    """Whether section 9.3 allows a lower size, in the words of the section and not of the code."""
    if lower == 512:
        return True
    n, m = lower // geometry.C, lower % geometry.C
    f = geometry.P0 if n == 1 else geometry.P
    return n >= 1 and m < f


@given(GEOMETRIES, PLAIN_SIZES)
def test_plain_to_lower_and_back(geometry, size):
    """Section 9.3: every plain size has a lower size that gives it back."""
    lower = geometry.lower_size(size)
    assert geometry.plain_size(lower) == size
    assert is_image(geometry, lower)


@given(GEOMETRIES, st.integers(0, 1 << 59) | st.integers(0, 300_000))
def test_lower_to_plain_and_back(geometry, lower):
    """Section 9.3: a lower size either comes from exactly one plain size or is refused."""
    if is_image(geometry, lower):
        assert geometry.lower_size(geometry.plain_size(lower)) == lower
    else:
        with pytest.raises(SizeError):
            geometry.plain_size(lower)


@CELL_SIZES
def test_all_small_sizes(cell_size):
    """Section 9.3: for the first three cells, every size of either kind, without gaps: a bijection."""
    geometry = Geometry(cell_size)
    top = geometry.P0 + 2 * geometry.P
    image = {geometry.lower_size(size): size for size in range(top + 1)}
    assert len(image) == top + 1
    for lower in range(max(image) + 1):
        if lower in image:
            assert geometry.plain_size(lower) == image[lower]
        elif lower < 3 * cell_size:
            with pytest.raises(SizeError):
                geometry.plain_size(lower)


@CELL_SIZES
def test_table_of_the_format(cell_size):
    """Section 9.3: the worked sizes of its table."""
    table = {
        4096: (512, 4097, 7096, 9640, 1_082_201_088),
        16384: (512, 16385, 19384, 21384, 1_075_859_968),
        65536: (512, 65537, 68536, 70536, 1_074_332_416),
    }
    geometry = Geometry(cell_size)
    assert tuple(map(geometry.lower_size, (0, 1, 3000, 5000, 1 << 30))) == table[cell_size]


@CELL_SIZES
def test_stored_sizes(cell_size, vectors):
    """Section 9.3: the stored sizes at the borders of cells."""
    geometry = Geometry(cell_size)
    case = vectors("geometry")[str(cell_size)]
    for size, lower in case["good"]:
        assert geometry.lower_size(size) == lower
        assert geometry.plain_size(lower) == size
    for lower in case["bad"]:
        with pytest.raises(SizeError):
            geometry.plain_size(lower)


@given(GEOMETRIES, st.integers(0, 1 << 50) | st.integers(0, 300_000))
def test_cells_hold_their_bytes(geometry, offset):
    """Section 9.2: a plain byte lies in the cell whose range holds it, and a file has as many cells as it needs."""
    index = geometry.cell_of(offset)
    start = geometry.start_of(index)
    assert start <= offset < start + geometry.capacity(index)
    assert geometry.start_of(index + 1) == start + geometry.capacity(index)
    assert geometry.cells_for(offset + 1) == index + 1
    cell = geometry.lower_offset(index)
    assert cell == (geometry.C * index if index else 512)
    # The cell and all before it are inside the lower file that ends after this byte.
    assert cell + 32 < geometry.lower_size(offset + 1)


@CELL_SIZES
def test_sizes_of_a_cell(cell_size):
    """Section 9.2: P = C - 32, P0 = P - 512; byte 6 of a header is log2 C."""
    geometry = Geometry(cell_size)
    assert geometry.C == cell_size
    assert geometry.P == cell_size - 32
    assert geometry.P0 == geometry.P - 512
    assert (geometry.capacity(0), geometry.capacity(1)) == (geometry.P0, geometry.P)
    assert 1 << geometry.log2_cell == cell_size
    assert geometry.cells_for(0) == 0


def test_too_large():
    """Section 12: no plain file is larger than 2^60 bytes."""
    for cell_size in limits.CELL_SIZES:
        geometry = Geometry(cell_size)
        assert geometry.plain_size(geometry.lower_size(1 << 60)) == 1 << 60
        with pytest.raises(SizeError):
            geometry.plain_size(geometry.lower_size((1 << 60) + 1))


@pytest.mark.parametrize("cell_size", [0, 512, 4095, 8192, 131072])
def test_other_cell_sizes(cell_size):
    """Section 3: the cell size is 4096, 16384 or 65536."""
    with pytest.raises(FormatError):
        Geometry(cell_size)
