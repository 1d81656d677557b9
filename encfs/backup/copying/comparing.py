"""How a sealed tree stands against the run before, for the guard, before anything is written.

Owns: what counts as changed, replaced, removed and added. Must not know: what is done about it.

Generations are sealed, so without a key a file has lost its chain if another file id stands in its header, or no header
at all: what encrypts the sealed files once more leaves that. Files that only moved are no change.
"""

from __future__ import annotations

from collections.abc import Mapping

from encfs.backup.copying.cache import Cache
from encfs.backup.copying.scanning import Seen, is_content
from encfs.backup.engine import Change
from encfs.backup.manifest import Manifest
from encfs.format.backup import Item, ItemKind, Taken


def compare(
    before: Manifest | None, seen: Mapping[bytes, Seen], digests: Mapping[bytes, bytes], cache: Cache
) -> Change:
    """How the files of a volume stand now.

    Args:
        before: the run before on this target.
        seen: what is there now.
        digests: SHA-256 of what is known to be there, by path. What has none is another one than before.
        cache: what is remembered of the files of the run before.
    """
    old = {} if before is None else {item.path: item for item in before.items if _counts(item)}
    new = {path: one for path, one in seen.items() if one.kind is ItemKind.FILE and is_content(path)}
    here = {digests[path] for path in new if path in digests}
    gone = [item for path, item in old.items() if path not in new and item.digest not in here]
    there = {item.digest for item in old.values()}
    added = sum(path not in old and digests.get(path) not in there for path in new)
    others = [path for path, item in old.items() if path in new and digests.get(path) != item.digest]
    replaced = sum(_lost_its_chain(path, new[path], cache) for path in others)
    return Change(before=len(old), changed=len(others) - replaced, replaced=replaced, removed=len(gone), added=added)


def _counts(item: Item) -> bool:
    return item.kind is ItemKind.FILE and item.taken is not Taken.MISSING and is_content(item.path)


def _lost_its_chain(path: bytes, now: Seen, cache: Cache) -> bool:
    known = cache.files.get(path)
    return not now.trouble and (not now.fid or (known is not None and known.fid != now.fid))
