"""Copying files and trees out of a volume, in plain text.

Owns: what is copied (contents, directories, symlinks, hard links, modes, mtimes; owners where root runs it), in which
order, and what becomes of the rest. Must not know: whether the volume is mounted, who is told how far it is.

Rules: a file appears under its name when it is whole. What cannot be read is reported, and the rest is copied.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from encfs.crypto import rng
from encfs.errors import DataError, FormatError
from encfs.volume.paths import Entry
from encfs.volume.places import runs_as_root
from encfs.volume.source import Source
from encfs.wording import plural

_ZEROS: Final = bytes(1 << 20)

# These end a run: the next entry would fare no better. Others are of one entry, such as a name or a symlink that the
# destination's filesystem does not allow.
_FATAL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EMFILE}
)
_UNSUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


@dataclass(slots=True)
class Report:
    """What was copied and what was not."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    size: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)
    damaged: bool = False


class Watcher(Protocol):
    """Who is told how far a run is."""

    def update(self, done: int, total: int, note: str) -> None:
        """So many bytes of ``total`` are copied."""

    def failed(self, path: bytes, reason: str) -> None:
        """One entry is not copied; the run goes on."""


class Placement(Protocol):
    """How entries are named at the destination, and what may be done to what is there.

    Attributes:
        overwrite: whether a file that is there is replaced.
        links: whether symlinks and hard links can be made.
    """

    @property
    def overwrite(self) -> bool: ...
    @property
    def links(self) -> bool: ...
    def place(self, directory: bytes, name: bytes) -> bytes:
        """Where the copy of an entry called ``name`` goes, in the copy of its directory."""
        ...


class ExactPlacement:
    """Every entry has its own name, and nothing is overwritten."""

    overwrite = False
    links = True

    @staticmethod
    def place(directory: bytes, name: bytes) -> bytes:
        """The name itself."""
        return os.path.join(directory, name)


@dataclass(slots=True)
class Item:
    """One entry to copy.

    Attributes:
        path: in the volume.
        to: where it is, once it is there. The caller sets it for an item without one ``above``.
        above: its directory, which names it.
        whole: whether what is in a directory is copied too.
    """

    path: bytes = field(repr=False)
    entry: Entry = field(repr=False)
    to: bytes = field(default=b"", repr=False)
    above: Item | None = field(default=None, repr=False)
    whole: bool = True


