"""The bytes of files: any offset and length, holes, truncation, shared mappings, large files. All three cell sizes."""

from __future__ import annotations

import mmap
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import Maker, make_twin
from tests.support.linux import Child, error_of, read_direct
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look

CELL_SIZES = (4096, 16384, 65536)


@pytest.fixture(scope="module", params=CELL_SIZES)
def volume(make_shared: Maker, request: pytest.FixtureRequest) -> MountedVolume:
    """A volume of each cell size."""
    return make_shared(cell_size=request.param)


@pytest.fixture
def cell(request: pytest.FixtureRequest, volume: MountedVolume) -> int:
    """The cell size of ``volume``."""
    size = volume.cell_size
    assert size in CELL_SIZES
    return size


@pytest.fixture
def pair(volume: MountedVolume) -> Iterator[Twin]:
    """A directory in ``volume``, and its like."""
    yield from make_twin(volume)


def borders(cell: int, cells: int = 3) -> list[int]:
    """Plain offsets on and beside the borders of the first cells (FORMAT.md section 9.2)."""
    first = cell - 512 - 32
    starts = [0, *(first + number * (cell - 32) for number in range(cells))]
    return sorted({max(0, start + delta) for start in starts for delta in (-1, 0, 1)})


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere."""
    return random.Random(seed).randbytes(size)


def assert_like(pair: Twin, name: str) -> None:
    """Both files hold the same bytes, in the cache and behind it."""
    expected = (pair.plain / name).read_bytes()
    assert (pair.mounted / name).read_bytes() == expected
    assert read_direct(pair.mounted / name) == expected
    assert look(pair.mounted / name) == look(pair.plain / name)


def test_writes_at_every_border(pair: Twin, cell: int) -> None:
    """A write from any border to any other leaves exactly the bytes it should, over data, at the end and beyond it."""
    spots = borders(cell, 2)
    for before in (0, spots[4], spots[-1]):

        def action(directory: Path, before: int = before) -> None:
            fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            for number, start in enumerate(spots):
                for end in spots[number + 1 :]:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, noise(before), 0)
                    os.pwrite(fd, noise(end - start, 7), start)
                    os.fsync(fd) if end % 5 == 0 else None
                    assert os.pread(fd, end + 10, 0)[start:end] == noise(end - start, 7)
            os.close(fd)

        action(pair.plain)
        action(pair.mounted)
        assert_like(pair, "f")


def test_reads_at_every_border(pair: Twin, cell: int) -> None:
    """A read of any length from any border gives what is there, past the page cache too, and nothing past the end."""
    content = noise(borders(cell)[-1] + 1000)
    for directory in (pair.plain, pair.mounted):
        (directory / "f").write_bytes(content)
    spots = [*borders(cell), len(content) - 1, len(content), len(content) + 1]
    fd = os.open(pair.mounted / "f", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for start in spots:
        for end in spots:
            if end >= start:
                assert os.pread(fd, end - start, start) == content[start:end]
    os.close(fd)
    assert read_direct(pair.mounted / "f") == content
    assert read_direct(pair.mounted / "f", piece=4096) == content


def test_random_work_stays_equal(pair: Twin, cell: int, volume: MountedVolume) -> None:
    """Hundreds of writes, truncations, appends, reads and fsyncs on two descriptors: never a byte of difference."""
    rng = random.Random(cell)
    fds = [
        [os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644) for _ in range(2)]
        for directory in (pair.plain, pair.mounted)
    ]
    limit = 12 * cell

    def both(action: str, *arguments: object) -> None:
        which = rng.randrange(2)
        first, second = (getattr(os, action)(fds[side][which], *arguments) for side in (0, 1))
        assert first == second

    for step in range(500):
        choice = rng.random()
        offset = rng.choice([rng.randrange(limit), rng.choice(borders(cell, 10))])
        if choice < 0.45:
            both("pwrite", rng.randbytes(rng.choice([1, 100, cell, rng.randrange(1, 3 * cell)])), offset)
        elif choice < 0.75:
            both("pread", rng.randrange(1, 3 * cell), offset)
        elif choice < 0.9:
            both("ftruncate", offset)
        elif choice < 0.95:
            both("fsync")
        else:
            assert look(fds[1][0]) == look(fds[0][0])
        if step % 100 == 99:
            assert_like(pair, "f")
    for fd in (*fds[0], *fds[1]):
        os.close(fd)
    assert_like(pair, "f")


def test_truncation_across_borders(pair: Twin, cell: int) -> None:
    """truncate from any border to any other, up and down: the rest stays, what was cut off never comes back."""
    spots = borders(cell)

    def action(directory: Path) -> object:
        path = directory / "f"
        seen = []
        for start in spots[::2]:
            for end in spots:
                path.write_bytes(noise(start, start))
                os.truncate(path, end)
                seen.append((path.stat().st_size, path.read_bytes()))
                os.truncate(path, spots[-1])
                seen.append((path.stat().st_size, path.read_bytes()))
        return seen

    pair.same(action)
    assert_like(pair, "f")


def test_shrinking_after_fsync_and_growing_again(pair: Twin, cell: int) -> None:
    """Below the synced size (FORMAT.md section 11): the bytes between are zero after growing, not the old ones."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"\xff" * (5 * cell))
        os.fsync(fd)
        os.ftruncate(fd, cell + 10)
        os.ftruncate(fd, 4 * cell)
        os.fsync(fd)
        os.ftruncate(fd, 0)
        os.ftruncate(fd, 100)
        result = os.pread(fd, 6 * cell, 0)
        os.close(fd)
        return result

    pair.same(action)
    assert_like(pair, "f")


