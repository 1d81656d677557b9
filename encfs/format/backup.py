"""What a run of a backup took: one line for each file, directory, symlink (FORMAT.md section 18).

Owns: those lines, bytes <-> dataclasses. Must not know: who signs them, where they are kept, what a digest is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from encfs.errors import FormatError
from encfs.format.canonical import Fields, b64, canonical_json
from encfs.format.limits import DIGEST_SIZE

NO_DIGEST: Final = b""
_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})


class ItemKind(StrEnum):
    """What it is."""

    FILE = "file"
    DIRECTORY = "dir"
    SYMLINK = "link"
    OTHER = "other"


class Taken(StrEnum):
    """What of it is in the backup."""

    WHOLE = "whole"
    """As it was at one moment of the run."""
    OLDER = "older"
    """It was written to all the time: what stands there is what an earlier run took."""
    LIVE = "live"
    """It was written to while it was read: what stands there may never have been."""
    MISSING = "missing"
    """Nothing: written to all the time, not readable, or more than the medium takes in one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file, directory, symlink or node. The repr shows no name.

    Attributes:
        path: from the top, without a slash in front; empty for the top itself.
        mode: type and permission bits.
        mtime_ns: since 1970.
        size: of a file, bytes of what ``digest`` is over.
        digest: 32 bytes for a file that is there, else empty.
        links: a number that all names of one file have in common, 0 for one with a single name.
        target: of a symlink.
        device: of a device node, else 0.
        attributes: extended ones, with ACLs, by name.
        taken: what of it is in the backup.
    """

    path: bytes = field(repr=False)
    kind: ItemKind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    digest: bytes = NO_DIGEST
    links: int = 0
    target: bytes = field(default=b"", repr=False)
    device: int = 0
    attributes: Mapping[str, bytes] = field(default_factory=lambda: _NONE, repr=False)
    taken: Taken = Taken.WHOLE

    def __post_init__(self) -> None:
        """Raises: FormatError: it is none that can stand in a manifest."""
        there = self.kind is ItemKind.FILE and self.taken is not Taken.MISSING
        if len(self.digest) != (DIGEST_SIZE if there else 0):
            raise FormatError("a line of a backup has a digest of the wrong length")
        if self.path.startswith(b"/") or b"\0" in self.path or not _is_inside(self.path):
            raise FormatError("a line of a backup leads out of it")
        if min(self.mode, self.uid, self.gid, self.size, self.links, self.device) < 0:
            raise FormatError("a line of a backup has a number below zero")


def _is_inside(path: bytes) -> bool:
    return not path or all(part not in (b"", b".", b"..") for part in path.split(b"/"))


def pack_items(items: Iterable[Item]) -> Iterator[bytes]:
    """A line each, with its newline, in order of their paths. Raises: FormatError: one stands there twice."""
    before: bytes | None = None
    for item in sorted(items, key=lambda one: one.path):
        if item.path == before:
            raise FormatError("something stands twice in a backup")
        before = item.path
        yield _pack(item)


def _pack(item: Item) -> bytes:
    fields: dict[str, object] = {
        "path": b64(item.path),
        "kind": str(item.kind),
        "mode": item.mode,
        "uid": item.uid,
        "gid": item.gid,
        "mtime": item.mtime_ns,
    }
    optional = {
        "size": item.size,
        "digest": b64(item.digest),
        "links": item.links,
        "target": b64(item.target),
        "device": item.device,
        "attributes": {name: b64(value) for name, value in item.attributes.items()},
    }
    fields |= {name: value for name, value in optional.items() if value}
    if item.taken is not Taken.WHOLE:
        fields["taken"] = str(item.taken)
    return canonical_json(fields) + b"\n"


def parse_items(lines: Iterable[bytes]) -> Iterator[Item]:
    """The inverse of :func:`pack_items`.

    Raises:
        FormatError: a line is none, is not spelled as it has to be, or they are not in order.
    """
    before: bytes | None = None
    for line in lines:
        item = _parse(line)
        if (before is not None and item.path <= before) or _pack(item) != line:
            raise FormatError("a line of a backup is not where or what it has to be")
        before = item.path
        yield item


def _parse(line: bytes) -> Item:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise FormatError("a line of a backup cannot be read") from exc
    fields = Fields(value)
    try:
        attributes = fields.object("attributes") if fields.has("attributes") else Fields({})
        item = Item(
            path=fields.base64("path"),
            kind=ItemKind(fields.text("kind")),
            mode=fields.integer("mode"),
            uid=fields.integer("uid"),
            gid=fields.integer("gid"),
            mtime_ns=fields.integer("mtime"),
            size=_integer(fields, "size"),
            digest=_bytes(fields, "digest"),
            links=_integer(fields, "links"),
            target=_bytes(fields, "target"),
            device=_integer(fields, "device"),
            attributes={name: attributes.base64(name) for name in attributes.names()},
            taken=Taken(fields.text("taken")) if fields.has("taken") else Taken.WHOLE,
        )
    except ValueError as exc:
        raise FormatError("a line of a backup says what this version does not know") from exc
    fields.finish()
    return item


def _integer(fields: Fields, name: str) -> int:
    return fields.integer(name) if fields.has(name) else 0


def _bytes(fields: Fields, name: str) -> bytes:
    return fields.base64(name) if fields.has(name) else b""
