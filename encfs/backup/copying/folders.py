"""Directories below one, by path: descriptors that no symlink leads out of.

Owns: opening and making them, and keeping the last few open. Must not know: what is in them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from encfs.store.base import Store

_KEPT: Final = 64


class Folders:
    """Directories below ``top``, an open one that whoever made this closes. Use it in a ``with`` statement.

    A path is names joined by ``/``; empty: the top itself. What is renamed or removed has to be forgotten first.
    """

    def __init__(self, store: Store, top: int) -> None:
        self.store = store
        self.top = top
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def forget(self) -> None:
        """Close all of them."""
        while self._open:
            self.store.close(self._open.popitem()[1])

    @contextmanager
    def holding(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory of an entry, and its name there. Raises: OSError."""
        folder, _, name = path.rpartition(b"/")
        yield self.fd(folder), name

    def fd(self, path: bytes) -> int:
        """A descriptor (``O_PATH``), good until the next call. Raises: OSError: it is missing, or no directory."""
        if not path:
            return self.top
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        above, _, name = path.rpartition(b"/")
        return self._keep(path, self.store.open_directory(self.fd(above), name))

    def make(self, path: bytes) -> int:
        """The same; it is made, for its owner alone, where it is missing. Raises: OSError."""
        try:
            return self.fd(path)
        except FileNotFoundError:
            above, _, name = path.rpartition(b"/")
            self.store.mkdir(self.make(above), name, 0o700)
            return self.fd(path)

    def _keep(self, path: bytes, fd: int) -> int:
        self._open[path] = fd
        if len(self._open) > _KEPT:
            self.store.close(self._open.popitem(last=False)[1])
        return fd
