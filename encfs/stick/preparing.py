"""A new filesystem on a stick, and a mount of it for as long as it is filled.

Owns: the order: erase, make, mount, unmount. Must not know: what is put there. Nothing here asks: whoever calls has
been told to, and has called :func:`encfs.stick.devices.check_formattable`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from encfs.errors import CloakfsError, LowerIOError, UsageError
from encfs.stick import devices, programs, release
from encfs.stick.devices import Device

FILESYSTEM: Final = "exfat"
LABEL_MAX: Final = 11
_OPTIONS: Final = "nosuid,nodev,noexec"
# The kernel's own, then the program of Debian's package exfat-fuse.
_TYPES: Final = (FILESYSTEM, "exfat-fuse")


def check_label(label: str) -> None:
    """A name that every system takes.

    Raises:
        UsageError.
    """
    if not 0 < len(label) <= LABEL_MAX or not all(c.isascii() and (c.isalnum() or c in "-_") for c in label):
        raise UsageError(f"--name: 1 to {LABEL_MAX} letters, digits, - and _")


def check_mountable() -> None:
    """Make sure, before anything is erased, that what will be made can be made and mounted here.

    Raises:
        CloakfsError: a program is missing.
    """
    programs.need("wipefs")
    programs.need("mkfs.exfat")
    known = Path("/proc/filesystems").read_text(encoding="ascii").split()
    module = any(Path("/lib/modules", os.uname().release).glob("kernel/fs/exfat/exfat.ko*"))
    if FILESYSTEM not in known and not module and programs.find("mount.exfat-fuse") is None:
        raise CloakfsError("this machine cannot mount exFAT", hint="On Debian: apt-get install exfat-fuse")


def make_filesystem(device: Device, label: str) -> None:
    """Erase what tells of filesystems and partitions, and make an empty exFAT. All that was on the device is lost.

    Raises:
        UsageError: it is another medium than ``device`` says, or somebody uses it; nothing was changed.
        LowerIOError: a program failed; what was on the device is lost.
    """
    if devices.look(device.path) != device:
        raise UsageError(
            f"{device.path} is not what it was when it was shown: another medium, or somebody wrote to it",
            hint="Nothing was changed. Begin again.",
        )
    devices.check_unused(device.path)
    for program, *arguments in (
        ("wipefs", "--all", "--quiet", device.path),
        ("mkfs.exfat", "-L", label, device.path),
    ):
        done = programs.run(program, *arguments)
        if done.returncode:
            raise LowerIOError(
                f"{device.path} could not be formatted ({program}: {programs.complaint(done)})",
                hint="What was on it is lost. Try again; if it fails again, the medium is broken.",
            )
    if device.children:
        # The kernel forgets the partitions; where it does not, it does when the stick is plugged in again.
        programs.run("blockdev", "--rereadpt", device.path)


@contextmanager
def mounted(device: Device) -> Iterator[str]:
    """The new filesystem, mounted at a private directory; unmounted afterwards, all of it on the medium.

    Raises:
        LowerIOError: it cannot be mounted, or the medium failed at the end.
    """
    directory = tempfile.mkdtemp(prefix="cloakfs-stick-")
    try:
        _mount(device.path, directory)
        try:
            yield directory
        finally:
            release.unmount(directory, device.path)
        release.flush(device)
    finally:
        os.rmdir(directory)


def _mount(path: str, directory: str) -> None:
    complaints = []
    for kind in _TYPES:
        done = programs.run("mount", "-t", kind, "-o", _OPTIONS, path, directory)
        if done.returncode == 0:
            return
        complaints.append(programs.complaint(done))
    raise LowerIOError(
        f"the new filesystem on {path} cannot be mounted: {complaints[-1]}",
        hint="The device is formatted and empty. Mount it yourself, and give the directory.",
    )
