"""What the entries of a mounted volume have, read as seldom as possible, and how that stands against the run before.

Owns: when an entry has to be read, the figures for the guard. Must not know: restic, where it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from encfs.backup.digest_cache import DigestCache
from encfs.backup.engine import Change, Steps
from encfs.backup.manifest import Manifest, keyed_digest
from encfs.backup.plain_tree import Look, PlainTree, Seen
from encfs.format.backup import NO_DIGEST, Item, ItemKind, Taken


@dataclass(frozen=True, slots=True)
class Content:
    """What an entry had when it was read. ``digest``: keyed, empty of what is no file.

    ``readable``: False if it could not be read; then nothing else is known.
    """

    digest: bytes = field(default=NO_DIGEST, repr=False)
    attributes: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    target: bytes = field(default=b"", repr=False)
    readable: bool = True


class Contents:
    """Those of one volume.

    Args:
        tree: the mounted volume.
        key: K_manifest.
        cache: what is known of the run before.
        previous: manifest of the run before on this target; None if there is none.
        steps: is told how far it is.
    """

    def __init__(
        self, tree: PlainTree, *, key: bytes, cache: DigestCache, previous: Manifest | None, steps: Steps
    ) -> None:
        self._tree = tree
        self._key = key
        self._cache = cache
        self._steps = steps
        self._before = previous.by_path if previous is not None else {}
        # Attributes of what did not change are taken from the manifest that goes with the cache.
        self._goes_with = previous is not None and previous.head.run == cache.run
        self._found: dict[tuple[bytes, Seen], Content] = {}

    def of(self, path: bytes, seen: Seen) -> Content:
        """What an entry had that :meth:`read` has seen in this state."""
        return self._found[path, seen]

    def read(self, look: Look) -> None:
        """Find out what each entry has, of which that is not known."""
        missing = [(path, seen) for path, seen in look.items() if (path, seen) not in self._found]
        left: list[tuple[bytes, Seen]] = []
        for path, seen in missing:
            known = self._known(path, seen)
            if known is None:
                left.append((path, seen))
            else:
                self._found[path, seen] = known
        progress = Progress(self._steps, "looking", sum(seen.size for _, seen in left))
        by_inode: dict[Seen, bytes] = {}
        for path, seen in left:
            self._found[path, seen] = self._content(path, seen, by_inode, progress)

    def _known(self, path: bytes, seen: Seen) -> Content | None:
        digest = self._cache.digest(path, seen)
        item = self._before.get(path)
        if digest is None or not self._goes_with or item is None or item.taken is not Taken.WHOLE:
            return None
        return Content(digest if seen.kind is ItemKind.FILE else NO_DIGEST, item.attributes, item.target)

    def _content(self, path: bytes, seen: Seen, by_inode: dict[Seen, bytes], progress: Progress) -> Content:
        digest = target = NO_DIGEST
        try:
            attributes = self._tree.attributes(path, seen.kind)
            if seen.kind is ItemKind.SYMLINK:
                target = self._tree.target(path)
            elif seen.kind is ItemKind.FILE:
                known = self._cache.digest(path, seen) or by_inode.get(seen)
                if known is None:
                    known = keyed_digest(self._key, self._tree.digest(path, progress.more))
                else:
                    progress.more(seen.size)
                digest = by_inode[seen] = known
        except OSError:
            return Content(readable=False)
        return Content(digest, attributes, target)

    def change(self, state: Look) -> Change:
        before = {path: item for path, item in self._before.items() if is_there(item)}
        now = {path: self._found[path, seen] for path, seen in state.items() if seen.kind is ItemKind.FILE}
        other = {path for path in before.keys() & now.keys() if before[path].digest != now[path].digest}
        new = Counter(now[path].digest for path in now.keys() - before.keys())
        gone = lost = 0
        for path in before.keys() - now.keys():
            gone += 1
            if new[before[path].digest] > 0:
                new[before[path].digest] -= 1  # It is only somewhere else now.
            else:
                lost += 1
        replaced = {path for path in other if self._goes_with and self._is_replaced(path, state[path])}
        return Change(
            before=len(before),
            changed=len(other) - len(replaced),
            replaced=len(replaced),
            removed=lost,
            added=len(now.keys() - before.keys()) - (gone - lost),
        )

    def _is_replaced(self, path: bytes, seen: Seen) -> bool:
        """Whether another file stands there, as after a program that saves under a new name and renames."""
        known = self._cache.before(path)
        return known is not None and known.inode != seen.inode


def is_there(item: Item) -> bool:
    """Whether it is a file that is in the backup."""
    return item.kind is ItemKind.FILE and item.taken is not Taken.MISSING


class Progress:
    """Counts the bytes of one part, and tells them."""

    def __init__(self, steps: Steps, name: str, total: int) -> None:
        self._steps, self._name, self._total = steps, name, total
        self._count = 0
        steps.phase(name, total)

    def more(self, count: int) -> None:
        """So many bytes more."""
        self._count += count
        self._steps.done(self._count)

    def at(self, count: int, total: int) -> None:
        """So many bytes of so many."""
        if total != self._total:
            self._total = total
            self._steps.phase(self._name, total)
        self._steps.done(count)
