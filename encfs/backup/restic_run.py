"""One run of restic over a mounted volume: passes until nothing changed meanwhile, read back, described.

Owns: what counts as taken at one moment, what is read again, how the volume stands against the run before. Must not
know: locks of plans, other runs but the one before, who signs.

The state of every entry is looked at, restic takes them, and they are looked at again: an entry whose state is the same
was taken as it was at one moment. The rest is taken by another pass, which restic makes quickly: the pass before is its
parent. What is written to all the time is in the last pass as restic read it, and is described as that.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

from encfs.backup.digest_cache import DigestCache
from encfs.backup.engine import Change, Guard, Steps
from encfs.backup.manifest import Manifest, keyed_digest
from encfs.backup.plain_contents import Contents, Progress, is_there
from encfs.backup.plain_tree import Look, PlainTree, Seen, kind_of
from encfs.backup.restic import Restic, snapshot_in
from encfs.backup.restic_source import ResticSource, content_of, is_right
from encfs.backup.restic_words import ResticError, Trouble
from encfs.errors import BackupError
from encfs.format.backup import Item, ItemKind, Taken

PASSES: Final = 4
OpenSnapshot = Callable[[str], AbstractContextManager[ResticSource]]


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took: its snapshot, all that is in it, how that stands against the run before, what was read back."""

    snapshot: str
    items: tuple[Item, ...] = field(repr=False)
    change: Change
    new_files: int
    new_bytes: int
    verified: int


