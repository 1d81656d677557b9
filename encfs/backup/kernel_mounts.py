"""What the kernel says is mounted where, without asking the mounts themselves: one that is dead may never answer.

Owns: reading its table. Must not know: whose mounts they are.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class KernelMount:
    """One of them: its number, its device (``MAJOR:MINOR``) and the type of its filesystem."""

    number: bytes
    device: bytes
    filesystem: bytes


def topmost(path: bytes) -> KernelMount | None:
    """What is mounted at a path that has no symlinks in it; None if nothing is."""
    found = None
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        words = line.split(b" ")
        if _ESCAPED.sub(lambda one: bytes([int(one[1], 8)]), words[4]) == path:
            found = KernelMount(words[0], words[2], words[words.index(b"-") + 1])
    return found


def filesystem_at(path: bytes) -> bytes:
    """The type of the filesystem on which a directory lies, which answers; empty if the kernel's table has it not."""
    top = os.path.realpath(path)
    while not os.path.ismount(top):
        top = os.path.dirname(top)
    found = topmost(top)
    return b"" if found is None else found.filesystem
