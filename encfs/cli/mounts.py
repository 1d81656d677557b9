"""What the kernel says is mounted.

Owns: reading ``/proc/self/mountinfo``. Must not know: daemons, volumes. Nothing here touches a mounted
filesystem, so nothing here hangs where a daemon does not answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from encfs.errors import UsageError
from encfs.wording import printable

FSTYPE: Final = "fuse.cloakfs"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class KernelMount:
    """One line of mountinfo.

    Attributes:
        device: ``major:minor``, in hexadecimal as in ``/proc/PID/maps``.
        source: what was mounted; for a cloakfs mount the volume directory.
        uid: who mounted it (FUSE only).
        allow_other: whether other users may use it (FUSE only).
    """

    mountpoint: str
    device: str
    fstype: str
    source: str
    uid: int | None
    allow_other: bool


def _unescape(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field))


def parse(mountinfo: bytes) -> list[KernelMount]:
    """All mounts in the text of a mountinfo file, in the kernel's order."""
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        dash = fields.index(b"-")
        major, _, minor = fields[2].partition(b":")
        user = re.search(rb"(?:^|,)user_id=(\d+)", fields[dash + 3])
        found.append(
            KernelMount(
                mountpoint=_unescape(fields[4]),
                device=f"{int(major):02x}:{int(minor):02x}",
                fstype=os.fsdecode(fields[dash + 1]),
                source=_unescape(fields[dash + 2]),
                uid=int(user[1]) if user else None,
                allow_other=b"allow_other" in fields[dash + 3].split(b","),
            )
        )
    return found


def all_mounts() -> list[KernelMount]:
    """All mounts that this process sees."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse(file.read())


def mount_at(path: str) -> KernelMount | None:
    """The cloakfs mount whose mount point is exactly ``path`` (absolute), the topmost if there are several."""
    found = [mount for mount in all_mounts() if mount.mountpoint == path]
    return found[-1] if found and found[-1].fstype == FSTYPE else None


def cloakfs_mounts() -> list[KernelMount]:
    """All mounts of cloakfs, of every user."""
    return [mount for mount in all_mounts() if mount.fstype == FSTYPE]


def below(path: str) -> list[str]:
    """Mount points inside the mount at ``path``."""
    return sorted(mount.mountpoint for mount in all_mounts() if mount.mountpoint.startswith(path + "/"))


def holding(path: str, table: Sequence[KernelMount]) -> KernelMount | None:
    """The filesystem that a path is on; for one in a mount of cloakfs, that of its volume."""
    kernel = top(path, table)
    while kernel is not None and kernel.fstype == FSTYPE:
        kernel = top(kernel.source, table)
    return kernel


def node_of(kernel: KernelMount) -> str:
    """The node of the device that is mounted.

    Raises:
        UsageError: what is mounted is no device.
    """
    if not kernel.source.startswith("/dev/"):
        where, source = printable(kernel.mountpoint), printable(kernel.source)
        raise UsageError(f"{where} is no stick, but {kernel.fstype} ({source})", hint="See what is there: lsblk")
    return os.path.realpath(kernel.source)


def lies_in(path: str, directories: Sequence[str]) -> bool:
    """Whether a path is one of the directories, or in one; by their spelling."""
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in directories)


def top(path: str, table: Sequence[KernelMount]) -> KernelMount | None:
    """The filesystem that a path is on, by the spelling of the path: the one that was mounted there last."""
    over = [one for one in table if lies_in(path, [one.mountpoint])]
    longest = max((len(one.mountpoint) for one in over), default=0)
    return next((one for one in reversed(over) if len(one.mountpoint) == longest), None)
