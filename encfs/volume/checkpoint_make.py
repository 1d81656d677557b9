"""Making a checkpoint: a walk, a sealed file, durable before it counts (FORMAT.md section 12).

Owns: what of the checkpoint before is taken over, the order of writes, how many are kept. Must not know: who shows the
findings, threads.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EEXIST
from itertools import chain

from encfs.core.checkpoint import Sealer
from encfs.crypto import rng
from encfs.errors import DataError, NotFoundError
from encfs.format import checkpoint as form
from encfs.format.checkpoint import (
    DamagedEntry,
    DirectoryEntry,
    Entry,
    FileEntry,
    FileState,
    Head,
    KnownSession,
    OtherEntry,
    Record,
    Start,
    SymlinkEntry,
    new_checkpoint_id,
)
from encfs.format.header import FileHeader
from encfs.format.limits import CHECKPOINTS_KEPT, CHECKPOINTS_NAME, U64_MAX
from encfs.format.session import SessionState
from encfs.store.atomic import sync_directory
from encfs.volume.checkpoint import checkpoint_names, newest_is_missing, open_newest
from encfs.volume.checkpoint_compare import Comparison
from encfs.volume.checkpoint_index import Index, Place, Since, load, parse_file
from encfs.volume.checkpoint_walk import Digest, Seen, Walk
from encfs.volume.findings import Code, Finding, Severity
from encfs.volume.places import temporary_name
from encfs.volume.steps import Waiting
from encfs.volume.verify import Progress, Reading
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """A finished checkpoint.

    Attributes:
        name: of its file in ``cloakfs.c``.
        made: seconds since 1970.
        digest: SHA-256 of the whole, in hexadecimal.
        bytes: plain bytes of all files.
        read, reused: files whose cells were read, and those that were as in the checkpoint before.
        changing: files that were written to all the time, so that they have no digest.
        damaged: what did not open, or is not what it should be; each is a finding.
        size: bytes of the checkpoint itself.
        previous: the name of the checkpoint that this one builds on, empty for none.
    """

    name: str
    made: float
    digest: str
    files: int
    directories: int
    symlinks: int
    others: int
    bytes: int
    read: int
    reused: int
    changing: int
    damaged: int
    size: int
    previous: str


Step = Finding | Progress | Reading | Waiting


class CheckpointMaker:
    """Makes one checkpoint of an open volume. Between two steps of :meth:`run` other calls into the volume may be made.

    Args:
        volume: unlocked for writing.
        alone: nothing else is written in this session, so it is over with this checkpoint.
    """

    def __init__(self, volume: Volume, *, alone: bool) -> None:
        self._volume = volume
        self._ctx = volume.ctx
        self._alone = alone
        self._counts: Counter[str] = Counter()
        self._previous: Index | None = None
        self._since: Since | None = None
        self._comparison: Comparison | None = None
        self._places: dict[Place, FileEntry] | None = None
        self._at = 0
        self._fd = -1
        self.result: CheckpointResult | None = None

    def run(self) -> Iterator[Step]:
        """Yield findings, progress, and what has to be waited for. ``result`` is there when it has ended.

        Raises:
            ReadOnlyError: the volume is not open for writing.
            OSError: the checkpoint could not be written; the one before it is as it was.
        """
        self._ctx.require_writable()
        yield from self._load_previous()
        head = self._new_head()
        temporary = temporary_name()
        self._fd = self._ctx.store.open(self._volume.root_fd, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._tell_memory(recording=True)
        try:
            try:
                sealer = Sealer(self._ctx.ring, head)
                yield from self._write_all(head, sealer)
            finally:
                self._ctx.store.close(self._fd)
            yield Waiting(lambda: self._put_in_place(temporary, head))
        except BaseException:
            with suppress(OSError):
                self._ctx.store.unlink(self._volume.root_fd, temporary)
            raise
        finally:
            self._tell_memory(recording=False)
        self._remove_old()
        self.result = self._make_result(head, sealer)

    def _tell_memory(self, *, recording: bool) -> None:
        if self._ctx.freshness is not None:
            self._ctx.tell_deletions()
            self._ctx.freshness.recording(on=recording)

    # -- before ---------------------------------------------------------------------------------------------

    def _load_previous(self) -> Iterator[Step]:
        """The checkpoint to build on, if there is one that opens."""
        loaded: list[Index] = []
        failed: list[DataError] = []

        def read() -> None:
            try:
                loaded.append(load(open_newest(self._ctx, self._volume.root_fd)))
            except NotFoundError:
                pass
            except DataError as exc:
                failed.append(exc)

        missing = newest_is_missing(self._ctx, self._volume.root_fd)
        if missing is not None:
            self._counts["damaged"] += 1
            yield missing
        yield Waiting(read)
        for exc in failed:
            yield Finding.of(Code.CHECKPOINT_DAMAGED, b"", CHECKPOINTS_NAME, str(exc))
        for index in loaded:
            self._previous = index
            records = self._volume.sessions.records()
            others = [one for one in records if not self._alone or one.session != self._ctx.session]
            self._since = Since(index, others, self._ctx.session)
            self._comparison = Comparison(self._ctx, index, self._since)

    def _new_head(self) -> Head:
        """An id greater than that of every session so far and of the checkpoint before, whatever the clock says."""
        sessions = self._volume.sessions
        known = [sessions.checkpoint, *(record.session for record in sessions.records())]
        newest = max(int.from_bytes(one[:8], "big") for one in known)
        now = min(max(time.time_ns() // 1_000_000, newest + 1), U64_MAX)
        ring = self._ctx.ring
        return Head(ring.active.epoch, new_checkpoint_id(now, rng.random_bytes(8)), ring.volume_id)

    # -- the content ----------------------------------------------------------------------------------------

    def _append(self, data: bytes) -> None:
        if data:
            self._ctx.store.pwrite(self._fd, data, self._at)
            self._at += len(data)

    def _write_all(self, head: Head, sealer: Sealer) -> Iterator[Step]:
        self._append(head.pack())
        for record in self._opening():
            self._append(sealer.add(record))
        walk = Walk(self._volume, self._known_digest, settle=True)
        for step in walk.run():
            if isinstance(step, Seen):
                yield from self._take(step, sealer)
            else:
                yield step
        yield from self._lost()
        self._append(sealer.finish(self._totals()))
        # What the checkpoint says of the volume is on the disk before the checkpoint is.
        yield Waiting(lambda: self._ctx.store.syncfs(self._volume.root_fd))
        yield Waiting(lambda: self._ctx.store.fsync(self._fd))

    def _opening(self) -> Iterator[Record]:
        previous = form.NO_CHECKPOINT if self._previous is None else self._previous.head.checkpoint_id
        yield Start(self._ctx.session, self._volume.config.seq, previous)
        for record in self._volume.sessions.records():
            mine = record.session == self._ctx.session
            state = SessionState.CLEAN if mine and self._alone else record.state
            yield KnownSession(record.session, state)

    def _known_digest(self, header: FileHeader) -> Digest | None:
        """The digest that the checkpoint before has for this very generation.

        After a crash every file is read again: cells may have been overwritten before their header was written.
        """
        raw = None if self._previous is None else self._previous.files.get(header.fid)
        if raw is None or header.generation > form.generation_of(raw):
            return None
        if header.generation < form.generation_of(raw):
            return FileState.CHANGING, form.NO_DIGEST  # Not needed: :meth:`_take` keeps the newer record.
        if self._since is not None and self._since.crashed:
            return None
        entry = parse_file(raw)
        return (entry.state, entry.digest) if entry.state is FileState.DIGESTED else None

    def _take(self, seen: Seen, sealer: Sealer) -> Iterator[Step]:
        findings = [] if self._comparison is None else self._comparison.see(seen)
        for finding in findings if seen.failure is None else [seen.failure]:
            self._counts["damaged"] += finding.severity is Severity.ERROR
            yield finding
        entry = seen.entry
        if entry is None:
            self._append(b"".join(sealer.add(one) for one in self._stand_in(seen)))
            return
        codes = {finding.code for finding in findings}
        if Code.FILE_REPLAYED in codes:
            return  # Not taken in: the next comparison finds it again.
        if Code.FILE_ROLLBACK in codes and isinstance(entry, FileEntry) and self._previous is not None:
            entry = self._previous.entry(entry.header.fid) or entry  # Nor is this forgotten.
        self._count(entry, seen)
        self._append(sealer.add(entry))

    def _stand_in(self, seen: Seen) -> Iterator[Record]:
        """For what does not open: what the checkpoint before has there, so that a header can be rebuilt from it."""
        if self._previous is not None and self._places is None:
            self._places = {
                (entry.parent, entry.name): entry
                for entry in map(parse_file, [*self._previous.files.values(), *chain(*self._previous.links.values())])
            }
        known = (self._places or {}).get((seen.parent, seen.name))
        if known is not None:
            yield known
        elif seen.name:
            yield DamagedEntry(seen.parent, seen.name)

    def _lost(self) -> Iterator[Finding]:
        """Files that were deleted below while nobody wrote. A deletion that may be legitimate is none of ours."""
        for finding in () if self._comparison is None else self._comparison.lost():
            if finding.severity is Severity.ERROR:
                self._counts["damaged"] += 1
                yield finding

    def _count(self, entry: Entry, seen: Seen) -> None:
        match entry:
            case DirectoryEntry():
                self._counts["directories"] += 1
            case FileEntry() if not seen.again:
                self._counts["files"] += 1
                self._counts["bytes"] += entry.header.size
                if entry.state is FileState.DIGESTED:
                    self._counts["read" if seen.read else "reused"] += 1
                self._counts["changing"] += entry.state is FileState.CHANGING
                if entry.state is FileState.DAMAGED:
                    self._counts["damaged"] += 1
            case SymlinkEntry():
                self._counts["symlinks"] += 1
            case OtherEntry():
                self._counts["others"] += 1
            case _:
                pass

    def _totals(self) -> dict[str, int]:
        names = ("directories", "files", "symlinks", "others", "damaged")
        return {name: self._counts[name] for name in names} | {"size": self._counts["bytes"]}

    # -- after ----------------------------------------------------------------------------------------------

    def _put_in_place(self, temporary: bytes, head: Head) -> None:
        store, root = self._ctx.store, self._volume.root_fd
        try:
            store.mkdir(root, CHECKPOINTS_NAME, 0o700)
        except OSError as exc:
            if exc.errno != EEXIST:
                raise
        folder = store.open_directory(root, CHECKPOINTS_NAME)
        try:
            store.rename(root, temporary, folder, head.checkpoint_id.hex().encode())
            sync_directory(store, folder)
        finally:
            store.close(folder)
        sync_directory(store, root)
        self._volume.tree.count_hidden_directories()
        self._volume.sessions.checkpoint = head.checkpoint_id
        if self._ctx.freshness is not None:
            self._ctx.freshness.remember_checkpoint(head.checkpoint_id)

    def _remove_old(self) -> None:
        store = self._ctx.store
        folder = store.open_directory(self._volume.root_fd, CHECKPOINTS_NAME)
        try:
            for name in checkpoint_names(store, self._volume.root_fd)[CHECKPOINTS_KEPT:]:
                store.unlink(folder, name)
        finally:
            store.close(folder)

    def _make_result(self, head: Head, sealer: Sealer) -> CheckpointResult:
        counts = self._counts
        return CheckpointResult(
            name=head.checkpoint_id.hex(),
            made=head.made_ms / 1000,
            digest=sealer.digest.hex(),
            files=counts["files"],
            directories=counts["directories"],
            symlinks=counts["symlinks"],
            others=counts["others"],
            bytes=counts["bytes"],
            read=counts["read"],
            reused=counts["reused"],
            changing=counts["changing"],
            damaged=counts["damaged"],
            size=self._at,
            previous="" if self._previous is None else self._previous.head.checkpoint_id.hex(),
        )
