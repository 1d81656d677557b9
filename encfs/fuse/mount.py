"""Attaching a filesystem to a mount point, and taking it off again.

Owns: mount options, the checks of a mount point, mount(2) and umount(2). Must not know: volumes, requests.

root mounts by itself rather than through libfuse, for one flag that libfuse cannot pass: MS_POSIXACL makes the
kernel leave the umask to us, without which a default ACL gives new files fewer rights than it says (acl(5)).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat as stat_module
import subprocess
from dataclasses import dataclass

from encfs.errors import MountBusyError, MountpointError, NoFuseError
from encfs.locking import IdleRule

_FUSE_DEVICE = "/dev/fuse"
_FILESYSTEM = "fuse.cloakfs"
_MS_POSIXACL = 1 << 16
_FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
}
_OPPOSITES = {"suid": "nosuid", "dev": "nodev", "exec": "noexec", "rw": "ro"}
_DEFAULTS = frozenset({"nosuid", "nodev"})
_MNT_DETACH = 2
_READ_AHEAD_KIB = 512  # +10-15 % on sequential reads against the default of 128 (DESIGN section 6)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount.

    Attributes:
        kernel_options: of mount(8), such as ``noatime``.
        log: ``"syslog"`` or a file's path.
        idle: when it locks because nobody uses it; None for never.
    """

    volume: str
    mountpoint: str
    read_only: bool = False
    allow_other: bool = False
    kernel_options: tuple[str, ...] = ()
    log: str = "syslog"
    debug: bool = False
    idle: IdleRule | None = None

    def flags(self) -> frozenset[str]:
        """The flag options in force.

        Raises:
            MountpointError: an option is unknown.
        """
        chosen = set(_DEFAULTS)
        if self.read_only:
            chosen.add("ro")
        for option in self.kernel_options:
            if option in _FLAGS:
                chosen.add(option)
            elif option in _OPPOSITES:
                chosen.discard(_OPPOSITES[option])
            else:
                known = ", ".join(sorted([*_FLAGS, *_OPPOSITES]))
                raise MountpointError(f"unknown mount option {option!r}", hint=f"Known: {known}.")
        return frozenset(chosen)


def is_mounted(path: str) -> bool:
    """Whether something is mounted exactly at ``path``, from the kernel's table (never touches a dead mount)."""
    wanted = os.path.realpath(os.path.dirname(os.path.abspath(path))) + "/" + os.path.basename(os.path.abspath(path))
    wanted = os.path.normpath(wanted)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return any(_unescape(line.split(" ")[4]) == wanted for line in table)


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def check_mountpoint(options: MountOptions) -> None:
    """Everything that can be said before the volume is unlocked.

    Raises:
        NoFuseError: no FUSE device, or no right to it.
        MountpointError: not an empty directory that is free to mount on.
    """
    options.flags()
    _check_fuse()
    path = options.mountpoint
    if is_mounted(path):
        raise MountpointError(f"{path} already has something mounted on it", hint="See: cloakfs status")
    try:
        info = os.stat(path)
        entries = os.listdir(path)
    except FileNotFoundError:
        raise MountpointError(f"{path} does not exist", hint=f"Make it first: mkdir {path}") from None
    except OSError as exc:
        raise MountpointError(f"{path} cannot be used: {exc.strerror}") from exc
    if not stat_module.S_ISDIR(info.st_mode):
        raise MountpointError(f"{path} is not a directory")
    if entries:
        raise MountpointError(
            f"{path} is not empty", hint="What is in it would be hidden by the mount. Choose an empty directory."
        )
    inner, outer = os.path.realpath(path), os.path.realpath(options.volume)
    if os.path.commonpath([inner, outer]) in (inner, outer):
        raise MountpointError("mount point and volume may not lie in one another")


def _check_fuse() -> None:
    if not os.path.exists(_FUSE_DEVICE):
        raise NoFuseError(
            f"there is no {_FUSE_DEVICE}",
            hint="Load the kernel module (modprobe fuse) or allow the device in this container.",
        )
    if not os.access(_FUSE_DEVICE, os.R_OK | os.W_OK):
        raise NoFuseError(f"this user may not use {_FUSE_DEVICE}", hint=f"Allow it: chmod 666 {_FUSE_DEVICE}, as root.")
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise NoFuseError("fusermount3 is not installed", hint="Install it: apt-get install fuse3")


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def mount_as_root(options: MountOptions) -> int:
    """mount(2) on the mount point; returns the descriptor of the FUSE connection.

    Raises:
        MountpointError: the kernel refused.
    """
    fd = os.open(_FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions"
    if options.allow_other:
        data += ",allow_other"
    flags = _MS_POSIXACL
    for name in options.flags():
        flags |= _FLAGS[name]
    source, target = os.fsencode(options.volume), os.fsencode(options.mountpoint)
    try:
        _call("mount", source, target, _FILESYSTEM.encode(), ctypes.c_ulong(flags), data.encode())
    except OSError as exc:
        os.close(fd)
        raise MountpointError(f"the kernel refuses to mount on {options.mountpoint}: {exc.strerror}") from exc
    return fd


def libfuse_options(options: MountOptions) -> set[str]:
    """The same for an ordinary user, whose mount goes through fusermount3."""
    chosen = {"default_permissions", f"fsname={_escape(options.volume)}", "subtype=cloakfs", *options.flags()}
    if options.allow_other:
        chosen.add("allow_other")
    return chosen


def _escape(text: str) -> str:
    """libfuse splits options at commas, and pyfuse3 takes ASCII only."""
    return text.encode("ascii", "backslashreplace").decode().replace("\\", "/").replace(",", "_")


def unmount(mountpoint: str, *, detach: bool = False) -> None:
    """Take a mount off. ``detach``: even while programs use it; they lose it when the connection closes.

    Raises:
        MountBusyError: programs use it.
        OSError: anything else.
    """
    if os.geteuid() == 0:
        try:
            _call("umount2", os.fsencode(mountpoint), _MNT_DETACH if detach else 0)
        except OSError as exc:
            if exc.errno == 16:
                raise MountBusyError(f"{mountpoint} is in use") from None
            raise
        return
    command = ["fusermount3", "-u", *(["-z"] if detach else []), "--", mountpoint]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise MountBusyError(f"{mountpoint} is in use")


def raise_read_ahead(mountpoint: str) -> None:
    """Let the kernel read further ahead, where root may say so."""
    if os.geteuid() != 0:
        return
    device = os.stat(mountpoint).st_dev
    setting = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        with open(setting, "w", encoding="ascii") as file:
            file.write(str(_READ_AHEAD_KIB))
    except OSError:
        return  # A container may forbid it; only speed is lost.