class ResticRun:
    """One run.

    Args:
        restic: of the repository.
        tree: the mounted volume.
        key: K_manifest.
        cache: what is known of the run before.
        previous: manifest of the run before on this target; None if there is none.
        parent: snapshot from which restic knows what did not change; empty if there is none.
        run: id of this one.
        flush: brings what programs wrote to where it is seen.
        opened: opens a snapshot, past caches.
        steps: is told how far it is.
    """

    def __init__(
        self,
        restic: Restic,
        tree: PlainTree,
        *,
        key: bytes,
        cache: DigestCache,
        previous: Manifest | None,
        parent: str,
        run: str,
        flush: Callable[[], None],
        opened: OpenSnapshot,
        steps: Steps,
    ) -> None:
        self._restic = restic
        self._tree = tree
        self._key = key
        self._cache = cache
        self._before = previous.by_path if previous is not None else {}
        self._parent = parent
        self._run = run
        self._flush = flush
        self._opened = opened
        self._steps = steps
        self._contents = Contents(tree, key=key, cache=cache, previous=previous, steps=steps)
        self._written = 0
        self._again = False
        self._still: Look = {}
        self._digests: dict[bytes, bytes] = {}
        self._looked_at = 0

    def make(self, guard: Guard) -> Took:
        """Take everything.

        Raises:
            GuardError: from ``guard``, before anything is written.
            BackupError: the mount went away, or the target fails, or does not keep what was written.
            OSError.
        """
        looked_at = time.time_ns()
        self._flush()
        state = self._tree.look()
        self._contents.read(state)
        change = self._contents.change(state)
        guard(change)
        took, self._still = self._passes(state, change)
        self._digests = {item.path: item.digest for item in took.items if item.taken is Taken.WHOLE}
        self._looked_at = looked_at
        return took

    def remember(self) -> None:
        """For the next run, after :meth:`make`, and when the run is complete. Raises: OSError."""
        entries = ((path, seen, self._digests[path]) for path, seen in self._still.items() if path in self._digests)
        self._cache.write(self._run, entries, self._looked_at)

    def _passes(self, state: Look, change: Change) -> tuple[Took, Look]:
        number = 0
        while True:
            number += 1
            snapshot = self._take()
            self._flush()
            after = self._tree.look()
            moving = {path for path in state.keys() | after.keys() if state.get(path) != after.get(path)}
            if not moving or number >= PASSES:
                with self._opened(snapshot) as source:
                    items = self._items(source, state, after, moving)
                    wrong, read, count = self._read_back(source, items)
                if not wrong:
                    took = Took(source.snapshot, items, change, count, self._written, read)
                    return took, {path: seen for path, seen in state.items() if path not in moving}
                if self._again:
                    raise BackupError(
                        "the target does not give back what was written to it",
                        hint="Its medium or its connection is failing. Replace it, and begin another backup there.",
                    )
                self._again = True
            self._contents.read(after)
            state = after

    # -- restic --------------------------------------------------------------------------------------------------------

    def _take(self) -> str:
        """One pass. Returns: the id of its snapshot, as much of it as restic tells."""
        summary: list[str] = []
        progress = Progress(self._steps, "copying", 0)

        def told(line: str) -> None:
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("message_type") == "summary":
                summary.append(line)
                self._written += int(message.get("data_added", 0))
            elif message.get("message_type") == "status":
                progress.at(int(message.get("bytes_done", 0)), int(message.get("total_bytes", 0)))

        def call(*parent: str) -> None:
            arguments = ("backup", ".", "--json", "--one-file-system", *parent, *tags(self._run, "data"))
            self._restic.call(*arguments, cwd=self._tree.top, told=told)

        try:
            if self._again or not self._parent:
                call("--force")
            else:
                try:
                    call("--parent", self._parent)
                except ResticError as exc:
                    if exc.trouble is not Trouble.SNAPSHOT:
                        raise
                    call("--force")  # Somebody took the one before away.
        finally:
            self._tree.check()  # What failed since the volume was locked is told as that.
        self._parent = snapshot_in(summary)
        return self._parent

    # -- what it came to -----------------------------------------------------------------------------------------------

    def _items(self, source: ResticSource, state: Look, after: Look, moving: set[bytes]) -> tuple[Item, ...]:
        numbers: dict[int, int] = {}
        items = [self._item(path, seen, numbers) for path, seen in state.items() if path not in moving]
        moving |= self._in_passing(source, moving, state.keys() | after.keys())
        items += [item for path in moving if (item := self._as_taken(source, path, after.get(path))) is not None]
        return tuple(sorted(items, key=lambda one: one.path))

    def _in_passing(self, source: ResticSource, moving: set[bytes], known: AbstractSet[bytes]) -> set[bytes]:
        """What restic has of entries that were there only between two looks: their directory has changed."""
        found: set[bytes] = set()
        pending = sorted(moving)
        while pending:
            folder = pending.pop()
            try:
                if folder and not stat.S_ISDIR(source.stat(folder).mode):
                    continue
                entries = source.list(folder).entries
            except FileNotFoundError:
                continue
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if path not in known and path not in found:
                    found.add(path)
                    pending.append(path)
        return found

    def _item(self, path: bytes, seen: Seen, numbers: dict[int, int]) -> Item:
        content = self._contents.of(path, seen)
        item = _bare(path, seen)
        if not content.readable or path in self._tree.unreadable:
            return replace(item, taken=Taken.MISSING)
        links = numbers.setdefault(seen.inode, len(numbers) + 1) if seen.links > 1 else 0
        return replace(
            item,
            size=seen.size,
            digest=content.digest,
            links=links,
            target=content.target,
            attributes=content.attributes,
            taken=Taken.WHOLE,
        )

    def _as_taken(self, source: ResticSource, path: bytes, now: Seen | None) -> Item | None:
        """What restic has of an entry that did not hold still; None of one that came or went without being taken."""
        try:
            entry = source.stat(path) if path else None
        except FileNotFoundError:
            return replace(_bare(path, now), taken=Taken.MISSING) if now is not None else None
        if entry is None:
            return _bare(path, now) if now is not None else None
        kind = kind_of(entry.mode)
        item = Item(
            path=path,
            kind=kind,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            mtime_ns=entry.mtime_ns,
            target=source.read_link(path) if kind is ItemKind.SYMLINK else b"",
            device=now.device if now is not None and kind is ItemKind.OTHER else 0,
            attributes=source.attributes(path) if kind in (ItemKind.FILE, ItemKind.DIRECTORY) else {},
            taken=Taken.MISSING if kind is ItemKind.FILE else Taken.WHOLE,
        )
        if kind is not ItemKind.FILE:
            return item
        digest, size = content_of(source, path)
        return replace(item, digest=keyed_digest(self._key, digest), size=size, taken=Taken.LIVE)

    def _read_back(self, source: ResticSource, items: tuple[Item, ...]) -> tuple[int, int, int]:
        """Files that are new or changed, as the target gives them: how many are wrong, right bytes, right files."""
        wanted = [item for item in items if is_there(item) and item.taken is not Taken.LIVE and self._is_new(item)]
        progress = Progress(self._steps, "reading back", sum(item.size for item in wanted))
        wrong = read = count = 0
        for item in wanted:
            if is_right(source, item, self._key):
                read += item.size
                count += 1
            else:
                wrong += 1
            progress.more(item.size)
        return wrong, read, count

    def _is_new(self, item: Item) -> bool:
        before = self._before.get(item.path)
        return before is None or before.digest != item.digest or before.size != item.size


def tags(run: str, what: str) -> Iterator[str]:
    """Options that mark a snapshot as a part of a run: ``data`` or ``manifest``."""
    yield from ("--tag", f"cloakfs,run={run},{what}")


def _bare(path: bytes, seen: Seen) -> Item:
    """Without what has to be read. A file has no digest yet."""
    is_file = seen.kind is ItemKind.FILE
    return Item(
        path=path,
        kind=seen.kind,
        mode=seen.mode,
        uid=seen.uid,
        gid=seen.gid,
        mtime_ns=seen.mtime_ns,
        device=seen.device,
        taken=Taken.MISSING if is_file else Taken.WHOLE,
    )
