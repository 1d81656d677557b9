"""rename(2) and renameat2(2), against a plain directory, and what the next mount finds of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.linux import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, error_of, renameat2
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look, tree


def names(directory: Path) -> dict[str, object]:
    """Everything below, with the content of files and symlinks."""
    return {
        name: (
            at,
            (directory / name).read_bytes() if at.mode.startswith("0o100") else None,
            os.readlink(directory / name) if at.mode.startswith("0o120") else None,
        )
        for name, at in tree(directory).items()
    }


def populate(directory: Path) -> None:
    """One of each kind: files, full and empty directories, symlinks, a pipe."""
    for name in ("f1", "f2"):
        (directory / name).write_text(f"I am {name}")
    for name in ("empty1", "empty2", "full1", "full2"):
        (directory / name).mkdir()
    for name in ("full1", "full2"):
        (directory / name / "inside").write_text(f"I am in {name}")
    (directory / "link1").symlink_to("f1")
    (directory / "link2").symlink_to("full1/inside")
    os.mkfifo(directory / "pipe1")
    os.mkfifo(directory / "pipe2")


KINDS = (
    *("f1", "f2", "empty1", "empty2", "full1", "full2"),
    *("link1", "link2", "pipe1", "pipe2", "missing", "full1/inside"),
)


@pytest.mark.parametrize("flags", [0, RENAME_NOREPLACE, RENAME_EXCHANGE], ids=["plain", "NOREPLACE", "EXCHANGE"])
def test_every_kind_over_every_kind(twin: Twin, flags: int) -> None:
    """Each kind of object renamed over each other kind: same errno or same tree (FORMAT.md section 11: place first)."""

    def action(directory: Path) -> object:
        seen = []
        for source in KINDS:
            for target in KINDS:
                box = directory / f"{source}-{target}".replace("/", "+")
                box.mkdir()
                populate(box)
                error = error_of(lambda: renameat2(box / source, box / target, flags))  # noqa: B023 - called at once
                seen.append((source, target, error, names(box)))
        return seen

    twin.same(action)


def test_what_was_renamed_is_in_place_after_a_remount(mounted: MountedVolume) -> None:
    """Records name the new place: file, directory, symlink, long and short names, both sides of an exchange."""
    top = mounted.path
    populate(top)
    (top / "f1").rename(top / "full1" / ("long " * 40))
    (top / "full1").rename(top / "empty1" / "moved")
    (top / "full2").rename(top / ("w" * 255))
    (top / "link1").rename(top / "link with another name")
    (top / "link2").rename(top / ("l" * 250))
    renameat2(top / "f2", top / "empty2", RENAME_EXCHANGE)
    renameat2(top / ("w" * 255) / "inside", top / "pipe1", RENAME_EXCHANGE)
    before = names(top)
    mounted.remount()
    assert names(top) == before
    assert (top / "empty1/moved" / ("long " * 40)).read_text() == "I am f1"
    assert (top / "empty2").read_text() == "I am f2"
    assert (top / "pipe1").read_text() == "I am in full2"


def test_rename_over_an_open_file(twin: Twin) -> None:
    """Who has the replaced file open keeps the old content and can go on writing; the name shows the new file."""

    def action(directory: Path) -> object:
        old, new = directory / "document", directory / "document.tmp"
        old.write_bytes(b"old" * 3000)
        fd = os.open(old, os.O_RDWR)
        new.write_bytes(b"new" * 2000)
        writer = os.open(new, os.O_RDWR)
        new.rename(old)
        os.pwrite(fd, b"late", 5000)
        os.pwrite(writer, b"more", 6000)
        os.fsync(fd)
        os.fsync(writer)
        result = look(fd), os.pread(fd, 10_000, 0), look(old), old.read_bytes(), os.listdir(directory)
        os.close(fd)
        os.close(writer)
        return result, old.read_bytes()

    twin.same(action)


def test_rename_of_an_open_file(twin: Twin, shared: MountedVolume) -> None:
    """A file is written on while it moves through directories, over others and to a long name and back."""

    def action(directory: Path) -> object:
        (directory / "sub").mkdir()
        fd = os.open(directory / "a", os.O_RDWR | os.O_CREAT, 0o644)
        here = directory / "a"
        for number, name in enumerate(("b", "sub/c", "n" * 255, "sub/" + "m" * 200, "d", "sub/d")):
            os.pwrite(fd, b"%d" % number * 3000, number * 3000)
            here = here.rename(directory / name)
            assert here.stat().st_size == (number + 1) * 3000
        result = look(fd), here.read_bytes()
        os.close(fd)
        return result, names(directory)

    twin.same(action)
    before = names(twin.mounted)
    shared.remount()
    assert names(twin.mounted) == before


def test_a_program_works_on_in_a_renamed_directory(twin: Twin) -> None:
    """Descriptors of a directory and of what is in it stay good when it, or its parent, is renamed."""

    def action(directory: Path) -> object:
        (directory / "a/b/c").mkdir(parents=True)
        (directory / "other").mkdir()
        inner = os.open(directory / "a/b/c", os.O_RDONLY)
        fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644, dir_fd=inner)
        (directory / "a").rename(directory / "A")
        os.write(fd, b"one")
        (directory / "A/b").rename(directory / "other/B")
        os.write(fd, b"two")
        os.close(os.open("g", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=inner))
        os.mkdir("h", dir_fd=inner)
        os.rename("f", "F", src_dir_fd=inner, dst_dir_fd=inner)
        up = os.stat("..", dir_fd=inner).st_ino == (directory / "other/B").stat().st_ino
        os.close(inner)
        os.close(fd)
        return up, names(directory)

    twin.same(action)


def test_impossible_renames(twin: Twin) -> None:
    """Into itself, over its parent, dot, the same file under two names, whiteouts, bad flags."""

    def action(directory: Path) -> object:
        (directory / "a/b").mkdir(parents=True)
        (directory / "f").write_bytes(b"x")
        os.link(directory / "f", directory / "g")
        pairs = [
            ("a", "a/b/c", 0),
            ("a/b", "a", 0),
            ("a", "a/b", RENAME_EXCHANGE),
            ("a/.", "x", 0),
            ("f", "g", 0),
            ("f", "g", RENAME_EXCHANGE),
            ("f", "f", 0),
            ("f", "f", RENAME_NOREPLACE),
            ("f", "n" * 256, 0),
            ("f", "missing/f", 0),
            ("f", "h", RENAME_NOREPLACE | RENAME_EXCHANGE),
        ]
        errors = [
            error_of(lambda: renameat2(f"{directory}/{old}", f"{directory}/{new}", flags))  # noqa: B023 - called at once
            for old, new, flags in pairs
        ]
        return errors, tree(directory)

    twin.same(action)
    assert error_of(lambda: renameat2(twin.mounted / "f", twin.mounted / "w", RENAME_WHITEOUT)) == "EINVAL"


def test_exchange_keeps_open_files_apart(twin: Twin) -> None:
    """RENAME_EXCHANGE of two open files of which one has a long name: descriptors stay with their file."""

    def action(directory: Path) -> object:
        first, second = directory / "a", directory / ("b" * 255)
        fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in (first, second)]
        os.write(fds[0], b"first" * 2000)
        os.write(fds[1], b"second")
        renameat2(first, second, RENAME_EXCHANGE)
        os.pwrite(fds[0], b"1", 0)
        os.pwrite(fds[1], b"2", 0)
        result = [os.pread(fd, 20_000, 0) for fd in fds], first.read_bytes(), second.read_bytes()
        for fd in fds:
            os.close(fd)
        return result

    twin.same(action)


def test_rename_leaves_times_and_mode_alone(twin: Twin) -> None:
    """The header, record or symlink rewritten for the new place keeps mtime and mode (DESIGN section 7)."""

    def action(directory: Path) -> object:
        populate(directory)
        seen = []
        for number, name in enumerate(("f1", "empty1", "full1", "link1", "pipe1")):
            path = directory / name
            if name != "link1":
                path.chmod(0o754)
            os.utime(path, ns=(number * 10**9 + 7, number * 10**9 + 123_456_789), follow_symlinks=False)
            news = ["moved-" + name, "full2/" + name, "x" * (150 - number)]
            if name != "pipe1":
                news.append("y" * (250 - number))
            for new in news:
                path = path.rename(directory / new)
                seen.append((path.lstat().st_mtime_ns, oct(path.lstat().st_mode)))
        return seen

    twin.same(action)


def test_rename_moves_the_times_of_both_directories(twin: Twin) -> None:
    """mtime of the directory that lost and of the one that got the entry move; of an uninvolved one, no."""
    for directory in (twin.plain, twin.mounted):
        for name in ("from", "to", "other"):
            (directory / name).mkdir()
        (directory / "from/f").write_bytes(b"")
        for name in ("from", "to", "other"):
            os.utime(directory / name, ns=(1, 1))
        (directory / "from/f").rename(directory / "to/f")
        moved = [(directory / name).stat().st_mtime_ns != 1 for name in ("from", "to", "other")]
        assert moved == [True, True, False]
