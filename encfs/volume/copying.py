"""Copying files and trees out of a volume, in plain text.

Owns: what is copied (contents, directories, symlinks, hard links, modes, mtimes; owners where root runs it), in which
order, and what becomes of the rest. Must not know: whether the volume is mounted, who is told how far it is.

Rules: a file appears under its name when it is whole. What cannot be read is reported, and the rest is copied.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from encfs.errors import DataError, FormatError, UsageError
from encfs.volume.destination import (
    FATAL,
    DestinationError,
    Part,
    dress,
    kind_of,
    linked,
    make_directory,
    publish,
    writing,
)
from encfs.volume.paths import Entry
from encfs.volume.source import Source
from encfs.volume.told import named
from encfs.wording import plural, printable


@dataclass(slots=True)
class Report:
    """What was copied and what was not."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    others: int = 0
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
        digest: SHA-256 of a file's content as it was read, where a run keeps it.
    """

    path: bytes = field(repr=False)
    entry: Entry = field(repr=False)
    to: bytes = field(default=b"", repr=False)
    above: Item | None = field(default=None, repr=False)
    whole: bool = True
    digest: bytes = field(default=b"", repr=False)


def starts_of(source: Source, paths: Sequence[bytes], to: bytes) -> list[Item]:
    """What to copy into the directory ``to``: each path, with the directories that lead to it; no path: everything.

    Raises:
        NotFoundError, DataError, OSError: a path is not in the volume, or is damaged. UsageError: it leads through a
            symlink.
    """
    root = Item(b"", source.stat(b""), to)
    wanted = sorted(set(paths)) or [b""]
    if b"" in wanted:
        return [Item(entry.name, entry, above=root) for entry in source.list(b"").entries]
    items: dict[bytes, Item] = {b"": root}
    for path in wanted:
        parts = path.split(b"/")
        for end in range(1, len(parts) + 1):
            here = b"/".join(parts[:end])
            above = items[b"/".join(parts[: end - 1])]
            if here in items:
                continue
            if above.whole and above is not root:
                break  # It is copied with its directory.
            items[here] = _start(source, here, above, whole=here == path)
    return [item for item in items.values() if item is not root]


def _start(source: Source, path: bytes, above: Item, *, whole: bool) -> Item:
    with named(path):
        entry = source.stat(path, follow=False)
    if not whole and stat.S_ISLNK(entry.mode):
        # Its copy would lead to who knows where on this machine, and what comes after it would be written there.
        raise UsageError(
            f"{printable(path)}: this is a symlink in the volume",
            hint="Give the path of what is meant, without symlinks.",
        )
    return Item(path, entry, above=above, whole=whole)


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
        self._first_links: dict[int, Item] = {}
        self._total = 0
        self._first: frozenset[bytes] = frozenset()
        self._made: set[bytes] = set()

    def run(self, starts: Sequence[Item]) -> None:
        """Copy these items and everything below.

        Raises:
            OSError: the copy cannot be written: there is no room, the medium went away, or an item that nothing is
                above, which is all that was asked for, is refused.
        """
        self.copy(self.plan(starts))

    def plan(self, starts: Sequence[Item]) -> list[Item]:
        """These items and everything below, for :meth:`copy`; what cannot be listed is in the report."""
        self._first = frozenset(item.path for item in starts if item.above is None)
        return list(self._plan(starts))

    def copy(self, plan: Sequence[Item]) -> None:
        """Copy what was planned. Raises: as :meth:`run`."""
        where = next((item.to if item.above is None else item.above.to for item in plan), b"")
        self._total = sum(item.entry.size for item in plan if stat.S_ISREG(item.entry.mode))
        self._show()
        try:
            for item in plan:
                if item.above is None or item.above.to:
                    self._reading(item.path, partial(self._copy, item))
            # Backwards, so that what is written into a directory is done before its time and mode are set.
            for item in reversed(plan):
                if item.to in self._made:
                    self._reading(item.path, partial(self._dress, item, item.to))
        except DestinationError as exc:
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
        except DestinationError as exc:
            if exc.cause.errno in FATAL or path in self._first:
                raise
            self._refused(path, exc.cause)

    def _refused(self, path: bytes, cause: OSError) -> None:
        self._fail(path, f"the destination refuses it: {cause.strerror}", damaged=False)

    def _fail(self, path: bytes, reason: str, *, damaged: bool) -> None:
        self.report.failures.append((path, reason))
        self.report.damaged = self.report.damaged or damaged
        self._watcher.failed(path, reason)

    def _show(self) -> None:
        self._watcher.update(self.report.size, self._total, plural(self.report.files, "file"))

    def _copy(self, item: Item) -> None:
        mode = item.entry.mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and self._placement.links)):
            self._special(item)
            return
        to, item.to = self._place(item), b""
        if stat.S_ISDIR(mode):
            with writing():
                if make_directory(to) or self._changes_directory(item):
                    self._made.add(to)
            self.report.directories += 1
        elif stat.S_ISLNK(mode):
            self._symlink(item, to)
            self.report.symlinks += 1
        else:
            self._file(item, to)
            self.report.files += 1
            self._show()
        item.to = to

    def _changes_directory(self, item: Item) -> bool:
        """Whether one that was there gets the mode and time of this one."""
        return item.above is None

    def _special(self, item: Item) -> None:
        """A pipe, socket or device, or a symlink where there are none."""
        self.report.skipped.append((item.path, kind_of(item.entry.mode)))

    def _symlink(self, item: Item, to: bytes) -> None:
        target = self._source.read_link(item.path)
        with writing():
            os.symlink(target, to)
        self._dress(item, to)

    def _dress(self, item: Item, to: bytes) -> None:
        """Give a copy what its entry has besides the content."""
        dress(item.entry, to)

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
        with writing():
            return self._placement.place(above.to, name)

    def _file(self, item: Item, to: bytes) -> None:
        several = item.entry.links > 1 and self._placement.links
        first = self._first_links.get(item.entry.inode) if several else None
        with writing():
            replaced = self._placement.overwrite and os.path.lexists(to)
            if first is not None and self._link(first, to, replaced=replaced):
                return
        before = self.report.size
        try:
            with Part(to, self._held) as part:
                self._fill(part, item)
                self._dress(item, part.path)
                with writing():
                    publish(part.path, to, overwrite=replaced)
        except BaseException:
            self.report.size = before
            raise
        if several:
            item.to = to
            self._first_links[item.entry.inode] = item

    def _link(self, first: Item, to: bytes, *, replaced: bool) -> bool:
        """Make it one more name of what was copied before, if that can be. Raises: OSError."""
        return not replaced and linked(first.to, to)

    def _held(self, fd: int) -> None:
        """A file is open for writing, under its temporary name."""

    def _fill(self, part: Part, item: Item) -> None:
        for piece in self._pieces(item):
            part.write(piece)
            self.report.size += len(piece)
            self._show()
        part.finish()

    def _pieces(self, item: Item) -> Iterator[bytes]:
        return self._source.read(item.path)