class _DestinationError(Exception):
    """Writing the copy failed; what reads from the volume is not to blame."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Copier:
    """One run: a walk that plans, then a walk that copies.

    Args:
        source: the plain tree.
        watcher: is told how far it is.
        placement: the names at the destination.
    """

    def __init__(self, source: Source, watcher: Watcher, placement: Placement) -> None:
        self.report = Report()
        self._source = source
        self._watcher = watcher
        self._placement = placement
        self._first_links: dict[int, bytes] = {}
        self._total = 0
        self._first: frozenset[bytes] = frozenset()
        self._made: set[bytes] = set()

    def run(self, starts: Sequence[Item]) -> None:
        """Copy these items and everything below.

        Raises:
            OSError: the copy cannot be written: there is no room, the medium went away, or an item that nothing is
                above, which is all that was asked for, is refused.
        """
        self._first = frozenset(item.path for item in starts if item.above is None)
        where = next((item.to if item.above is None else item.above.to for item in starts), b"")
        plan = list(self._plan(starts))
        self._total = sum(item.entry.size for item in plan if stat.S_ISREG(item.entry.mode))
        self._show()
        try:
            for item in plan:
                if item.above is None or item.above.to:
                    self._reading(item.path, partial(self._copy, item))
            # Backwards, so that what is written into a directory is done before its time and mode are set.
            for item in reversed(plan):
                if item.to in self._made:
                    self._reading(item.path, partial(_dress, item.entry, item.to))
        except _DestinationError as exc:
            raise OSError(exc.cause.errno, exc.cause.strerror, os.fsdecode(where)) from exc

    def _plan(self, starts: Sequence[Item]) -> Iterator[Item]:
        pending = list(reversed(starts))
        while pending:
            item = pending.pop()
            yield item
            if stat.S_ISDIR(item.entry.mode) and item.whole:
                self._reading(item.path, partial(self._extend, pending, item))

    def _extend(self, pending: list[Item], item: Item) -> None:
        listing = self._source.list(item.path)
        if listing.unreadable:
            names = plural(listing.unreadable, "entry has a name that is", "entries have names that are")
            self._fail(item.path, f"{names} damaged", damaged=True)
        prefix = item.path + b"/" if item.path else b""
        pending += [Item(prefix + entry.name, entry, above=item) for entry in reversed(listing.entries)]

    def _reading(self, path: bytes, action: Callable[[], None]) -> None:
        """Do something that reads from the volume; if that fails it is reported, and the run goes on."""
        try:
            action()
        except DataError as exc:
            self._fail(path, str(exc), damaged=True)
        except OSError as exc:
            self._fail(path, (exc.strerror or str(exc)).lower(), damaged=False)
        except _DestinationError as exc:
            if exc.cause.errno in _FATAL or path in self._first:
                raise
            self._fail(path, f"the destination refuses it: {exc.cause.strerror}", damaged=False)

    def _fail(self, path: bytes, reason: str, *, damaged: bool) -> None:
        self.report.failures.append((path, reason))
        self.report.damaged = self.report.damaged or damaged
        self._watcher.failed(path, reason)

    def _show(self) -> None:
        self._watcher.update(self.report.size, self._total, plural(self.report.files, "file"))

    def _copy(self, item: Item) -> None:
        mode = item.entry.mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and self._placement.links)):
            self.report.skipped.append((item.path, _kind(mode)))
            return
        to, item.to = self._place(item), b""
        if stat.S_ISDIR(mode):
            with _writing():
                if _make_directory(to) or item.above is None:
                    self._made.add(to)
            self.report.directories += 1
        elif stat.S_ISLNK(mode):
            target = self._source.read_link(item.path)
            with _writing():
                os.symlink(target, to)
            _dress(item.entry, to)
            self.report.symlinks += 1
        else:
            self._file(item, to)
            self.report.files += 1
            self._show()
        item.to = to

    def _place(self, item: Item) -> bytes:
        """Where its copy goes.

        Raises:
            FormatError: its name would lead somewhere else. No cloakfs makes such an entry; who holds the key could.
        """
        name, above = item.entry.name, item.above
        if above is None:
            return item.to
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise FormatError("its name leads out of its directory")
        with _writing():
            return self._placement.place(above.to, name)

    def _file(self, item: Item, to: bytes) -> None:
        several = item.entry.links > 1 and self._placement.links
        first = self._first_links.get(item.entry.inode) if several else None
        with _writing():
            replaced = self._placement.overwrite and os.path.lexists(to)
            if first is not None and not replaced and _linked(first, to):
                return
        before = self.report.size
        temporary = os.path.join(os.path.dirname(to), b".cloakfs-%b.part" % rng.random_bytes(8).hex().encode())
        try:
            self._fill(temporary, item.path)
            _dress(item.entry, temporary)
            with _writing():
                _publish(temporary, to, overwrite=replaced)
        except BaseException:
            self.report.size = before
            raise
        finally:
            with _writing(), suppress(FileNotFoundError):
                os.unlink(temporary)
        if several:
            self._first_links[item.entry.inode] = to

    def _fill(self, to: bytes, path: bytes) -> None:
        """Write the content; a piece of zeros is left out, so that a sparse file stays one."""
        with _writing():
            file = io.FileIO(os.fsdecode(to), "x", opener=_private)
        size = 0
        with file:
            for piece in self._source.read(path):
                with _writing():
                    if piece != _ZEROS[: len(piece)]:
                        _write_all(file, piece, size)
                size += len(piece)
                self.report.size += len(piece)
                self._show()
            with _writing():
                file.truncate(size)
                file.close()  # A network disk may say only now that it is full.


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _DestinationError(exc) from exc


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_directory(to: bytes) -> bool:
    """A directory that is there is filled, and false is returned; but nothing is written through a symlink."""
    if os.path.isdir(to) and not os.path.islink(to):
        return False
    os.mkdir(to, 0o700)
    return True


def _publish(temporary: bytes, to: bytes, *, overwrite: bool) -> None:
    """Give a finished file its name.

    Raises:
        FileExistsError: there is something by that name, and it stays.
    """
    if overwrite and os.path.isfile(to) and not os.path.islink(to):
        os.replace(temporary, to)
    elif os.name == "nt":
        os.rename(temporary, to)  # This one refuses by itself.
    elif not _linked(temporary, to):
        # A filesystem without hard links: between the look and the rename another program could make the file.
        if os.path.lexists(to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to)
        os.rename(temporary, to)


def _dress(entry: Entry, to: bytes) -> None:
    """Owner (as root), mode and mtime, in the order in which none undoes another."""
    as_root = runs_as_root()
    if as_root:
        _if_supported(partial(os.chown, to, entry.uid, entry.gid, follow_symlinks=False))
    if not stat.S_ISLNK(entry.mode):
        # Without the owner, a set-user-id bit would lend the rights of the wrong one.
        _if_supported(partial(os.chmod, to, entry.mode & (0o7777 if as_root else 0o777)))
    follow = os.utime not in os.supports_follow_symlinks
    if not (follow and stat.S_ISLNK(entry.mode)):
        _if_supported(partial(os.utime, to, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=follow))


def _if_supported(action: Callable[[], None]) -> None:
    """Owners and modes are lost where the destination has none, as on a stick with FAT."""
    with _writing():
        try:
            action()
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise


def _linked(first: bytes, to: bytes) -> bool:
    """Whether the destination could make a hard link. Raises: OSError."""
    try:
        os.link(first, to)
    except OSError as exc:
        if exc.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _write_all(file: io.FileIO, data: bytes, offset: int) -> None:
    view = memoryview(data)
    file.seek(offset)
    while view:
        count = file.write(view)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFLNK: "symlink",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
