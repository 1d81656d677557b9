"""What a run has of each entry, in the end (FORMAT.md section 18): whole, older or missing.

Owns: which files are unchanged, which are taken again, and the lines of the manifest. Must not know: how a file is
copied, targets.

Each file in a run is as it was at one moment of the run. The tree is that of the last look at it; what came since is
not in it. All files that were at that look as they were taken are of one moment together: when it began. A file that
was written to since it was taken is not, so a database and its journal may not fit together: such a file is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from encfs.backup.copying import troubles
from encfs.backup.copying.cache import Cache
from encfs.backup.copying.scanning import CONFIGS, Seen, SourceTree, is_content
from encfs.backup.copying.taking import PASSES, Got, Taking
from encfs.backup.manifest import Manifest
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.backup import Item, ItemKind, Taken

_UNKNOWN: Final = "it was written to all the time"
_MOVED_ON: Final = "it was written to during the run"


class Whole:
    """One run's view.

    Args:
        source: the tree.
        cache: what was there in the run before.
        newest: that run, if there was one.
        config: what the backup has in place of the volume's.

    Attributes:
        reasons: why something is older or missing, by path.
    """

    def __init__(
        self,
        source: SourceTree,
        cache: Cache,
        newest: Manifest | None,
        config: bytes | None,
    ) -> None:
        self._source = source
        self._cache = cache
        self._old: Mapping[bytes, Item] = {} if newest is None else newest.by_path
        self._config = config
        self._config_digest = b"" if config is None else CLOAKFS_1.digest(config)
        self._seen: dict[bytes, Seen] = {}
        self._after: dict[bytes, Seen] | None = None
        self._got: dict[bytes, Got] = {}
        self.reasons: dict[bytes, str] = {}

    # -- before anything is written ------------------------------------------------------------------------------------

    def begin(self) -> list[Seen]:
        """Look at the tree. Returns: what has to be read only to know whether it has changed.

        Raises:
            BackupError: it cannot be read, or is no volume.
        """
        with troubles.of_volume():
            self._seen = self._source.settled(self._inodes())
        self._check()
        work = []
        for one in self._files():
            got = self._unchanged(one)
            if got is not None:
                self._got[one.path] = got
            elif self._may_be_the_same(one):
                work.append(one)
        return work

    def know(self, found: Mapping[bytes, Got]) -> None:
        """What was read. It counts where it is what the run before has: that is whole."""
        digests = {item.digest for item in self._old.values()}
        self._got |= {path: got for path, got in found.items() if got.digest in digests}

    def digests(self) -> dict[bytes, bytes]:
        """SHA-256 of what is known to be there, by path."""
        return {path: got.digest for path, got in self._got.items()}

    @property
    def seen(self) -> Mapping[bytes, Seen]:
        """The tree, as it was at the last look."""
        return self._seen

    def _check(self) -> None:
        if not CONFIGS & set(self._seen):
            raise troubles.no_volume()

    def _inodes(self) -> Iterable[int]:
        """Of what was there at the last look, or in the run before."""
        if self._seen:
            return [one.inode for one in self._seen.values()]
        return [known.signature[0] for known in self._cache.files.values()]

    def _files(self) -> Iterator[Seen]:
        return (one for one in self._seen.values() if one.kind is ItemKind.FILE and not one.trouble)

    def _unchanged(self, one: Seen) -> Got | None:
        if self._config is not None and one.path in CONFIGS:
            return Got(one, self._config_digest, len(self._config))
        digest = self._cache.digest_of(one)
        return None if digest is None else Got(one, digest, one.size)

    def _may_be_the_same(self, one: Seen) -> bool:
        """Without what is remembered anything may be; else what has the size and the header that it had."""
        if not self._old:
            return False
        if not self._cache.files:
            return True
        old, known = self._old.get(one.path), self._cache.files.get(one.path)
        same_header = known is None or known.signature[4] == one.header
        return old is not None and old.size == one.size and same_header

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self, taking: Taking) -> list[Item]:
        """Take what the target does not have, and what is written to meanwhile again.

        Returns:
            The lines of the manifest.

        Raises:
            OSError, BackupError: the target cannot be written to.
        """
        for path, got in list(self._got.items()):
            if taking.stored.get(got.digest) != got.size:
                del self._got[path]
        attempted: set[bytes] = set()
        for at_once in PASSES:
            work = self._work(taking)
            if not work:
                break
            attempted |= {one.path for one in work}
            self._pass(work, taking, at_once)
            with troubles.of_volume():  # The last batch was flushed.
                self._seen = self._source.settled(self._inodes())
        late = [one for one in self._work(taking) if one.path not in attempted or one.content is not None]
        self._check()
        if late:  # Among them may be what had another name until now.
            self._pass(late, taking, PASSES[0])
            with troubles.of_volume():
                self._after = self._source.settled(self._inodes())
        return self._items(taking)

    def _pass(self, work: list[Seen], taking: Taking, at_once: int) -> None:
        taking.steps.phase("copying", sum(one.size for one in work))
        taking.take(work, at_once)
        self._got |= taking.got

    def _work(self, taking: Taking) -> list[Seen]:
        """Files of which the run has nothing, or the file that had their name before."""
        work = []
        for one in self._files():
            got = self._got.get(one.path)
            if one.path in taking.given_up:
                continue
            if got is not None and (got.seen.inode, got.seen.fid) == (one.inode, one.fid):
                continue
            moved = taking.by_signature.get(one.signature)
            known = self._unchanged(one) if moved is None else Got(one, moved.digest, moved.size)
            if known is not None and taking.stored.get(known.digest) == known.size:
                self._got[one.path] = known
            else:
                work.append(one)
        return work

    # -- what it comes to ----------------------------------------------------------------------------------------------

    def remembered(self, taking: Taking) -> Iterator[tuple[Seen, bytes]]:
        """For the cache. Not the configs of the backup's own, which are not what is there."""
        for path, got in {**self._got, **taking.got}.items():
            if path in self._seen and (self._config is None or path not in CONFIGS):
                yield got.seen, got.digest

    def _items(self, taking: Taking) -> list[Item]:
        items: dict[bytes, Item] = {}
        for path, one in self._seen.items():
            got = self._got.get(path)
            if one.kind is not ItemKind.FILE:
                items[path] = one.item()
                if one.trouble:
                    self.reasons[path] = one.trouble
                    items[path] = one.item(taken=Taken.MISSING)
                    items |= self._older_below(path, taking)
            elif got is not None:
                items[path] = got.seen.item(got.digest, got.size)
                if self._has_moved_on(path, got):
                    self.reasons[path] = _MOVED_ON
                    items[path] = replace(items[path], taken=Taken.LIVE)
            else:
                self.reasons[path] = one.trouble or taking.reasons.get(path, _UNKNOWN)
                items[path] = self._older(path, taking) or one.item(taken=Taken.MISSING)
        return sorted(items.values(), key=lambda item: item.path)

    def _has_moved_on(self, path: bytes, got: Got) -> bool:
        """Whether it is another one at the last look than it was when it was taken."""
        if not is_content(path):  # Each of these is complete in itself.
            return False
        now = (self._seen if self._after is None else self._after).get(path)
        return now is None or now.signature != got.seen.signature

    def _older(self, path: bytes, taking: Taking) -> Item | None:
        """What the run before has, if the target still has it."""
        old = self._old.get(path)
        if old is None or old.kind is not ItemKind.FILE or taking.stored.get(old.digest) != old.size:
            return None
        return replace(old, taken=Taken.OLDER, links=0)

    def _older_below(self, folder: bytes, taking: Taking) -> dict[bytes, Item]:
        """All that the run before has in a directory which cannot be read."""
        found = {}
        for path, old in self._old.items():
            if path.startswith(folder + b"/"):
                item = self._older(path, taking) if old.kind is ItemKind.FILE else old
                if item is not None:
                    found[path] = item
        return found
