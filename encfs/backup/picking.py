"""Which files of a backup a drill restores (FORMAT.md section 17, "Drill").

Owns: that choice, which everybody makes alike who has the manifest and the seed. Must not know: what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from encfs.backup.manifest import Manifest
from encfs.backup.plans import EngineKind
from encfs.crypto.kdf import Label
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.backup import Item, ItemKind, Taken
from encfs.format.limits import ENCODED_NAME_MIN, LINK_SUFFIX

_SYSTEM: Final = b"cloakfs."


def files_of(manifest: Manifest) -> list[Item]:
    """The files of a run that people have: those that are in it, and of a sealed tree those that hold content."""
    there = [one for one in manifest.items if one.kind is ItemKind.FILE and one.taken is not Taken.MISSING]
    return there if manifest.head.engine != EngineKind.COPY else [one for one in there if _has_content(one.path)]


def _has_content(sealed: bytes) -> bool:
    """Whether a lower file holds the content of a plain one: by its name and those of its directories."""
    parts = sealed.split(b"/")
    names = all(len(part) >= ENCODED_NAME_MIN and not part.startswith(_SYSTEM) for part in parts)
    return names and not parts[-1].endswith(LINK_SUFFIX)


def pick(files: Sequence[Item], count: int, seed: int) -> list[Item]:
    """So many of them, in order of their paths: the same ones for the same seed, whoever picks.

    Args:
        files: in order of their paths.
        count: how many; all of them, if there are no more.
        seed: 0 to 2^64 - 1.
    """
    if count >= len(files):
        return list(files)
    first = [max(files, key=attrgetter("size")), max(files, key=attrgetter("mtime_ns"))]
    chosen = dict.fromkeys(one.path for one in first[:count])
    prefix = Label.DRILL + seed.to_bytes(8, "big")
    for one in sorted(files, key=lambda each: CLOAKFS_1.digest(prefix + each.path)):
        if len(chosen) >= count:
            break
        chosen[one.path] = None
    return [one for one in files if one.path in chosen]
