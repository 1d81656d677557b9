"""Copying a tree with all that it has: also extended attributes, ACLs, pipes, sockets and devices.

Owns: what is more than in a copy of ``copying.py``, and going on where an earlier run was broken off. Must not know:
whose tree it is, what may be replaced.

A file that is there already with the same content is not written again, and counts as copied. Of what has another
content a file or symlink is replaced by one of its kind, if that is allowed; else it stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import DataError
from encfs.volume.copying import Copier, Item, Placement, Watcher
from encfs.volume.destination import (
    PART,
    UNSUPPORTED,
    DestinationError,
    dress,
    if_supported,
    linked,
    publish,
    temporary_for,
    writing,
)
from encfs.volume.places import runs_as_root
from encfs.volume.source import WholeSource

ACLS: Final = ("system.posix_acl_access", "system.posix_acl_default")
# Of attributes: a filesystem may have room for few of them, or for small ones.
_NO_ROOM: Final = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)
_PART_START, _PART_END = PART.split(b"%b")


class WholeCopier(Copier):
    """One run.

    Args:
        source: the plain tree, with all that it has.
        watcher: is told how far it is.
        placement: the names at the destination.

    Attributes:
        written: what this run has made at the destination, in order.
        there: what was there before with the same content.
        kept: paths of what is there as something else, and stays.
        owns: whether the destination was made for this: also directories that are there get what theirs have.
    """

    def __init__(self, source: WholeSource, watcher: Watcher, placement: Placement) -> None:
        super().__init__(source, watcher, placement)
        self.written: list[Item] = []
        self.there: list[Item] = []
        self.kept: list[bytes] = []
        self.owns = False
        self._whole = source

    def _copy(self, item: Item) -> None:
        known = len(self.there)
        super()._copy(item)
        if stat.S_ISDIR(item.entry.mode) and item.to in self._made:
            _begin(item)
        if item.to and len(self.there) == known:
            self.written.append(item)

    def _refused(self, path: bytes, cause: OSError) -> None:
        if cause.errno != errno.EEXIST:
            super()._refused(path, cause)
            return
        self.kept.append(path)
        self._fail(path, "there is another one by that name, which stays", damaged=False)

    def _changes_directory(self, item: Item) -> bool:
        if self.owns or (self._placement.overwrite and item.whole and item.above is not None):
            return True
        self.there.append(item)
        return False

    def _dress(self, item: Item, to: bytes) -> None:
        if stat.S_ISLNK(item.entry.mode):
            dress(item.entry, to)
            return
        try:
            attributes = self._whole.attributes(item.path)
        except DataError as exc:
            self._fail(item.path, f"only without its attributes: {exc}", damaged=True)  # Its content is good.
            attributes = {}
        dress(item.entry, to, partial(_set_attributes, to, attributes))

    # -- files ---------------------------------------------------------------------------------------------------------

    def _file(self, item: Item, to: bytes) -> None:
        first = self._first_links.get(item.entry.inode) if item.entry.links > 1 else None
        if self._stays(item, to, first):
            item.to = to
            if self._placement.overwrite:
                self._dress(item, to)
            self.there.append(item)
            if item.entry.links > 1:
                self._first_links.setdefault(item.entry.inode, item)
            return
        with writing():
            if not self._placement.overwrite and os.path.lexists(to):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        super()._file(item, to)
        if first is not None and not item.digest:
            item.digest = first.digest

    def _stays(self, item: Item, to: bytes, first: Item | None) -> bool:
        """Whether this very file is there already. Raises: OSError, DataError: the source cannot be read."""
        if first is not None and self._placement.overwrite and not _is_same_file(first.to, to):
            return False  # It was one with that one, and is to be that again.
        try:
            fd = os.open(to, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        before = self.report.size
        with open(fd, "rb") as there:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_size != item.entry.size:
                return False
            for piece in self._pieces(item):
                if there.read(len(piece)) != piece:
                    item.digest, self.report.size = b"", before
                    return False
                self.report.size += len(piece)
                self._show()
        return True

    def _link(self, first: Item, to: bytes, *, replaced: bool) -> bool:
        if not replaced:
            return linked(first.to, to)
        if not _is_file(to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        temporary = temporary_for(to)
        if not linked(first.to, temporary):
            return False
        try:
            os.replace(temporary, to)
        finally:
            with suppress(FileNotFoundError):  # Two names of one file are not renamed onto each other: rename(2).
                os.unlink(temporary)
        return True

    def _held(self, fd: int) -> None:
        """So that nobody takes it for what a killed run has left."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _pieces(self, item: Item) -> Iterator[bytes]:
        running = CLOAKFS_1.running_digest()
        for piece in super()._pieces(item):
            running.update(piece)
            yield piece
        item.digest = running.digest()

    # -- what is no file -----------------------------------------------------------------------------------------------

    def _symlink(self, item: Item, to: bytes) -> None:
        target = self._whole.read_link(item.path)
        with writing():
            same = os.path.islink(to) and os.readlink(to) == target
        if same:
            self.there.append(item)
        else:
            self._make(item, to, lambda place: os.symlink(target, place))

    def _special(self, item: Item) -> None:
        to, item.to = self._place(item), b""
        mode, device = item.entry.mode, self._whole.device(item.path)
        with writing():
            same = _has_kind(to, mode) and os.lstat(to).st_rdev == device
        if same:
            item.to = to
            self.there.append(item)
            return
        try:
            self._make(item, to, lambda place: os.mknod(place, stat.S_IFMT(mode) | 0o600, device))
        except DestinationError as exc:
            if exc.cause.errno not in UNSUPPORTED:
                raise
            super()._special(item)
            return
        self.report.others += 1
        item.to = to

    def _make(self, item: Item, to: bytes, action: Callable[[bytes], None]) -> None:
        """Make a symlink or node under a temporary name, and give it its place."""
        several = item.entry.links > 1
        first = self._first_links.get(item.entry.inode) if several else None
        with writing():
            replaced = self._placement.overwrite and _has_kind(to, item.entry.mode)
            if first is not None and not replaced and linked(first.to, to):
                return
            temporary = temporary_for(to)
            action(temporary)
        try:
            self._dress(item, temporary)
            with writing():
                if replaced:
                    os.replace(temporary, to)
                else:
                    publish(temporary, to, overwrite=False)
        finally:
            with writing(), suppress(FileNotFoundError):
                os.unlink(temporary)
        if several:
            item.to = to
            self._first_links[item.entry.inode] = item


