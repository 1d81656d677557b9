"""Loop devices and filesystems on them, for tests that run as root."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

# <linux/loop.h>
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CLR_FD = 0x4C01
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_MAJOR = 7
_CONFIG_SIZE = 304  # struct loop_config: fd, block size, loop_info64 of 232 bytes, reserved
_FLAGS_AT = 8 + 52  # lo_flags inside it
# <linux/fs.h>
_BLKROSET = 0x125D
# <linux/btrfs.h>
_BTRFS_IOC_FORGET_DEV = 0x50009405
_BTRFS_ARGS_SIZE = 4096

_MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b4096", "-I256", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}
_MIB = {"ext4": 48, "xfs": 304, "btrfs": 192}
FILESYSTEMS = tuple(_MKFS)

_libc = ctypes.CDLL(None, use_errno=True)


def needs_filesystem(kind: str) -> list[pytest.MarkDecorator]:
    """Marks that skip a test where it cannot make loop devices or this filesystem."""
    known = Path("/proc/filesystems").read_text().split()
    here = os.geteuid() == 0 and Path("/dev/loop-control").exists() and kind in known and shutil.which(_MKFS[kind][0])
    return [pytest.mark.skipif(not here, reason=f"needs root, loop devices and {kind}")]


def make_filesystem(kind: str, image: Path, *, mib: int = 0) -> None:
    """A new filesystem in a sparse file, of a size that is small for it if none is given."""
    with image.open("wb") as file:
        file.truncate((mib or _MIB[kind]) << 20)
    for _ in range(20):
        # mkfs looks at all loop devices of the machine, and fails where one goes away meanwhile.
        done = subprocess.run([*_MKFS[kind], str(image)], check=False, capture_output=True)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    # xfs writes its empty log as zeros.
    subprocess.run(["fallocate", "--dig-holes", str(image)], check=True)


def attach(backing: Path) -> tuple[str, int]:
    """Put a loop device on a file: its path, and a descriptor that keeps it.

    The device goes when nobody has it open or mounted any more, also when this process dies.
    """
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            with suppress(FileExistsError):
                os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            config = bytearray(_CONFIG_SIZE)
            struct.pack_into("=II", config, 0, file, 0)
            struct.pack_into("=I", config, _FLAGS_AT, _LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, bytes(config))
            except OSError as exc:
                os.close(fd)
                if exc.errno != errno.EBUSY:
                    raise
                continue  # Another test took it first.
            # Whoever had this device before may have made it read-only, which outlives what it stood on.
            fcntl.ioctl(fd, _BLKROSET, struct.pack("i", 0))
            return path, fd
    finally:
        os.close(file)
        os.close(control)


def mount(source: str, target: Path, kind: str, options: str = "") -> None:
    """The system call of this name."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(0), options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount of {kind} on {target}: {os.strerror(code)}")


def unmount(target: Path) -> None:
    """umount(2), waiting for whoever is about to leave; by force at last, so that nothing stays."""
    deadline = time.monotonic() + 20
    while _libc.umount2(os.fsencode(target), 0) != 0:
        code = ctypes.get_errno()
        if code != errno.EBUSY or time.monotonic() > deadline:
            _libc.umount2(os.fsencode(target), 2)
            raise OSError(code, f"umount of {target}: {os.strerror(code)}")
        time.sleep(0.01)


def forget_btrfs_devices() -> None:
    """btrfs remembers every device it saw, and refuses an older state of one under another name."""
    path = "/dev/btrfs-control"
    if not os.path.exists(path):
        return
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _BTRFS_IOC_FORGET_DEV, bytearray(_BTRFS_ARGS_SIZE))
    finally:
        os.close(fd)


@contextmanager
def mounted_image(backing: Path, target: Path, kind: str) -> Iterator[Path]:
    """A filesystem in a file, mounted at ``target`` over a loop device; nothing of it stays."""
    if kind == "btrfs":
        forget_btrfs_devices()
    device, fd = attach(backing)
    try:
        mount(device, target, kind)
    finally:
        os.close(fd)
    try:
        yield target
    finally:
        unmount(target)
        await_detached(backing)


def await_detached(backing: Path) -> None:
    """Wait until no loop device stands on this file.

    The kernel lets go of one with the last mount of it, and whoever starts in a namespace of their own has a copy of
    all mounts for a moment. Attached a second time meanwhile, it would be one filesystem in two heads.
    """
    deadline = time.monotonic() + 20
    while any(_backing(device) == str(backing.resolve()) for device in Path("/sys/block").glob("loop*")):
        assert time.monotonic() < deadline, f"something still uses {backing}"
        time.sleep(0.01)


def _backing(device: Path) -> str:
    try:
        return (device / "loop/backing_file").read_text().rstrip("\n")
    except OSError:  # It stands on nothing.
        return ""
