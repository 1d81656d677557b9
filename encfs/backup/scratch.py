"""Room for what a drill restores, of which nothing is left: not on a disk, and not when the program is killed.

Owns: where a file goes (memory without a name, else a volume whose key only this process has), clearing what a killed
drill left. Must not know: what is restored, whose it is.

A file in memory (memfd_create(2)) has no name: it is gone with the process that made it. It could be swapped out, so
whoever knows that swap here is not encrypted gives no room in memory. The volume lies in the user's temporary
directory; its key is random and is stored nowhere, so what a killed drill leaves there is noise, until the next drill.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Protocol, Self

from encfs.audit import clock
from encfs.core.slots import SlotSecret
from encfs.core.sources import NewSlot
from encfs.crypto import kdf, rng
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.registers.processes import began, has_ended
from encfs.volume.paths import VolumeFile
from encfs.volume.skeleton import create_with_slots
from encfs.volume.volume import Volume

MEMORY: Final = "memory"
VOLUME: Final = "volume"
_PIECE: Final = 1 << 20
_PREFIX: Final = b"cloakfs-drill"
_BOOT_DIGITS: Final = 8
_CELL_SIZE: Final = 65536
_FILE: Final = b"restored"


def room_in_memory() -> int:
    """Bytes that a drill may take: half of the memory that is free, as far as the kernel tells; else nothing."""
    return (kdf.available_kib() or 0) * 1024 // 2


class Kept(Protocol):
    """One file in scratch."""

    def write(self, piece: bytes) -> None:
        """Behind what is there. Raises: OSError."""
        ...

    def read(self) -> Iterator[bytes]:
        """All of it, in pieces of up to 1 MiB. Raises: OSError, DataError."""
        ...


class Scratch:
    """Room for one file after the other. Use it in a ``with`` statement; what it made is gone behind it.

    Args:
        room: bytes that a file in memory may have; 0 for none.
        folder: where the volume is made; None for the temporary directory of this user.

    Attributes:
        used: ``memory``, or ``volume`` as soon as one file was there; empty while there was none.
    """

    def __init__(self, room: int, folder: bytes | None = None) -> None:
        self.used = ""
        self._room = room
        self._folder = os.fsencode(tempfile.gettempdir()) if folder is None else folder
        self._path: bytes | None = None
        self._volume: Volume | None = None

    def __enter__(self) -> Self:
        clear_leftovers(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        volume, self._volume = self._volume, None
        path, self._path = self._path, None
        try:
            if volume is not None:
                volume.disown()  # Nothing of it is wanted: it is not brought to the disk in order.
        finally:
            if path is not None:
                shutil.rmtree(path)

    @contextmanager
    def file(self, size: int) -> Iterator[Kept]:
        """A new, empty file for so many bytes, or about as many; it is gone behind the block.

        Raises:
            OSError: there is no room for it.
        """
        if size <= self._room:
            self.used = self.used or MEMORY
            with _in_memory() as kept:
                yield kept
        else:
            self.used = VOLUME
            with self._in_volume() as kept:
                yield kept

    @contextmanager
    def _in_volume(self) -> Iterator[Kept]:
        volume = self._volume or self._make()
        try:
            with volume.open(_FILE, writable=True, create=True, mode=0o600) as file:
                yield _VolumeKept(file)
        finally:
            with suppress(FileNotFoundError):
                volume.remove(_FILE)

    def _make(self) -> Volume:
        key = rng.random_bytes(32)
        slot = NewSlot(kind=SlotKind.RECOVERY, label="scratch", kdf=Kdf(alg=KdfAlg.NONE), secret=SlotSecret(key=key))
        self._path = os.path.join(self._folder, _name())
        unlocked = create_with_slots(self._path, [slot], cell_size=_CELL_SIZE)
        self._volume = Volume.unlock_with_root_key(self._path, unlocked.root_key)
        unlocked.ring.forget()
        return self._volume


class _MemoryKept:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(self._fd, view) :]

    def read(self) -> Iterator[bytes]:
        offset = 0
        while piece := os.pread(self._fd, _PIECE, offset):
            yield piece
            offset += len(piece)


@contextmanager
def _in_memory() -> Iterator[Kept]:
    fd = os.memfd_create("cloakfs-drill", os.MFD_CLOEXEC)
    try:
        yield _MemoryKept(fd)
    finally:
        os.close(fd)


class _VolumeKept:
    def __init__(self, file: VolumeFile) -> None:
        self._file = file

    def write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[self._file.write(self._file.size, bytes(view)) :]

    def read(self) -> Iterator[bytes]:
        offset = 0
        while offset < self._file.size:
            piece = self._file.read(offset, _PIECE)
            yield piece
            offset += len(piece)


# -- what a killed drill leaves ----------------------------------------------------------------------------------------


def _name() -> bytes:
    """Of a volume: it says which process made it, in which boot."""
    pid = os.getpid()
    return b"%b.%b.%d.%d.%b" % (_PREFIX, _boot(), pid, began(pid), rng.random_bytes(8).hex().encode())


def _boot() -> bytes:
    return clock.now().boot_id.hex()[:_BOOT_DIGITS].encode()


def clear_leftovers(folder: bytes) -> int:
    """Take away the volumes of drills of this user whose process is gone; how many there were. Raises: OSError."""
    cleared = 0
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(_PREFIX + b".") and _is_left(path, name):
            shutil.rmtree(path)
            cleared += 1
    return cleared


def _is_left(path: bytes, name: bytes) -> bool:
    parts = name.split(b".")
    try:
        info = os.lstat(path)
        _, boot, pid, started, _ = parts
        ended = has_ended(int(pid), int(started), same_boot=boot == _boot())
    except (FileNotFoundError, ValueError):
        return False  # Gone meanwhile, or nothing of ours.
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and ended
