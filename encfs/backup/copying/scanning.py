"""The sealed tree of a volume, looked at without any key (FORMAT.md sections 2, 6 and 18).

Owns: which of its entries a backup has, and how it is known that one has changed. Must not know: where it goes.

Left out: what is foreign (its name could be a plain one, and it is not encrypted), unfinished temporaries, and what is
mounted inside.
"""

from __future__ import annotations

import errno
import os
import re
import stat as stat_module
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from encfs.backup.copying.folders import Folders
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import FormatError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.format.frame import Frame, FrameKind, parse_frame
from encfs.format.limits import (
    CHECKPOINTS_NAME,
    CONFIG_BAK_NAME,
    CONFIG_NAME,
    FRAME_SIZE,
    LOCK_NAME,
    RECORD_NAME,
    SESSIONS_NAME,
    XATTR_NAME,
)
from encfs.store.base import Store
from encfs.store.local import LocalStore

CONFIGS: Final = frozenset({CONFIG_NAME, CONFIG_BAK_NAME})
_SEALED_NAME: Final = re.compile(rb"~?[A-Za-z0-9_-]{43,235}(\.l)?")
_ID_NAME: Final = re.compile(rb"[0-9a-f]{32}")
_OURS: Final = {
    b"": re.compile(rb"cloakfs\.volume(\.bak)?|cloakfs\.[dsc]"),
    SESSIONS_NAME: re.compile(rb"[0-9a-f]{32}|" + LOCK_NAME),
    CHECKPOINTS_NAME: _ID_NAME,
}
_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})
_NO_ATTRIBUTES: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT})
_KINDS: Final = {
    stat_module.S_IFREG: ItemKind.FILE,
    stat_module.S_IFDIR: ItemKind.DIRECTORY,
    stat_module.S_IFLNK: ItemKind.SYMLINK,
}
_LOOKS: Final = 3
Signature = tuple[int, int, int, int, bytes]
"""Inode, size, mtime and ctime in ns, SHA-256 of the header: what is another one when a file was written to."""


def belongs(path: bytes) -> bool:
    """Whether an entry with this path is one of a volume, and lasts (FORMAT.md section 2)."""
    folder, _, name = path.rpartition(b"/")
    if folder in (SESSIONS_NAME, CHECKPOINTS_NAME) or (not folder and name.startswith(b"cloakfs.")):
        return _OURS[folder].fullmatch(name) is not None
    return name == RECORD_NAME or _SEALED_NAME.fullmatch(name) is not None


