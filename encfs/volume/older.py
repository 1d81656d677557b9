"""Which files of a volume are older than its host remembers (FORMAT.md section 13), by one header each.

Owns: the walk. Must not know: what is done about them.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from encfs.core import frames
from encfs.errors import DataError, RollbackError
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import FRAME_SIZE
from encfs.volume.freshness import Freshness
from encfs.volume.node import Node
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class OlderFile:
    """A file that is older than what this host has seen of it, or was deleted."""

    path: bytes = field(repr=False)
    header: FileHeader
    reason: str


def older_files(
    volume: Volume, memory: Freshness, paths: Sequence[bytes] = (), progress: Callable[[int], None] = lambda _: None
) -> Iterator[OlderFile]:
    """All of them at ``paths`` and below (none: in the whole volume). What does not authenticate is passed over.

    Raises:
        OSError: a path does not exist.
        DataError: a directory on the way to a path does not authenticate.
    """
    looked_at = 0
    pending = [(volume.resolve(path, follow=False), path.strip(b"/")) for path in paths or [b""]]
    while pending:
        node, path = pending.pop()
        try:
            mode = volume.tree.stat(node).st_mode
            if stat_module.S_ISDIR(mode):
                pending.extend(_children(volume, node, path))
            elif stat_module.S_ISREG(mode):
                found = _compare(volume, memory, node, path)
                if found is not None:
                    yield found
        except (DataError, OSError):
            continue
        looked_at += 1
        progress(looked_at)


def _children(volume: Volume, node: Node, path: bytes) -> Iterator[tuple[Node, bytes]]:
    tree = volume.tree
    for lower in tree.entries(node):
        stat = volume.ctx.store.stat(tree.dirfd(node), lower)
        if stat_module.S_ISDIR(stat.st_mode) or stat_module.S_ISREG(stat.st_mode):
            try:
                name = tree.read_name(node, lower, stat)
            except DataError:
                continue
            yield Node(stat.st_ino, node, lower), path + b"/" + name if path else name


def _compare(volume: Volume, memory: Freshness, node: Node, path: bytes) -> OlderFile | None:
    """The file if it is older. A copy that somebody put elsewhere says nothing of the file whose id it bears."""
    header = _header(volume, node)
    assert node.parent is not None
    place = volume.tree.dir_id(node.parent), path.rpartition(b"/")[2]
    if not header.flags & HeaderFlag.MULTI and place != (header.parent, header.name):
        return None
    try:
        memory.check(header.fid, header.generation)
    except RollbackError as exc:
        return OlderFile(path, header, str(exc))
    return None


def _header(volume: Volume, node: Node) -> FileHeader:
    store = volume.ctx.store
    assert node.parent is not None
    fd = store.open(volume.tree.dirfd(node.parent), node.lower_name, os.O_RDONLY)
    try:
        return frames.open_header(volume.ctx.ring, store.pread(fd, FRAME_SIZE, 0))
    finally:
        store.close(fd)