def _begin(item: Item) -> None:
    """A directory's owner and mode, as far as it can be written to: if the run is broken off here, it is usable."""
    if runs_as_root():
        if_supported(partial(os.chown, item.to, item.entry.uid, item.entry.gid))
    if_supported(partial(os.chmod, item.to, stat.S_IMODE(item.entry.mode) & 0o777 | 0o700))


def clear_parts(directory: bytes) -> int:
    """Take away the unfinished files that killed runs have left in a directory; how many. Raises: OSError."""
    cleared = 0
    for name in os.listdir(directory):
        if name.startswith(_PART_START) and name.endswith(_PART_END):
            cleared += _clear(os.path.join(directory, name))
    return cleared


def _clear(path: bytes) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except BlockingIOError:
        return False  # Somebody writes it.
    finally:
        os.close(fd)
    return True


def attributes_at(path: bytes) -> dict[str, bytes]:
    """What a copy has now. Raises: OSError."""
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def _set_attributes(to: bytes, attributes: Mapping[str, bytes]) -> None:
    """What was inherited from a default ACL of a directory above goes: who had no ACL has none."""
    for name in ACLS:
        if name not in attributes:
            if_supported(partial(os.removexattr, to, name), *_NO_ROOM, errno.ENODATA)
    for name, value in attributes.items():
        if_supported(partial(os.setxattr, to, name, value), *_NO_ROOM)


def _is_file(path: bytes) -> bool:
    return _has_kind(path, stat.S_IFREG)


def _has_kind(path: bytes, mode: int) -> bool:
    """Raises: OSError."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode) == stat.S_IFMT(mode)
    except FileNotFoundError:
        return False


def _is_same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False
