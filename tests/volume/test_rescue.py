"""Rescue: each cell that authenticates is in the copy at its place, all else is a gap (docs/findings.md, "Rescue")."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from errno import EIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encfs.errors import DataError
from encfs.format.geometry import Geometry
from encfs.store.local import LocalStore
from encfs.volume import Volume
from encfs.volume.rescue import Gap, Rescue
from tests.support import evidence
from tests.support.checkpoints import make_in
from tests.support.repairing import RUN, repair
from tests.support.volumes import CELLS, LONG, LowerVolume, flip, open_file, pattern

Rescued = tuple[bytes, list[tuple[int, int]]]


def rescued(volume: Volume, path: bytes) -> Rescued:
    """The copy with zeros in its gaps, and the gaps."""
    with Rescue(volume, path) as rescue:
        found, gaps = bytearray(rescue.size), []
        for step in rescue.run():
            if isinstance(step, Gap):
                gaps.append((step.offset, step.length))
            else:
                found[step.offset : step.offset + len(step.data)] = step.data
        assert all(not any(found[offset : offset + length]) for offset, length in gaps)
        return bytes(found), gaps


def expected(data: bytes, bad: set[int], cell_size: int) -> Rescued:
    """What is left of a file in which these cells are bad."""
    g = Geometry(cell_size)
    found, gaps = bytearray(data), []
    for index in sorted(bad):
        start, end = g.start_of(index), min(g.start_of(index + 1), len(data))
        found[start:end] = bytes(end - start)
        if gaps and sum(gaps[-1]) == start:
            gaps[-1] = (gaps[-1][0], end - gaps[-1][0])
        else:
            gaps.append((start, end - start))
    return bytes(found), gaps


def spoil(path: Path, index: int, cell_size: int) -> None:
    """One bit of a cell."""
    flip(path, (index * cell_size or 512) + 200)


@given(data=st.data(), cell_size=st.sampled_from(CELLS), cells=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_every_pattern_of_bad_cells(data: st.DataObject, cell_size: int, cells: int) -> None:
    """The copy is the file, but for zeros where a cell is bad, and the gaps say where (FORMAT.md section 9.2)."""
    g = Geometry(cell_size)
    last = data.draw(st.integers(1, g.capacity(cells - 1)))
    bad = data.draw(st.sets(st.integers(0, cells - 1)))
    content = pattern(g.start_of(cells - 1) + last, "rescue")
    with tempfile.TemporaryDirectory() as directory:
        lower = LowerVolume(Path(directory) / "volume", cell_size)
        with lower.unlock() as volume:
            volume.write_file(b"f", content)
        path = lower.lower(b"f")
        for index in bad:
            spoil(path, index, cell_size)
        before = path.read_bytes()
        with lower.unlock(read_only=True) as volume:
            assert rescued(volume, b"f") == expected(content, bad, cell_size)
        assert path.read_bytes() == before
    evidence.record("repair", "rescue of patterns of bad cells", note="every good byte, every gap told")


CONTENT = pattern(30_000, "content")
CASES: dict[str, tuple[Callable[[Path], object], set[int]]] = {
    "whole": (lambda _: None, set()),
    "longer": (lambda path: os.truncate(path, path.stat().st_size + 50_000), set()),
    "cut in the last cell": (lambda path: os.truncate(path, 7 * 4096 + 100), {7}),
    "cut at a cell": (lambda path: os.truncate(path, 3 * 4096), {3, 4, 5, 6, 7}),
    "only a header": (lambda path: os.truncate(path, 512), set(range(8))),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_sizes(lower: LowerVolume, case: str) -> None:
    """A file that was cut or made longer below is rescued as far as its cells go (FORMAT.md section 9.3)."""
    with lower.unlock() as volume:
        volume.write_file(b"f", CONTENT)
    damage, bad = CASES[case]
    damage(lower.lower(b"f"))
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, b"f") == expected(CONTENT, bad, 4096)


def test_wherever_it_is(lower: LowerVolume) -> None:
    """Also at a place that its header does not name, in lost+found, and under a long name (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        volume.write_file(b"f", CONTENT)
        volume.write_file(b"g", b"g")
        volume.write_file(LONG, CONTENT)
    one, other = lower.lower(b"f"), lower.lower(b"g")
    spoil(one, 2, 4096)
    spoil(lower.lower(LONG), 3, 4096)
    shutil.copyfile(one, other)
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, b"g") == expected(CONTENT, {2}, 4096)
        assert rescued(volume, LONG) == expected(CONTENT, {3}, 4096)
    repair(lower)
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, RUN + b"/f") == expected(CONTENT, {2}, 4096)
        assert rescued(volume, RUN + b"/" + LONG) == expected(CONTENT, {3}, 4096)