def test_sparse_file(pair: Twin, cell: int, volume: MountedVolume) -> None:
    """Holes read as zeros and take no room below; they can be filled, from either side, also after a remount."""
    size = 40 * cell

    def make(directory: Path) -> None:
        with (directory / "f").open("wb") as file:
            file.truncate(size)
            file.seek(10 * cell + 5)
            file.write(b"island")
            file.seek(20 * cell)
            file.write(noise(2 * cell))

    def fill(directory: Path) -> None:
        with (directory / "f").open("r+b") as file:
            file.seek(10 * cell - 100)
            file.write(noise(3 * cell, 3))
            file.truncate(15 * cell)
            file.truncate(50 * cell)

    for step in (make, fill):
        step(pair.plain)
        step(pair.mounted)
        assert_like(pair, "f")
        os.sync()
        blocks = (pair.mounted / "f").stat().st_blocks * 512
        # Data, the cells at its edges, one for each border of a hole, and the last cell.
        assert 0 < blocks <= 12 * cell
        volume.remount()
        assert_like(pair, "f")


def test_a_write_far_behind_the_end(pair: Twin, cell: int) -> None:
    """A gap between the old end and a write reads as zeros, wherever in a cell both lie."""
    spots = borders(cell)

    def action(directory: Path) -> object:
        seen = []
        for start in spots[:6]:
            for end in spots[3:]:
                path = directory / "f"
                path.write_bytes(noise(start))
                with path.open("r+b") as file:
                    file.seek(end)
                    file.write(b"!")
                seen.append(path.read_bytes())
        return seen

    pair.same(action)
    assert_like(pair, "f")


def test_too_large_a_size_changes_nothing(pair: Twin, cell: int) -> None:
    """EFBIG, from us or from below, leaves size and content as they were, also for the next mount."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"small")
        fd = os.open(path, os.O_RDWR)
        errors = [error_of(lambda size=size: os.ftruncate(fd, size)) for size in (1 << 50, (1 << 62) + 1)]  # type: ignore[misc]
        os.close(fd)
        return errors, look(path), path.read_bytes()

    pair.same(action)
    assert read_direct(pair.mounted / "f") == b"small"
    again = os.open(pair.mounted / "f", os.O_RDWR | os.O_DIRECT)
    assert os.fstat(again).st_size == 5
    os.close(again)


def test_file_beyond_four_gib(make_volume: Maker) -> None:
    """Offsets above 2^32: data on both sides of the border and far behind it, sparse below, there after a remount."""
    volume = make_volume()
    path = volume.path / "large"
    four = 1 << 32
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(four - 5000)
        file.write(noise(10_000))
        file.seek(2 * four + 1)
        file.write(b"end")
    volume.remount()
    info = path.stat()
    assert info.st_size == 2 * four + 4
    assert info.st_blocks * 512 < 1 << 20
    with path.open("r+b") as file:
        for offset, expected in (
            (0, b"begin" + bytes(5000)),
            (four - 5001, b"\0" + noise(10_000) + b"\0"),
            (four + four // 2, bytes(10_000)),
            (2 * four - 100, bytes(101) + b"end"),
        ):
            file.seek(offset)
            assert file.read(len(expected)) == expected
        file.truncate(four + 1)
        file.seek(four - 10)
        assert file.read() == noise(10_000)[4990:5001]
        file.truncate(1 << 40)
    assert path.stat().st_size == 1 << 40
    with path.open("rb") as file:
        file.seek((1 << 40) - 3)
        assert file.read() == bytes(3)
    # The check at the end would read a tebibyte of zeros.
    path.unlink()


def test_shared_mapping(pair: Twin, cell: int, volume: MountedVolume) -> None:
    """mmap(MAP_SHARED): stores are seen by read(), by other mappings, after msync below, and after a remount."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(noise(3 * cell))
        fd = os.open(path, os.O_RDWR)
        first, second = mmap.mmap(fd, 3 * cell), mmap.mmap(fd, 2 * cell)
        for offset in (0, 5, cell - 545, cell - 33, 2 * cell - 70):
            first[offset : offset + 8] = b"mapped!!"
        seen = [second[: 2 * cell], os.pread(fd, 4 * cell, 0)]
        os.pwrite(fd, b"written", 100)
        seen.append(first[100:107])
        first.flush()
        for mapping in (first, second):
            mapping.close()
        os.close(fd)
        return seen

    pair.same(action)
    assert_like(pair, "f")
    volume.remount()
    assert_like(pair, "f")