def is_content(path: bytes) -> bool:
    """Whether it is somebody's file, and none that the volume keeps for itself."""
    return not path.rpartition(b"/")[2].startswith(b"cloakfs.") and not path.startswith(b"cloakfs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An entry as it was at one moment. The repr shows no name.

    Attributes:
        header: SHA-256 of the first 512 bytes of a file.
        fid: the file id in its header; empty for what has none.
        content: all of a record of a directory or session, which is written by one write; None for others.
        trouble: why a file or directory cannot be read; else empty.
    """

    path: bytes = field(repr=False)
    kind: ItemKind
    mode: int
    uid: int
    gid: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int
    target: bytes = field(default=b"", repr=False)
    device: int = 0
    attributes: Mapping[str, bytes] = field(default_factory=lambda: _NONE, repr=False)
    header: bytes = b""
    fid: bytes = b""
    content: bytes | None = field(default=None, repr=False)
    trouble: str = ""

    @property
    def signature(self) -> Signature:
        return self.inode, self.size, self.mtime_ns, self.ctime_ns, self.header

    def item(self, digest: bytes = b"", size: int = 0, taken: Taken = Taken.WHOLE) -> Item:
        """The line of it in a manifest; ``digest``, ``size``: of what was taken of a file."""
        several = self.kind is ItemKind.FILE and self.links > 1 and taken is not Taken.MISSING
        return Item(
            path=self.path,
            kind=self.kind,
            mode=self.mode,
            uid=self.uid,
            gid=self.gid,
            mtime_ns=self.mtime_ns,
            size=size,
            digest=digest,
            links=self.inode if several else 0,
            target=self.target,
            device=self.device,
            attributes=self.attributes,
            taken=taken,
        )


class SourceTree:
    """A volume directory that is open: :func:`opened`."""

    def __init__(self, store: Store, top: int) -> None:
        self._store = store
        self._folders = Folders(store, top)
        self._device = store.fstat(top).st_dev
        self._top = top
        # Where an object has another number each time, the rest of what is known of it has to do.
        self._numbers = store.lasting_inodes

    def settled(self, known: Iterable[int]) -> dict[bytes, Seen]:
        """:meth:`scan`; where something is missing that was there, again: it may have moved past who looked.

        Args:
            known: inodes of files that were there.

        Raises:
            OSError.
        """
        known, seen = {inode for inode in known if inode}, self.scan()
        for _ in range(_LOOKS):
            there = {one.inode for one in seen.values()}
            if known <= there:
                break
            again = self.scan()
            if {one.inode for one in again.values()} == there:
                return again  # It is gone.
            known, seen = known | there, again
        return seen

    def scan(self) -> dict[bytes, Seen]:
        """All entries, the top among them, by their paths.

        Raises:
            OSError: the top cannot be read. What else cannot be read has its ``trouble``.
        """
        self._folders.forget()
        top = self._look(b"", self._store.fstat(self._top))
        found, pending = {b"": top}, [b""]
        while pending:
            folder = pending.pop()
            try:
                names = self._store.list(self._folders.fd(folder))
            except OSError as exc:
                if not folder:
                    raise
                if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                    found.pop(folder)  # It went away since.
                else:
                    found[folder] = _troubled(found[folder], exc)
                continue
            for name in names:
                path = folder + b"/" + name if folder else name
                seen = self.look(path) if belongs(path) else None
                if seen is not None:
                    found[path] = seen
                    if seen.kind is ItemKind.DIRECTORY:
                        pending.append(path)
        self._folders.forget()
        return found

    def look(self, path: bytes) -> Seen | None:
        """One entry; None: there is none, or it is another filesystem's."""
        try:
            with self._folders.holding(path) as (dirfd, name):
                info = self._store.stat(dirfd, name)
                return self._look(path, info) if info.st_dev == self._device else None
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _look(self, path: bytes, info: os.stat_result) -> Seen:
        kind = _KINDS.get(stat_module.S_IFMT(info.st_mode), ItemKind.OTHER)
        seen = self._seen(path, kind, info)
        if kind is ItemKind.FILE:
            try:
                with self.opened(path) as fd:
                    return self.look_at(path, fd)
            except FileNotFoundError:
                raise
            except OSError as exc:
                return _troubled(seen, exc)
        with self._folders.holding(path) as (dirfd, name):
            if kind is ItemKind.SYMLINK:
                return self._seen(path, kind, info, target=self._store.readlink(dirfd, name))
            if kind is ItemKind.DIRECTORY:
                where = (dirfd, name or b".")
                return self._seen(path, kind, info, attributes=self._attributes(where))
        return seen

    def open(self, path: bytes) -> int:
        """A file, for reading; it is given back with :meth:`close_file`. Raises: OSError."""
        with self._folders.holding(path) as (dirfd, name):
            return self._store.open(dirfd, name, os.O_RDONLY)

    def close_file(self, fd: int) -> None:
        self._store.close(fd)

    @contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """A file, open for reading. Raises: OSError."""
        fd = self.open(path)
        try:
            yield fd
        finally:
            self.close_file(fd)

    def look_at(self, path: bytes, fd: int) -> Seen:
        """An open file. Raises: OSError."""
        info = self._store.fstat(fd)
        head = self._store.pread(fd, FRAME_SIZE, 0)
        frame = _frame(head)
        fid, content = b"", None
        if frame is not None and frame.kind in (FrameKind.FILE, FrameKind.SYMLINK):
            fid = frame.fid
        elif frame is not None and info.st_size == len(head) and self._store.pread(fd, FRAME_SIZE + 1, 0) == head:
            content = head
        seen = self._seen(path, ItemKind.FILE, info, attributes=self._attributes((fd, None)))
        return replace(seen, header=CLOAKFS_1.digest(head), fid=fid, content=content)

    def pieces(self, fd: int) -> Iterator[bytes]:
        """What is in an open file. Raises: OSError."""
        offset = 0
        while piece := self._store.pread(fd, 1 << 20, offset):
            yield piece
            offset += len(piece)

    def _attributes(self, where: tuple[int, bytes | None]) -> Mapping[str, bytes]:
        try:
            return {XATTR_NAME: self._store.getxattr(where, XATTR_NAME)}
        except OSError as exc:
            if exc.errno not in _NO_ATTRIBUTES:
                raise
            return _NONE

    def _seen(
        self,
        path: bytes,
        kind: ItemKind,
        info: os.stat_result,
        *,
        target: bytes = b"",
        attributes: Mapping[str, bytes] = _NONE,
    ) -> Seen:
        return Seen(
            path=path,
            kind=kind,
            mode=info.st_mode,
            uid=info.st_uid,
            gid=info.st_gid,
            inode=info.st_ino if self._numbers else 0,
            size=info.st_size,
            mtime_ns=info.st_mtime_ns,
            ctime_ns=info.st_ctime_ns,
            links=info.st_nlink if self._numbers else 1,
            target=target,
            device=info.st_rdev if kind is ItemKind.OTHER else 0,
            attributes=attributes,
        )

    def close(self) -> None:
        self._folders.forget()


@contextmanager
def opened(path: bytes, store_on: Callable[[int], Store] = LocalStore) -> Iterator[SourceTree]:
    """A volume directory. Raises: OSError."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = SourceTree(store_on(top), top)
        try:
            yield tree
        finally:
            tree.close()
    finally:
        os.close(top)


def _troubled(seen: Seen, cause: OSError) -> Seen:
    return replace(seen, trouble=cause.strerror or "it cannot be read")


def _frame(head: bytes) -> Frame | None:
    """None for what does not begin with a sealed frame."""
    if len(head) != FRAME_SIZE:
        return None
    try:
        return parse_frame(head)[0]
    except FormatError:
        return None
