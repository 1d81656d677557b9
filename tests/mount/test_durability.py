"""What fsync, fdatasync, msync and syncfs confirmed is there after kill -9 of the daemon (FORMAT.md section 11)."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.core import frames
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.linux import error_of, syncfs
from tests.support.mounting import SECRET, MountedVolume, wait_for
from tests.support.twin import Twin, tree


def sync_directory(path: Path) -> None:
    """fsync of a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def crash(volume: MountedVolume, *fds: int) -> None:
    """kill -9 the daemon, let go of its dead descriptors, mount again."""
    volume.kill()
    for fd in fds:
        error_of(lambda fd=fd: os.close(fd))  # type: ignore[misc]
    volume.mount()


@pytest.mark.parametrize("sync", [os.fsync, os.fdatasync, syncfs], ids=["fsync", "fdatasync", "syncfs"])
def test_synced_data_survives(mounted: MountedVolume, sync: Callable[[int], None]) -> None:
    """Data, size after growth, overwriting, truncation and holes, as they were when the call returned."""
    top = mounted.path
    grown, cut, holed, overwritten = (top / name for name in ("grown", "cut", "holed", "overwritten"))
    fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in (grown, cut, holed, overwritten)]
    os.write(fds[0], b"first")
    os.write(fds[1], b"c" * 50_000)
    os.pwrite(fds[2], b"h" * 100, 1_000_000)
    os.write(fds[3], b"o" * 10_000)
    for fd in fds:
        sync(fd)
    os.pwrite(fds[0], b"g" * 20_000, 5)
    os.ftruncate(fds[1], 4321)
    os.pwrite(fds[3], b"new", 4090)
    for fd in fds:
        sync(fd)
    sync_directory(top)
    crash(mounted, *fds)
    assert grown.read_bytes() == b"first" + b"g" * 20_000
    assert cut.read_bytes() == b"c" * 4321
    assert holed.read_bytes() == bytes(1_000_000) + b"h" * 100
    assert overwritten.read_bytes() == b"o" * 4090 + b"new" + b"o" * 5907


def test_msync_survives(mounted: MountedVolume) -> None:
    """msync(MS_SYNC) of a shared mapping."""
    path = mounted.path / "f"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, 20_000)
    mapping = mmap.mmap(fd, 20_000)
    mapping[9_990:10_000] = b"0123456789"
    mapping.flush()
    sync_directory(mounted.path)
    mounted.kill()
    mapping.close()
    error_of(lambda: os.close(fd))
    mounted.mount()
    assert path.read_bytes() == bytes(9_990) + b"0123456789" + bytes(10_000)


def test_synced_directories_survive(mounted: MountedVolume) -> None:
    """mkdir, create, rename, link, symlink, unlink, rmdir: after fsync of the directories the tree is what it was."""
    top = mounted.path
    for name in ("a", "a/b", "gone"):
        (top / name).mkdir()
    (top / "a/f").write_bytes(b"content")
    (top / "a/f").rename(top / "a/b/g")
    (top / "a/b").rename(top / "c")
    os.link(top / "c/g", top / "linked")
    (top / "s").symlink_to("c/g")
    (top / "s").rename(top / "c/t")
    (top / "gone").rmdir()
    (top / ("l" * 255)).write_bytes(b"long")
    (top / ("l" * 255)).rename(top / ("m" * 255))
    os.mkfifo(top / "p")
    fd = os.open(top / "c/g", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for directory in (top / "c", top / "a", top):
        sync_directory(directory)
    before = tree(top)
    crash(mounted)
    assert tree(top) == before
    assert (top / "linked").read_bytes() == b"content"
    assert (top / ("m" * 255)).read_bytes() == b"long"
    assert os.readlink(top / "c/t") == "c/g"


def test_the_way_programs_save(mounted: MountedVolume) -> None:
    """Write a temporary file, fsync, rename over, fsync the directory: the new content, always whole."""
    path = mounted.path / "letter.odt"
    path.write_bytes(b"version 0" * 1000)
    for version in range(1, 4):
        fresh = mounted.path / ".~letter.odt"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"version %d" % version * 1000)
        os.fsync(fd)
        os.close(fd)
        fresh.rename(path)
        sync_directory(mounted.path)
        crash(mounted)
        assert path.read_bytes() == b"version %d" % version * 1000
        assert os.listdir(mounted.path) == ["letter.odt"]


def test_sync_calls_answer_like_elsewhere(twin: Twin) -> None:
    """On read-only descriptors, directories, unlinked files and pipes: success or the errno of ext4."""

    def action(directory: Path) -> object:
        (directory / "f").write_bytes(b"x")
        os.mkfifo(directory / "p")
        flags = os.O_RDONLY | os.O_NONBLOCK
        fds = [os.open(path, flags) for path in (directory / "f", directory, directory / "p")]
        fds.append(os.open(directory / "f", os.O_PATH))
        (directory / "f").unlink()
        seen = [[error_of(lambda: call(fd)) for call in (os.fsync, os.fdatasync, syncfs)] for fd in fds]  # noqa: B023
        for fd in fds:
            os.close(fd)
        return seen

    twin.same(action)


def test_lock_keeps_what_was_never_synced(mounted: MountedVolume) -> None:
    """cloakfs lock writes all that is dirty, without any fsync by a program; the next mount has it."""
    for number in range(100):
        (mounted.path / str(number)).write_bytes(b"%d" % number * 1000)
    mounted.remount()
    for number in range(100):
        assert (mounted.path / str(number)).read_bytes() == b"%d" % number * 1000


def _only_lower_file(volume: MountedVolume) -> Path:
    return next(path for path in volume.lower.iterdir() if path.is_file() and not path.name.startswith("cloakfs."))


def _name_in_header(volume: MountedVolume) -> bytes:
    """The name that the header of the only file says, in a volume whose daemon is dead."""
    with Volume.unlock(os.fsencode(volume.lower), SECRET, SlotKind.PASSPHRASE, read_only=True) as unlocked:
        return frames.open_header(unlocked.ctx.ring, _only_lower_file(volume).read_bytes()[:512]).name


def test_header_names_the_new_place_before_a_directory_is_synced(mounted: MountedVolume) -> None:
    """Section 11: fsync of a directory brings the headers of renamed files in line before it."""
    (mounted.path / "before").write_bytes(b"content")
    (mounted.path / "before").rename(mounted.path / "after")
    sync_directory(mounted.path)
    mounted.kill()
    assert _name_in_header(mounted) == b"after"
    mounted.mount()


def test_header_names_the_new_place_soon(mounted: MountedVolume) -> None:
    """Section 11: without anybody who asks, the header is written too."""
    (mounted.path / "before").write_bytes(b"content")
    mounted.remount()
    lower = _only_lower_file(mounted)
    old = lower.read_bytes()[:512]
    (mounted.path / "before").rename(mounted.path / "after")
    renamed = _only_lower_file(mounted)
    wait_for(lambda: renamed.read_bytes()[:512] != old, "the header is written")
    mounted.kill()
    assert _name_in_header(mounted) == b"after"
    mounted.mount()
    assert (mounted.path / "after").read_bytes() == b"content"
