"""Attacks on one region: header, tail, directory record, symlink, attributes (FORMAT.md sections 6 to 10)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.corruption.attack import (
    HEADER,
    RECORD,
    Effect,
    Hit,
    Outcome,
    Target,
    attack,
    flip,
    overwrite,
    retarget,
    spoilt,
    truncate,
)

XATTR = "user.cloakfs"
DELETED = "That an attribute, a file or a whole directory still exists"


@attack("header-flip", Outcome.EIO, "file-damaged", "entry-damaged")
def header_flip(target: Target) -> list[Hit]:
    """One bit of a header is flipped."""
    hit = spoilt(target.file)
    flip(target.file, target.offset % HEADER, target.seed)
    return [hit]


@attack("header-zero", Outcome.EIO, "file-damaged", "entry-damaged")
def header_zero(target: Target) -> list[Hit]:
    """A header is overwritten with zeros."""
    overwrite(target.file, 0, bytes(HEADER))
    return [spoilt(target.file)]


@attack("header-cut", Outcome.EIO, "file-size", "entry-damaged")
def header_cut(target: Target) -> list[Hit]:
    """A file is cut inside its header, or to nothing."""
    truncate(target.file, target.offset % HEADER)
    return [spoilt(target.file, "size")]


@attack("tail-flip", Outcome.HARMLESS)
def tail_flip(target: Target) -> list[Hit]:
    """A byte behind the last cell, where nothing is ever written, is set."""
    begin = target.cells() * target.cell_size
    size = target.file.stat().st_size
    if size > begin:
        overwrite(target.file, begin + target.offset % (size - begin), b"\xff")
    return []


@attack("tail-cut", Outcome.EIO, "file-size")
def tail_cut(target: Target) -> list[Hit]:
    """What is behind the last cell is cut shorter, which says that the file is shorter."""
    begin, size = target.cells() * target.cell_size, target.file.stat().st_size
    truncate(target.file, begin + target.offset % (size - begin))
    return [Hit(target.file, Effect.CELLS, "file-size")]


# -- directory records ------------------------------------------------------------------------------------------


@attack("record-flip", Outcome.EIO, "directory-damaged", "entry-damaged")
def record_flip(target: Target) -> list[Hit]:
    """One bit of a directory record is flipped."""
    flip(target.file / RECORD, target.offset % HEADER, target.seed)
    return [spoilt(target.file)]


@attack("record-zero", Outcome.EIO, "directory-damaged", "entry-damaged")
def record_zero(target: Target) -> list[Hit]:
    """A directory record is overwritten with zeros."""
    overwrite(target.file / RECORD, 0, bytes(HEADER))
    return [spoilt(target.file)]


@attack("record-cut", Outcome.EIO, "directory-size", "entry-damaged")
def record_cut(target: Target) -> list[Hit]:
    """A directory record is cut, or gets bytes behind it."""
    truncate(target.file / RECORD, target.offset)
    return [spoilt(target.file, "size")]


@attack("record-delete", Outcome.EIO, "directory-size", "entry-damaged")
def record_delete(target: Target) -> list[Hit]:
    """A directory record is deleted."""
    (target.file / RECORD).unlink()
    return [spoilt(target.file, "size")]


# -- symlinks ---------------------------------------------------------------------------------------------------


def _changed(text: str, at: int) -> str:
    at %= len(text)
    return text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :]


@attack("symlink-flip", Outcome.EIO, "symlink-damaged")
def symlink_flip(target: Target) -> list[Hit]:
    """One character of a sealed symlink target is changed."""
    retarget(target.file, _changed(os.readlink(target.file), target.offset))
    return [spoilt(target.file)]


@attack("symlink-zero", Outcome.EIO, "symlink-damaged")
def symlink_zero(target: Target) -> list[Hit]:
    """A sealed symlink target is replaced by the base64url of zeros."""
    retarget(target.file, "A" * len(os.readlink(target.file)))
    return [spoilt(target.file)]


@attack("symlink-cut", Outcome.EIO, "symlink-damaged")
def symlink_cut(target: Target) -> list[Hit]:
    """A sealed symlink target is cut."""
    text = os.readlink(target.file)
    retarget(target.file, text[: max(1, target.offset % len(text))])
    return [spoilt(target.file)]


@attack("symlink-to-elsewhere", Outcome.EIO, "symlink-damaged")
def symlink_to_elsewhere(target: Target) -> list[Hit]:
    """A symlink is pointed at a file of the machine."""
    retarget(target.file, "/dev/null")
    return [spoilt(target.file)]


# -- attributes -------------------------------------------------------------------------------------------------


def _attributes(path: Path) -> list[Hit]:
    return [Hit(path, Effect.ATTRIBUTES, "attributes-damaged")]


@attack("xattr-flip", Outcome.EIO, "attributes-damaged")
def xattr_flip(target: Target) -> list[Hit]:
    """One bit of the sealed attributes of a file or directory is flipped."""
    blob = bytearray(os.getxattr(target.file, XATTR))
    blob[target.offset % len(blob)] ^= 1 << target.seed % 8
    os.setxattr(target.file, XATTR, bytes(blob))
    return _attributes(target.file)


@attack("xattr-zero", Outcome.EIO, "attributes-damaged")
def xattr_zero(target: Target) -> list[Hit]:
    """The sealed attributes are replaced by zeros."""
    os.setxattr(target.file, XATTR, bytes(len(os.getxattr(target.file, XATTR))))
    return _attributes(target.file)


@attack("xattr-cut", Outcome.EIO, "attributes-damaged")
def xattr_cut(target: Target) -> list[Hit]:
    """The sealed attributes are cut, or emptied."""
    blob = os.getxattr(target.file, XATTR)
    os.setxattr(target.file, XATTR, blob[: target.offset % len(blob)])
    return _attributes(target.file)


@attack("xattr-of-another", Outcome.EIO, "attributes-damaged", needs=("other",))
def xattr_of_another(target: Target) -> list[Hit]:
    """Two objects swap their sealed attributes."""
    one, two = os.getxattr(target.file, XATTR), os.getxattr(target.second, XATTR)
    os.setxattr(target.file, XATTR, two)
    os.setxattr(target.second, XATTR, one)
    return _attributes(target.file) + _attributes(target.second)


@attack("xattr-delete", Outcome.LIMIT, limit=DELETED)
def xattr_delete(target: Target) -> list[Hit]:
    """The sealed attributes of an object are deleted."""
    os.removexattr(target.file, XATTR)
    return [Hit(target.file, Effect.OLD)]
