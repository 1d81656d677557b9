"""What a copy in plain text is written with, at its destination.

Owns: what ends a run and what only one entry, that a file is there whole or not at all, what an entry has besides its
content (owner, mode, time, extended attributes, ACLs). Must not know: where the content comes from.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Self

from encfs.crypto import rng
from encfs.volume.paths import Entry
from encfs.volume.places import runs_as_root

# These end a run: the next entry would fare no better. Others are of one entry, such as a name or a symlink that the
# destination's filesystem does not allow.
FATAL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EMFILE}
    | {errno.ENOTCONN, errno.ECONNABORTED}  # Of a mount whose daemon is gone.
)
UNSUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
PART: Final = b".cloakfs-%b.part"
_HOLE: Final = bytes(1 << 16)


class DestinationError(Exception):
    """Writing the copy failed; what reads from the volume is not to blame."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def writing() -> Iterator[None]:
    """Around what writes at the destination, and does nothing else. Raises: DestinationError."""
    try:
        yield
    except OSError as exc:
        raise DestinationError(exc) from exc


class Part:
    """A file that is written under a temporary name beside its place. Use it in a ``with`` statement.

    Args:
        to: its place.
        held: is told the descriptor, for whoever locks it.
    """

    def __init__(self, to: bytes, held: Callable[[int], None] = lambda _: None) -> None:
        self.path = temporary_for(to)
        self._held = held
        self._size = 0

    def __enter__(self) -> Self:
        with writing():
            self._file = io.FileIO(os.fsdecode(self.path), "x", opener=_private)
            self._held(self._file.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever still has the temporary name is gone."""
        with writing(), suppress(FileNotFoundError):
            try:
                self._file.close()
            finally:
                os.unlink(self.path)

    def write(self, piece: bytes) -> None:
        """Behind what is there; zeros are left out, so that a sparse file stays one. Raises: DestinationError."""
        with writing():
            for start in range(0, len(piece), len(_HOLE)):
                part = memoryview(piece)[start : start + len(_HOLE)]
                if part != _HOLE[: len(part)]:
                    _write_all(self._file, part, self._size + start)
        self._size += len(piece)

    def finish(self) -> None:
        """All is written. Raises: DestinationError: a network disk may say only now that it is full."""
        with writing():
            self._file.truncate(self._size)
            self._file.close()


def temporary_for(to: bytes) -> bytes:
    """A fresh temporary name beside ``to``."""
    return os.path.join(os.path.dirname(to), PART % rng.random_bytes(8).hex().encode())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def make_directory(to: bytes) -> bool:
    """A directory that is there is filled, and false is returned; but nothing is written through a symlink."""
    if os.path.isdir(to) and not os.path.islink(to):
        return False
    os.mkdir(to, 0o700)
    return True


def publish(temporary: bytes, to: bytes, *, overwrite: bool) -> None:
    """Give a finished file its name.

    Raises:
        FileExistsError: there is something by that name, and it stays.
    """
    if overwrite and os.path.isfile(to) and not os.path.islink(to):
        os.replace(temporary, to)
    elif os.name == "nt":
        os.rename(temporary, to)  # This one refuses by itself.
    elif not linked(temporary, to):
        # A filesystem without hard links: between the look and the rename another program could make the file.
        if os.path.lexists(to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to)
        os.rename(temporary, to)


def dress(entry: Entry, to: bytes, more: Callable[[], None] | None = None) -> None:
    """Owner (as root), mode and mtime, in the order in which none undoes another; ``more``: before the mtime."""
    as_root = runs_as_root()
    if as_root:
        if_supported(partial(os.chown, to, entry.uid, entry.gid, follow_symlinks=False))
    if not stat.S_ISLNK(entry.mode):
        # Without the owner, a set-user-id bit would lend the rights of the wrong one.
        if_supported(partial(os.chmod, to, entry.mode & (0o7777 if as_root else 0o777)))
    if more is not None:
        more()
    follow = os.utime not in os.supports_follow_symlinks
    if not (follow and stat.S_ISLNK(entry.mode)):
        if_supported(partial(os.utime, to, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=follow))


def if_supported(action: Callable[[], None], *also: int) -> None:
    """Owners and modes are lost where the destination has none, as on a stick with FAT; ``also``: errors like that."""
    with writing():
        try:
            action()
        except OSError as exc:
            if exc.errno not in UNSUPPORTED and exc.errno not in also:
                raise


def linked(first: bytes, to: bytes) -> bool:
    """Whether the destination could make a hard link. Raises: OSError."""
    try:
        os.link(first, to)
    except OSError as exc:
        if exc.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _write_all(file: io.FileIO, view: memoryview, offset: int) -> None:
    file.seek(offset)
    while view:
        count = file.write(view)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]


def kind_of(mode: int) -> str:
    """What is neither file nor directory, for people."""
    kinds = {
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFLNK: "symlink",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
