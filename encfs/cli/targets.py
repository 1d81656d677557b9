"""What an argument VOLUME or MOUNTPOINT means: a volume directory, and whether and where it is mounted.

Owns: this question. Must not know: what is then done with it.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from errno import ECONNABORTED, ENOTCONN

from encfs.cli import control, mounts
from encfs.cli.output import printable
from encfs.errors import NotMountedError


@dataclass(frozen=True, slots=True)
class Target:
    """A volume.

    Attributes:
        volume: its directory.
        mountpoint: where it is mounted on this host, None if it is not, as far as this user can see.
        mounted: the daemon of that mount, if it answers to this user.
    """

    volume: str
    mountpoint: str | None = None
    mounted: control.Mounted | None = None


def find(text: str) -> Target:
    """The target that a user names.

    Raises:
        NotMountedError: it is the mount point of a daemon that died.
    """
    path = os.path.abspath(text)
    live = control.mounted_volumes()
    found = _by_mountpoint(path, live)
    # The path as given comes first: realpath asks the mounted filesystem, which may hang.
    real = path if found else os.path.realpath(path)
    found = found or _by_mountpoint(real, live)
    if found is not None:
        return found
    for mounted in live:
        if _same_directory(mounted.volume, real):
            return Target(real, mounted.mountpoint, mounted)
    for kernel in mounts.all_mounts():
        if kernel.fstype == mounts.FSTYPE and _same_directory(kernel.source, real):
            return Target(real, kernel.mountpoint)
    return Target(real)


def _by_mountpoint(path: str, live: list[control.Mounted]) -> Target | None:
    for mounted in live:
        if mounted.mountpoint == path:
            return Target(mounted.volume, path, mounted)
    kernel = mounts.mount_at(path)
    return Target(kernel.source, path) if kernel is not None else None


def _same_directory(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def is_dead(mountpoint: str) -> bool:
    """Whether the kernel still has the mount, but its daemon is gone."""
    try:
        os.stat(mountpoint)
    except OSError as exc:
        return exc.errno in (ENOTCONN, ECONNABORTED)
    return False


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def not_reachable(target: Target) -> NotMountedError:
    """The error for a mount whose daemon does not answer to this user."""
    assert target.mountpoint is not None
    where = printable(target.mountpoint)
    kernel = mounts.mount_at(target.mountpoint)
    if kernel is not None and kernel.uid is not None and kernel.uid != os.geteuid():
        name = user_name(kernel.uid)
        return NotMountedError(f"{where} was mounted by {name}, who alone can do that", hint="Run it as that user.")
    return NotMountedError(
        f"the daemon that served {where} is gone",
        hint=f"Clear the mount point with: cloakfs lock {where}   The next mount checks the volume.",
    )
