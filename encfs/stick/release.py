"""Letting go of a medium: unmounted, written, and nobody has it any more.

Owns: how that is done and how it is known. Must not know: volumes, words for users beyond errors.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from errno import EACCES, EBUSY, ENOENT, ENOMEDIUM, ENXIO, EPERM
from pathlib import Path
from typing import Final

from encfs.errors import CloakfsError, LowerIOError, MountBusyError
from encfs.stick import programs
from encfs.stick.devices import Device, sequence_of

# A program that serves a filesystem (FUSE) may still write after its mount is gone.
_SECONDS: Final = 30.0
_STEP: Final = 0.02
_GONE: Final = (ENOENT, ENXIO, ENOMEDIUM)
_BUSY_WORDS: Final = ("busy", "in use")


def sync(mountpoint: str) -> None:
    """Bring everything on the filesystem to the medium.

    Raises:
        LowerIOError: it cannot be written.
    """
    done = programs.run("sync", "-f", mountpoint)
    if done.returncode:
        raise LowerIOError(f"not everything could be written: {programs.complaint(done)}")


def unmount(mountpoint: str, device: str) -> None:
    """Take the mount of a medium off, by whatever this user may do.

    Raises:
        MountBusyError: programs use it.
        CloakfsError: this user may not.
    """
    if os.geteuid() != 0 and programs.find("udisksctl") is not None:
        done = programs.run("udisksctl", "unmount", "--no-user-interaction", "-b", device)
    else:
        done = programs.run("umount", "--", mountpoint)
    if done.returncode == 0:
        return
    text = programs.complaint(done)
    if any(word in text.lower() for word in _BUSY_WORDS):
        raise MountBusyError(f"{mountpoint} is in use")
    raise CloakfsError(f"{mountpoint} cannot be unmounted: {text}", hint="Try it as root: sudo cloakfs stick eject ...")


def flush(device: Device, *, seconds: float = _SECONDS) -> bool:
    """Wait until nobody has the device any more, at most ``seconds``, and bring its last bytes to the medium.

    Returns:
        False: this user may not look at the device, so nothing is known. True: nobody has it, and all is written.

    Raises:
        MountBusyError: somebody still has it, with the processes that can be seen.
        LowerIOError: it cannot be written.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            busy = _claim(device.path)
        except LowerIOError:
            if _is_another(device):
                return True
            raise
        if busy is None:
            return False
        if not busy or _is_another(device):
            return True
        if time.monotonic() >= deadline:
            raise MountBusyError(f"{device.path} is unmounted, but {busy}", hint="Wait or end it, and eject again.")
        time.sleep(_STEP)


def _is_another(device: Device) -> bool:
    """Whether the node stands for another medium by now, or for none: the system has let go of this one."""
    return device.sequence != sequence_of(device.number)


def _claim(device: str) -> str | None:
    """Empty if nobody has the device, then it is written; who has it; None if that cannot be known."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == EBUSY:
            return "another mount or program holds it"
        if exc.errno in (EACCES, EPERM):
            return None
        if exc.errno in _GONE:
            return ""  # The system has let go of it already.
        try:
            fd = os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)  # Write-protected.
        except OSError:
            raise exc from None
    try:
        if not os.lseek(fd, 0, os.SEEK_END):
            return ""  # A node without a medium: the same.
        number = os.fstat(fd).st_rdev
        writers = [pid for pid in _writers(number) if pid != os.getpid()]
        if writers:
            return f"process {writers[0]} still writes to it"
        os.fsync(fd)
    except OSError as exc:
        raise LowerIOError(f"{device}: not everything could be written: {os.strerror(exc.errno or 0)}") from exc
    finally:
        os.close(fd)
    return ""


def _writers(number: int) -> Iterator[int]:
    """Processes that have a block device open for writing."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:
            continue  # Ended, or of another user.
        if any(_writes(descriptor, number) for descriptor in descriptors):
            yield int(process.name)


def _writes(descriptor: Path, number: int) -> bool:
    try:
        info = descriptor.stat()
        if not stat.S_ISBLK(info.st_mode) or info.st_rdev != number:
            return False
        details = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text(encoding="ascii")
    except OSError:
        return False
    flags = next((line.split()[1] for line in details.splitlines() if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def power_off(device: str) -> bool:
    """Switch the medium off, where the desktop's disk service can; whether it did."""
    if programs.find("udisksctl") is None:
        return False
    return programs.run("udisksctl", "power-off", "--no-user-interaction", "-b", device).returncode == 0
