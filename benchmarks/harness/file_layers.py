"""The layers that have files: one way to do an operation with the calls of each; the calls of a volume and a mount.

Owns: where the clock starts and ends in an operation, and its check. Must not know: the order of layers, how handlers
are called (``handler_calls.py``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.harness import peers
from benchmarks.harness.layers import (
    CREATE,
    LIST,
    LOOK_UP,
    NOTE,
    OPERATIONS,
    PAGE,
    PIECE,
    READ,
    READ_ON,
    READ_PAGE,
    RENAME,
    UNLINK,
    WRITE,
    WRITE_PAGE,
    Work,
)
from benchmarks.harness.peers import Site
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.bench.caches import can_drop_caches, forget
from encfs.volume import Volume
from encfs.volume.changes import Caller
from encfs.volume.node import Node

_LARGE = b"large"


class Calls(Protocol):
    """What can be done in the root of a layer. Errors are ``OSError``, or what the volume raises."""

    def create(self, name: bytes) -> int: ...
    def open(self, name: bytes, *, random: bool = False) -> int:
        """For reading and writing; ``random``: what lies next to a piece will not be wanted."""
        ...

    def write(self, handle: int, offset: int, data: bytes) -> int: ...
    def read(self, handle: int, offset: int, size: int) -> bytes | memoryview: ...
    def close(self, handle: int) -> None:
        """Afterwards the layer below has everything that was written."""
        ...

    def size_of(self, name: bytes) -> int: ...
    def listing(self) -> list[tuple[bytes, int]]:
        """Names and sizes."""
        ...

    def rename(self, name: bytes, new_name: bytes) -> None: ...
    def write_headers(self) -> None:
        """The headers of renamed files that are still to be written."""
        ...

    def unlink(self, name: bytes) -> None: ...
    def cool(self, name: bytes = b"") -> None:
        """Outside the clock: nothing above this layer remembers a file, or where the kernel allows it anything."""
        ...

    def settle(self) -> None:
        """Outside the clock: wait until nothing is being done any more."""
        ...

    def cpu_seconds(self) -> float:
        """Of another process that does the work, so far."""
        ...


class Files:
    """A layer that has files, through its calls.

    Args:
        sees_look_ups: whether a look-up of something known still reaches the layer.
    """

    def __init__(self, name: str, calls: Calls, *, sees_look_ups: bool = True) -> None:
        self.name = name
        self._calls = calls
        self.settle, self.cpu_seconds = calls.settle, calls.cpu_seconds
        self._acts: dict[str, Callable[[Work], float]] = {
            WRITE: self._write,
            READ_ON: self._read_on,
            READ_PAGE: self._read_pages,
            WRITE_PAGE: self._write_pages,
            CREATE: self._create,
            LOOK_UP: self._look_up,
            LIST: self._list,
            RENAME: self._rename,
            UNLINK: self._unlink,
        }
        left_out = set() if sees_look_ups else {LOOK_UP}
        self.operations = frozenset(operation.name for operation in OPERATIONS) - left_out

    def take(self, operation: str, work: Work) -> float:
        """See :class:`~benchmarks.harness.layers.Layer`."""
        return self._acts[operation](work)

    # -- one large file --------------------------------------------------------------------------------

    def _write(self, work: Work) -> float:
        calls, size = self._calls, len(work.data)
        if work.number:
            calls.unlink(_LARGE)
        pieces = [work.data[start : start + PIECE] for start in range(0, size, PIECE)]
        handle = calls.create(_LARGE)
        started = time.perf_counter()
        for number, piece in enumerate(pieces):
            calls.write(handle, number * PIECE, piece)
        calls.close(handle)
        elapsed = time.perf_counter() - started
        self._expect_large(work.data)
        return elapsed

    def _read_on(self, work: Work) -> float:
        calls = self._calls
        calls.cool(_LARGE)
        handle = calls.open(_LARGE)
        started = time.perf_counter()
        for start in range(0, len(work.data), READ):
            calls.read(handle, start, READ)
        elapsed = time.perf_counter() - started
        calls.close(handle)
        self._expect_large(work.data)
        return elapsed

    def _read_pages(self, work: Work) -> float:
        calls = self._calls
        calls.cool(_LARGE)
        handle = calls.open(_LARGE, random=True)
        started = time.perf_counter()
        for page in work.pages:
            calls.read(handle, page * PAGE, PAGE)
        elapsed = time.perf_counter() - started
        for page in work.pages:
            _expect(calls.read(handle, page * PAGE, PAGE) == work.data[page * PAGE : (page + 1) * PAGE])
        calls.close(handle)
        return elapsed

    def _write_pages(self, work: Work) -> float:
        calls = self._calls
        calls.cool(_LARGE)
        patches = [work.patch(number) for number in range(len(work.pages))]
        handle = calls.open(_LARGE, random=True)
        started = time.perf_counter()
        for page, patch in zip(work.pages, patches, strict=True):
            calls.write(handle, page * PAGE, patch)
        calls.close(handle)
        elapsed = time.perf_counter() - started
        self._expect_large(work.patched())
        return elapsed

    def _expect_large(self, data: bytes) -> None:
        """Read from below: what a second reader finds."""
        calls = self._calls
        calls.cool(_LARGE)
        handle = calls.open(_LARGE)
        for start in range(0, len(data), READ):
            _expect(calls.read(handle, start, READ) == data[start : start + READ])
        calls.close(handle)

    # -- small files and names -------------------------------------------------------------------------

    def _create(self, work: Work) -> float:
        calls, notes = self._calls, [work.note(number) for number in range(len(work.names))]
        started = time.perf_counter()
        for name, note in zip(work.names, notes, strict=True):
            handle = calls.create(name)
            calls.write(handle, 0, note)
            calls.close(handle)
        elapsed = time.perf_counter() - started
        calls.cool()
        for name, note in zip(work.names, notes, strict=True):
            handle = calls.open(name)
            _expect(calls.read(handle, 0, NOTE + 1) == note)
            calls.close(handle)
        return elapsed

    def _look_up(self, work: Work) -> float:
        self._calls.cool()
        started = time.perf_counter()
        sizes = [self._calls.size_of(name) for name in work.names]
        elapsed = time.perf_counter() - started
        _expect(sizes == [NOTE] * len(work.names))
        return elapsed

    def _list(self, work: Work) -> float:
        self._calls.cool()
        started = time.perf_counter()
        found = self._calls.listing()
        elapsed = time.perf_counter() - started
        _expect(sorted(found) == sorted([(name, NOTE) for name in work.names] + [(_LARGE, len(work.data))]))
        return elapsed

    def _rename(self, work: Work) -> float:
        calls = self._calls
        started = time.perf_counter()
        for name, new_name in zip(work.names, work.new_names, strict=True):
            calls.rename(name, new_name)
        calls.write_headers()
        elapsed = time.perf_counter() - started
        calls.cool()
        _expect({name for name, _ in calls.listing()} == {*work.new_names, _LARGE})
        return elapsed

    def _unlink(self, work: Work) -> float:
        calls = self._calls
        started = time.perf_counter()
        for name in work.new_names:
            calls.unlink(name)
        elapsed = time.perf_counter() - started
        calls.cool()
        _expect([name for name, _ in calls.listing()] == [_LARGE])
        return elapsed


def _expect(same: bool) -> None:  # noqa: FBT001 - it is all it is told
    if not same:
        raise WrongBytesError("something else came back than was written")


class VolumeCalls:
    """A volume as the handlers use it: its tree, its changes, its open files."""

    def __init__(self, volume: Volume) -> None:
        self._volume, self._tree, self._changes = volume, volume.tree, volume.changes
        self._root = volume.tree.root
        self._caller = Caller(os.geteuid(), os.getegid())
        self._handles: dict[int, Node] = {}
        self._next = 0

    def _handle(self, node: Node) -> int:
        assert node.file is not None
        node.file.handles += 1
        self._next += 1
        self._handles[self._next] = node
        return self._next

    def create(self, name: bytes) -> int:
        return self._handle(self._changes.create(self._root, name, 0o600, self._caller)[0])

    def open(self, name: bytes, *, random: bool = False) -> int:
        del random
        node = self._volume.resolve(name)
        self._tree.open_file(node, writable=True)
        return self._handle(node)

    def write(self, handle: int, offset: int, data: bytes) -> int:
        return self._handles[handle].file.write(offset, data, wait=False)  # type: ignore[union-attr]

    def read(self, handle: int, offset: int, size: int) -> memoryview:
        return self._handles[handle].file.read(offset, size, wait=False)  # type: ignore[union-attr]

    def close(self, handle: int) -> None:
        self._tree.release_file(self._handles.pop(handle))

    def size_of(self, name: bytes) -> int:
        found = self._tree.lookup(self._root, name)
        if found is None:
            raise WrongBytesError("a name is not found that was made")
        return self._tree.plain_size(*found)

    def listing(self) -> list[tuple[bytes, int]]:
        tree, root, found = self._tree, self._root, []
        for lower in tree.entries(root):
            stat = tree.ctx.store.stat(tree.dirfd(root), lower)
            name = tree.plain_name(root, lower, stat)
            if name is None:
                raise WrongBytesError("a name in a listing does not open")
            tree.nodes.recognize(root, lower, stat.st_ino)
            found.append((name, tree.plain_size(tree.meet(root, lower, stat), stat)))
        return found

    def rename(self, name: bytes, new_name: bytes) -> None:
        self._changes.rename(self._root, name, self._root, new_name)

    def write_headers(self) -> None:
        self._tree.moves.write_all()

    def unlink(self, name: bytes) -> None:
        self._changes.unlink(self._root, name)

    def cool(self, name: bytes = b"") -> None:
        """Nobody knows a node any more."""
        del name
        for node in list(self._tree.nodes):
            self._tree.nodes.drop_if_unused(node)

    def settle(self) -> None:
        """Nothing goes on after a call."""

    def cpu_seconds(self) -> float:
        return 0.0


class MountCalls:
    """System calls on a mount."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._root = os.fsencode(site.path)

    def _path(self, name: bytes) -> bytes:
        return self._root + b"/" + name

    def create(self, name: bytes) -> int:
        return os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def open(self, name: bytes, *, random: bool = False) -> int:
        fd = os.open(self._path(name), os.O_RDWR)
        if random:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return fd

    def write(self, handle: int, offset: int, data: bytes) -> int:
        return os.pwrite(handle, data, offset)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return os.pread(handle, size, offset)

    def close(self, handle: int) -> None:
        """The kernel writes back what it holds of a FUSE file when that is closed."""
        os.close(handle)

    def size_of(self, name: bytes) -> int:
        return os.stat(self._path(name)).st_size

    def listing(self) -> list[tuple[bytes, int]]:
        with os.scandir(self._root) as entries:
            return [(entry.name, entry.stat().st_size) for entry in entries]

    def rename(self, name: bytes, new_name: bytes) -> None:
        os.rename(self._path(name), self._path(new_name))

    def write_headers(self) -> None:
        """fsync of a directory does that first."""
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, name: bytes) -> None:
        os.unlink(self._path(name))

    def cool(self, name: bytes = b"") -> None:
        forget(Path(os.fsdecode(self._path(name))))

    def settle(self) -> None:
        peers.settle([self._site])

    def cpu_seconds(self) -> float:
        return self._site.cpu_seconds()


def volume_layer(name: str, volume: Volume) -> Files:
    """An unlocked volume."""
    return Files(name, VolumeCalls(volume))


def mount_layer(name: str, site: Site) -> Files:
    """A mount. Only root can make the kernel forget what it has looked up."""
    return Files(name, MountCalls(site), sees_look_ups=can_drop_caches())
