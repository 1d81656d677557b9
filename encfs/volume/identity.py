"""Which file lies at a name, for somebody who does not open it.

Owns: the id in its header, proved. Must not know: who wants it.
"""

from __future__ import annotations

import os
import stat as stat_module

from encfs.core import frames
from encfs.errors import DataError
from encfs.format.limits import FRAME_SIZE
from encfs.volume.lookup import Found
from encfs.volume.node import Node
from encfs.volume.tree import Tree


def file_id(tree: Tree, parent: Node, found: Found) -> bytes:
    """16 bytes; empty where there is no file, or none whose header can be read."""
    if not stat_module.S_ISREG(found.stat.st_mode):
        return b""
    node = tree.nodes.find(found.stat.st_ino)
    if node is not None and node.file is not None:
        return node.file.header.fid
    store = tree.ctx.store
    try:
        fd = store.open(tree.dirfd(parent), found.lower_name, os.O_RDONLY)
        try:
            return frames.open_header(tree.ctx.ring, store.pread(fd, FRAME_SIZE, 0)).fid
        finally:
            store.close(fd)
    except (DataError, OSError):
        return b""
