"""What a watcher of the lower files learns of contents: nothing, not even that two are equal (THREAT_MODEL.md, A2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from encfs.format.geometry import Geometry
from tests.support.volumes import CELLS, LowerVolume, open_file


def cells(raw: bytes, geometry: Geometry) -> list[bytes]:
    """The cells of a lower file that is full to its last cell."""
    return [raw[512 : geometry.C], *(raw[at : at + geometry.C] for at in range(geometry.C, len(raw), geometry.C))]


@pytest.mark.parametrize("cell_size", CELLS)
def test_equal_contents_never_look_equal(tmp_path: Path, cell_size: int) -> None:
    """Equal cells of one file, of two, and of the same place before and after a rewrite share nothing (section 9.2).

    Written in one large run and cell by cell, which are two ways to seal. Nonces are new each time, and only the four
    clear bytes of FORMAT.md section 9.2 may be equal.
    """
    geometry = Geometry(cell_size)
    size = int(geometry.start_of(5))
    lower = LowerVolume(tmp_path / "volume", cell_size)
    seen: list[bytes] = []
    for _ in range(2):
        with lower.unlock() as volume:
            for name in (b"one", b"two"):
                with open_file(volume, name) as file:
                    file.write(0, b"A" * size)
            seen += [
                cell for name in (b"one", b"two") for cell in cells(lower.lower_in(volume, name).read_bytes(), geometry)
            ]
            with open_file(volume, b"one") as file:
                for index in range(5):
                    file.write(int(geometry.start_of(index)), b"A" * geometry.capacity(index))
            seen += cells(lower.lower_in(volume, b"one").read_bytes(), geometry)
    assert len(seen) == 30
    assert len({cell[4:16] for cell in seen}) == len(seen)
    for at in (16, len(seen[0]) - 16):
        assert len({cell[at : at + 16] for cell in seen}) == len(seen)
