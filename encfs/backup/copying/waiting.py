"""Files on this computer that are on their way to a remote, or have come from one, and what objects are called there.

Owns: what they are called here, what is in them. Must not know: how they get there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from encfs.backup.copying.target import PART_SUFFIX, Stored
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.store.local import LocalStore

_AT_ONCE: Final = 2000
_PIECE: Final = 1 << 20


class WaitingPart:
    """Satisfies :class:`encfs.backup.copying.target.Part`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / (rng.random_bytes(16).hex() + PART_SUFFIX.decode())
        self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - closed by close and drop

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()

    def drop(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def place_of(digest: bytes) -> str:
    """The path of an object, below ``objects/``."""
    name = digest.hex()
    return f"{name[:2]}/{name}"


def batches(wanted: Iterable[Stored], most: int) -> Iterator[list[Stored]]:
    """Some at a time, of at most so many bytes together; what is larger comes alone."""
    some: list[Stored] = []
    size = 0
    for one in wanted:
        if some and (size + one.size > most or len(some) == _AT_ONCE):
            yield some
            some, size = [], 0
        some.append(one)
        size += one.size
    if some:
        yield some


def hash_file(path: Path) -> tuple[bytes | None, int]:
    """SHA-256 and size of a file; None if it did not come."""
    running, size = CLOAKFS_1.running_digest(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                running.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return None, 0
    return running.digest(), size


def sync(directory: str) -> None:
    """What was written below a directory of this computer is on the disk after this."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # One of several that are shown as one: nothing went there.
    try:
        LocalStore(fd).syncfs(fd)
    finally:
        os.close(fd)
