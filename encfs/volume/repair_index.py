"""Where every directory of a damaged volume is, by the id that its record or its children give it.

Owns: one quick walk over all lower directories, and the question where an object belongs. Must not know: what is wrong
with the objects, what is done about it.
"""

from __future__ import annotations

import os
import stat as stat_module
from dataclasses import dataclass

from encfs.crypto import rng
from encfs.errors import DataError
from encfs.format.directory import DirectoryRecord
from encfs.format.limits import LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.lost_found import is_kept
from encfs.volume.node import Node
from encfs.volume.rebuild import Told, ask_children
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A lower name in a directory that is in the index."""

    parent: Node
    lower: LowerName

    @property
    def key(self) -> tuple[int, bytes]:
        """The same for the same place."""
        return id(self.parent), bytes(self.lower)


class Index:
    """All directories of a volume. Those without a good record have the id that their children tell, or a new one.

    The nodes are the index's own; ``dir_id`` of each is set, also where the directory is not at its place.
    """

    def __init__(self, volume: Volume) -> None:
        self._tree = volume.tree
        self._names = volume.ctx.ring.metadata.names
        self._store = volume.ctx.store
        self.root = volume.tree.root
        self.root.dir_id = volume.config.root_dir_id
        self.records: dict[Node, DirectoryRecord] = {}
        self._told: dict[Node, Told] = {}
        self._by_path: dict[bytes, Node] = {b".": self.root}
        self._by_id: dict[DirId, list[Node]] = {}
        self._links: dict[int, list[Place]] = {}
        damaged = self._walk()
        for node in damaged:
            node.dir_id = self.told_id(node) or DirId(rng.random_bytes(16))
            self._by_id.setdefault(node.dir_id, []).append(node)

    def _walk(self) -> list[Node]:
        """Every lower directory; those whose record does not open are returned, upper ones first."""
        self._by_id[self.root.dir_id or DirId(b"")] = [self.root]
        pending, damaged = [(b"", self.root)], []
        for path, node in pending:
            if node is not self.root:
                self._by_path[path] = node
                try:
                    record = self._tree.read_record(node)
                except (DataError, OSError):
                    damaged.append(node)
                else:
                    node.dir_id, self.records[node] = record.dir_id, record
                    self._by_id.setdefault(record.dir_id, []).append(node)
            try:
                names = self._store.list(self._tree.dirfd(node))
            except OSError:
                continue
            for name in names:
                child = self._meet(node, name)
                if child is not None:
                    pending.append((path + b"/" + name if path else name, child))
        return damaged

    def _meet(self, parent: Node, name: bytes) -> Node | None:
        """A node for a directory; hard links of files are noted."""
        if name.startswith(b"cloakfs."):
            return None
        try:
            stat = self._store.stat(self._tree.dirfd(parent), name)
        except OSError:
            return None
        if stat_module.S_ISREG(stat.st_mode) and stat.st_nlink > 1:
            self._links.setdefault(stat.st_ino, []).append(Place(parent, LowerName(name)))
        return Node(stat.st_ino, parent, LowerName(name)) if stat_module.S_ISDIR(stat.st_mode) else None

    def ask(self, node: Node) -> Told:
        """What the children of a directory say of it."""
        if node not in self._told:
            self._told[node] = ask_children(self._tree, node)
        return self._told[node]

    def told_id(self, node: Node) -> DirId | None:
        """The id that most children of a directory give it, but none of a directory that is at its place.

        Children that were moved in from there, under their old names, speak of that one.
        """
        for dir_id, _ in self.ask(node).votes.most_common():
            if not any(other is not node and self.is_home(other) for other in self._by_id.get(dir_id, ())):
                return dir_id
        return None

    def rename(self, node: Node, dir_id: DirId) -> None:
        """A directory has another id than its record says: the record is that of another directory."""
        del self.records[node]
        self._by_id[node.dir_id or DirId(b"")].remove(node)
        node.dir_id = dir_id
        self._by_id.setdefault(dir_id, []).append(node)

    # -- questions -------------------------------------------------------------------------------------------

    def at(self, lower_path: bytes) -> Place | None:
        """The place of a lower path; None for the root, or where the directory is not known."""
        directory, _, name = lower_path.rpartition(b"/")
        parent = self._by_path.get(directory or b".")
        return None if parent is None or lower_path == b"." else Place(parent, LowerName(name))

    def directory(self, lower_path: bytes) -> Node | None:
        """The node of a lower directory."""
        return self._by_path.get(lower_path)

    def links(self, place: Place, stat: os.stat_result) -> list[Place]:
        """All names of a file, the given one first."""
        others = self._links.get(stat.st_ino, []) if stat.st_nlink > 1 else []
        return [place, *(other for other in others if other.key != place.key)]

    def is_home(self, node: Node) -> bool:
        """Whether a directory is where its record says. One without a record is where it is."""
        record = self.records.get(node)
        if record is None or node.parent is None:
            return True
        return record.parent == node.parent.dir_id and self._names.seal(record.parent, record.name) == node.lower_name

    def known(self, dir_id: DirId) -> Node | None:
        """The one directory with an id: of several, the only one that is at its place. None if that is not clear."""
        found = self._by_id.get(dir_id, [])
        if len(found) > 1:
            found = [node for node in found if self.is_home(node)]
        if len(found) > 1:  # Repair puts a copy of a directory aside under its old id: the other one is meant.
            found = [node for node in found if not is_kept(self.plain_path(node))]
        return found[0] if len(found) == 1 else None

    def home(self, parent: DirId, name: bytes, *, in_file: bool = False) -> Place | None:
        """Where something that names this parent and this name belongs."""
        node = self.known(parent)
        if node is None:
            return None
        lower = self._names.seal(parent, name)
        return Place(node, LowerName(lower + LINK_SUFFIX) if in_file else lower)

    def home_by_name(self, lower: bytes) -> tuple[Place, bytes] | None:
        """The directory under whose id a lower name of our shape opens, and the plain name."""
        for dir_id in self._by_id:
            try:
                name = self._names.open(dir_id, lower)
            except DataError:
                continue
            node = self.known(dir_id)
            return None if name is None or node is None else (Place(node, LowerName(lower)), name)
        return None

    def plain_name(self, place: Place) -> bytes | None:
        """The plain name that a lower name holds, None if it is long or no name in that directory."""
        try:
            return self._names.open(place.parent.dir_id or DirId(b""), place.lower.removesuffix(LINK_SUFFIX))
        except DataError:
            return None

    def plain_path(self, node: Node) -> bytes:
        """The plain path of a directory; what has no name any more appears under its lower name."""
        parts: list[bytes] = []
        here: Node | None = node
        while here is not None and here.parent is not None:
            name = self.plain_name(Place(here.parent, here.lower_name))
            record = self.records.get(here)
            parts.append(name or (record.name if record is not None else here.lower_name))
            here = here.parent
        return b"/".join(reversed(parts))

    @staticmethod
    def lower_path(place: Place) -> bytes:
        """The path of a place below the volume directory."""
        parts: list[bytes] = [place.lower]
        here: Node | None = place.parent
        while here is not None and here.parent is not None:
            parts.append(here.lower_name)
            here = here.parent
        return b"/".join(reversed(parts))
