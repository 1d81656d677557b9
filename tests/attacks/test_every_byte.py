"""Every single byte of the sealed parts, through the library; in the long run through a mount (FORMAT.md section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.errors import DataError
from tests.support import evidence
from tests.support.attack_batch import Batch, Case, attacked
from tests.support.attack_checks import check_yard
from tests.support.corruption import ATTACKS, Target
from tests.support.volumes import CELLS, LowerVolume, pattern, read

OTHER = b"the other file"
FRAMES = (("header-flip", "multi"), ("record-flip", "sub"))
ALL = [Case(name, file, offset=offset) for name, file in FRAMES for offset in range(512)]


@pytest.fixture(params=CELLS)
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> LowerVolume:
    """A volume with a file of two cells, another one, and a directory."""
    lower = LowerVolume(tmp_path / "volume", request.param)
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(request.param + 1000))
        volume.write_file(b"b", OTHER)
        volume.make_directory(b"d")
        volume.write_file(b"d/c", OTHER)
    return lower


@pytest.mark.parametrize(("name", "plain"), [("header-flip", b"a"), ("record-flip", b"d")])
def test_every_byte_of_a_frame(victim: LowerVolume, name: str, plain: bytes) -> None:
    """No byte of a header or a directory record can be changed unseen (FORMAT.md section 6)."""
    path = b"d/c" if plain == b"d" else plain
    lower = victim.lower(plain)
    step = 1 if victim.cell_size == CELLS[0] else 8  # A frame does not know the size of cells.
    for offset in range(0, 512, step):
        where = Target(victim.path, lower, offset=offset, seed=offset)
        ATTACKS[name].run(where)
        with victim.unlock(read_only=True) as volume:
            with pytest.raises(DataError):
                read(volume, path)
            assert read(volume, b"b") == OTHER
        ATTACKS[name].run(where)  # The same bit again: it is as it was.
    assert victim.findings() == []
    evidence.record("attacks", name, cases=512 // step, note="EIO")


@pytest.mark.parametrize("cell", [0, 1])
def test_every_kind_of_byte_of_a_cell(victim: LowerVolume, cell: int) -> None:
    """No byte of a cell can be changed unseen: all clear ones, nonce and tag, some between (FORMAT.md section 9.2)."""
    size = victim.cell_size - (512 if cell == 0 else 0)
    offsets = sorted({*range(20), *range(20, size, 97 * victim.cell_size // 4096), *range(size - 20, size)})
    lower = victim.lower(b"a")
    for offset in offsets:
        one = Target(victim.path, lower, cell=cell, offset=offset, seed=offset)
        ATTACKS["cell-flip"].run(one)
        with victim.unlock(read_only=True) as volume, pytest.raises(DataError):
            read(volume, b"a")
        ATTACKS["cell-flip"].run(one)
    assert victim.findings() == []
    evidence.record("attacks", "cell-flip", cases=len(offsets), note="EIO")


@pytest.fixture(scope="module")
def batch() -> Iterator[Batch]:
    """One yard for each byte of a header and of a directory record."""
    with attacked(ALL) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)
def test_every_byte_through_a_mount(batch: Batch, case: Case) -> None:
    """The same through a real mount, with its event and what ``verify`` says (THREAT_MODEL.md section 3, A3)."""
    assert batch.found(case, batch.findings) == batch.expected(case)
    check_yard(batch, case)
    evidence.record("attacks", case.attack, note=case.kind.outcome)
