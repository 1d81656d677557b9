"""The plain tree of one run, as a mount of its repository shows it.

Owns: reading from it, and what the mount cannot show and the manifest can. Must not know: how it is mounted, whether a
content is the one that was taken.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from encfs.backup.manifest import Manifest, keyed_digest
from encfs.backup.plain_tree import attributes_at
from encfs.backup.restic_mount import Remounting
from encfs.backup.restic_words import ResticError, Trouble
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import DataError
from encfs.format.backup import Item
from encfs.volume.paths import Entry
from encfs.volume.source import Listing

_PIECE: Final = 1 << 20
# Files without a second name have numbers of their own, above all those that a manifest may give.
_ALONE: Final = 1 << 63
_DAMAGED: Final = "it cannot be read from the repository: it is damaged there"
# So often a mount is made again because a part of the repository is gone.
_ENDED_MAX: Final = 64


class ResticSource:
    """Satisfies :class:`encfs.volume.source.Source`, and has attributes and device numbers too.

    Where a part of the repository is gone, the files that lie in it raise ``DataError``; the others can be read.

    Args:
        mounts: of the repository.
        snapshot: id of the snapshot with the data of the run, or its beginning.
        manifest: of the run; None while it is still being made.

    Attributes:
        snapshot: its whole id.
    """

    def __init__(self, mounts: Remounting, snapshot: str, manifest: Manifest | None = None) -> None:
        self._mounts = mounts
        self._items = manifest.by_path if manifest is not None else {}
        self._lost: set[bytes] = set()
        self._ended = 0
        mount = mounts.current()
        with mount.reading():
            found = [name for name in os.listdir(mount.top) if name.startswith(snapshot.encode())]
        if len(found) != 1:
            mount.check()
            raise DataError("the data of this run are not in the repository any more")
        self.snapshot = found[0].decode()

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        del follow  # A link of a backup leads nowhere in it.
        with self._asking(path) as at:
            info = os.lstat(at)
        return self._entry(path, info)

    def list(self, path: bytes) -> Listing:
        with self._asking(path) as at:
            names = os.listdir(at)
        return Listing([self.stat(path + b"/" + name if path else name) for name in sorted(names)], 0)

    def read_link(self, path: bytes) -> bytes:
        with self._asking(path) as at:
            return os.readlink(at)

    def read(self, path: bytes) -> Iterator[bytes]:
        """The content in pieces of up to 1 MiB. Raises: DataError: it is damaged in the repository. ResticError."""
        with self._asking(path) as at:
            fd = os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while True:
                with self._asking(path):
                    piece = os.read(fd, _PIECE)
                if not piece:
                    return
                yield piece
        finally:
            with suppress(OSError):  # The mount may be gone; nothing was written.
                os.close(fd)

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        """Extended ones of a file or directory, with ACLs, by name. Raises: OSError, DataError, ResticError."""
        with self._asking(path) as at:
            return attributes_at(at)

    @contextmanager
    def _asking(self, path: bytes) -> Iterator[bytes]:
        """Around a call on the mount; the whole path of an entry there.

        Raises:
            DataError: it is damaged in the repository. FileNotFoundError: it is not in it.
            ResticError: the repository cannot be read at all.
        """
        if path in self._lost or path.rpartition(b"/")[0] + b"/" in self._lost:
            raise DataError(_DAMAGED)
        mount = self._mounts.current()
        try:
            with mount.reading():
                yield os.path.join(mount.top, self.snapshot.encode(), path)
        except ResticError as exc:
            self._lose(path, exc)
            raise DataError(_DAMAGED) from exc
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise DataError(_DAMAGED) from exc

    def _lose(self, path: bytes, why: ResticError) -> None:
        """Its pack is gone: the mount was ended. Raises: ResticError: it is not that, or too much is gone."""
        self._ended += 1
        if why.trouble is not Trouble.DAMAGED or not why.pack or self._ended > _ENDED_MAX:
            raise why
        self._mounts.drop()
        self._lost.add(path)
        try:
            self._lost |= self._mounts.restic.in_pack(why.pack, self.snapshot)
        except ResticError as exc:
            if exc.trouble is not Trouble.DAMAGED:
                raise
            self._lost.add(path.rpartition(b"/")[0] + b"/")  # It is a directory that is gone: all that is in it.

    def device(self, path: bytes) -> int:
        """The device number of a node, 0 for what is no device: restic's mount does not show it."""
        item = self._items.get(path)
        return item.device if item is not None else 0

    def _entry(self, path: bytes, info: os.stat_result) -> Entry:
        item = self._items.get(path)
        links = item.links if item is not None else 0
        return Entry(
            name=path.rpartition(b"/")[2],
            mode=info.st_mode,
            size=info.st_size if stat.S_ISREG(info.st_mode) else 0,
            mtime_ns=info.st_mtime_ns,
            uid=info.st_uid,
            gid=info.st_gid,
            links=2 if links else 1,
            inode=links or _ALONE | info.st_ino,
        )


def is_right(source: ResticSource, item: Item, key: bytes) -> bool:
    """Whether a file in the repository is what the manifest says. Raises: ResticError."""
    try:
        digest, size = content_of(source, item.path)
    except (OSError, DataError):
        return False
    return size == item.size and keyed_digest(key, digest) == item.digest


def content_of(source: ResticSource, path: bytes) -> tuple[bytes, int]:
    """SHA-256 and size of a file in the repository. Raises: OSError, DataError, ResticError."""
    running, size = CLOAKFS_1.running_digest(), 0
    for piece in source.read(path):
        running.update(piece)
        size += len(piece)
    return running.digest(), size
