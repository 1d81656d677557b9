"""Whether two paths lie on one medium, which is lost or stolen as a whole.

Owns: the question. Must not know: why somebody asks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DEVICES = Path("/sys/dev/block")


def same_medium(one: str, other: str) -> bool:
    """Whether both lie on one filesystem, or on partitions of one disk.

    A path that does not exist yet is where its directory is; the node of a block device stands for what is on it.

    Raises:
        OSError: a path cannot be looked at.
    """
    first, second = _device(one), _device(other)
    return first == second or _disk(first) == _disk(second)


def _device(path: str) -> int:
    try:
        info = os.stat(path)
        return info.st_rdev if stat.S_ISBLK(info.st_mode) else info.st_dev
    except FileNotFoundError:
        return os.stat(os.path.dirname(os.path.abspath(path))).st_dev


def _disk(device: int) -> str:
    """What the kernel calls the whole disk; a name of its own for what is on none."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        where = (_DEVICES / name).resolve(strict=True)
    except OSError:
        return name
    return where.parent.name if (where / "partition").exists() else where.name
