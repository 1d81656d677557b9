"""Reading the plain files of a volume, mounted or not, in one way.

Owns: the choice between the two. A mounted volume is read through its mount point, so that nobody ever reads
the store behind a running mount. Must not know: where the content goes.

Paths are bytes from the volume's root. Symlinks and ".." lead nowhere outside it, in either case.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from encfs.cli import targets
from encfs.cli.secrets import SecretOptions
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import DataError
from encfs.volume.paths import Entry
from encfs.volume.source import Listing, Source, VolumeSource
from encfs.volume.told import named

__all__ = ["MountSource", "named", "open_source"]

_PIECE: Final = 1 << 20
_LINKS_MAX: Final = 40


class MountSource:
    """A mounted volume, through its mount point."""

    def __init__(self, mountpoint: str) -> None:
        self._root = os.fsencode(mountpoint)

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        inside = self._resolve(path, follow=follow)
        return _entry(inside.rpartition(b"/")[2], os.lstat(self._outer(inside)))

    def list(self, path: bytes) -> Listing:
        with _damage_named(), os.scandir(self._outer(self._resolve(path, follow=True))) as found:
            entries = [_entry(item.name, item.stat(follow_symlinks=False)) for item in found]
        return Listing(sorted(entries, key=lambda entry: entry.name), 0)

    def read_link(self, path: bytes) -> bytes:
        with _damage_named():
            return os.readlink(self._outer(self._resolve(path, follow=False)))

    def read(self, path: bytes) -> Iterator[bytes]:
        with _damage_named(), open(self._outer(self._resolve(path, follow=True)), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece

    def _outer(self, inside: bytes) -> bytes:
        return self._root + b"/" + inside

    def _resolve(self, path: bytes, *, follow: bool) -> bytes:
        """The path without symlinks (but for a last one, unless ``follow``), relative to the root of the mount.

        Absolute targets begin at the volume's root, as they do where the volume is not mounted.
        """
        done: list[bytes] = []
        pending = [part for part in path.split(b"/") if part not in (b"", b".")]
        links = 0
        while pending:
            part = pending.pop(0)
            if part == b"..":
                done = done[:-1]
                continue
            here = b"/".join([*done, part])
            if not (follow or pending) or not stat.S_ISLNK(os.lstat(self._outer(here)).st_mode):
                done.append(part)
                continue
            links += 1
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(self._outer(here))
            if target.startswith(b"/"):
                done = []
            pending = [piece for piece in target.split(b"/") if piece not in (b"", b".")] + pending
        return b"/".join(done)


def _entry(name: bytes, info: os.stat_result) -> Entry:
    return Entry(
        name=name,
        mode=info.st_mode,
        size=info.st_size,
        mtime_ns=info.st_mtime_ns,
        uid=info.st_uid,
        gid=info.st_gid,
        links=info.st_nlink,
        inode=info.st_ino,
    )


@contextmanager
def _damage_named() -> Iterator[None]:
    """A mount says EIO where the library says what is wrong."""
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.EIO:
            raise DataError("damaged, or the disk failed (the mount's log says which)") from exc
        raise


@contextmanager
def open_source(target: targets.Target, secret: SecretOptions) -> Iterator[Source]:
    """The plain tree of a volume: through its mount if it has one, else unlocked for the time of the block.

    Raises:
        UnlockError, ConfigError, UsageError, VolumeInUseError, OSError.
    """
    if target.mountpoint is not None:
        if targets.is_dead(target.mountpoint):
            raise targets.not_reachable(target)
        yield MountSource(target.mountpoint)
        return
    config_of(target.volume)
    with unlock(target.volume, secret, read_only=True) as volume:
        yield VolumeSource(volume)
