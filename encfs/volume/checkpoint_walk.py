"""The walk that making and comparing a checkpoint share: every object once, with its record and cells' digest.

Owns: the order of the walk, and that a file which is written to meanwhile is taken again (FORMAT.md section 12). Must
not know: what is done with what was seen.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from errno import EXDEV
from os import O_RDONLY, stat_result

from encfs.core import frames
from encfs.core.cells import runs
from encfs.errors import DataError, PlaceError, RollbackError, SizeError
from encfs.format.checkpoint import (
    NO_DIGEST,
    DirectoryEntry,
    Entry,
    FileEntry,
    FileState,
    OtherEntry,
    SymlinkEntry,
)
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import ENCODED_NAME_MIN, FRAME_SIZE, LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.checkpoint_tags import cell_tags
from encfs.volume.file import OpenFile
from encfs.volume.findings import Code, Finding
from encfs.volume.node import Node
from encfs.volume.tree import is_long
from encfs.volume.verify import Progress, Reading
from encfs.volume.volume import Volume

_TRIES = 3
_CODES = {
    "file": (Code.FILE_MOVED, Code.FILE_SIZE, Code.FILE_DAMAGED),
    "directory": (Code.DIRECTORY_MOVED, Code.DIRECTORY_SIZE, Code.DIRECTORY_DAMAGED),
    "entry": (Code.ENTRY_DAMAGED,) * 3,
}

Digest = tuple[FileState, bytes]
KnownDigest = Callable[[FileHeader], Digest | None]
"""The digest for a header, if it is known or not wanted; None: take it."""
_Looked = tuple[FileEntry | None, bool]
"""A file, None if it was removed meanwhile, and whether its digest was taken now."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One object. ``entry`` is None if it did not open; ``failure`` then says why.

    Attributes:
        read: whether its digest was taken now.
        again: whether it is a file that was seen under another name already.
        dir_id: of a directory, where it could be told, also if it did not open.
    """

    entry: Entry | None
    parent: DirId
    name: bytes = field(repr=False)
    lower_name: LowerName
    path: bytes = field(repr=False)
    lower_path: bytes
    failure: Finding | None = None
    read: bool = False
    again: bool = False
    dir_id: DirId | None = None


Step = Seen | Progress | Reading


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry is, plain and below."""

    lower_name: LowerName
    name: bytes
    path: bytes
    lower_path: bytes


