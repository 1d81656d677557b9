"""Bringing everything in an open volume under its active epoch (FORMAT.md section 14).

Owns: the walk, what is due for each object, how many files wait for the medium together, and whether all is done. Must
not know: who asked, threads, how a rotation begins; ``rotation_end.py`` ends one.

Programs go on meanwhile. What they move is looked at again; what they write is under the active epoch by itself.
"""

from __future__ import annotations

import stat as stat_module
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from encfs.core import frames
from encfs.errors import DataError
from encfs.format.limits import FRAME_SIZE
from encfs.units import LowerName
from encfs.volume.census import Census, take_census
from encfs.volume.checkpoint_rewrap import rewrap_checkpoints
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.rekey_file import Staged
from encfs.volume.rotation_end import end_rotation, make_durable
from encfs.volume.steps import Alone, Turn, Waiting
from encfs.volume.verify import Progress, estimate
from encfs.volume.volume import Volume

Step = Progress | Waiting | Turn | Alone

# Files that are given a new content key together: the medium is waited for twice for all of them, not for each.
_FILES_AT_ONCE = 256
_BYTES_AT_ONCE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run has done.

    Attributes:
        files, directories, cells: headers, records and cells that were sealed anew.
        damaged: objects, and cells, that do not open under any key and stay as they are.
        left: objects that a retired epoch still seals, because no name leads to them; repair brings them back.
        failed: objects that the medium, or a permission, kept from being read or written.
    """

    files: int
    directories: int
    cells: int
    damaged: int
    left: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether nothing needs the retired epochs any more."""
        return not self.left and not self.failed


@dataclass(slots=True)
class _Due:
    """A file that gets a new content key; held open until it has."""

    node: Node
    file: OpenFile
    staged: Staged | None


