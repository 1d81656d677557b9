"""Telling whoever records it what programs do with files.

Owns: which requests count, the plain paths, whom it is said of. Must not know: how it is recorded, whether paths are
kept.

Nothing here may keep a request from being answered: what cannot be found out is left out of the event.
"""

from __future__ import annotations

import os
import stat as stat_module
import time
from dataclasses import dataclass
from typing import Final

from pyfuse3 import RequestContext

from encfs.errors import DataError
from encfs.format.limits import LINK_SUFFIX
from encfs.happenings import FileAction, FileEvent, FileJournal
from encfs.volume.identity import file_id
from encfs.volume.lookup import Found
from encfs.volume.node import Node
from encfs.volume.tree import Tree

# Whoever reads a file again and again is told once in this time.
_AGAIN_SECONDS: Final = 900.0
_READERS_MAX: Final = 65_536
_PATHS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Before:
    """What was at a name before a request changed that; nothing where it is not known."""

    inode: int = 0
    fid: bytes = b""
    kind: str = ""


_UNKNOWN: Final = Before()


class FileObserver:
    """One for each mount whose volume wants it. Called by the request handlers, after what they tell has been done."""

    def __init__(self, tree: Tree, journal: FileJournal) -> None:
        self._tree = tree
        self._journal = journal
        self._paths: dict[int, bytes] = {}
        self._readers: set[tuple[int, int]] = set()
        self._readers_until = 0.0

    def before(self, parent: Node, name: bytes) -> Before:
        """What is at a name that is about to lose it."""
        try:
            found = self._tree.find(parent, name)
            return _UNKNOWN if found is None else self._describe(parent, found)
        except (DataError, OSError):
            return _UNKNOWN  # The request says what is wrong.

    def _describe(self, parent: Node, found: Found) -> Before:
        if found.lower_name.endswith(LINK_SUFFIX):
            return Before(found.stat.st_ino, kind="symlink")
        return Before(found.stat.st_ino, file_id(self._tree, parent, found), _kind(found.stat.st_mode))

    def opened(self, node: Node, flags: int, ctx: RequestContext) -> None:
        """A file was opened; ``flags`` of open(2)."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        if writes:
            self._tell_of(FileAction.WRITE, node, ctx)
        elif self._journal.reads and self._is_first(node, ctx):
            self._tell_of(FileAction.READ, node, ctx)

    def resized(self, node: Node, ctx: RequestContext) -> None:
        """A file that need not be open has another size."""
        self._tell_of(FileAction.WRITE, node, ctx)

    def created(self, parent: Node, name: bytes, node: Node, ctx: RequestContext, kind: str = "") -> None:
        """Something has a name that had none, or one more."""
        fid = b"" if node.file is None else node.file.header.fid
        self._tell(FileAction.CREATE, self._join(parent, name), ctx, Before(node.lower_inode, fid, kind))

    def deleted(self, parent: Node, name: bytes, was: Before, ctx: RequestContext) -> None:
        """A name is gone."""
        self._tell(FileAction.DELETE, self._join(parent, name), ctx, was)
        if was.kind == "directory":
            self._paths.clear()

    def renamed(
        self,
        old: tuple[Node, bytes, Before],
        new: tuple[Node, bytes, Before],
        ctx: RequestContext,
        *,
        exchange: bool,
    ) -> None:
        """A name was changed: directory, name, and what was there, of before and after."""
        path, to = self._join(*old[:2]), self._join(*new[:2])
        if old[2].inode == new[2].inode != 0:
            return  # Two names of one file: rename(2) does nothing.
        self._tell(FileAction.RENAME, path, ctx, old[2], to=to, replaced=new[2].inode, exchange=exchange)
        if "directory" in (old[2].kind, new[2].kind) or _UNKNOWN in (old[2], new[2]):
            self._paths.clear()

    def _is_first(self, node: Node, ctx: RequestContext) -> bool:
        now = time.monotonic()
        if now >= self._readers_until or len(self._readers) >= _READERS_MAX:
            self._readers.clear()
            self._readers_until = now + _AGAIN_SECONDS
        reader = (node.inode, ctx.uid)
        first = reader not in self._readers
        self._readers.add(reader)
        return first

    def _tell_of(self, action: FileAction, node: Node, ctx: RequestContext) -> None:
        path = None
        if node.parent is not None:
            try:
                path = self._join(node.parent, self._tree.read_name(node.parent, node.lower_name))
            except (DataError, OSError):
                path = None
        fid = b"" if node.file is None else node.file.header.fid
        self._tell(action, path, ctx, Before(node.lower_inode, fid))

    def _tell(
        self,
        action: FileAction,
        path: bytes | None,
        ctx: RequestContext,
        what: Before,
        *,
        to: bytes | None = None,
        replaced: int = 0,
        exchange: bool = False,
    ) -> None:
        self._journal.happened(
            FileEvent(
                action=action,
                path=path,
                uid=ctx.uid,
                pid=ctx.pid,
                at_ns=time.monotonic_ns(),
                inode=what.inode,
                fid=what.fid,
                kind=what.kind,
                to=to,
                replaced=replaced,
                exchange=exchange,
            )
        )

    # -- paths -------------------------------------------------------------------------------------------------

    def _join(self, parent: Node, name: bytes) -> bytes | None:
        directory = self._path_of(parent)
        if directory is None:
            return None
        return directory + b"/" + name if directory else name

    def _path_of(self, directory: Node) -> bytes | None:
        """Of a directory, from the root on; None where it was removed, or a name on the way cannot be read."""
        tree = self._tree
        if directory is tree.root:
            return b""
        known = self._paths.get(directory.inode)
        if known is not None:
            return known
        if directory.parent is None:
            return None
        try:
            path = self._join(directory.parent, tree.read_name(directory.parent, directory.lower_name))
        except (DataError, OSError):
            return None
        if path is not None:
            if len(self._paths) >= _PATHS_MAX:
                self._paths.clear()
            self._paths[directory.inode] = path
        return path


def _kind(mode: int) -> str:
    if stat_module.S_ISREG(mode):
        return ""
    if stat_module.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat_module.S_ISLNK(mode) else "special"
