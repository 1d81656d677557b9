"""Listing directories: large ones, while they change, positions that stay true."""

from __future__ import annotations

import os
import random
import select
from pathlib import Path

import pytest

from tests.support.linux import Child, DirStream
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin

DOTS = {b".", b".."}


@pytest.mark.parametrize("count", [10_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_many_entries_while_others_change_them(mounted: MountedVolume, count: int) -> None:
    """Whoever lists sees what is there all the time exactly once, while others delete, create and rename."""
    box = mounted.path / "box"
    box.mkdir()
    here = os.open(box, os.O_RDONLY)
    for number in range(count):
        # Nodes without content: what is listed is the same, and they are made three times as fast.
        os.mknod(f"entry {number}", 0o010644, dir_fd=here)
    lasting = {b"entry %d" % number for number in range(count) if number % 10}
    (reader, writer), (working, works) = os.pipe(), os.pipe()

    def disturb() -> int:
        """Until told to stop: two of three deleted entries come back under their name, the third as a file renamed."""
        os.close(writer)
        rng, rounds = random.Random(1), 0
        while not select.select([reader], [], [], 0)[0]:
            number = rng.randrange(0, count, 10)
            os.unlink(f"entry {number}", dir_fd=here)
            if number % 30:
                os.mknod(f"entry {number}", 0o010644, dir_fd=here)
            else:
                os.close(os.open(f"new {rounds}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=here))
                os.rename(f"new {rounds}", f"entry {number}", src_dir_fd=here, dst_dir_fd=here)
            rounds += 1
            if rounds == 10:
                os.write(works, b".")
        return rounds

    child = Child(disturb)
    os.close(reader)
    os.close(works)
    assert os.read(working, 1) == b"."
    for _ in range(5):
        with DirStream(box) as stream:
            names = stream.rest()
        assert len(names) == len(set(names))
        assert lasting <= set(names)
    os.close(writer)
    os.close(working)
    assert child.result() >= 10
    with DirStream(box) as stream:
        assert sorted(stream.rest()) == sorted({b"entry %d" % number for number in range(count)} | DOTS)
    os.close(here)


def test_positions_stay_true_while_entries_go(twin: Twin) -> None:
    """telldir and seekdir: after a position follows exactly what followed before, without what was deleted."""
    box = twin.mounted / "box"
    box.mkdir()
    for number in range(3000):
        (box / f"entry {number}").write_bytes(b"")
    with DirStream(box) as stream:
        positions, names = [], []
        while True:
            positions.append(stream.tell())
            name = stream.read()
            if name is None:
                break
            names.append(name)
        assert set(names) == {b"entry %d" % number for number in range(3000)} | DOTS
        rng = random.Random(2)
        gone = set(rng.sample([name for name in names if name not in DOTS], 1000))
        for name in gone:
            os.unlink(os.fsencode(box) + b"/" + name)
        for spot in (1, 2, 3, 17, 1000, 2500, 3001, 3002, *rng.sample(range(3000), 10)):
            stream.seek(positions[spot])
            rest = stream.rest()
            expected = [name for name in names[spot:] if name not in gone]
            assert rest == expected


def test_deleting_while_listing(twin: Twin) -> None:
    """The loop of rm -r: every entry is read and removed in one pass, however many reads the listing takes."""
    box = twin.mounted / "box"
    box.mkdir()
    for number in range(5000):
        os.mknod(box / f"entry {number} with a name that is not short at all", 0o010644)
    count = 0
    with DirStream(box) as stream:
        while (name := stream.read()) is not None:
            if name not in DOTS:
                os.unlink(os.fsencode(box) + b"/" + name)
                count += 1
    assert count == 5000
    box.rmdir()


def test_rewinding_shows_what_is_new(twin: Twin) -> None:
    """rewinddir on an open directory lists it as it is now; reading on may leave new entries out."""

    def action(directory: Path) -> object:
        (directory / "first").mkdir()
        with DirStream(directory) as stream:
            seen = [sorted(stream.rest())]
            (directory / "second").write_bytes(b"")
            (directory / "first").rmdir()
            stream.seek(0)
            seen.append(sorted(stream.rest()))
        fd = os.open(directory, os.O_RDONLY)
        for _ in range(2):
            seen.append(sorted(map(os.fsencode, os.listdir(fd))))
            (directory / "third").write_bytes(b"")
        os.close(fd)
        return seen

    twin.same(action)


def test_two_listings_do_not_disturb_each_other(twin: Twin) -> None:
    """Two streams of one directory keep positions of their own."""
    for number in range(1000):
        (twin.mounted / f"e{number}").write_bytes(b"")
    with DirStream(twin.mounted) as first, DirStream(twin.mounted) as second:
        names = [[first.read(), second.read()] for _ in range(500)]
        rest = first.rest(), second.rest()
    for side in (0, 1):
        whole = [pair[side] for pair in names] + rest[side]
        assert len(whole) == len(set(whole)) == 1002


def test_entries_say_their_kind_and_number(twin: Twin) -> None:
    """d_type and d_ino of a listing are those of lstat, for every kind of object."""
    (twin.mounted / "f").write_bytes(b"")
    (twin.mounted / "d").mkdir()
    (twin.mounted / "s").symlink_to("f")
    (twin.mounted / ("s" * 200)).symlink_to("f")
    os.mkfifo(twin.mounted / "p")
    for entry in os.scandir(twin.mounted):
        info = os.lstat(entry.path)
        assert entry.inode() == info.st_ino
        assert (entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False), entry.is_symlink()) == (
            info.st_mode & 0o170000 == 0o100000,
            info.st_mode & 0o170000 == 0o040000,
            info.st_mode & 0o170000 == 0o120000,
        )


def test_deep_trees(twin: Twin) -> None:
    """A path deeper than PATH_MAX is made, walked, renamed at its top and removed, step by step."""

    def action(directory: Path) -> object:
        start = os.open(directory, os.O_RDONLY)
        here = os.dup(start)
        for depth in range(300):
            os.mkdir(f"{depth} {'x' * 20}", dir_fd=here)
            below = os.open(f"{depth} {'x' * 20}", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
        os.close(here)
        os.rename(f"0 {'x' * 20}", "top", src_dir_fd=start, dst_dir_fd=start)
        depths = [len(folders) + len(files) for _, folders, files, fd in os.fwalk("top", dir_fd=start)]
        for _, folders, files, fd in os.fwalk("top", dir_fd=start, topdown=False):
            for name in files:
                os.unlink(name, dir_fd=fd)
            for name in folders:
                os.rmdir(name, dir_fd=fd)
        os.rmdir("top", dir_fd=start)
        os.close(start)
        return depths, os.listdir(directory)

    twin.same(action)
