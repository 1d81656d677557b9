"""``verify``: read everything, authenticate everything, change nothing.

Owns: the walk, and what each kind of damage is called and how grave it is. Must not know: who shows the findings.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from encfs.core import symlinks
from encfs.core.cells import CellError
from encfs.errors import DataError, PlaceError, RollbackError, SizeError
from encfs.format.limits import CHECKPOINTS_NAME, LINK_SUFFIX, RECORD_NAME, SESSIONS_NAME, TEMP_PREFIX
from encfs.units import LowerName
from encfs.volume.file import OpenFile
from encfs.volume.findings import Code, Finding, Severity
from encfs.volume.lost_found import is_kept
from encfs.volume.node import Node
from encfs.volume.tree import is_long
from encfs.volume.volume import Volume

__all__ = ["Code", "Finding", "Progress", "Reading", "Severity", "Step", "Summary", "Verifier"]

_STEP = 1 << 20

# What an exception means for each kind of object: it is elsewhere, its size is wrong, it does not authenticate.
_CODES = {
    "file": (Code.FILE_MOVED, Code.FILE_SIZE, Code.FILE_DAMAGED),
    "directory": (Code.DIRECTORY_MOVED, Code.DIRECTORY_SIZE, Code.DIRECTORY_DAMAGED),
    "symlink": (Code.SYMLINK_MOVED, Code.SYMLINK_DAMAGED, Code.SYMLINK_DAMAGED),
    "attributes": (Code.ATTRIBUTES_DAMAGED,) * 3,
    "entry": (Code.ENTRY_DAMAGED,) * 3,
}
# What a damaged file may still be found to have where repair has put it.
_KEPT = (Code.CELL_DAMAGED, Code.FILE_SIZE)
_OURS = (b"cloakfs.volume", b"cloakfs.volume.bak", RECORD_NAME, SESSIONS_NAME, CHECKPOINTS_NAME)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the walk is. ``total_*`` are estimates from a first quick walk."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The next step reads this range; a caller that must not block brings it into the page cache first."""

    file: OpenFile
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What was read, and how many findings of each severity.

    Attributes:
        epochs: how many headers and directory records each epoch seals (FORMAT.md section 14).
    """

    files: int
    directories: int
    symlinks: int
    bytes: int
    findings: dict[str, int]
    epochs: dict[str, int]

    @property
    def clean(self) -> bool:
        """No warning and no error."""
        return not self.findings.get(Severity.WARNING) and not self.findings.get(Severity.ERROR)


Step = Finding | Progress | Reading


def estimate(volume: Volume, starts: Sequence[Node]) -> tuple[int, int]:
    """Lower objects, and their bytes, at and below some places, by stat alone."""
    store, tree = volume.ctx.store, volume.tree
    objects = size = 0
    for node in starts:
        stat = tree.stat(node)
        objects, size = objects + 1, size + stat.st_size
        if not stat_module.S_ISDIR(stat.st_mode):
            continue
        pending = [store.open_directory(tree.dirfd(node), b".")]
        while pending:
            dirfd = pending.pop()
            try:
                for name in store.list(dirfd):
                    if name.startswith(b"cloakfs."):
                        continue
                    found = store.stat(dirfd, name)
                    objects, size = objects + 1, size + found.st_size
                    if stat_module.S_ISDIR(found.st_mode):
                        pending.append(store.open_directory(dirfd, name))
            except OSError:
                continue  # The walk itself meets it again and reports it.
            finally:
                store.close(dirfd)
    return objects, size


class Verifier:
    """One verification of a volume, or of the subtrees at ``paths``.

    Works on the open volume itself, so that files which are open for writing are seen as their programs see them.
    Between two steps of :meth:`run` other calls into the volume may be made.
    """

    def __init__(self, volume: Volume, paths: Sequence[bytes] = ()) -> None:
        self._volume = volume
        self._tree = volume.tree
        self._paths = list(paths) or [b""]
        self._counts: Counter[str] = Counter()
        self._findings: Counter[str] = Counter()
        self._epochs: Counter[int] = Counter()
        self._totals = (0, 0)
        self._seen: set[tuple[int, bool]] = set()
        self._pending: list[tuple[Node, bytes]] = []
        self._unreadable: Node | None = None

    @property
    def summary(self) -> Summary:
        """Valid after :meth:`run` has ended."""
        c = self._counts
        return Summary(
            files=c["files"],
            directories=c["directories"],
            symlinks=c["symlinks"],
            bytes=c["bytes"],
            findings=dict(self._findings),
            epochs={str(epoch): count for epoch, count in sorted(self._epochs.items())},
        )

    def run(self) -> Iterator[Step]:
        """Yield findings as they are made, and progress often.

        Raises:
            OSError: a path does not exist.
            DataError: a directory on the way to a path does not authenticate.
        """
        starts = [(self._volume.resolve(path, follow=False), path.strip(b"/")) for path in self._paths]
        self._totals = estimate(self._volume, [node for node, _ in starts])
        yield self._progress()
        if self._volume.rollback is not None:
            self._findings[Severity.ERROR] += 1
            yield Finding.of(Code.VOLUME_ROLLBACK, b"", b".", self._volume.rollback)
        for node, path in starts:
            self._enqueue(node, path)
        while self._pending and not self._stopped():
            node, path = self._pending.pop()
            try:
                for item in self._object(node, path):
                    if isinstance(item, Finding):
                        self._findings[item.severity] += 1
                    yield item
            finally:
                self._tree.nodes.forget(node.inode, 1)
        for item in self._afterwards():
            if isinstance(item, Finding):
                self._findings[item.severity] += 1
            yield item
        yield self._progress()

    def _stopped(self) -> bool:
        """Whether the walk ends early (``scrub.py``)."""
        return False

    def _afterwards(self) -> Iterator[Step]:
        """What comes after the walk (``scrub.py``)."""
        return iter(())

    def _enqueue(self, node: Node, path: bytes) -> None:
        """Look at an object later. Counted like a reference of the kernel: a rename meanwhile moves this very node."""
        node.lookups += 1
        self._pending.append((node, path))

    def _progress(self) -> Progress:
        c = self._counts
        done = c["files"] + c["directories"] + c["symlinks"]
        return Progress(done, max(self._totals[0], done), c["bytes"], max(self._totals[1], c["bytes"]))

    def _lower_path(self, node: Node, last: bytes | None = None) -> bytes:
        parts = [] if last is None else [last]
        here: Node | None = node
        while here is not None and here is not self._tree.root:
            parts.append(here.lower_name)
            here = here.parent
        return b"/".join(reversed(parts)) or b"."

    def _found(self, code: Code, node: Node, path: bytes, detail: str) -> Finding:
        return Finding.of(code, path, self._lower_path(node), detail)

    def _failure(self, node: Node, path: bytes, exc: Exception, what: str) -> Finding:
        """The finding for an exception met while reading one object."""
        moved, size, damaged = _CODES[what]
        if isinstance(exc, RollbackError):
            return self._found(Code.FILE_ROLLBACK, node, path, str(exc))
        if isinstance(exc, PlaceError):
            return self._found(moved, node, path, str(exc))
        if isinstance(exc, SizeError):
            return self._found(size, node, path, str(exc))
        if isinstance(exc, OSError):
            return self._found(Code.LOWER_IO, node, path, f"the backing store says: {exc.strerror}")
        return self._found(damaged, node, path, str(exc))

    def _object(self, node: Node, path: bytes) -> Iterator[Step]:
        if node.ghost is not None:
            return  # Removed since it was found.
        try:
            stat = self._tree.stat(node)
        except OSError as exc:
            yield self._failure(node, path, exc, "entry")
            return
        if stat_module.S_ISDIR(stat.st_mode):
            yield from self._directory(node, path)
        elif stat_module.S_ISREG(stat.st_mode):
            yield from self._file(node, path, stat)
        elif stat_module.S_ISLNK(stat.st_mode):
            yield from self._symlink(node, path)
        else:
            self._counts["files"] += 1
        yield from self._attributes(node, path, stat)

    # -- directories -------------------------------------------------------------------------------------

    def _directory(self, node: Node, path: bytes) -> Iterator[Step]:
        self._counts["directories"] += 1
        try:
            record = self._tree.read_record(node)
            self._epochs[record.epoch] += 1
            self._tree.check_directory_place(node, record)
            node.dir_id = node.dir_id or record.dir_id
            names = self._volume.ctx.store.list(self._tree.dirfd(node))
        except (DataError, OSError) as exc:
            self._unreadable = node
            yield self._failure(node, path, exc, "directory")
            return
        present = frozenset(names)
        for lower in names:
            if lower.endswith(LINK_SUFFIX) and lower.removesuffix(LINK_SUFFIX) in present:
                yield self._foreign(node, path, lower)
            elif lower.startswith(b"cloakfs."):
                yield from self._fixed_name(node, path, lower)
            else:
                yield from self._entry(node, path, LowerName(lower))
        yield self._progress()

    def _fixed_name(self, node: Node, path: bytes, lower: bytes) -> Iterator[Finding]:
        if lower.startswith(TEMP_PREFIX):
            detail = "left by an unfinished operation; removed by the next recovery"
            yield Finding.of(Code.TEMPORARY, path, self._lower_path(node, lower), detail)
        elif lower != RECORD_NAME and (node is not self._tree.root or lower not in _OURS):
            yield self._foreign(node, path, lower)

    def _foreign(self, node: Node, path: bytes, lower: bytes) -> Finding:
        return Finding.of(Code.FOREIGN, path, self._lower_path(node, lower), "not an entry that cloakfs made here")

    def _entry(self, parent: Node, path: bytes, lower: LowerName) -> Iterator[Step]:
        if parent.ghost is not None:
            return  # The directory was removed since it was listed.
        try:
            name = self._tree.read_name(parent, lower)
            found = self._tree.lookup(parent, name)
        except FileNotFoundError:
            return
        except DataError as exc:
            if is_long(lower):
                # The text of a long name is in the header or record that does not open, or names another place.
                yield Finding.of(Code.ENTRY_DAMAGED, path, self._lower_path(parent, lower), str(exc))
            else:
                yield self._foreign(parent, path, lower)
            return
        except OSError as exc:
            yield self._failure(parent, path, exc, "entry")
            return
        if found is None:
            return  # Removed since the directory was listed.
        child = path + b"/" + name if path else name
        if stat_module.S_ISDIR(found[1].st_mode):
            self._enqueue(found[0], child)
            return
        found[0].lookups += 1
        try:
            yield from self._object(found[0], child)
        finally:
            self._tree.nodes.forget(found[0].inode, 1)

    # -- files ---------------------------------------------------------------------------------------------

    def _file(self, node: Node, path: bytes, stat: os.stat_result) -> Iterator[Step]:
        kept = is_kept(path)
        if stat.st_nlink > 1:
            if (stat.st_ino, kept) in self._seen:
                yield from self._another_name(node, path)
                return
            self._seen.add((stat.st_ino, kept))
        self._counts["symlinks" if node.in_file else "files"] += 1
        told = False
        for item in self._content(node, path):
            if not (kept and isinstance(item, Finding) and item.code in _KEPT):
                yield item
            elif not told:
                told = True
                yield self._found(Code.KEPT_DAMAGED, node, path, f"put here by a repair; {item.detail}")

    def _another_name(self, node: Node, path: bytes) -> Iterator[Step]:
        """Of a file that was read under another name only the place is left to look at."""
        try:
            self._tree.open_file(node, writable=False)
            self._tree.close_file(node)
        except PlaceError as exc:
            self._unreadable = node
            yield self._failure(node, path, exc, "file")
        except (DataError, OSError):
            self._unreadable = node

    def _content(self, node: Node, path: bytes) -> Iterator[Step]:
        try:
            file = self._tree.open_file(node, writable=False)
        except (DataError, OSError) as exc:
            self._unreadable = node
            yield self._failure(node, path, exc, "file")
            return
        file.handles += 1
        self._epochs[file.header.epoch] += 1
        if file.damaged_size:
            yield self._found(Code.FILE_SIZE, node, path, "longer or shorter than its header says")
        try:
            yield from self._cells(node, path)
        finally:
            self._tree.release_file(node)

    def _cells(self, node: Node, path: bytes) -> Iterator[Step]:
        """Read a file to its end; a bad cell is one finding, and reading goes on behind it."""
        offset = 0
        geometry = self._volume.ctx.geometry
        while node.file is not None and offset < node.file.size:
            yield Reading(node.file, offset, _STEP)
            try:
                count = len(node.file.read(offset, _STEP))
            except CellError as exc:
                yield self._found(Code.CELL_DAMAGED, node, path, str(exc))
                # The careful path opened the cells before it, in order.
                end = node.file.size
                count = max(min(int(geometry.start_of(exc.index + 1)), end), offset + 1) - offset
            except (DataError, OSError) as exc:
                yield self._failure(node, path, exc, "file")
                return
            offset += count
            self._counts["bytes"] += count
            yield self._progress()

    # -- symlinks and attributes -----------------------------------------------------------------------------

    def _symlink(self, node: Node, path: bytes) -> Iterator[Step]:
        self._counts["symlinks"] += 1
        assert node.parent is not None
        try:
            lower = self._volume.ctx.store.readlink(self._tree.dirfd(node.parent), node.lower_name)
            opened = symlinks.open_target(self._volume.ctx.ring, lower)
            if not opened.multi and opened.place != self._tree.place(node.parent, node.lower_name):
                raise PlaceError("symlink is not where its target says")
        except (DataError, OSError) as exc:
            yield self._failure(node, path, exc, "symlink")

    def _attributes(self, node: Node, path: bytes, stat: os.stat_result) -> Iterator[Finding]:
        if not (stat_module.S_ISREG(stat.st_mode) or stat_module.S_ISDIR(stat.st_mode)):
            return
        if node is self._unreadable:
            return  # Found already; without its header or record its attributes do not open either.
        try:
            self._volume.attributes.read(node)
        except (DataError, OSError) as exc:
            yield self._failure(node, path, exc, "attributes")