class Walk:
    """One walk over an open volume. Between two steps of :meth:`run` other calls into the volume may be made.

    Args:
        volume: the volume.
        known: answers for a file's digest, so that its cells need not be read.
        settle: bring files that are open for writing in line first; else they count as changing.
    """

    def __init__(self, volume: Volume, known: KnownDigest, *, settle: bool) -> None:
        self._ctx = volume.ctx
        self._tree = volume.tree
        self._known = known
        self._settle = settle
        self._pending: list[tuple[Node, bytes]] = []
        self._moved: list[Node] = []
        self._linked: dict[int, FileEntry] = {}
        self._walked: set[DirId] = set()
        self._device = self._tree.stat(self._tree.root).st_dev
        self._files = self._total_files = 0
        self._bytes = self._total_bytes = 0

    def run(self) -> Iterator[Step]:
        """Every directory before what is in it.

        A directory that is renamed meanwhile may slip from a part that is still to be walked into one that was; so
        it is walked again, for what was not met. Walking everything again would never end under a program that
        renames faster than that.
        """
        yield from self._estimate()
        self._enqueue(self._tree.root, b"")
        self._ctx.on_moved.add(self._walk_again)
        try:
            while self._pending or self._moved:
                if not self._pending:
                    self._pending = [(node, self._path_of(node)) for node in self._moved]
                    self._moved = []
                node, path = self._pending.pop()
                try:
                    yield from self._directory(node, path)
                finally:
                    self._tree.nodes.forget(node.inode, 1)
        finally:
            self._ctx.on_moved.discard(self._walk_again)
            for node in (*(node for node, _ in self._pending), *self._moved):
                self._tree.nodes.forget(node.inode, 1)
            self._pending, self._moved = [], []
        yield self._progress()

    def _walk_again(self, node: Node) -> None:
        """Only a directory has an id."""
        if node.dir_id is not None and node not in self._moved:
            node.lookups += 1
            self._moved.append(node)

    def _path_of(self, node: Node) -> bytes:
        """The plain path of a directory where it is now; what is left of it, once a part of it is gone."""
        parts: list[bytes] = []
        while node.parent is not None:
            try:
                parts.append(self._tree.read_name(node.parent, node.lower_name))
            except (DataError, OSError):
                break  # The walk itself meets it, and tells.
            node = node.parent
        return b"/".join(reversed(parts))

    def _enqueue(self, node: Node, path: bytes) -> None:
        """Look at a directory later. Counted like a reference of the kernel: a rename meanwhile moves this node."""
        node.lookups += 1
        self._pending.append((node, path))

    def _progress(self) -> Progress:
        total = max(self._total_files, self._files), max(self._total_bytes, self._bytes)
        return Progress(self._files, total[0], self._bytes, total[1])

    def _estimate(self) -> Iterator[Progress]:
        """Count lower objects and bytes by stat alone."""
        store = self._ctx.store
        pending = [store.open_directory(self._tree.dirfd(self._tree.root), b".")]
        try:
            while pending:
                dirfd = pending.pop()
                try:
                    for name in store.list(dirfd):
                        if len(name) < ENCODED_NAME_MIN:
                            continue
                        found = store.stat(dirfd, name)
                        self._total_files += 1
                        self._total_bytes += found.st_size if stat_module.S_ISREG(found.st_mode) else 0
                        if stat_module.S_ISDIR(found.st_mode):
                            pending.append(store.open_directory(dirfd, name))
                except OSError:
                    continue  # The walk itself meets it again and tells.
                finally:
                    store.close(dirfd)
                yield self._progress()
        finally:
            for dirfd in pending:
                store.close(dirfd)

    # -- directories and entries ------------------------------------------------------------------------------

    def _directory(self, node: Node, path: bytes) -> Iterator[Step]:
        if node.ghost is not None:
            return  # Removed since it was found.
        dir_id = None
        try:
            record = self._tree.read_record(node)
            dir_id = record.dir_id
            self._tree.check_directory_place(node, record)
            node.dir_id = node.dir_id or dir_id
            names = self._tree.entries(node)
        except (DataError, OSError) as exc:
            if node.ghost is None:
                yield self._unreadable(node, LowerName(b""), b"", path, exc, "directory", dir_id)
            return
        known = dir_id in self._walked
        self._walked.add(dir_id)
        if not known:
            yield Seen(
                DirectoryEntry(record), record.parent, record.name, node.lower_name, path, self._lower_path(node),
                dir_id=dir_id,
            )  # fmt: skip
        below = b"" if node is self._tree.root else self._lower_path(node) + b"/"
        for lower in names:
            yield from self._entry(node, path, lower, below, directories_only=known)

    def _entry(
        self, parent: Node, path: bytes, lower: LowerName, below: bytes, *, directories_only: bool
    ) -> Iterator[Step]:
        if parent.ghost is not None:
            return  # The directory was removed since it was listed.
        name = b""
        try:
            stat = self._ctx.store.stat(self._tree.dirfd(parent), lower)
            if directories_only and not stat_module.S_ISDIR(stat.st_mode):
                return
            name = self._tree.read_name(parent, lower, stat)
            if stat.st_dev != self._device:
                raise OSError(EXDEV, "another filesystem is mounted inside the volume directory")
        except FileNotFoundError:
            return
        except (DataError, OSError) as exc:
            if is_long(lower) or isinstance(exc, OSError):
                yield self._unreadable(parent, lower, name, path, exc, "entry")
            return
        child = path + b"/" + name if path else name
        if stat_module.S_ISDIR(stat.st_mode):
            self._enqueue(self._tree.nodes.meet(stat.st_ino, parent, lower), child)
        elif stat_module.S_ISREG(stat.st_mode):
            yield from self._file(parent, _Place(lower, name, child, below + lower), stat)
        else:
            yield from self._small(parent, _Place(lower, name, child, below + lower), stat)
        self._files += 1
        yield self._progress()

    def _small(self, parent: Node, place: _Place, stat: stat_result) -> Iterator[Step]:
        parent_id = self._tree.dir_id(parent)
        entry: SymlinkEntry | OtherEntry
        if stat_module.S_ISLNK(stat.st_mode):
            try:
                target = self._ctx.store.readlink(self._tree.dirfd(parent), place.lower_name)
            except FileNotFoundError:
                return
            entry = SymlinkEntry(parent_id, place.name, self._ctx.suite.digest(target))
        else:
            kind = stat_module.S_IFMT(stat.st_mode)
            device = stat.st_rdev if kind in (stat_module.S_IFBLK, stat_module.S_IFCHR) else 0
            entry = OtherEntry(parent_id, place.name, kind, device)
        yield Seen(entry, parent_id, place.name, place.lower_name, place.path, place.lower_path)

    def _lower_path(self, node: Node, last: bytes | None = None) -> bytes:
        parts = [] if last is None else [last]
        here: Node | None = node
        while here is not None and here is not self._tree.root:
            parts.append(here.lower_name)
            here = here.parent
        return b"/".join(reversed(parts)) or b"."

    def _unreadable(
        self, node: Node, lower: LowerName, name: bytes, path: bytes, exc: Exception, what: str,
        dir_id: DirId | None = None,
    ) -> Seen:  # fmt: skip
        """What did not open: the entry ``lower`` of directory ``node``, or with an empty ``lower`` the node itself."""
        moved, size, damaged = _CODES[what]
        detail = f"the backing store says: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        code = damaged
        for kind, its_code in (
            (RollbackError, Code.FILE_ROLLBACK), (PlaceError, moved), (SizeError, size), (OSError, Code.LOWER_IO)
        ):  # fmt: skip
            if isinstance(exc, kind):
                code = its_code
                break
        parent = node if lower else node.parent
        lower_path = self._lower_path(node, lower or None)
        failure = Finding.of(code, path, lower_path, detail)
        parent_id = DirId(bytes(16)) if parent is None or parent.dir_id is None else parent.dir_id
        return Seen(None, parent_id, name, lower or node.lower_name, path, lower_path, failure, dir_id=dir_id)

    # -- files ------------------------------------------------------------------------------------------------

    def _file(self, parent: Node, place: _Place, stat: stat_result) -> Iterator[Step]:
        before = self._bytes
        entry = self._linked.get(stat.st_ino) if stat.st_nlink > 1 else None
        again, read = entry is not None, False
        try:
            entry = entry or self._glance(parent, place, stat)
            if entry is None:
                entry, read = yield from self._at_length(parent, place, stat)
        except FileNotFoundError:
            return
        except (DataError, OSError) as exc:
            yield self._unreadable(parent, place.lower_name, place.name, place.path, exc, "file")
            return
        finally:
            self._bytes = before + stat.st_size
        if entry is None:
            return  # Removed meanwhile.
        if stat.st_nlink > 1:
            self._linked[stat.st_ino] = entry
        if entry.header.flags & HeaderFlag.MULTI:
            entry = replace(entry, parent=self._tree.dir_id(parent), name=place.name)
        # Any other file is where its header says, which may be news: it can have been renamed while it was read.
        yield Seen(
            entry, entry.parent, entry.name, place.lower_name, place.path, place.lower_path, read=read, again=again
        )

    def _at_length(self, parent: Node, place: _Place, stat: stat_result) -> Generator[Step, None, _Looked]:
        node = self._tree.nodes.meet(stat.st_ino, parent, place.lower_name)
        node.lookups += 1
        try:
            return (yield from self._look(node))
        finally:
            self._tree.nodes.forget(node.inode, 1)

    def _glance(self, parent: Node, place: _Place, stat: stat_result) -> FileEntry | None:
        """One read of the header, where that is enough: nobody has the file open and its digest is known."""
        node = self._tree.nodes.find(stat.st_ino)
        if (node is not None and node.file is not None) or self._ctx.tolerant:
            return None
        store = self._ctx.store
        try:
            fd = store.open(self._tree.dirfd(parent), place.lower_name, O_RDONLY)
        except PermissionError:
            return None
        try:
            raw = store.pread(fd, FRAME_SIZE, 0)
        finally:
            store.close(fd)
        if len(raw) != FRAME_SIZE:
            return None
        header = frames.open_header(self._ctx.ring, raw)
        if self._ctx.freshness is not None:
            self._ctx.freshness.check(header.fid, header.generation)
        known = self._known(header)
        if known is None or stat.st_size != self._ctx.geometry.lower_size(header.size):
            return None
        at_home = header.flags & HeaderFlag.MULTI or (
            header.parent == self._tree.dir_id(parent) and header.name == place.name
        )
        is_link = place.lower_name.endswith(LINK_SUFFIX)
        return self._file_entry(header, known) if at_home and is_link is (header.kind is FrameKind.SYMLINK) else None

    def _file_entry(self, header: FileHeader, digest: Digest) -> FileEntry:
        return FileEntry(
            header=header,
            lower_size=self._ctx.geometry.lower_size(header.size),
            state=digest[0],
            digest=digest[1],
            parent=header.parent,
            name=header.name,
        )

    def _look(self, node: Node) -> Generator[Step, None, _Looked]:
        """Open the file and digest its cells, if that is wanted.

        Raises:
            DataError, OSError: it does not open.
        """
        file = self._tree.open_file(node, writable=False)
        file.handles += 1
        try:
            for _ in range(_TRIES):
                yield Reading(file, 0, 0)
                if node.ghost is not None:
                    return None, False
                if self._settle:
                    file.settle()
                header = file.header
                known = self._known(header)
                if known is not None:
                    return self._file_entry(header, known), False
                if file.damaged_size:
                    return self._file_entry(header, (FileState.DAMAGED, NO_DIGEST)), True
                taken = yield from self._digest(file, header)
                if taken is not None:
                    return self._file_entry(header, taken), True
            return self._file_entry(file.header, (FileState.CHANGING, NO_DIGEST)), True
        finally:
            self._tree.release_file(node)

    def _digest(self, file: OpenFile, header: FileHeader) -> Generator[Step, None, Digest | None]:
        """SHA-256 over the tags of all cells; None if the file was written to meanwhile."""
        geometry, running = self._ctx.geometry, self._ctx.suite.running_digest()
        if file.cells_changed:
            return None
        slots = self._ctx.scratch().slots
        for first, count in runs(0, geometry.cells_for(header.size) - 1, slots):
            end = min(geometry.start_of(first + count), header.size)
            start = geometry.start_of(first)
            yield Reading(file, start, end - start)
            if file.header is not header or file.cells_changed:
                return None
            try:
                running.update(cell_tags(self._ctx, file, first, count))
            except (SizeError, OSError):
                return FileState.DAMAGED, NO_DIGEST  # verify says what is wrong with it.
            self._bytes += count * geometry.C
            yield self._progress()
        if file.header is not header or file.cells_changed:
            return None
        return FileState.DIGESTED, running.digest()
