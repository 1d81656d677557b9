"""The plain tree of a mounted volume, as it is looked at and read for a backup.

Owns: that it is this mount and no other, what of an entry tells that it changed, which entries count. Must not know:
where it goes.

A mount that is taken off leaves an empty directory: that must never look like a volume from which all is gone. So each
look ends with the question whether the mount is still the one with which it began.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from encfs.backup.kernel_mounts import KernelMount, topmost
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError
from encfs.format.backup import ItemKind

_FILESYSTEM: Final = b"fuse.cloakfs"
_PIECE: Final = 1 << 20
# What calls on a mount end with that is dead or was taken off while something stood in it.
_GONE: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.ESTALE, errno.ENODEV, errno.ESHUTDOWN})
_KINDS: Final = {stat.S_IFREG: ItemKind.FILE, stat.S_IFDIR: ItemKind.DIRECTORY, stat.S_IFLNK: ItemKind.SYMLINK}
_HINT: Final = (
    "What was backed up before is still there. Open the volume again (cloakfs mount), then repeat: cloakfs backup run"
)


def kind_of(mode: int) -> ItemKind:
    """What it is, by its mode."""
    return _KINDS.get(stat.S_IFMT(mode), ItemKind.OTHER)


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry at one moment: while it stays equal, what it has is the same."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    links: int = field(compare=False)
    device: int

    @property
    def kind(self) -> ItemKind:
        return kind_of(self.mode)

    @property
    def newest(self) -> int:
        """When it was last changed, ns since 1970."""
        return max(self.mtime_ns, self.ctime_ns)


def _seen(info: os.stat_result) -> Seen:
    is_file = stat.S_ISREG(info.st_mode)
    return Seen(
        mode=info.st_mode,
        uid=info.st_uid,
        gid=info.st_gid,
        size=info.st_size if is_file else 0,
        mtime_ns=info.st_mtime_ns,
        ctime_ns=info.st_ctime_ns,
        inode=info.st_ino,
        links=info.st_nlink if not stat.S_ISDIR(info.st_mode) else 1,
        device=info.st_rdev,
    )


Look = Mapping[bytes, Seen]
"""All entries by path from the top, which is the empty path."""


class PlainTree:
    """The tree below a mount point.

    Args:
        mountpoint: where a volume is mounted.

    Attributes:
        top: its path.
        unreadable: directories whose entries could not be read at the last look.

    Raises:
        BackupError: no volume is mounted there.
    """

    def __init__(self, mountpoint: bytes) -> None:
        self.unreadable: set[bytes] = set()
        self.top = os.path.realpath(mountpoint)
        self._mount = self._find()
        if self._mount is None:
            raise BackupError(
                "the volume is not open: there is nothing to back up",
                hint="This backup is made of what programs see. Open it first: cloakfs mount",
            )

    def check(self) -> None:
        """Raises: BackupError: it is not the mount any more with which it began."""
        if self._find() != self._mount:
            raise _gone()

    def look(self) -> dict[bytes, Seen]:
        """All that is there now, without sockets, which are nothing without the program that made them.

        Raises:
            BackupError: the mount is gone, or was while it was looked at.
        """
        found: dict[bytes, Seen] = {}
        self.unreadable.clear()
        try:
            top = os.lstat(self.top)
            found[b""] = _seen(top)
            for path, info in self._below(top.st_dev):
                found[path] = _seen(info)
        except OSError as exc:
            raise _gone_or(exc) from exc
        self.check()
        return found

    def _below(self, device: int) -> Iterator[tuple[bytes, os.stat_result]]:
        pending = [b""]
        while pending:
            folder = pending.pop()
            for name in self._names(folder):
                path = folder + b"/" + name if folder else name
                try:
                    info = os.lstat(self.at(path))
                except FileNotFoundError:
                    continue  # It is gone meanwhile.
                if stat.S_ISSOCK(info.st_mode):
                    continue
                yield path, info
                if stat.S_ISDIR(info.st_mode) and info.st_dev == device:
                    pending.append(path)

    def _names(self, folder: bytes) -> list[bytes]:
        try:
            return os.listdir(self.at(folder))
        except FileNotFoundError:
            return []  # It is gone meanwhile.
        except OSError as exc:
            if exc.errno in _GONE or not folder:
                raise
            self.unreadable.add(folder)
            return []

    def at(self, path: bytes) -> bytes:
        """The whole path of an entry."""
        return os.path.join(self.top, path) if path else self.top

    # -- one entry -----------------------------------------------------------------------------------------------------

    def digest(self, path: bytes, told: Callable[[int], None]) -> bytes:
        """SHA-256 of what a file has; ``told`` hears of each piece how many bytes it was.

        Raises:
            OSError: it cannot be read. BackupError: the mount is gone.
        """
        running = CLOAKFS_1.running_digest()
        try:
            fd = os.open(self.at(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    running.update(piece)
                    told(len(piece))
        except OSError as exc:
            raise _gone_or(exc) from exc
        return running.digest()

    def attributes(self, path: bytes, kind: ItemKind) -> dict[str, bytes]:
        """Extended ones, with ACLs. Raises: OSError: they cannot be read. BackupError: the mount is gone."""
        if kind not in (ItemKind.FILE, ItemKind.DIRECTORY):
            return {}
        try:
            return attributes_at(self.at(path))
        except OSError as exc:
            raise _gone_or(exc) from exc

    def target(self, path: bytes) -> bytes:
        """That of a symlink. Raises: OSError, BackupError: the mount is gone."""
        try:
            return os.readlink(self.at(path))
        except OSError as exc:
            raise _gone_or(exc) from exc

    def _find(self) -> KernelMount | None:
        """The mount at the path, if it is one of ours."""
        found = topmost(self.top)
        return found if found is not None and found.filesystem == _FILESYSTEM else None


def attributes_at(path: bytes) -> dict[str, bytes]:
    """Extended attributes of an entry by name. Raises: OSError."""
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def _gone_or(exc: OSError) -> OSError | BackupError:
    return _gone() if exc.errno in _GONE else exc


def _gone() -> BackupError:
    return BackupError("the volume was locked while it was backed up", hint=_HINT)