def test_mapping_grown_and_kept_after_close(pair: Twin, cell: int) -> None:
    """A mapping outlives its descriptor; after ftruncate up, stores behind the old end stay."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"short")
        os.ftruncate(fd, 2 * cell)
        mapping = mmap.mmap(fd, 2 * cell)
        os.close(fd)
        mapping[2 * cell - 3 :] = b"end"
        mapping[10:14] = b"more"
        mapping.flush()
        result = (directory / "f").read_bytes()
        mapping.close()
        return result

    pair.same(action)
    assert_like(pair, "f")


def test_private_mapping_writes_nothing(twin: Twin) -> None:
    """mmap(MAP_PRIVATE): stores stay in the process."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"as it was")
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapping:
            mapping[:2] = b"XX"
            return mapping[:], path.read_bytes()

    twin.same(action)


def test_two_processes_write_one_file(pair: Twin, cell: int) -> None:
    """Two processes that write interleaved records, smaller than a cell, into one file: both see all of both."""
    record, count = 700, 300
    path = pair.mounted / "f"
    path.write_bytes(b"")

    def work(mine: int) -> bool:
        fd = os.open(path, os.O_RDWR)
        for number in range(mine, count, 2):
            os.pwrite(fd, bytes([number % 251 + 1]) * record, number * record)
            if number % 50 == mine:
                os.fsync(fd)
        os.close(fd)
        return True

    children = [Child(lambda mine=mine: work(mine)) for mine in (0, 1)]  # type: ignore[misc]
    assert all(child.result() for child in children)
    expected = b"".join(bytes([number % 251 + 1]) * record for number in range(count))
    assert path.read_bytes() == expected
    assert read_direct(path) == expected


def test_writers_and_readers_at_once(twin: Twin) -> None:
    """A reader never sees a record half written while another thread rewrites the file in whole records."""
    path = twin.mounted / "f"
    record = 512
    path.write_bytes(b"\1" * record * 64)
    done = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            for value in range(2, 40):
                for number in range(64):
                    os.pwrite(file.fileno(), bytes([value]) * record, number * record)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    with path.open("rb", buffering=0) as file:
        while not done.is_set():
            for number in range(0, 64, 7):
                assert len(set(os.pread(file.fileno(), record, number * record))) == 1
    writer.join()
    assert path.read_bytes() == bytes([39]) * record * 64


def test_calls_without_a_handler_of_ours(twin: Twin) -> None:
    """copy_file_range and sendfile copy; SEEK_END and SEEK_HOLE find the end; posix_fallocate makes room."""

    def action(directory: Path) -> object:
        source, target = directory / "source", directory / "target"
        source.write_bytes(noise(100_000))
        out = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
        fd = os.open(source, os.O_RDONLY)
        copied = 0
        while count := os.copy_file_range(fd, out, 60_000 - copied):
            copied += count
        while count := os.sendfile(out, fd, None, 50_000):
            copied += count
        ends = os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 5, os.SEEK_DATA)
        os.posix_fallocate(out, 100_000, 30_000)
        os.close(fd)
        os.close(out)
        return copied, ends, target.read_bytes()

    twin.same(action)
