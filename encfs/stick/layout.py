"""What lies on a stick, and under which names.

Owns: the names. Must not know: what is in a volume but its config's name (FORMAT.md section 2).

A stick is shown to finders and to Windows, so the names are plain ASCII, differ in more than case, and say what they
are without saying whose.
"""

from __future__ import annotations

import os
from typing import Final

from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME

VOLUME_NAME: Final = "encrypted"
FINDER_NAME: Final = "IF-FOUND.txt"
READER_NAME: Final = "cloakfs-reader.pyz"
WHEELS_NAME: Final = "cloakfs-reader-wheels"
"""What the reader needs on machines that have nothing but Python."""
NAMES: Final = (VOLUME_NAME, FINDER_NAME, READER_NAME, WHEELS_NAME)


def holds_volume(directory: str) -> bool:
    """Whether a directory is a volume, by the names in it."""
    return any(os.path.lexists(os.path.join(os.fsencode(directory), name)) for name in (CONFIG_NAME, CONFIG_BAK_NAME))


def volume_at(path: str) -> str:
    """The volume that somebody means by ``path``: the one on the stick, where ``path`` is the top of one."""
    inner = os.path.join(path, VOLUME_NAME)
    return inner if not holds_volume(path) and holds_volume(inner) else path


def others(directory: str) -> list[str]:
    """What else lies on a stick, by name. What filesystems and desktops put there by themselves does not count.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(name for name in os.listdir(directory) if name not in NAMES and name not in _OF_SYSTEMS)


_OF_SYSTEMS: Final = frozenset(
    {"lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trashes", ".Spotlight-V100", ".fseventsd"}
)
