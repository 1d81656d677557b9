"""Holding a volume against a checkpoint: what is legitimate change, and what only tampering explains.

Owns: the rules of FORMAT.md section 12 for each kind of object. Must not know: how the volume is walked, who shows the
findings.

The rule behind all of them: whoever writes through cloakfs leaves a newer generation and the id of a session that is
later than the checkpoint. What differs without one was not written through cloakfs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from encfs.format import checkpoint as form
from encfs.format.checkpoint import DirectoryEntry, FileEntry, FileState, OtherEntry, SymlinkEntry
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import LINK_SUFFIX
from encfs.units import DirId, FileId
from encfs.volume.checkpoint_index import Index, Place, Since, parse_file
from encfs.volume.checkpoint_walk import Digest, Seen
from encfs.volume.context import Context
from encfs.volume.findings import Code, Finding

_NOT_WANTED: Digest = (FileState.CHANGING, form.NO_DIGEST)


class Comparison:
    """Everything that is seen goes through :meth:`see`; :meth:`lost` then tells what was not.

    ``counts``: files that are the ``same``, ``changed``, ``added`` or ``removed`` since.
    """

    def __init__(self, ctx: Context, index: Index, since: Since) -> None:
        self._ctx = ctx
        self._index = index
        self._since = since
        self.counts: Counter[str] = Counter()
        self._files: set[FileId] = set()
        self._file_places: set[bytes] = set()
        self._emptied: set[bytes] = set()
        self._links: dict[FileId, set[Place]] = {}
        self._directories: set[DirId] = set()
        self._small: set[Place] = set()
        self._unreadable: set[Place] = set()
        self._unreached: dict[DirId, bool] = {}

    def known_digest(self, header: FileHeader) -> Digest | None:
        """For a walk: a digest is only wanted of the very generation that the checkpoint has."""
        raw = self._index.files.get(header.fid)
        if raw is None or form.generation_of(raw) != header.generation:
            return _NOT_WANTED
        return None if parse_file(raw).state is FileState.DIGESTED else _NOT_WANTED

    def see(self, seen: Seen) -> list[Finding]:
        """What is wrong with one object, if anything is. One that does not open was reported by others."""
        match seen.entry:
            case None:
                self._unreadable.add((seen.parent, seen.lower_name.removesuffix(LINK_SUFFIX)))
                if seen.dir_id is not None:
                    self._unreached[seen.dir_id] = True
                return []
            case DirectoryEntry():
                return self._see_directory(seen.entry, seen)
            case FileEntry():
                return self._see_file(seen.entry, seen)
            case SymlinkEntry() | OtherEntry():
                return self._see_small(seen.entry, seen)
            case _:
                raise AssertionError("internal error: a walk never sees this")

    def _found(self, code: Code, seen: Seen, detail: str) -> list[Finding]:
        return [Finding.of(code, seen.path, seen.lower_path, detail)]

    # -- files ------------------------------------------------------------------------------------------------

    def _see_file(self, entry: FileEntry, seen: Seen) -> list[Finding]:
        header, place = entry.header, (seen.parent, seen.name)
        again = header.fid in self._files
        self._files.add(header.fid)
        self._file_places.add(seen.parent + seen.name)
        if header.flags & HeaderFlag.MULTI:
            self._links.setdefault(header.fid, set()).add(place)
        raw = self._index.files.get(header.fid)
        if raw is None:
            return self._see_new_file(header, seen, again=again)
        generation = form.generation_of(raw)
        if header.generation < generation:
            return self._found(Code.FILE_ROLLBACK, seen, "older than the checkpoint has it: an old copy was put back")
        if not self._since.written and header.flags & HeaderFlag.MULTI and place not in self._places_of(header.fid):
            return self._found(Code.FILE_REPLAYED, seen, "under a name that it did not have at the checkpoint")
        if again:
            return []
        if header.generation > generation:
            self.counts["changed"] += 1
            return []
        return self._see_same_generation(entry, parse_file(raw), seen)

    def _see_new_file(self, header: FileHeader, seen: Seen, *, again: bool) -> list[Finding]:
        if self._since.includes(header.session):
            self.counts["added"] += not again
            self._emptied.add(header.attribute_id)
            return []
        if (seen.parent, seen.name) in self._index.damaged:
            return []  # It was there, but did not open then.
        return self._found(
            Code.FILE_REPLAYED, seen, "last written before the checkpoint, but not in it: deleted, then put back"
        )

    def _see_same_generation(self, entry: FileEntry, known: FileEntry, seen: Seen) -> list[Finding]:
        taken = entry.state is known.state is FileState.DIGESTED
        if not taken or entry.digest == known.digest:
            self.counts["same"] += 1
            return []
        if self._since.crashed:
            return self._found(
                Code.CHECKPOINT_CRASH, seen, "not the cells of the checkpoint, as a crash since then can leave them"
            )
        return self._found(
            Code.CELL_REPLAYED, seen, "all its cells are authentic, but some are not those of the checkpoint"
        )

    def _places_of(self, fid: FileId) -> set[Place]:
        raws = self._index.links.get(fid) or [self._index.files[fid]]
        return {(one.parent, one.name) for one in map(parse_file, raws)}

    # -- the rest -----------------------------------------------------------------------------------------------

    def _see_directory(self, entry: DirectoryEntry, seen: Seen) -> list[Finding]:
        record = entry.record
        self._directories.add(record.dir_id)
        known = self._index.directories.get(record.dir_id)
        if self._since.includes(record.session) or (known is not None and record.generation >= known.generation):
            return []
        if known is not None:
            return self._found(Code.DIRECTORY_ROLLBACK, seen, "its record is older than the checkpoint has it")
        if (seen.parent, seen.name) in self._index.damaged:
            return []
        return self._found(
            Code.DIRECTORY_REPLAYED, seen, "older than the checkpoint, but not in it: deleted, then put back"
        )

    def _see_small(self, entry: SymlinkEntry | OtherEntry, seen: Seen) -> list[Finding]:
        """Symlinks and nodes have neither generation nor session: they can only be told where nobody wrote since."""
        place = (seen.parent, seen.name)
        self._small.add(place)
        if self._since.written or place in self._index.damaged:
            return []
        if isinstance(entry, SymlinkEntry):
            if self._index.symlinks.get(place) == entry.digest:
                return []
            return self._found(Code.SYMLINK_REPLAYED, seen, "not as at the checkpoint, and nobody wrote since")
        if self._index.others.get(place) == (entry.kind, entry.device):
            return []
        return self._found(Code.NODE_REPLACED, seen, "not as at the checkpoint, and nobody wrote since")

    # -- what is gone -------------------------------------------------------------------------------------------

    def lost(self) -> Iterator[Finding]:
        """After the walk: what the checkpoint has and the volume has not."""
        for fid, raw in self._index.files.items():
            if fid not in self._files:
                yield from self._lost_file(parse_file(raw))
            elif fid in self._links and not self._since.written:
                for place in self._places_of(fid) - self._links[fid]:
                    if _packed(place) not in self._file_places and not self._hidden(place):
                        yield self._gone(Code.FILE_DELETED, place)
        if self._since.written:
            return
        for dir_id, known in self._index.directories.items():
            place = (known.parent, known.name)
            if dir_id not in self._directories and not self._is_unreached(dir_id):
                yield self._gone(Code.DIRECTORY_DELETED, place)
        for places, code in ((self._index.symlinks, Code.SYMLINK_DELETED), (self._index.others, Code.NODE_REPLACED)):
            for place in places:
                if place not in self._small and _packed(place) not in self._file_places and not self._hidden(place):
                    yield self._gone(code, place)

    def _lost_file(self, entry: FileEntry) -> Iterator[Finding]:
        place = (entry.parent, entry.name)
        if self._hidden(place):
            return
        if _packed(place) in self._file_places or entry.header.attribute_id in self._emptied:
            # Another file is there, which was judged when it was seen; or this very one, emptied since and moved.
            self.counts["removed"] += 1
        elif not self._since.written:
            yield self._gone(Code.FILE_DELETED, place)
        elif self._ctx.was_removed(entry.header.fid):
            self.counts["removed"] += 1
        else:
            yield self._gone(Code.FILE_MISSING, place)

    def _gone(self, code: Code, place: Place) -> Finding:
        lower = self._index.lower_path(self._ctx, *place)
        detail = "in the checkpoint, and no longer in the volume"
        if code is Code.FILE_MISSING:
            detail = "deleted since the checkpoint; if nobody did that, it was deleted below"
        return Finding.of(code, self._index.path(*place), lower, detail)

    def _hidden(self, place: Place) -> bool:
        """Whether a place cannot be looked at: it, or a directory above it, does not open. That is reported already."""
        parent, name = place
        return (parent, self._seal(parent, name)) in self._unreadable or self._is_unreached(parent)

    def _is_unreached(self, dir_id: DirId) -> bool:
        known = self._unreached.get(dir_id)
        if known is None:
            self._unreached[dir_id] = False  # Ends a circle, which damage could make.
            directory = self._index.directories.get(dir_id)
            known = False
            if dir_id not in self._directories and directory is not None and directory.name:
                known = self._hidden((directory.parent, directory.name))
            self._unreached[dir_id] = known
        return known

    def _seal(self, parent: DirId, name: bytes) -> bytes:
        return self._ctx.ring.metadata.names.seal(parent, name)


def _packed(place: Place) -> bytes:
    """A place as one short object: a volume may have a million of them."""
    return place[0] + place[1]
