"""``lost+found``: where repair puts what it takes away, inside the volume, with a report.

Owns: one directory for each run of repair, names that are free in it, and copies that are known to be good before
anything else happens. Must not know: what is put there, and why.
"""

from __future__ import annotations

import os
import re
import stat as stat_module
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from encfs.errors import DataError, LowerIOError
from encfs.format.frame import FrameKind
from encfs.format.limits import LINK_SUFFIX, NAME_MAX, RECORD_NAME, TEMP_PREFIX
from encfs.store.atomic import sync_directory
from encfs.units import LowerName
from encfs.volume.changes import Caller
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.places import temporary_name
from encfs.volume.volume import Volume

NAME = b"lost+found"
REPORT = b"report.txt"
_KEPT = re.compile(rb"lost\+found(-\d+)?/\d{4}-\d{2}-\d{2}T\d{6}Z(-\d+)?(/|$)")
_PIECE = 1 << 20
_ROOM_SPARED = 1 << 20  # for headers, the report and the filesystem's own needs

Read = Callable[[int, int], bytes]
"""Content to copy: (offset, size) to bytes, fewer at the end."""


def is_kept(path: bytes) -> bool:
    """Whether a plain path is that of a run of repair in lost+found, or below one."""
    return _KEPT.match(path) is not None


