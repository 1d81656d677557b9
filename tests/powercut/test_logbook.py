"""The crash model of the rig: which pages survive, and how a disk is rebuilt (THREAT_MODEL.md section 4)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.powercut.logbook import (
    CrashPoint,
    Kind,
    LogEntry,
    Medium,
    Survivors,
    choose_points,
    chosen_pages,
    copy_sparse,
    pack,
    read_log,
)


def write(offset: int, data: bytes) -> LogEntry:
    """A write of the filesystem."""
    return LogEntry(Kind.WRITE, offset, data)


BEGIN, END = LogEntry(Kind.FLUSH_BEGIN, 0, b""), LogEntry(Kind.FLUSH_END, 0, b"")
MARK = LogEntry(Kind.MARK, 0, b"mark")
ENTRIES = [write(0, b"a" * 4096), BEGIN, END, MARK, write(1024, b"b" * 8192), BEGIN, write(0, b"c" * 512), END]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An empty disk."""
    path = tmp_path / "base"
    path.write_bytes(bytes(16384))
    return path


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every entry comes back in order, with its place and its bytes (THREAT_MODEL.md section 4)."""
    path = tmp_path / "log"
    path.write_bytes(b"".join(pack(e.kind, e.offset, len(e.data)) + e.data for e in ENTRIES))
    assert read_log(path) == ENTRIES


def test_a_write_is_torn_at_pages_only() -> None:
    """A page of 4 KiB is written whole or not at all (THREAT_MODEL.md section 4)."""
    assert [(at, len(data)) for at, data in ENTRIES[4].pages()] == [(1024, 3072), (4096, 4096), (8192, 1024)]


def test_what_was_flushed_is_there_and_nothing_else(base: Path, tmp_path: Path) -> None:
    """Before the last flush that was done: all; after it: what is chosen. One that only began confirms nothing."""
    medium = Medium(base, ENTRIES, tmp_path)
    for index in range(3):
        assert medium.after(CrashPoint(index, Survivors.NONE, 0)).read_bytes() == bytes(16384)
    for index in range(3, 8):
        seen = medium.after(CrashPoint(index, Survivors.NONE, 0)).read_bytes()
        assert seen == b"a" * 4096 + bytes(12288)
    seen = medium.after(CrashPoint(7, Survivors.ALL, 0)).read_bytes()
    assert seen == b"c" * 512 + b"a" * 512 + b"b" * 8192 + bytes(7168)
    assert medium.after(CrashPoint(8, Survivors.NONE, 0)).read_bytes() == seen
    assert medium.marks(3) == []
    assert medium.marks(4) == [b"mark"]


def test_subsets_are_of_pages_and_come_again() -> None:
    """SOME takes each page or leaves it, TORN ends inside the last write, a seed gives the same again (section 4)."""
    writes = [write(4096 * n, bytes([n]) * 8192) for n in range(20)]
    whole = {page for entry in writes for page in entry.pages()}
    for survivors in (Survivors.SOME, Survivors.MOST, Survivors.FEW, Survivors.TORN):
        point = CrashPoint(20, survivors, 5)
        chosen = chosen_pages(writes, point)
        assert set(chosen) < whole
        assert chosen == chosen_pages(writes, point)
        assert CrashPoint.parse(str(point)) == point
    torn = chosen_pages(writes, CrashPoint(20, Survivors.TORN, 5))
    assert torn[:38] == [page for entry in writes[:19] for page in entry.pages()]


def test_points_are_many_and_in_order() -> None:
    """As many points as asked for, over the whole log, of every kind (THREAT_MODEL.md section 4)."""
    entries = ENTRIES * 50
    points = choose_points(entries, 100, 1)
    assert len(points) == 100
    assert points == sorted(points)
    assert {point.survivors for point in points} == set(Survivors)
    assert points[0].index < 40
    assert points[-1].index > len(entries) - 40


def test_sparse_copies_are_equal(tmp_path: Path) -> None:
    """A copy has the bytes of the original, with its holes (THREAT_MODEL.md section 4)."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(1 << 22)
        os.pwrite(file.fileno(), b"x" * 5000, 1 << 20)
    copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks
