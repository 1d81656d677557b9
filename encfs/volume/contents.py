"""What is in a volume, in one order and one digest: for a receipt, and for holding a copy against it.

Owns: the order of the walk, the items and the digest of FORMAT.md section 17, "Handover". Must not know: who gets what.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

from encfs.crypto.suite import Suite
from encfs.errors import DataError
from encfs.format.attributes import pack_attributes
from encfs.volume.node import Attributes, Node
from encfs.volume.paths import Entry
from encfs.volume.source import VolumeSource
from encfs.volume.told import named
from encfs.volume.volume import Volume

_HEAD: Final = Struct(">BI")
_U64: Final = Struct(">Q")
_NODE: Final = Struct(">IQ")
Progress = Callable[[int], None]
"""Is told how many plain bytes were read so far."""


class ItemKind(IntEnum):
    """What an item is of."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    OTHER = 4


@dataclass(slots=True)
class Counts:
    """How much of what there is; a file with several names counts once for each, its bytes too."""

    directories: int = 0
    files: int = 0
    symlinks: int = 0
    others: int = 0
    bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        """For documents and scripts."""
        return {
            "directories": self.directories,
            "files": self.files,
            "symlinks": self.symlinks,
            "others": self.others,
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class Contents:
    """All items so far.

    Attributes:
        items: the digest of each, in order.
    """

    suite: Suite
    counts: Counts = field(default_factory=Counts)
    items: list[bytes] = field(default_factory=list, repr=False)

    def add_file(self, path: bytes, size: int, content: bytes, attributes: Attributes) -> None:
        """``content``: the SHA-256 of it."""
        self.counts.files += 1
        self.counts.bytes += size
        self._add(ItemKind.FILE, path, _U64.pack(size) + content + self._digest_of(attributes))

    def add_directory(self, path: bytes, attributes: Attributes) -> None:
        """The root has an empty path, and is not counted."""
        self.counts.directories += bool(path)
        self._add(ItemKind.DIRECTORY, path, self._digest_of(attributes))

    def add_symlink(self, path: bytes, target: bytes) -> None:
        """A symlink, which has no attributes."""
        self.counts.symlinks += 1
        self._add(ItemKind.SYMLINK, path, target)

    def add_other(self, path: bytes, mode: int, device: int) -> None:
        """A pipe, socket or device node."""
        self.counts.others += 1
        is_device = stat_module.S_ISBLK(mode) or stat_module.S_ISCHR(mode)
        self._add(ItemKind.OTHER, path, _NODE.pack(stat_module.S_IFMT(mode), device if is_device else 0))

    def _digest_of(self, attributes: Attributes) -> bytes:
        return self.suite.digest(pack_attributes(attributes))

    def _add(self, kind: ItemKind, path: bytes, rest: bytes) -> None:
        self.items.append(self.suite.digest(_HEAD.pack(kind, len(path)) + path + rest))

    def digest(self, key: bytes) -> bytes:
        """Of everything, under K_handover: 32 bytes."""
        running = self.suite.running_digest()
        for item in self.items:
            running.update(item)
        return self.suite.mac(key, running.digest())


def walk(volume: Volume) -> Iterator[tuple[bytes, Entry]]:
    """Everything, each directory before what is in it, that in the order of its names; the root first.

    Raises:
        DataError: something does not authenticate; the text names it.
        OSError.
    """
    source = VolumeSource(volume)
    pending: list[tuple[bytes, Entry]] = [(b"", source.stat(b""))]
    while pending:
        path, entry = pending.pop()
        yield path, entry
        if not stat_module.S_ISDIR(entry.mode):
            continue
        with named(path):
            listing = source.list(path)
            if listing.unreadable:
                raise DataError("an entry of this directory has a name that is damaged")
        prefix = path + b"/" if path else b""
        pending += [(prefix + one.name, one) for one in reversed(listing.entries)]


def node_at(volume: Volume, path: bytes) -> Node:
    """The node of what :func:`walk` has given; whoever is done with it calls :func:`let_go`."""
    return volume.resolve(path, follow=False)


def let_go(volume: Volume, node: Node) -> None:
    """Forget a node again: a volume may have millions."""
    if node is not volume.tree.root:
        volume.tree.nodes.drop_if_unused(node)


def attributes_at(volume: Volume, path: bytes) -> Attributes:
    """The extended attributes of a file or directory. Raises: DataError, OSError."""
    node = node_at(volume, path)
    try:
        return dict(volume.attributes.get_all(node))
    finally:
        let_go(volume, node)


def device_at(volume: Volume, path: bytes) -> int:
    """The device number of a node. Raises: DataError, OSError."""
    node = node_at(volume, path)
    try:
        return volume.tree.stat(node).st_rdev
    finally:
        let_go(volume, node)


def take_stock(volume: Volume, progress: Progress = lambda _: None) -> Contents:
    """Read and authenticate everything.

    Raises:
        DataError: something does not authenticate; the text names it.
        OSError.
    """
    found = Contents(volume.ctx.suite)
    for path, entry in walk(volume):
        with named(path):
            add(found, volume, path, entry, progress)
    return found


def add(found: Contents, volume: Volume, path: bytes, entry: Entry, progress: Progress) -> None:
    """One item, read from the volume. Raises: DataError, OSError."""
    if stat_module.S_ISDIR(entry.mode):
        found.add_directory(path, attributes_at(volume, path))
    elif stat_module.S_ISREG(entry.mode):
        running, size = volume.ctx.suite.running_digest(), 0
        for piece in volume.read_file(path):
            running.update(piece)
            size += len(piece)
            progress(found.counts.bytes + size)
        found.add_file(path, size, running.digest(), attributes_at(volume, path))
    elif stat_module.S_ISLNK(entry.mode):
        found.add_symlink(path, volume.read_link(path))
    else:
        found.add_other(path, entry.mode, device_at(volume, path))
