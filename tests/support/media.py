"""Lower filesystems of every kind for tests, on images of their own: filled up, looked at, taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import blockdev
from tests.support.flaky_disk import FlakyDisk, flaky_disk
from tests.support.mounting import MountedVolume, is_gone, is_mounted, wait_for

KERNEL = ("ext4", "xfs", "btrfs")
EXFAT = "exfat"
_EXFAT_MIB = 32
_CHUNK = 1 << 20


@dataclass
class Lower:
    """A lower filesystem.

    Attributes:
        path: where it is mounted.
        disk: what its device stands on, if that can be made to fail.
        pid: of the program that serves it, for exfat.
    """

    kind: str
    path: Path
    image: Path
    device: str = ""
    disk: FlakyDisk | None = None
    pid: int = 0

    @property
    def free(self) -> int:
        """Bytes that are free, as df tells."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def leave(self, size: int) -> None:
        """Take all room but about ``size`` bytes, by a file beside the volume."""
        fd = os.open(self.path / "ballast", os.O_WRONLY | os.O_CREAT)
        try:
            while self.free > size:
                step = min(self.free - size, 64 * _CHUNK)
                end = os.fstat(fd).st_size
                try:
                    os.posix_fallocate(fd, end, step)
                except OSError:
                    os.ftruncate(fd, end)
                    if step < _CHUNK:
                        break
                    with suppress(OSError):
                        os.posix_fallocate(fd, end, step // 2)
                    if os.fstat(fd).st_size == end:
                        break
            os.fsync(fd)
        finally:
            os.close(fd)


def marks(kind: str) -> list[pytest.MarkDecorator]:
    """Marks that skip a test where this kind cannot be made."""
    if kind != EXFAT:
        return blockdev.needs_filesystem(kind)
    here = os.geteuid() == 0 and shutil.which("mount.exfat-fuse") and shutil.which("mkfs.exfat")
    return [pytest.mark.skipif(not here, reason="needs root, exfat-fuse and exfatprogs")]


def kinds(*names: str, slow: tuple[str, ...] = ()) -> list[object]:
    """Parameters for tests that run on each of these lower filesystems, on some of them only in the long run."""
    return [
        pytest.param(name, marks=[*marks(name), *([pytest.mark.slow] if name in slow else [])], id=name)
        for name in names
    ]


def make_image(kind: str, image: Path) -> None:
    """A new filesystem in a sparse file."""
    if kind != EXFAT:
        blockdev.make_filesystem(kind, image)
        return
    with image.open("wb") as file:
        file.truncate(_EXFAT_MIB << 20)
    subprocess.run(["mkfs.exfat", str(image)], check=True, capture_output=True)


@contextmanager
def lower_filesystem(kind: str, base: Path, *, flaky: bool = False) -> Iterator[Lower]:
    """A new filesystem of a kind, mounted at ``base/medium``; nothing of it stays. ``flaky``: its disk can fail."""
    image, path = base / "image", base / "medium"
    path.mkdir()
    make_image(kind, image)
    with ExitStack() as stack:
        disk = stack.enter_context(flaky_disk(image, base / "disk")) if flaky else None
        lower = Lower(kind, path, image, disk=disk)
        try:
            insert(lower)
            yield lower
        finally:
            if disk is not None:
                disk.works()
            take_out(lower)


def insert(lower: Lower) -> None:
    """Put the medium into the machine: attach and mount it."""
    backing = lower.disk.file if lower.disk is not None else lower.image
    if lower.kind == "btrfs":
        blockdev.forget_btrfs_devices()
    lower.device, fd = blockdev.attach(backing)
    try:
        _mount(lower)
    finally:
        os.close(fd)


def _mount(lower: Lower) -> None:
    if lower.kind != EXFAT:
        blockdev.mount(lower.device, lower.path, lower.kind)
        return
    command = ["mount.exfat-fuse", lower.device, str(lower.path)]
    subprocess.run(command, check=True, capture_output=True)
    wait_for(lambda: is_mounted(lower.path), "exfat is mounted")
    found = subprocess.run(["pgrep", "-f", f"^{' '.join(command)}"], capture_output=True, text=True, check=True)
    lower.pid = int(found.stdout.split()[0])


def take_out(lower: Lower) -> None:
    """Unmount, if it is mounted still, and wait until its program has ended."""
    if is_mounted(lower.path):
        blockdev.unmount(lower.path)
    if lower.pid:
        wait_for(lambda: is_gone(lower.pid), "exfat-fuse ends")
        lower.pid = 0


def clear_away(volume: MountedVolume) -> None:
    """Whatever has happened, no mount and no daemon stay."""
    if volume.pid and not volume.is_dead():
        os.kill(volume.pid, 9)
        wait_for(volume.is_dead, "the daemon dies")
    while is_mounted(volume.path):
        subprocess.run(["umount", "-l", str(volume.path)], check=True)
