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
from dataclasses import dataclass
from typing import Final, Protocol

from encfs.cli import targets
from encfs.cli.output import printable
from encfs.cli.secrets import SecretOptions
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import DataError, NotFoundError
from encfs.volume import Volume
from encfs.volume.paths import Entry

_PIECE: Final = 1 << 20
_LINKS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a directory, and how many more have a name that does not authenticate."""

    entries: list[Entry]
    unreadable: int


class Source(Protocol):
    """A volume's plain tree, for reading. Every method raises ``OSError`` and ``DataError``."""

    def stat(self, path: bytes, *, follow: bool = False) -> Entry: ...
    def list(self, path: bytes) -> Listing: ...
    def read_link(self, path: bytes) -> bytes: ...
    def read(self, path: bytes) -> Iterator[bytes]:
        """The content in pieces of up to 1 MiB."""
        ...


class VolumeSource:
    """A volume that this process has unlocked."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        return self._volume.stat(path, follow=follow)

    def list(self, path: bytes) -> Listing:
        before = self._volume.ctx.events
        entries = self._volume.list_directory(path)
        return Listing(entries, self._volume.ctx.events - before)

    def read_link(self, path: bytes) -> bytes:
        return self._volume.read_link(path)

    def read(self, path: bytes) -> Iterator[bytes]:
        return self._volume.read_file(path)


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


@contextmanager
def named(path: bytes) -> Iterator[None]:
    """Puts the path inside the volume before what goes wrong with it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFoundError(f"{printable(path) or '/'}: there is no such file in the volume") from exc
    except DataError as exc:
        exc.args = (f"{printable(path) or '/'}: {exc}",)
        raise
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, printable(path)) from exc