def test_holes_are_no_gaps(lower: LowerVolume) -> None:
    """A hole in a sparse file reads as zeros and is no gap, but at the end (FORMAT.md section 9.2)."""
    with lower.unlock() as volume, open_file(volume, b"f") as file:
        file.write(100_000, b"end")
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, b"f") == (bytes(100_000) + b"end", [])
    path = lower.lower(b"f")
    raw = bytearray(path.read_bytes())
    last = Geometry(4096).cell_of(100_000)
    raw[last * 4096 : (last + 1) * 4096] = bytes(4096)
    path.write_bytes(raw)
    start = Geometry(4096).start_of(last)
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, b"f") == (bytes(100_003), [(start, 100_003 - start)])


def test_a_destroyed_header(lower: LowerVolume) -> None:
    """A checkpoint that knows the header opens the file; without one that is said (FORMAT.md section 12)."""
    with lower.unlock() as volume:
        volume.write_file(b"f", CONTENT)
        volume.write_file(b"g", CONTENT)
    flip(lower.lower(b"g"), 70)
    with lower.unlock(read_only=True) as volume, pytest.raises(DataError, match="no checkpoint"):
        Rescue(volume, b"g")
    with lower.unlock() as volume:
        make_in(volume)
    flip(lower.lower(b"f"), 70)
    spoil(lower.lower(b"f"), 2, 4096)
    with lower.unlock(read_only=True) as volume:
        assert rescued(volume, b"f") == expected(CONTENT, {2}, 4096)
        with Rescue(volume, b"f") as rescue:
            assert rescue.from_checkpoint
    evidence.record("repair", "rescue with the header of a checkpoint", note="the file opens")


def test_repair_with_a_real_checkpoint(lower: LowerVolume) -> None:
    """Repair rebuilds a destroyed header from a checkpoint, and the file is whole (FORMAT.md section 12)."""
    with lower.unlock() as volume:
        volume.write_file(b"f", CONTENT)
        make_in(volume)
    flip(lower.lower(b"f"), 70)
    (one,) = repair(lower)
    assert "rebuilt from a checkpoint" in one.action.text
    assert lower.findings() == []
    with lower.unlock(read_only=True) as volume:
        assert b"".join(volume.read_file(b"f")) == CONTENT
    evidence.record("repair", "a destroyed header, with a checkpoint", note="rebuilt, the file is whole")


class BadSectorStore(LocalStore):
    """A disk that cannot read some cells of any file."""

    bad: frozenset[int] = frozenset()

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if any(index * 4096 < offset + len(buffer) and offset < (index + 1) * 4096 for index in self.bad):
            raise OSError(EIO, os.strerror(EIO))
        return super().preadv(fd, buffer, offset, wait=wait)


def test_bad_sectors(lower: LowerVolume) -> None:
    """What the disk cannot read is a gap; the cells around it are rescued (THREAT_MODEL.md section 4, a bad sector)."""
    with lower.unlock() as volume:
        volume.write_file(b"f", CONTENT)
    with lower.unlock(read_only=True, store=BadSectorStore) as volume:
        store: BadSectorStore = volume.ctx.store  # type: ignore[assignment]
        store.bad = frozenset({0, 3, 4})
        assert rescued(volume, b"f") == expected(CONTENT, {0, 3, 4}, 4096)
    evidence.record("repair", "rescue around bad sectors", note="only those cells are missing")


def test_what_cannot_be_rescued(lower: LowerVolume) -> None:
    """Directories, symlinks and what is not there are refused as usual (docs/findings.md, "Rescue")."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.make_symlink(b"l", b"t")
        volume.write_file(b"empty", b"")
    with lower.unlock(read_only=True) as volume:
        for path in (b"d", b"l", b"missing", b"", b"d/missing"):
            with pytest.raises(OSError, match=r"directory|regular file"):
                Rescue(volume, path)
        assert rescued(volume, b"empty") == (b"", [])