class LostFound:
    """The directory of one run. Nothing is made before something is kept.

    Args:
        volume: unlocked for writing.
        now: seconds since 1970, the name of the run.
    """

    def __init__(self, volume: Volume, now: float) -> None:
        self._volume = volume
        self._made: list[bytes] = []
        self._claimed = {REPORT}
        self._top = self._usable_top()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H%M%SZ").encode()
        self._run = self._free_run(stamp)

    @property
    def path(self) -> bytes:
        """The plain path of the run's directory."""
        return self._top + b"/" + self._run

    def _usable_top(self) -> bytes:
        """``lost+found``, or the first of ``lost+found-2`` ... that is a good directory or is not there yet."""
        tree = self._volume.tree
        for number in count(1):
            name = NAME if number == 1 else NAME + b"-%d" % number
            try:
                found = tree.lookup(tree.root, name)
                if found is None:
                    return name
                if stat_module.S_ISDIR(found[1].st_mode):
                    tree.dir_id(found[0])
                    return name
            except DataError:
                continue
        raise AssertionError("internal error: there are infinitely many names")

    def _free_run(self, stamp: bytes) -> bytes:
        tree, number = self._volume.tree, 1
        top = tree.lookup(tree.root, self._top)
        run = stamp
        while top is not None and tree.find(top[0], run) is not None:
            number += 1
            run = stamp + b"-%d" % number
        return run

    def claim(self, name: bytes, suffix: bytes = b"") -> bytes:
        """A name in the run's directory that nothing else gets: as asked for, or with a number."""
        number, mark = 1, b""
        while (found := _cut(name, NAME_MAX - len(mark) - len(suffix)) + mark + suffix) in self._claimed:
            number += 1
            mark = b" (%d)" % number
        self._claimed.add(found)
        return found

    def directory(self) -> Node:
        """The node of the run's directory, made and durable.

        Raises:
            OSError: the lower errors.
        """
        top = self._directory(self._volume.tree.root, self._top, b"")
        return self._directory(top, self._run, self._top + b"/")

    def _directory(self, parent: Node, name: bytes, prefix: bytes) -> Node:
        tree = self._volume.tree
        found = tree.lookup(parent, name)
        if found is not None:
            return found[0]
        node, _ = self._volume.changes.mkdir(parent, name, 0o700, Caller(os.geteuid(), os.getegid()))
        self._made.append(prefix + name)
        store = tree.ctx.store
        fd = store.open(tree.dirfd(node), RECORD_NAME, os.O_RDONLY)
        try:
            store.fsync(fd)
        finally:
            store.close(fd)
        sync_directory(store, tree.dirfd(node))
        sync_directory(store, tree.dirfd(parent))
        return node

    def lower_name(self, name: bytes, *, in_file: bool = False) -> LowerName:
        """The lower name that a plain name has in the run's directory."""
        tree = self._volume.tree
        lower = tree.ctx.ring.metadata.names.seal(tree.dir_id(self.directory()), name)
        return LowerName(lower + LINK_SUFFIX) if in_file else lower

    # -- copies ----------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether a copy of so many bytes will probably fit on the disk."""
        ctx = self._volume.ctx
        try:
            info = ctx.store.statvfs(self._volume.root_fd)
        except OSError:
            return True
        return ctx.geometry.lower_size(size) + _ROOM_SPARED <= info.f_bavail * info.f_frsize

    def keep(self, name: bytes, read: Read, like: os.stat_result | None = None) -> None:
        """Make a file in the run's directory, durable and read back, in one step; ``like`` gives its times.

        Raises:
            LowerIOError: what was read back is not what was written.
            OSError: the lower errors; then there is no such file.
        """
        parent = self.directory()
        volume, tree, store = self._volume, self._volume.tree, self._volume.ctx.store
        dirfd, temporary = tree.dirfd(parent), temporary_name()
        fd = store.open(dirfd, temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            header = volume.changes.new_header(FrameKind.FILE, tree.dir_id(parent), name)
            file = OpenFile.new(volume.ctx, fd, 0, header)
            try:
                _copy(file, read)
                if like is not None:
                    store.futime(fd, (like.st_atime_ns, like.st_mtime_ns))
            finally:
                file.close(discard=True)
            _compare(volume, store.open(tree.dirfd(parent), temporary, os.O_RDONLY), read)
            dirfd = tree.dirfd(parent)
            store.rename(dirfd, temporary, dirfd, self.lower_name(name))
        except BaseException:
            try:
                store.unlink(tree.dirfd(parent), temporary)
            except FileNotFoundError:
                pass
            raise
        sync_directory(store, tree.dirfd(parent))

    def sweep(self) -> None:
        """Remove the copies that earlier runs did not finish; what they were copies of is still in its place."""
        tree = self._volume.tree
        top = tree.lookup(tree.root, self._top)
        if top is None:
            return
        for lower in tree.entries(top[0]):
            name = tree.plain_name(top[0], lower)
            found = None if name is None else tree.lookup(top[0], name)
            if name is None or found is None or not is_kept(self._top + b"/" + name):
                continue
            if stat_module.S_ISDIR(found[1].st_mode):
                for left in tree.ctx.store.list(tree.dirfd(found[0])):
                    if left.startswith(TEMP_PREFIX):
                        self._volume.changes.discard_temporary(tree.dirfd(found[0]), left)

    def tidy(self) -> None:
        """Remove the directories of this run that are empty: nothing was kept."""
        for path in reversed(self._made):
            try:
                self._volume.remove(path)
            except OSError:
                return


def _copy(file: OpenFile, read: Read) -> None:
    offset = 0
    while piece := read(offset, _PIECE):
        file.write(offset, piece)
        offset += len(piece)
    file.sync()


def _compare(volume: Volume, fd: int, read: Read) -> None:
    """Read a copy back, past all buffers of ours. Closes ``fd``."""
    file = OpenFile.load(volume.ctx, fd, 0, writable=False)
    try:
        offset = 0
        while offset < file.size:
            piece = bytes(file.read(offset, _PIECE))
            if piece != read(offset, len(piece)):
                break
            offset += len(piece)
        if offset < file.size or read(offset, 1):
            raise LowerIOError("a copy is not what was written; nothing else was changed")
    finally:
        file.close(discard=True)


def _cut(name: bytes, size: int) -> bytes:
    """A name of at most ``size`` bytes, cut between two characters where it is text."""
    if len(name) <= size:
        return name
    try:
        name.decode()
    except UnicodeDecodeError:
        return name[:size]
    return name[:size].decode("utf-8", "ignore").encode()
