"""What the kernel knows of the passthrough filesystem: objects, their names, how often it refers to them.

Owns: descriptors of directories. Must not know: requests.
"""

from __future__ import annotations

import os

import pyfuse3

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Node:
    """An object that the kernel knows.

    Attributes:
        places: its names, each with the directory that it is in; none when it is unlinked.
        fd: of a directory, once something in it was asked for, an ``O_PATH`` descriptor; otherwise -1.
        handles: descriptors of a file that is open.
    """

    __slots__ = ("fd", "handles", "inode", "lookups", "places")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.places: list[tuple[Node, bytes]] = []
        self.fd = -1
        self.handles: list[int] = []
        self.lookups = 0


class Nodes:
    """All nodes, by inode number and by name. Numbers are those of the lower filesystem, but for the root."""

    def __init__(self, lower: str) -> None:
        self.root = Node(pyfuse3.ROOT_INODE)
        self.root.fd = os.open(lower, _DIRECTORY)
        self.root.places.append((self.root, b"."))
        self.by_inode = {self.root.inode: self.root}
        self._by_place: dict[tuple[Node, bytes], Node] = {}

    def directory(self, node: Node) -> int:
        """The descriptor of a directory."""
        if node.fd < 0:
            parent, name = node.places[-1]
            node.fd = os.open(name, _DIRECTORY, dir_fd=self.directory(parent))
        return node.fd

    def met(self, parent: Node, name: bytes, inode: int) -> Node:
        """The node of what ``name`` was found to be."""
        node = self.by_inode.get(inode)
        if node is None:
            node = self.by_inode[inode] = Node(inode)
        place = (parent, name)
        if self._by_place.get(place) is not node:
            self._by_place[place] = node
            node.places.append(place)
        return node

    def lost(self, parent: Node, name: bytes) -> Node | None:
        """There is no such name any more; the node that had it."""
        place = (parent, name)
        node = self._by_place.pop(place, None)
        if node is not None:
            node.places.remove(place)
        return node

    def forget(self, inode: int, count: int) -> None:
        """The kernel gives back so many references."""
        node = self.by_inode[inode]
        node.lookups -= count
        if node.lookups <= 0 and node is not self.root:
            del self.by_inode[inode]
            for place in node.places:
                del self._by_place[place]
            if node.fd >= 0:
                os.close(node.fd)
