"""The plain tree of a volume as something to read from, for whoever copies it out.

Owns: the interface, and the tree of a volume that this process has unlocked. Must not know: mounts, where the content
goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOENT
from typing import Protocol, runtime_checkable

from encfs.units import LowerName
from encfs.volume.node import Node
from encfs.volume.paths import Entry
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a directory, and how many more have a name that does not authenticate."""

    entries: list[Entry]
    unreadable: int


class Source(Protocol):
    """A volume's plain tree, for reading. Every method raises ``OSError`` and ``DataError``."""

    def stat(self, path: bytes, *, follow: bool = False) -> Entry: ...
    def list(self, path: bytes) -> Listing: ...
    def read_link(self, path: bytes) -> bytes: ...
    def read(self, path: bytes) -> Iterator[bytes]:
        """The content in pieces of up to 1 MiB."""
        ...


@runtime_checkable
class WholeSource(Source, Protocol):
    """A plain tree with all that its entries have."""

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        """Extended attributes of a file or directory, ACLs too, by name."""
        ...

    def device(self, path: bytes) -> int:
        """The device number of a node, 0 for what is no device."""
        ...


class VolumeSource:
    """A volume that this process has unlocked."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        return self._volume.stat(path, follow=follow)

    def list(self, path: bytes) -> Listing:
        before = self._volume.ctx.events
        entries = self._volume.list_directory(path)
        return Listing(entries, self._volume.ctx.events - before)

    def read_link(self, path: bytes) -> bytes:
        return self._volume.read_link(path)

    def read(self, path: bytes) -> Iterator[bytes]:
        return self._volume.read_file(path)

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        """Extended attributes of a file or directory, by name. Raises: OSError, DataError."""
        with self._node(path) as node:
            found = self._volume.attributes.get_all(node)
            return {os.fsdecode(name): value for name, value in found.items()}

    def device(self, path: bytes) -> int:
        with self._node(path) as node:
            info = self._volume.tree.stat(node)
            return info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0

    @contextmanager
    def _node(self, path: bytes) -> Iterator[Node]:
        """It is forgotten again: a volume may have millions."""
        node = self._volume.resolve(path, follow=False)
        try:
            yield node
        finally:
            if node is not self._volume.tree.root:
                self._volume.tree.nodes.drop_if_unused(node)

    def sealed_path(self, path: bytes) -> bytes:
        """Where the volume has a plain path: the inverse of :meth:`plain_path`. Raises: OSError, DataError."""
        with self._node(path) as node:
            names: list[bytes] = []
            here: Node | None = node
            while here is not None and here.parent is not None:
                names.append(here.lower_name)
                here = here.parent
            return b"/".join(reversed(names))

    def plain_path(self, sealed: bytes) -> bytes:
        """The plain path of a path of lower names, both from the top.

        Raises:
            OSError: ENOENT. DataError: a name on the way is damaged.
        """
        tree, names = self._volume.tree, []
        node = tree.root
        for part in sealed.split(b"/"):
            name = tree.read_name(node, LowerName(part))
            found = tree.lookup(node, name)
            if found is None:
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
            node, _ = found
            names.append(name)
        return b"/".join(names)
