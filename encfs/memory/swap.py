"""Swap of this machine: whether what the kernel writes there can be read by whoever gets the disk.

Owns: which swap is in use, and what it lies on. Must not know: what would be written.

Encrypted is what device-mapper says it encrypts (the uuid begins with ``CRYPT-``), also below LVM, RAID or a file.
zram is memory. Disks that encrypt by themselves do not tell it, and count as plain.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_DEPTH_MAX: Final = 16  # More layers of devices nobody has; a damaged /sys does not keep us.


class Protection(StrEnum):
    """What is between the disk and whoever gets it."""

    MEMORY = "memory"
    ENCRYPTED = "encrypted"
    UNKNOWN = "unknown"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Swap:
    """One swap device or file that is in use. ``path``: as the kernel names it."""

    path: bytes
    protection: Protection

    @property
    def is_exposed(self) -> bool:
        """Whether what is swapped out may lie on a disk for everybody to read."""
        return self.protection in (Protection.PLAIN, Protection.UNKNOWN)


def swaps(root: Path = Path("/"), look: Callable[[bytes], os.stat_result] = os.stat) -> list[Swap]:
    """Every swap in use, in the kernel's order.

    Args:
        root: what ``/proc`` and ``/sys`` are in.
        look: stat(2) of a swap device or file.
    """
    try:
        lines = (root / "proc/swaps").read_bytes().splitlines()[1:]
    except OSError:
        return []  # A kernel without swap.
    return [Swap(path, protection(path, root, look)) for path in (_unescaped(line.split()[0]) for line in lines)]


def protection(path: bytes, root: Path = Path("/"), look: Callable[[bytes], os.stat_result] = os.stat) -> Protection:
    """Of a device, or of what a file or directory lies on. The arguments are those of :func:`swaps`."""
    return _Looking(root, look).at_path(path)


class _Looking:
    """Follows a swap down to what it lies on."""

    def __init__(self, root: Path, look: Callable[[bytes], os.stat_result]) -> None:
        self._devices = root / "sys/dev/block"
        self._mounts = root / "proc/self/mountinfo"
        self._look = look
        self._depth = 0

    def at_path(self, path: bytes) -> Protection:
        try:
            info = self._look(path)
        except OSError:
            return Protection.UNKNOWN  # A container sees the machine's swap, but not its devices.
        if stat.S_ISBLK(info.st_mode):
            return self._at_device(self._directory(info.st_rdev))
        directory = self._directory(info.st_dev)
        if directory.exists():
            return self._at_device(directory)
        source = self._source_of(path)  # btrfs and others number their mounts by themselves.
        return self.at_path(source) if source.startswith(b"/dev/") and self._deeper() else Protection.UNKNOWN

    def _directory(self, device: int) -> Path:
        return self._devices / f"{os.major(device)}:{os.minor(device)}"

    def _deeper(self) -> bool:
        self._depth += 1
        return self._depth < _DEPTH_MAX

    def _at_device(self, directory: Path) -> Protection:
        """Of a device's directory in ``/sys``."""
        if not directory.exists() or not self._deeper():
            return Protection.UNKNOWN
        directory = directory.resolve()
        if (directory / "partition").exists():
            return self._at_device(directory.parent)
        if _text(directory / "dm/uuid").startswith(b"CRYPT-"):
            return Protection.ENCRYPTED
        if directory.name.startswith("zram"):
            written_back = _text(directory / "backing_dev")
            return Protection.MEMORY if written_back in (b"", b"none") else self.at_path(written_back)
        file = _text(directory / "loop/backing_file")
        if file:
            return self.at_path(file)
        below = sorted((directory / "slaves").glob("*"))
        return max((self._at_device(one) for one in below), key=_ORDER.index, default=Protection.PLAIN)

    def _source_of(self, path: bytes) -> bytes:
        """What is mounted where a path lies; of several the innermost, and of those the last."""
        best, source = b"", b""
        for line in self._mounts.read_bytes().splitlines():
            fields, _, rest = line.partition(b" - ")
            point = _unescaped(fields.split()[4])
            if (path + b"/").startswith(point.rstrip(b"/") + b"/") and len(point) >= len(best):
                best, source = point, _unescaped(rest.split()[1])
        return source


_ORDER: Final = list(Protection)  # From the best to the worst.


def _text(path: Path) -> bytes:
    """What a file of ``/sys`` says; nothing where it is not there."""
    try:
        return path.read_bytes().strip()
    except OSError:
        return b""


def _unescaped(word: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), word)
