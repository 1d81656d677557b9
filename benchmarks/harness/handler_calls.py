"""The request handlers of a mount without the kernel, called as the kernel would call them.

Owns: the order of requests, what stands in for the kernel. Must not know: what is measured. Requests on memory wait for
nothing, so no loop runs.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyfuse3
import trio

from encfs.fuse.operations import Operations
from encfs.fuse.polling import Poller
from encfs.fuse.state import MountState
from encfs.volume import Volume

_RESULT = TypeVar("_RESULT")
_ENTRIES_AT_ONCE = 25  # About what the kernel's buffer for one request of a listing holds, with attributes.


class _State(MountState):
    """Of handlers that no loop runs: nothing may go to a thread."""

    def note_write_time(self, seconds: float) -> None:
        """Memory below is never slow; it is somebody else who had the processor."""


class _Context:
    """The caller, as pyfuse3 tells it."""

    def __init__(self) -> None:
        self.uid, self.gid, self.pid, self.umask = os.geteuid(), os.getegid(), os.getpid(), 0o022


class _Page:
    """Stands in for the buffer of the kernel to which a request adds the entries of a directory."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, pyfuse3.EntryAttributes, int]] = []

    def add(self, name: bytes, attributes: pyfuse3.EntryAttributes, next_id: int) -> bool:
        if len(self.entries) == _ENTRIES_AT_ONCE:
            return False
        self.entries.append((name, attributes, next_id))
        return True


def _answer(request: Coroutine[Any, Any, _RESULT]) -> _RESULT:
    """What a request answers that has nothing to wait for.

    Raises:
        OSError: the errno that it answers.
    """
    try:
        request.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    except pyfuse3.FUSEError as exc:
        raise OSError(exc.errno, os.strerror(exc.errno)) from exc
    raise AssertionError("a request on memory waits")


class HandlerCalls:
    """The request handlers of a mount, called in the order in which the kernel would."""

    _ROOT = pyfuse3.ROOT_INODE

    def __init__(self, volume: Volume) -> None:
        self._state = _State(volume, Poller())
        self._ops: Any = Operations(self._state)
        self._context = _Context()
        self._known: list[tuple[int, int]] = []
        self._writable: set[int] = set()

    @classmethod
    @contextmanager
    def of(cls, volume: Volume) -> Iterator[HandlerCalls]:
        """Calls of the handlers, which meanwhile add the entries of a directory to our own buffer."""
        real = pyfuse3.readdir_reply
        pyfuse3.readdir_reply = _Page.add  # type: ignore[assignment]
        try:
            calls = cls(volume)
            yield calls
            calls.cool()
        finally:
            pyfuse3.readdir_reply = real

    def _look_up(self, name: bytes) -> pyfuse3.EntryAttributes:
        found = _answer(self._ops.lookup(self._ROOT, name, self._context))
        if found.st_ino:
            self._known.append((found.st_ino, 1))
        return found  # type: ignore[no-any-return]

    def create(self, name: bytes) -> int:
        """The kernel looks a name up first."""
        self._look_up(name)
        info, found = _answer(self._ops.create(self._ROOT, name, 0o600, os.O_RDWR | os.O_CREAT, self._context))
        self._known.append((found.st_ino, 1))
        return int(info.fh)

    def open(self, name: bytes, *, random: bool = False) -> int:
        del random
        return int(_answer(self._ops.open(self._look_up(name).st_ino, os.O_RDWR, self._context)).fh)

    def write(self, handle: int, offset: int, data: bytes) -> int:
        return int(_answer(self._ops.write(handle, offset, data)))

    def read(self, handle: int, offset: int, size: int) -> memoryview:
        return _answer(self._ops.read(handle, offset, size))

    def close(self, handle: int) -> None:
        _answer(self._ops.flush(handle))
        _answer(self._ops.release(handle))

    def size_of(self, name: bytes) -> int:
        return int(self._look_up(name).st_size)

    def listing(self) -> list[tuple[bytes, int]]:
        handle, found, position = _answer(self._ops.opendir(self._ROOT, self._context)), [], 0
        while True:
            page = _Page()
            _answer(self._ops.readdir(handle, position, page))
            if not page.entries:
                break
            position = page.entries[-1][2]
            entries = [(name, one) for name, one, _ in page.entries if name not in {b".", b".."}]
            self._known += [(one.st_ino, 1) for _, one in entries]
            found += [(name, one.st_size) for name, one in entries]
        _answer(self._ops.releasedir(handle))
        return found

    def rename(self, name: bytes, new_name: bytes) -> None:
        """The kernel looks the new name up first."""
        self._look_up(new_name)
        _answer(self._ops.rename(self._ROOT, name, self._ROOT, new_name, 0, self._context))

    def write_headers(self) -> None:
        trio.run(self._state.settle_moves)

    def unlink(self, name: bytes) -> None:
        _answer(self._ops.unlink(self._ROOT, name, self._context))

    def cool(self, name: bytes = b"") -> None:
        """The kernel forgets everything."""
        del name
        known, self._known = self._known, []
        _answer(self._ops.forget(known))

    def settle(self) -> None:
        """Nothing goes on after a call."""

    def cpu_seconds(self) -> float:
        return 0.0
