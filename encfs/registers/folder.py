"""A folder of the state directory in which registers are (FORMAT.md section 17), and how paths are spelled in them.

Owns: making and opening it, its lock, those spellings. Must not know: what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote_to_bytes

from encfs import runtime
from encfs.audit.log import locked
from encfs.store.base import Store

_CHUNK: Final = 1 << 20
_ESCAPE: Final = "%"


@contextmanager
def opened(name: str, store_on: Callable[[int], Store], *, shared: bool) -> Iterator[tuple[Store, int]]:
    """The folder with this name, made if it is missing, and locked: for reading if ``shared``.

    Raises:
        OSError, RuntimeError (a user without a home directory).
    """
    path = runtime.private_directory(runtime.state_directory() / name)
    dirfd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        store = store_on(dirfd)
        with locked(store, dirfd, shared=shared):
            yield store, dirfd
    finally:
        os.close(dirfd)


def read_whole(store: Store, dirfd: int, name: bytes) -> bytes | None:
    """What a file has; None if there is none. Raises: OSError."""
    try:
        fd = store.open(dirfd, name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        content = b""
        while piece := store.pread(fd, _CHUNK, len(content)):
            content += piece
        return content
    finally:
        store.close(fd)


def text_of(path: str) -> str:
    """A path as it stands in a document: bytes that are no UTF-8 as ``%`` and two digits."""
    return "".join(
        f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else "%25" if c == _ESCAPE else c for c in path
    )


def path_of(text: str) -> str:
    """The inverse of :func:`text_of`."""
    return os.fsdecode(unquote_to_bytes(text))
