"""What an argument VOLUME or MOUNTPOINT means: a volume directory, and whether and where it is mounted.

Owns: this question. Must not know: what is then done with it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import struct
import threading
from dataclasses import dataclass
from errno import ECONNABORTED, ENOTCONN
from typing import Final

from encfs import control, runtime
from encfs.cli import mounts
from encfs.cli.output import printable
from encfs.control import BrokeOffError, NotAnsweringError, SilentError
from encfs.errors import ConfigError, NotMountedError
from encfs.format.limits import LOCK_NAME, SESSIONS_NAME
from encfs.stick import layout
from encfs.volume import read_config

_PATIENCE: Final = 5.0
_FLOCK: Final = struct.Struct("hhqqi4x")


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
    """The target that a user names; the directory of a stick stands for the volume on it."""
    path = os.path.abspath(text)
    # The path as given comes first: realpath asks the mounted filesystem, which may hang.
    kernel = mounts.mount_at(path) or mounts.mount_at(os.path.realpath(path))
    if kernel is not None:
        return _at_mountpoint(kernel)
    path = layout.volume_at(os.path.realpath(path))
    mounted = _daemon_of(path)
    if mounted is not None:
        return Target(path, mounted.mountpoint, mounted)
    for other in mounts.cloakfs_mounts():
        if _same_directory(other.source, path):
            return Target(path, other.mountpoint)
    return Target(path)


def all_mounted() -> list[Target]:
    """What this user has mounted, by mount point; also what a dead or silent daemon left."""
    found = {mounted.mountpoint: mounted for mounted in control.mounted_volumes()}
    targets = [Target(mounted.volume, mounted.mountpoint, mounted) for mounted in found.values()]
    targets += [
        Target(kernel.source, kernel.mountpoint)
        for kernel in mounts.cloakfs_mounts()
        if kernel.mountpoint not in found and kernel.uid == os.geteuid()
    ]
    return sorted(targets, key=lambda target: target.mountpoint or "")


def _at_mountpoint(kernel: mounts.KernelMount) -> Target:
    # Not by the volume's config: its medium may hang. The kernel may also spell its path in another way.
    mounted = control.mounted_at(kernel.mountpoint) or _daemon_of(kernel.source)
    if mounted is None or mounted.mountpoint != kernel.mountpoint:
        return Target(kernel.source, kernel.mountpoint)
    return Target(mounted.volume, kernel.mountpoint, mounted)


def _daemon_of(volume: str) -> control.Mounted | None:
    """The daemon that serves a volume directory. Only that one is asked: others may be busy, or just ending."""
    try:
        socket = runtime.socket_path(read_config(os.fsencode(volume)).volume_id)
    except (ConfigError, OSError):
        return None
    try:
        mounted = control.Mounted(socket, control.status(socket))
    except (NotAnsweringError, BrokeOffError, SilentError):
        return None  # Killed, just ending, or hanging: what the kernel has mounted tells which.
    # A copy of a volume has the same id.
    return mounted if _same_directory(mounted.volume, volume) else None


def _same_directory(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def is_dead(mountpoint: str) -> bool:
    """Whether the kernel still has the mount, but its daemon is gone. A daemon that is only silent is not dead."""
    return failure_of(mountpoint) in (ENOTCONN, ECONNABORTED)


def failure_of(mountpoint: str) -> int:
    """The errno with which a mount answers a request that its medium has to answer; 0 for none, or no answer at all."""
    found: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(mountpoint)  # Not stat, which the kernel answers from its cache.
        except OSError as exc:
            found.append(exc.errno or 0)

    # A daemon that is stopped never answers; the thread then waits on alone, and ends with the process.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return found[0] if found else 0


def state(target: Target) -> str:
    """``mounted``, ``locked``, ``in-use`` or ``dead`` (docs/json.md, ``status``)."""
    if target.mounted is not None:
        return "mounted"
    if target.mountpoint is not None:
        return "dead" if is_dead(target.mountpoint) else "mounted"
    return "in-use" if _is_locked(target.volume) else "locked"


def _is_locked(volume: str) -> bool:
    """Whether a process of any host writes to the volume. The lock is asked about, never taken."""
    path = os.path.join(os.fsencode(volume), SESSIONS_NAME, LOCK_NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        request = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request)
    except OSError:
        return False
    finally:
        os.close(fd)
    return int(_FLOCK.unpack(answer)[0]) != fcntl.F_UNLCK


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
    if not is_dead(target.mountpoint):
        return NotMountedError(
            f"the daemon that serves {where} does not answer",
            hint="Is the disk below it very slow, or gone? cloakfs status says what to do.",
        )
    return NotMountedError(
        f"the daemon that served {where} is gone",
        hint=f"Clear the mount point with: cloakfs lock {where}   The next mount checks the volume.",
    )
