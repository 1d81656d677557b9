"""Where the copies of a volume's entries go, on a disk of whatever system.

Owns: the names that they get there, and that none meets another or means something else on that system. Must not know:
what is copied.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field

from encfs.hostpaths import shortened, windows_name

WINDOWS = os.name == "nt"


@dataclass(slots=True)
class SafePlacement:
    """Names for the destination (docs/reader.md, "Names").

    On Windows what is forbidden there is written as ``%XX``; elsewhere a name stays as it is. Two names that the
    destination takes for one, because it does not tell ``A`` from ``a``, are told apart by a number.

    Attributes:
        overwrite: whether a file that is there is replaced; never by another entry of the same run.
        windows: whether the rules of Windows hold.
        renamed: names that are others at the destination, each with the path of the copy.
    """

    overwrite: bool
    windows: bool = WINDOWS
    renamed: list[tuple[bytes, bytes]] = field(default_factory=list)
    _taken: set[tuple[bytes, str]] = field(default_factory=set)

    @property
    def links(self) -> bool:
        """Windows makes symlinks for administrators only."""
        return not self.windows

    def place(self, directory: bytes, name: bytes) -> bytes:
        """Where the copy of an entry called ``name`` goes."""
        whole = windows_name(name) if self.windows else os.fsdecode(name)
        text, number = whole, 1
        while (directory, _folded(text)) in self._taken and os.path.lexists(os.path.join(directory, os.fsencode(text))):
            number += 1
            text = shortened(whole, f"~{number}")
        self._taken.add((directory, _folded(text)))
        place = os.path.join(directory, os.fsencode(text))
        if os.fsencode(text) != name:
            self.renamed.append((name, place))
        return place


def _folded(text: str) -> str:
    """The same for all names that some filesystem takes for one."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
