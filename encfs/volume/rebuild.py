"""What the children of a directory tell of it when its own record is lost (FORMAT.md section 8).

Owns: asking the children, and what their answers are worth. Must not know: why it is asked, what is then written.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections import Counter
from dataclasses import dataclass, field

from encfs.core import frames
from encfs.errors import DataError, SizeError
from encfs.format.limits import FRAME_SIZE, LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.node import Node
from encfs.volume.tree import Tree


@dataclass(slots=True)
class Told:
    """What the children of a directory say.

    Attributes:
        votes: how many children name each id, and stand under the very name that they have in it.
        unreadable: how many say nothing, or something that cannot be so.
        never_finished: files of length 0, which say nothing because their create was cut short.
    """

    votes: Counter[DirId] = field(default_factory=Counter)
    unreadable: int = 0
    never_finished: list[bytes] = field(default_factory=list)

    @property
    def dir_id(self) -> DirId | None:
        """What most of them say."""
        return self.votes.most_common(1)[0][0] if self.votes else None


def ask_children(tree: Tree, node: Node) -> Told:
    """Read the header or record of each child of a directory.

    Raises:
        OSError: the directory cannot be listed.
    """
    told = Told()
    store = tree.ctx.store
    for name in store.list(tree.dirfd(node)):
        if name.startswith(b"cloakfs."):
            continue
        try:
            stat = store.stat(tree.dirfd(node), name)
            if stat_module.S_ISREG(stat.st_mode) and stat.st_size == 0:
                told.never_finished.append(name)
                continue
            told.votes[_parent_named_by(tree, node, Node(0, node, LowerName(name)), stat)] += 1
        except (DataError, OSError):
            told.unreadable += 1
    return told


def _parent_named_by(tree: Tree, node: Node, child: Node, stat: os.stat_result) -> DirId:
    """The id of ``node`` as a child has it.

    One whose own name, sealed under that id, is not the name it stands under was moved here, or is on its way
    elsewhere: it speaks of another directory.
    """
    store, dirfd = tree.ctx.store, tree.dirfd(node)
    if stat_module.S_ISDIR(stat.st_mode):
        try:
            record = tree.read_record(child)
        finally:
            tree.directories.forget(child)
        parent, name = record.parent, record.name
    else:
        fd = store.open(dirfd, child.lower_name, os.O_RDONLY)
        try:
            raw = store.pread(fd, FRAME_SIZE, 0)
        finally:
            store.close(fd)
        if len(raw) != FRAME_SIZE:
            raise SizeError("shorter than a header")
        header = frames.open_header(tree.ctx.ring, raw)
        parent, name = header.parent, header.name
    if tree.ctx.ring.metadata.names.seal(parent, name) != child.lower_name.removesuffix(LINK_SUFFIX):
        raise SizeError("the header or record names another place")
    return parent
