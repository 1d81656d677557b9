"""The header of a file: what it says when, and which keys it names (FORMAT.md sections 9.1, 9.2 and 11)."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from encfs.core import frames
from encfs.core.cells import CellError
from encfs.format.header import FileHeader, HeaderFlag
from encfs.volume import Volume
from encfs.volume.file import OpenFile
from tests.support.stores import EIO, FailingStore
from tests.support.volumes import CELLS, LONG, LowerVolume, flip, open_file, pattern, read


def on_disk(volume: Volume, file: OpenFile) -> FileHeader:
    """The header that stands in the lower file now."""
    return frames.open_header(volume.ctx.ring, os.pread(file.fd, 512, 0))


def test_synced_size_lags_one_fsync(lower: LowerVolume) -> None:
    """The synced size is what the fsync before has confirmed (FORMAT.md section 9.1)."""
    with lower.unlock() as volume, open_file(volume, b"log") as file:
        seen = []
        for size in (100, 5000, 5001):
            file.write(0, pattern(size))
            file.sync()
            header = on_disk(volume, file)
            seen.append((header.size, header.synced_size))
        assert seen == [(100, 0), (5000, 100), (5001, 5000)]
        file.sync()
        assert on_disk(volume, file).synced_size == 5001


def test_failed_fdatasync_confirms_nothing(lower: LowerVolume) -> None:
    """Bytes of an fsync that failed are never called synced (FORMAT.md section 9.1)."""
    with lower.unlock(store=FailingStore) as volume, open_file(volume, b"log") as file:
        file.write(0, b"one")
        volume.ctx.store.broken["fdatasync"] = EIO
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        volume.ctx.store.broken.clear()
        file.write(3, b"two")
        file.settle()
        assert on_disk(volume, file).synced_size == 0


def test_close_does_not_confirm(lower: LowerVolume) -> None:
    """Closing a file writes its size but calls nothing synced (FORMAT.md section 11)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
    header = lower.header(b"a")
    assert (header.size, header.synced_size) == (7, 0)


def test_shrinking_lowers_the_synced_size_first(lower: LowerVolume) -> None:
    """Before synced bytes go, the header says so and is durable (FORMAT.md section 11, writing order)."""
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.write(0, pattern(10_000))
        file.sync()
        file.sync()
        assert on_disk(volume, file).synced_size == 10_000
        store = volume.ctx.store
        order: list[str] = []
        for name in ("pwrite", "fdatasync", "truncate"):
            real = getattr(store, name)

            def spy(*arguments: object, name: str = name, real: object = real) -> object:
                is_header = name == "pwrite" and arguments[2] == 0
                order.append("header" if is_header else name)
                return real(*arguments)  # type: ignore[operator]

            setattr(store, name, spy)
        file.truncate(5000)
        assert order[:3] == ["header", "fdatasync", "pwrite"]
        assert set(order[3:]) == {"truncate"}
        header = on_disk(volume, file)
        assert (header.size, header.synced_size) == (5000, 5000)


def test_generation_grows_with_every_write_of_the_header(lower: LowerVolume) -> None:
    """Each header is of a later generation and names the session that wrote it (FORMAT.md section 9.1)."""
    generations = []
    for step in range(4):
        with lower.unlock() as volume:
            with open_file(volume, b"a") as file:
                for _ in range(3):
                    file.write(file.size, b"x")
                    file.sync()
                    header = on_disk(volume, file)
                    generations.append(header.generation)
                    assert header.session == volume.ctx.session
            if step == 2:
                volume.rename(b"a", b"b")
                volume.rename(b"b", b"a")
    assert generations == sorted(set(generations))
    assert lower.header(b"a").generation >= generations[-1]