class Rotator:
    """One run over an open volume. Between two steps of :meth:`run` other calls into the volume may be made.

    Attributes:
        outcome: there when :meth:`run` has ended.
        ended: whether the config was written without the retired epochs.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._ctx = volume.ctx
        self._tree = volume.tree
        self._pending: list[Node] = []
        self._moved: list[Node] = []
        self._batch: list[_Due] = []
        self._counts: Counter[str] = Counter()
        self._totals = (0, 0)
        self.outcome: Outcome | None = None
        self.ended = False

    def run(self) -> Generator[Step, None, None]:
        """Yield progress, and what has to be waited for.

        Raises:
            ReadOnlyError: the volume is not open for writing.
            VolumeInUseError, ConfigError, LowerIOError, OSError: the last config could not be written; all else is
                done, and the next run ends it.
        """
        self._ctx.require_writable()
        self._totals = estimate(self._volume, [self._tree.root])
        self._ctx.on_moved.add(self._look_again)
        try:
            self._look_again(self._tree.root)
            yield from self._walk()
            yield from self._rest()
        finally:
            self._ctx.on_moved.discard(self._look_again)
            self._give_back()
        assert self.outcome is not None
        if self.outcome.complete:
            outcome = self.outcome
            yield Waiting(lambda: end_rotation(self._volume, outcome.files, outcome.directories, outcome.cells))
            self.ended = True
        yield self._progress()

    def _look_again(self, node: Node) -> None:
        """Counted like a reference of the kernel, so that the node stays this one wherever the object goes."""
        node.lookups += 1
        self._moved.append(node)

    def _give_back(self) -> None:
        for due in self._batch:
            with suppress(OSError):  # The next close of the file, or the volume's, tries again.
                self._tree.release_file(due.node)
        for node in (*self._pending, *self._moved):
            self._tree.nodes.forget(node.inode, 1)
        self._batch, self._pending, self._moved = [], [], []

    def _progress(self) -> Progress:
        c = self._counts
        return Progress(c["seen"], max(self._totals[0], c["seen"]), c["bytes"], max(self._totals[1], c["bytes"]))

    # -- the walk --------------------------------------------------------------------------------------------

    def _walk(self) -> Iterator[Step]:
        while self._pending or self._moved or self._batch:
            if not self._pending:
                self._pending, self._moved = self._moved, []
            if not self._pending:
                yield from self._rekey_batch()
                continue
            node = self._pending.pop()
            try:
                yield from self._object(node)
            finally:
                self._tree.nodes.forget(node.inode, 1)

    def _object(self, node: Node) -> Iterator[Step]:
        if node.ghost is not None:
            return  # Removed since it was found.
        self._counts["seen"] += 1
        try:
            mode = self._tree.stat(node).st_mode
            if stat_module.S_ISDIR(mode):
                self._directory(node)
            elif stat_module.S_ISREG(mode):
                if node.file is not None:
                    yield Turn(node.file)
                self._file(node)
        except DataError:
            pass  # The census counts it, once.
        except FileNotFoundError:
            return
        except OSError:
            self._counts["failed"] += 1
        yield self._progress()
        size = sum(due.file.size for due in self._batch)
        if len(self._batch) >= _FILES_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield from self._rekey_batch()

    def _directory(self, node: Node) -> None:
        record = self._tree.read_record(node)
        active = self._ctx.ring.active.epoch
        if record.epoch != active:
            sealed = frames.seal_directory(self._ctx.ring, replace(record, epoch=active))
            fd = self._tree.open_record(node, writable=True)
            try:
                self._ctx.store.pwrite(fd, sealed, 0)
            finally:
                self._ctx.store.close(fd)
            self._counts["directories"] += 1
        for lower in self._tree.entries(node):
            self._entry(node, lower)

    def _entry(self, parent: Node, lower: LowerName) -> None:
        try:
            found = self._tree.lookup(parent, self._tree.read_name(parent, lower))
        except (DataError, FileNotFoundError):
            return  # Foreign, or damaged: the census finds what still needs the old key.
        if found is not None:
            found[0].lookups += 1
            self._pending.append(found[0])

    def _file(self, node: Node) -> None:
        try:
            file = self._tree.open_file(node, writable=True)
        except DataError:
            self._rewrap_as_it_is(node)
            raise
        file.handles += 1
        keep = False
        try:
            if self._is_due(file):
                self._batch.append(_Due(node, file, None if file.half_way() else file.stage()))
                keep = True
                self._counts["files"] += 1
            elif file.rewrap():
                self._counts["files"] += 1
        finally:
            if not keep:
                self._tree.release_file(node)

    def _is_due(self, file: OpenFile) -> bool:
        """Whether the file is to get a new content key, or got half of one."""
        if file.damaged_size or any(due.file is file for due in self._batch):
            return False
        return file.half_way() or file.header.key_epoch < self._volume.config.data_epoch

    def _rewrap_as_it_is(self, node: Node) -> None:
        """The header of a file that may not be opened: out of its place, or older than this host remembers.

        It is evidence, and somebody may yet accept it, so it has to open; nothing else of it changes.
        """
        if node.parent is None:
            return
        store = self._ctx.store
        fd = store.open_writable(self._tree.dirfd(node.parent), node.lower_name)
        try:
            raw, before = store.pread(fd, FRAME_SIZE, 0), store.fstat(fd)
            if len(raw) != FRAME_SIZE:
                return
            header = frames.open_header(self._ctx.ring, raw)
            renewed = header.under(self._ctx.ring.active.epoch)
            if renewed is not header:
                store.pwrite(fd, frames.seal_header(self._ctx.ring, renewed), 0)
                with suppress(PermissionError):
                    store.futime(fd, (before.st_atime_ns, before.st_mtime_ns))
                self._counts["files"] += 1
        finally:
            store.close(fd)

    # -- content keys ----------------------------------------------------------------------------------------

    def _rekey_batch(self) -> Iterator[Step]:
        """New content keys for the files that were staged, which are released whatever happens."""
        if any(due.staged is not None for due in self._batch):
            yield Waiting(lambda: make_durable(self._volume))
        done: list[_Due] = []
        for due in self._batch:
            yield Turn(due.file)
            if due.staged is not None and not due.file.commit(due.staged):
                # Written to in between, as a busy file always is.
                yield Alone(due.file, due.file.begin_alone)
            if (yield from self._rekey_cells(due.file)):
                done.append(due)
        if done:
            yield Waiting(lambda: make_durable(self._volume))
        for due in done:
            yield Turn(due.file)
            try:
                due.file.finish()
            except OSError:
                self._counts["failed"] += 1
        while self._batch:
            yield Turn(self._batch[-1].file)
            self._tree.release_file(self._batch.pop().node)

    def _rekey_cells(self, file: OpenFile) -> Generator[Step, None, bool]:
        """All cells of one file; whether none is left under the old key."""
        clean = True
        for first, count in file.all_runs():
            done: list[bool] = []
            yield Alone(file, partial(self._rekey_run, file, first, count, done))
            clean = clean and done == [True]
            yield self._progress()
        return clean

    def _rekey_run(self, file: OpenFile, first: int, count: int, done: list[bool]) -> None:
        try:
            renewed, damaged = file.rekey_run(first, count)
        except (DataError, OSError):
            self._counts["failed"] += 1
            return
        self._counts["cells"] += renewed
        self._counts["damaged"] += damaged
        self._counts["bytes"] += count * self._ctx.geometry.C
        done.append(not damaged)

    # -- what no name leads to -------------------------------------------------------------------------------

    def _rest(self) -> Iterator[Step]:
        """Unlinked open files, session records, checkpoints; then a look at everything that lies there."""
        for node in self._tree.open_nodes():
            if node.ghost is not None and node.file is not None:
                node.file.renew_epoch()
        counted: list[Census] = []
        yield Waiting(self._volume.sessions.rewrap)
        yield Waiting(lambda: rewrap_checkpoints(self._ctx, self._volume.root_fd))
        yield Waiting(lambda: make_durable(self._volume))
        retired = [entry.epoch for entry in self._volume.config.epochs if not entry.active]
        yield Waiting(lambda: counted.append(take_census(self._ctx, self._volume.root_fd, retired)))
        c, (census,) = self._counts, counted
        self.outcome = Outcome(
            files=c["files"],
            directories=c["directories"],
            cells=c["cells"],
            damaged=c["damaged"] + census.damaged,
            left=census.sealed,
            failed=c["failed"] + census.unread,
        )
