"""The plain tree of a run as its manifest has it: for an engine whose target keeps contents, and not all else.

Owns: which entries there are and what they have, by the manifest; that a content is the one that was taken. Must not
know: where contents come from, where they go.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from errno import ENOENT
from typing import Final, Protocol, TypeVar

from encfs.backup.manifest import Manifest, keyed_digest
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import DataError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.volume.paths import Entry
from encfs.volume.source import Listing, WholeSource

# Files without a second name have numbers of their own, above all those that a manifest may give.
_ALONE: Final = 1 << 63
_R = TypeVar("_R")
NOT_AS_TAKEN: Final = "what is in the backup is not what was taken"


class Contents(Protocol):
    """What the files of a run contain."""

    def read(self, path: bytes) -> Iterator[bytes]:
        """That of one, in pieces. Raises: OSError, DataError."""
        ...


class ManifestSource:
    """Satisfies :class:`encfs.volume.source.WholeSource`.

    Args:
        contents: what the engine opened.
        manifest: of the run.
        key: K_manifest (:func:`encfs.backup.manifest.content_key`); None: the digests are of what is there itself.
    """

    def __init__(self, contents: Contents, manifest: Manifest, key: bytes | None) -> None:
        self._contents = contents
        self._key = key
        self._items: dict[bytes, tuple[int, Item]] = {}
        self._children: dict[bytes, list[bytes]] = {}
        for number, item in enumerate(manifest.items):
            if item.taken is Taken.MISSING:
                continue
            self._items[item.path] = number, item
            if item.path:
                self._children.setdefault(item.path.rpartition(b"/")[0], []).append(item.path)

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        del follow  # A link leads nowhere in a list of what was taken.
        return self._entry(path)

    def list(self, path: bytes) -> Listing:
        self._item(path)
        return Listing([self._entry(child) for child in self._children.get(path, [])], 0)

    def read_link(self, path: bytes) -> bytes:
        return self._item(path).target

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        return self._item(path).attributes

    def device(self, path: bytes) -> int:
        return self._item(path).device

    def read(self, path: bytes) -> Iterator[bytes]:
        """The content in pieces. Raises: DataError, behind the last piece: it is not what was taken."""
        item = self._item(path)
        running, size = CLOAKFS_1.running_digest(), 0
        for piece in self._contents.read(path):
            running.update(piece)
            size += len(piece)
            yield piece
        digest = running.digest() if self._key is None else keyed_digest(self._key, running.digest())
        if size != item.size or digest != item.digest:
            raise DataError(NOT_AS_TAKEN)

    def _item(self, path: bytes) -> Item:
        return self._numbered(path)[1]

    def _numbered(self, path: bytes) -> tuple[int, Item]:
        found = self._items.get(path)
        if found is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
        return found

    def _entry(self, path: bytes) -> Entry:
        number, item = self._numbered(path)
        return Entry(
            name=path.rpartition(b"/")[2],
            mode=_mode(item),
            size=item.size,
            mtime_ns=item.mtime_ns,
            uid=item.uid,
            gid=item.gid,
            links=2 if item.links else 1,
            inode=item.links or _ALONE + number,
        )


class CarefulSource:
    """A source that tells what is damaged from what is gone: a target that went away ends everything.

    Args:
        source: to read from.
        still_there: raises if the target is gone; asked when something cannot be read.
    """

    def __init__(self, source: WholeSource, still_there: Callable[[], object]) -> None:
        self._source = source
        self._still_there = still_there
        self._failures = 0

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        return self._asking(lambda: self._source.stat(path, follow=follow))

    def list(self, path: bytes) -> Listing:
        return self._asking(lambda: self._source.list(path))

    def read_link(self, path: bytes) -> bytes:
        return self._asking(lambda: self._source.read_link(path))

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        return self._asking(lambda: self._source.attributes(path))

    def device(self, path: bytes) -> int:
        return self._asking(lambda: self._source.device(path))

    def read(self, path: bytes) -> Iterator[bytes]:
        """As that of the source. Raises: BackupError: the target is gone. DataError: the file is damaged in it."""
        try:
            yield from self._source.read(path)
        except (OSError, DataError) as exc:
            self._ask()
            if isinstance(exc, OSError):
                raise DataError("it cannot be read from the backup") from exc
            raise

    def _asking(self, action: Callable[[], _R]) -> _R:
        try:
            return action()
        except FileNotFoundError:
            raise
        except (OSError, DataError):
            self._ask()
            raise

    def _ask(self) -> None:
        """At the first failure, the second, the fourth: a target may hold thousands of damaged files."""
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            self._still_there()


def _mode(item: Item) -> int:
    """With its type bits, as the manifest has them; what contradicts the kind of the line does not get through."""
    kinds = {ItemKind.FILE: stat.S_IFREG, ItemKind.DIRECTORY: stat.S_IFDIR, ItemKind.SYMLINK: stat.S_IFLNK}
    wanted = kinds.get(item.kind)
    if wanted is None or stat.S_IFMT(item.mode) == wanted:
        return item.mode
    raise DataError("a line of the manifest contradicts itself")