def test_empty_file_has_a_header_and_nothing_else(lower: LowerVolume) -> None:
    """A file of no bytes is 512 bytes below (FORMAT.md section 9.3)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"")
        assert volume.stat(b"a").size == 0
    assert lower.lower(b"a").stat().st_size == 512


@pytest.mark.parametrize("cell_size", CELLS)
def test_truncation_to_zero_takes_fresh_keys(lower: LowerVolume, tmp_path: object, cell_size: int) -> None:
    """O_TRUNC gives a fresh fid and content key, so that no old cell comes back (FORMAT.md section 9.1)."""
    lower = LowerVolume(lower.path.with_name("other"), cell_size)
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(2 * cell_size))
        with open_file(volume, b"a") as file:
            file.write(1 << 20, b"sparse")
        volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"b")
    path, before = lower.lower(b"a"), lower.header(b"a")
    old = path.read_bytes()
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.truncate(0)
        file.write(0, b"new secret")
    after = lower.header(b"a")
    assert after.fid != before.fid
    assert after.content_key != before.content_key
    assert after.previous_content_key is None
    assert after.attribute_id == before.attribute_id
    assert before.flags == HeaderFlag.SPARSE | HeaderFlag.MULTI
    assert after.flags == HeaderFlag.MULTI
    assert after.cells_sealed == 1
    with path.open("r+b") as raw:  # the old cell 0, put back by somebody
        raw.seek(512)
        raw.write(old[512:cell_size])
    with lower.unlock() as volume, pytest.raises(CellError):
        read(volume, b"a")


def test_hard_link_sets_multi_and_lifts_the_place(lower: LowerVolume) -> None:
    """With MULTI the header names one of the links and every link opens (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.write_file(b"a", b"content")
        with open_file(volume, b"a") as file:
            assert not file.header.flags
        node = volume.resolve(b"a")
        volume.changes.link(node, volume.resolve(b"d"), b"b")
        assert volume.stat(b"a").links == volume.stat(b"d/b").links == 2
    header = lower.header(b"d/b")
    assert header.flags == HeaderFlag.MULTI
    assert (header.parent, header.name) == (lower.root_id(), b"a")
    with lower.unlock() as volume:
        volume.remove(b"a")
        assert read(volume, b"d/b") == b"content"
        volume.rename(b"d/b", b"c")
        assert read(volume, b"c") == b"content"
    assert lower.findings() == []


def test_multi_header_names_the_long_link(lower: LowerVolume) -> None:
    """Of several links the header names the one with a long name (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
        volume.changes.link(volume.resolve(b"a"), volume.tree.root, LONG)
        assert {entry.name for entry in volume.list_directory()} == {b"a", LONG}
        assert read(volume, b"a") == read(volume, LONG) == b"content"
    assert lower.header(b"a").name == LONG


@pytest.mark.parametrize("cell_size", CELLS)
def test_cells_under_the_previous_content_key(tmp_path: object, lower: LowerVolume, cell_size: int) -> None:
    """A cell whose parity bit differs from PARITY opens with the previous key; new ones use the new (section 9.2)."""
    lower = LowerVolume(lower.path.with_name("other"), cell_size)
    data = bytearray(pattern(5 * cell_size))
    with lower.unlock() as volume:
        volume.write_file(b"a", bytes(data))
    path, before = lower.lower(b"a"), lower.header(b"a")
    fresh = replace(
        before, flags=HeaderFlag.PARITY, content_key=bytes(range(32)), previous_content_key=before.content_key
    )
    lower.write_header(path, fresh)
    with lower.unlock() as volume:
        assert read(volume, b"a") == data
        with open_file(volume, b"a") as file:
            for offset, size in ((10, 20), (2 * cell_size, cell_size), (len(data) - 5, 100)):
                piece = pattern(size, offset)
                file.write(offset, piece)
                data[offset : offset + size] = piece
        assert read(volume, b"a") == data
    flags = {index: path.read_bytes()[(index * cell_size or 512) + 2] for index in range(6)}
    assert set(flags.values()) == {0, 1}
    assert flags[0] == flags[5] == 1
    with lower.unlock() as volume:
        assert read(volume, b"a") == data
    assert lower.findings() == []
    assert lower.header(b"a").flags == HeaderFlag.PARITY


def test_cell_of_a_key_that_the_header_does_not_name(lower: LowerVolume) -> None:
    """Without a previous content key a cell with the other parity does not open (FORMAT.md section 9.2)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(3000))
    path = lower.lower(b"a")
    flip(path, 514)
    with lower.unlock() as volume, pytest.raises(CellError, match="cell 0: sealed under a key"):
        read(volume, b"a")


def test_header_writes_leave_mtime_alone(lower: LowerVolume) -> None:
    """Only a program's writes move mtime, our own header writes do not (DESIGN section 7, FORMAT.md section 11)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
        volume.make_directory(b"d")
        path = lower.lower_in(volume, b"a")
        os.utime(path, ns=(1_000_000_001, 2_000_000_002))
        volume.rename(b"a", b"b")
        volume.changes.link(volume.resolve(b"b"), volume.tree.root, b"c")
        with open_file(volume, b"b") as file:
            file.sync()
        assert volume.stat(b"b").mtime_ns == 2_000_000_002
        with open_file(volume, b"b") as file:
            file.write(7, b"more")
            os.utime(file.fd, ns=(1, 3_000_000_003))
        assert volume.stat(b"b").mtime_ns == 3_000_000_003


def test_cells_sealed_are_counted(lower: LowerVolume) -> None:
    """The header counts at least the cells that were sealed under its content key (FORMAT.md section 9.1)."""
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        for _ in range(10):
            file.write(0, b"x")
        file.write(0, pattern(3 * 4096))
    assert 14 <= lower.header(b"a").cells_sealed <= 20


def test_bound_of_cells_under_one_key(lower: LowerVolume) -> None:
    """At 2^31 cells writing stops with EIO, and emptying the file starts anew (FORMAT.md section 9.2)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
    lower.write_header(lower.lower(b"a"), replace(lower.header(b"a"), cells_sealed=(1 << 31) - 1))
    with lower.unlock() as volume:
        with open_file(volume, b"a") as file:
            file.write(0, b"C")
            with pytest.raises(OSError, match="exhausted"):
                file.write(0, b"D")
            assert bytes(file.read(0, 100)) == b"Content"
            file.truncate(0)
            file.write(0, b"again")
        assert read(volume, b"a") == b"again"
        assert volume.ctx.events == 1
