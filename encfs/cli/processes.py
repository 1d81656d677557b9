"""Which programs use a mount.

Owns: reading ``/proc``. Must not know: why somebody asks. A process of another user shows nothing to an ordinary
user; then the list is shorter than the truth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encfs.cli import mounts
from encfs.cli.output import printable
from encfs.errors import MountBusyError

_SHOWN = 20
_COMMAND_MAX = 60
_HINT = "End them and try again, or: cloakfs lock --force (open files are cut off)."


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a mount, and how."""

    pid: int
    command: str
    how: str


class UsedByError(MountBusyError):
    """The mount is busy; ``details`` names the processes for ``--json``."""

    def __init__(self, message: str, *, hint: str = "", users: list[User]) -> None:
        super().__init__(message, hint=hint)
        self.details: dict[str, object] = {
            "processes": [{"pid": user.pid, "command": user.command, "how": user.how} for user in users]
        }


def using(mountpoint: str) -> list[User]:
    """The processes that use the mount at ``mountpoint``, as far as this user may see, by number."""
    kernel = mounts.mount_at(mountpoint)
    device = kernel.device if kernel is not None else ""
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        how = next(_uses(Path("/proc", str(pid)), os.fsencode(mountpoint), device), None)
        if how is not None and pid != os.getpid():
            found.append(User(pid, _command(pid), how))
    return found


def _uses(process: Path, mountpoint: bytes, device: str) -> Iterator[str]:
    """Each way in which a process uses the mount, by what can be read without touching the mount itself."""

    def inside(link: Path) -> bool:
        try:
            target = os.readlink(os.fsencode(link))
        except OSError:
            return False
        return target == mountpoint or target.startswith((mountpoint + b"/", mountpoint + b" (deleted)"))

    for name, how in (("cwd", "works in it"), ("root", "has its root in it"), ("exe", "is a program in it")):
        if inside(process / name):
            yield how
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        descriptors = []
    if any(inside(descriptor) for descriptor in descriptors):
        yield "has a file open"
    try:
        maps = (process / "maps").read_bytes()
    except OSError:
        return
    if device and any(line.split(maxsplit=4)[3:4] == [device.encode()] for line in maps.splitlines()):
        yield "has a file mapped"


def _command(pid: int) -> str:
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        if not words:
            words = Path("/proc", str(pid), "comm").read_bytes().strip()
    except OSError:
        return "?"
    text = printable(words)
    return text if len(text) <= _COMMAND_MAX else text[: _COMMAND_MAX - 1] + "…"


def busy(mountpoint: str, *, hint: str = _HINT) -> UsedByError:
    """The error that names who uses a mount."""
    users = using(mountpoint)
    nested = mounts.below(mountpoint)
    lines = [f"    process {user.pid}  {user.command}  ({user.how})" for user in users[:_SHOWN]]
    if len(users) > _SHOWN:
        lines.append(f"    and {len(users) - _SHOWN} more")
    lines += [f"    another mount at {printable(path)}" for path in nested]
    if not lines and os.geteuid() != 0:
        lines.append("    processes of other users, which only root can name")
    return UsedByError("\n".join([f"{printable(mountpoint)} is in use by", *lines]), hint=hint, users=users)
