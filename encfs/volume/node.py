"""The inode tree in memory: one :class:`Node` for every lower inode that somebody refers to.

Owns: which lower inode is where (parent and lower name), and how many references the kernel holds.
Must not know: keys, I/O. Kept small: ``ls -lR`` over 200,000 files holds 200,000 of these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from encfs.units import DirId, LowerName

if TYPE_CHECKING:
    from encfs.volume.file import OpenFile

Attributes = dict[bytes, bytes]
NO_ATTRIBUTES: Attributes = {}


class Node:
    """A lower inode.

    ``parent`` and ``lower_name`` say where it is; further hard links that were looked up are in ``places``. A node
    whose last link is gone has ``parent`` None and keeps in ``ghost`` what stat says of it. ``owed`` is the place (dir
    id and plain name) that the header of a renamed file still names; see ``moves.py``.
    """

    __slots__ = (
        "attributes",
        "children",
        "dir_id",
        "file",
        "generation",
        "ghost",
        "inode",
        "lookups",
        "lower_inode",
        "lower_name",
        "owed",
        "parent",
        "places",
    )

    def __init__(self, inode: int, parent: Node | None, lower_name: LowerName) -> None:
        self.inode = inode
        self.lower_inode = inode
        self.parent = parent
        self.lower_name = lower_name
        self.generation = 0
        self.lookups = 0
        self.dir_id: DirId | None = None
        self.attributes: Attributes | None = None
        self.file: OpenFile | None = None
        self.ghost: os.stat_result | None = None
        self.owed: tuple[DirId, bytes] | None = None
        self.places: list[tuple[Node, LowerName]] | None = None
        self.children: dict[LowerName, Node] | None = None  # only where lower inode numbers do not last

    @property
    def in_file(self) -> bool:
        """Whether this is a symlink kept in a file (FORMAT.md section 9.4)."""
        return self.lower_name.endswith(b".l")

    def is_at(self, parent: Node, lower_name: LowerName) -> bool:
        """Whether the inode was found at this place before."""
        place = (parent, lower_name)
        return place == (self.parent, self.lower_name) or (self.places is not None and place in self.places)

    def add_place(self, parent: Node, lower_name: LowerName) -> None:
        """Remember a place where the inode was found."""
        if parent.children is not None:
            parent.children[lower_name] = self
        if self.parent is parent and self.lower_name == lower_name:
            return
        if self.parent is None:
            self.parent, self.lower_name = parent, lower_name
            self.ghost = None
            return
        place = (parent, lower_name)
        if self.places is None:
            self.places = [place]
        elif place not in self.places:
            self.places.append(place)

    def remove_place(self, parent: Node, lower_name: LowerName) -> None:
        """Forget a place; the node moves on to another one it is known at, if there is one."""
        parent.lose_child(self, lower_name)
        if self.places is not None:
            self.places = [place for place in self.places if place != (parent, lower_name)] or None
        if self.parent is parent and self.lower_name == lower_name:
            if self.places is None:
                self.parent = None
            else:
                self.parent, self.lower_name = self.places.pop()

    def lose_child(self, child: Node, lower_name: LowerName) -> None:
        """``child`` is no longer at a name in this directory."""
        if self.children is not None and self.children.get(lower_name) is child:
            del self.children[lower_name]

    def move_place(self, parent: Node, lower_name: LowerName, to_parent: Node, to_name: LowerName) -> None:
        """A rename happened below."""
        self.remove_place(parent, lower_name)
        self.add_place(to_parent, to_name)


class NodeTable:
    """All nodes by the inode number that the kernel knows them by. The root is number 1.

    The number is the lower inode number, but for three cases kept in ``_aliases``: the root; a symlink whose lower
    inode was replaced to change its text while the kernel knows it; and whatever would collide with those. ``_apart``
    has places whose inode has a node elsewhere already, where nothing says that the two are one object.
    ``on_drop`` is called with every node that is removed, and before that ``finish_move`` with one whose header does
    not name its place; false keeps it. Its parents are there still: who knows a node knows them.

    Where lower numbers are not ``lasting``, nodes are known by their place as well: FAT, exFAT and programs (FUSE)
    number an object anew when the kernel meets it again. There the kernel gets numbers of our own, which are never used
    twice; ``_kept`` has those of nodes that were removed, by their place, so that an object keeps its number as long as
    the volume is open.

    A number and its generation make a file handle (name_to_handle_at(2)), which somebody may keep for years. So the
    generation changes with every object that is gone, whose number may come back, and starts anywhere:
    ``first_generation`` is another one in each life, because the kernel asks for nothing more than these two.
    """

    ROOT = 1

    def __init__(self, root: Node, root_inode: int, *, lasting: bool = True, first_generation: int = 0) -> None:
        root.children = None if lasting else {}
        self._nodes: dict[int, Node] = {self.ROOT: root}
        self._aliases: dict[int, int] = {root_inode: self.ROOT}
        self._apart: dict[tuple[int, LowerName], int] = {}
        self._lasting = lasting
        self._kept: dict[tuple[int, LowerName], int] = {}
        self._next_stand_in = 1 << 62 if lasting else self.ROOT
        self._generation = first_generation
        self.on_drop: Callable[[Node], None] = lambda _: None
        self.finish_move: Callable[[Node], bool] = lambda _: True
        root.lower_inode = root_inode

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, number: int) -> Node | None:
        """The node that the kernel calls ``number``."""
        return self._nodes.get(number)

    def find(self, lower_inode: int) -> Node | None:
        """The node of a lower inode, if there is one."""
        node = self._nodes.get(self._aliases.get(lower_inode, lower_inode))
        return node if node is not None and node.lower_inode == lower_inode else None

    def meet(self, lower_inode: int, parent: Node, lower_name: LowerName, *, fresh: bool = False) -> Node:
        """The node of a lower inode just found at a place. ``fresh``: it was just created there.

        A number whose old inode is gone gets a new node of the next generation; references that the kernel still
        holds on the old one are counted on, because it gives them back by number.
        """
        number = self._aliases.get(lower_inode, lower_inode if self._lasting else 0)
        node = self._nodes.get(number)
        if not self._lasting:
            kept = self._kept.pop((parent.inode, lower_name), 0)
            if node is None:
                number = self._stand_in(lower_inode, 0 if fresh else kept)
        if node is not None and node.lower_inode != lower_inode:
            number, node = self._stand_in(lower_inode), None
        if node is None:
            node = self._nodes[number] = self._place(Node(number, parent, lower_name), parent)
            node.lower_inode = lower_inode
            node.generation = self._generation
        elif fresh or (node.ghost is not None and node.file is None):
            successor = self._place(Node(number, parent, lower_name), parent)
            successor.lower_inode = lower_inode
            self._new_generation()
            successor.generation = self._generation
            successor.lookups = node.lookups
            node = self._nodes[number] = successor
        else:
            node.add_place(parent, lower_name)
        return node

    def meet_apart(self, lower_inode: int, parent: Node, lower_name: LowerName) -> Node:
        """The node of a place alone, whatever else leads to its inode."""
        key = parent.inode, lower_name
        node = self._nodes.get(self._apart.get(key, 0))
        if node is None or node.lower_inode != lower_inode:
            self._next_stand_in += 1
            self._apart[key] = self._next_stand_in
            node = self._nodes[self._next_stand_in] = Node(self._next_stand_in, parent, lower_name)
            node.lower_inode = lower_inode
            node.generation = self._generation
        return node

    @staticmethod
    def _place(node: Node, parent: Node) -> Node:
        if parent.children is not None:
            node.children = {}
            parent.children[node.lower_name] = node
        return node

    def recognize(self, parent: Node, lower_name: LowerName, lower_inode: int) -> None:
        """Something was found at a place: a node that is known there is that, whatever its number was."""
        known = None if parent.children is None else parent.children.get(lower_name)
        if known is not None and known.lower_inode != lower_inode and known.ghost is None:
            self.renumber(known, lower_inode)

    def _new_generation(self) -> None:
        """Handles of what is gone lead to nothing that comes after it. The kernel keeps 32 bits."""
        self._generation = (self._generation + 1) & 0xFFFFFFFF

    def _stand_in(self, lower_inode: int, number: int = 0) -> int:
        """Another number than the lower one: ``number``, or a new one."""
        if not number:
            self._next_stand_in += 1
            number = self._next_stand_in
        self._aliases[lower_inode] = number
        return number

    def renumber(self, node: Node, lower_inode: int) -> None:
        """A node got another lower inode (a symlink is replaced to change its text). The kernel keeps its number."""
        self._forget_alias(node)
        node.lower_inode = lower_inode
        # Also where another node had it: that one is a ghost, because a lower inode in use cannot be given out again.
        self._aliases.pop(lower_inode, None)
        if lower_inode != node.inode:
            self._aliases[lower_inode] = node.inode

    def _forget_alias(self, node: Node) -> None:
        if self._aliases.get(node.lower_inode) == node.inode:
            del self._aliases[node.lower_inode]

    def forget(self, number: int, count: int) -> None:
        """Give back ``count`` references of the kernel."""
        node = self._nodes.get(number)
        if node is not None:
            node.lookups -= count
            self.drop_if_unused(node)

    def drop_if_unused(self, node: Node) -> None:
        """Remove a node that neither the kernel nor an open file refers to, and whose header names its place."""
        if node.lookups > 0 or node.file is not None or node.inode == self.ROOT:
            return
        if node.owed is not None and not self.finish_move(node):
            return
        if self._nodes.get(node.inode) is node:
            del self._nodes[node.inode]
            if node.ghost is not None:
                self._new_generation()
            if node.parent is not None:
                node.parent.lose_child(node, node.lower_name)
                if not self._lasting:
                    self._kept[node.parent.inode, node.lower_name] = node.inode
            self.on_drop(node)
            self._forget_alias(node)
            if self._apart:
                self._apart = {key: number for key, number in self._apart.items() if number != node.inode}
