"""A disk that can be pulled out: a FUSE file that a loop device stands on, served until it is told to fail.

Run as a program by :class:`FlakyDisk`: ``python -m tests.support.flaky_disk IMAGE MOUNTPOINT SWITCH``. What it does
with each request is in the switch file, which both sides map into memory: a mode, and the range that is bad.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat as stat_module
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import trio

from tests.support.mounting import is_mounted, wait_for

_SWITCH = struct.Struct("=QQQQQQ")  # mode, requests that wait, begin and end of two bad ranges
OK, GONE, BAD_RANGE, HANGS = range(4)
_NAME = b"disk"
_INODE = pyfuse3.InodeT(2)
_POLL_SECONDS = 0.005


class _Operations(pyfuse3.Operations):
    """One file, never cached: every request of the loop device arrives here."""

    supports_dot_lookup = False

    def __init__(self, image: str, switch: mmap.mmap) -> None:
        super().__init__()
        self._fd = os.open(image, os.O_RDWR)
        self._switch = switch

    async def _check(self, offset: int, size: int) -> None:
        mode, waiting, *bad = _SWITCH.unpack_from(self._switch)
        if mode == HANGS:
            self._switch[8:16] = struct.pack("=Q", waiting + 1)
            while mode == HANGS:
                await trio.sleep(_POLL_SECONDS)
                mode, waiting, *bad = _SWITCH.unpack_from(self._switch)
            self._switch[8:16] = struct.pack("=Q", waiting - 1)
        hit = any(offset < end and begin < offset + size for begin, end in zip(bad[::2], bad[1::2], strict=True))
        if mode == GONE or (mode == BAD_RANGE and hit):
            raise pyfuse3.FUSEError(errno.EIO)

    def _entry(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        mode = stat_module.S_IFREG | 0o600 if inode == _INODE else stat_module.S_IFDIR | 0o700
        entry.st_mode = pyfuse3.ModeT(mode)
        entry.st_nlink = 1
        entry.st_size = os.fstat(self._fd).st_size if inode == _INODE else 0
        entry.entry_timeout = entry.attr_timeout = 300.0
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        if name != _NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._entry(_INODE)

    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        return self._entry(inode)

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(1), direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await self._check(off, size)
        return os.pread(self._fd, size, off)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        await self._check(off, len(buf))
        return os.pwrite(self._fd, buf, off)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._check(0, 0)

    async def flush(self, fh: int) -> None:
        pass

    async def release(self, fh: int) -> None:
        pass


class FlakyDisk:
    """The test's side of a disk that is being served.

    Attributes:
        file: what a loop device can stand on.
    """

    def __init__(self, image: Path, mountpoint: Path) -> None:
        self._mountpoint = mountpoint
        switch = mountpoint.with_suffix(".switch")
        switch.write_bytes(bytes(_SWITCH.size))
        with switch.open("r+b") as file:
            self._switch = mmap.mmap(file.fileno(), _SWITCH.size)
        mountpoint.mkdir()
        self.file = mountpoint / os.fsdecode(_NAME)
        command = [sys.executable, "-m", "tests.support.flaky_disk", str(image), str(mountpoint), str(switch)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
        wait_for(lambda: is_mounted(mountpoint) or self._process.poll() is not None, "the disk is there")
        assert self._process.poll() is None, "the disk's program has ended"

    def _set(self, mode: int, *bad: int) -> None:
        # The other side counts who waits.
        self._switch[16:] = struct.pack("=QQQQ", *(*bad, 0, 0, 0, 0)[:4])
        self._switch[:8] = struct.pack("=Q", mode)

    def works(self) -> None:
        """All is well (again)."""
        self._set(OK)

    def fails(self) -> None:
        """Every read, write and flush fails, as on a stick that was pulled out."""
        self._set(GONE)

    def fails_at(self, *ranges: tuple[int, int]) -> None:
        """One or two ranges of sectors are bad: begin and end of each."""
        self._set(BAD_RANGE, *(border for one in ranges for border in one))

    def hangs(self) -> None:
        """Nothing is answered."""
        self._set(HANGS)

    @property
    def waiting(self) -> int:
        """How many requests wait because it hangs."""
        return int(_SWITCH.unpack_from(self._switch)[1])

    def close(self) -> None:
        """Take it off; the loop device must have gone before."""
        self.works()
        unmount = ["umount", str(self._mountpoint)]
        try:
            # The kernel takes a loop device down in its own time.
            wait_for(lambda: subprocess.run(unmount, capture_output=True, check=False).returncode == 0, "the disk goes")
        finally:
            if self._process.poll() is None and is_mounted(self._mountpoint):
                subprocess.run(["umount", "-l", str(self._mountpoint)], check=False)
                self._process.kill()
            self._process.wait(timeout=60)
            self._switch.close()


@contextmanager
def flaky_disk(image: Path, mountpoint: Path) -> Iterator[FlakyDisk]:
    """A disk over an image; no mount and no process stays."""
    disk = FlakyDisk(image, mountpoint)
    try:
        yield disk
    finally:
        disk.close()


def _serve(image: str, mountpoint: str, switch: str) -> None:
    with open(switch, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), _SWITCH.size)
    pyfuse3.init(_Operations(image, mapped), mountpoint, {"fsname=flaky-disk"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
