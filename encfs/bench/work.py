"""The work that is measured in a directory, whichever filesystem it is: large file, random pages, small files, names.

Owns: the work, and the check that the bytes are right. Must not know: which side it works on, cells, keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from encfs.bench.caches import can_drop_caches, cool, files_below
from encfs.bench.figures import rate
from encfs.bench.transfer import check, read_at, read_file, write_at, write_file
from encfs.crypto import rng

_BLOCK: Final = 128 << 10
_PAGE: Final = 4096
_SMALL: Final = 3000
_FOLDERS: Final = 10


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done.

    Attributes:
        large: bytes of the large file. ``pages``: random reads and writes. ``files``: small files.
    """

    large: int
    pages: int
    files: int

    def room(self) -> int:
        """Bytes that a side needs on the medium, with some to spare."""
        return self.large + self.files * 2 * _PAGE + (16 << 20)


@dataclass(frozen=True, slots=True)
class Sample:
    """One piece of work, done once: its rate, and whether what it read came from below."""

    name: str
    title: str
    unit: str
    rate: float
    cold: bool | None = None


class Work:
    """The work of one repetition. Its data is the same for all sides, and other than in the repetition before."""

    def __init__(self, amounts: Amounts) -> None:
        self._amounts = amounts
        self._data = rng.random_bytes(amounts.large)
        count = amounts.large // _PAGE
        numbers = rng.random_bytes(8 * amounts.pages)
        self._pages = [int.from_bytes(numbers[n * 8 : n * 8 + 8], "big") % count for n in range(amounts.pages)]
        self._patch = rng.random_bytes(_PAGE)

    def steps(self, home: Path, lower: Path | None = None) -> Iterator[Sample]:
        """Do it all in ``home``, which is empty before and after; ``lower`` is where its bytes lie, if elsewhere.

        Raises:
            WrongBytesError: other bytes were read than were written.
            OSError: the filesystem failed.
        """
        yield from self._large(home / "large", lower)
        yield from self._small(home)

    # -- one large file --------------------------------------------------------------------------------

    def _large(self, file: Path, lower: Path | None) -> Iterator[Sample]:
        def cooled() -> bool:
            return cool(file, *(files_below(lower) if lower is not None else ()))

        megabytes, pages = self._amounts.large / 1e6, self._amounts.pages
        written = rate(lambda: write_file(file, self._data, _BLOCK), megabytes)
        yield Sample("write", "write a large file", "MB/s", written)
        buffer = bytearray(self._amounts.large)
        cold = cooled()
        read = rate(lambda: read_file(file, buffer, _BLOCK), megabytes)
        yield Sample("read", "read a large file", "MB/s", read, cold)
        check(buffer, self._data)
        cold = cooled()
        read = rate(lambda: self._read_pages(file, buffer), pages)
        yield Sample("random_read", "read 4 KiB at random", "reads/s", read, cold)
        check(buffer, self._data)
        cooled()
        written = rate(lambda: self._write_pages(file), pages)
        yield Sample("random_write", "write 4 KiB at random, fsync", "writes/s", written)
        cooled()
        read_file(file, buffer, _BLOCK)
        check(buffer, self._patched())
        file.unlink()

    def _read_pages(self, file: Path, buffer: bytearray) -> None:
        view = memoryview(buffer)
        fd = os.open(file, os.O_RDONLY)
        try:
            for page in self._pages:
                read_at(fd, view[page * _PAGE : (page + 1) * _PAGE], page * _PAGE)
        finally:
            os.close(fd)

    def _write_pages(self, file: Path) -> None:
        fd = os.open(file, os.O_WRONLY)
        try:
            for page in self._pages:
                write_at(fd, self._patch, page * _PAGE)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _patched(self) -> bytes:
        content = bytearray(self._data)
        for page in self._pages:
            content[page * _PAGE : (page + 1) * _PAGE] = self._patch
        return bytes(content)

    # -- small files and names -------------------------------------------------------------------------

    def _small(self, home: Path) -> Iterator[Sample]:
        count, unit = self._amounts.files, "files/s"
        folders = [home / f"folder-{number}" for number in range(_FOLDERS)]
        for folder in folders:
            folder.mkdir()
        files = [folders[number % _FOLDERS] / f"file-{number:05d}" for number in range(count)]

        def over(function: Callable[[int, Path], object]) -> float:
            return rate(lambda: [function(number, file) for number, file in enumerate(files)], count)

        yield Sample(
            "create", "make small files", unit, over(lambda number, file: file.write_bytes(self._note(number)))
        )
        cold = _cool_names(home)
        listed = rate(lambda: [entry.stat() for folder in folders for entry in os.scandir(folder)], count)
        yield Sample("list", "list folders with sizes", unit, listed, cold)
        cold = _cool_names(home)
        yield Sample("read_small", "read small files", unit, over(self._check_note), cold)
        yield Sample("rename", "rename", unit, over(lambda _, file: file.rename(file.with_suffix(".new"))))
        yield Sample("delete", "delete", unit, over(lambda _, file: file.with_suffix(".new").unlink()))
        for folder in folders:
            folder.rmdir()

    def _note(self, number: int) -> bytes:
        start = number * 61 % max(1, len(self._data) - _SMALL)
        return self._data[start : start + _SMALL]

    def _check_note(self, number: int, file: Path) -> None:
        check(file.read_bytes(), self._note(number))


def _cool_names(home: Path) -> bool:
    """Forget all names and small files, which only root can; a file of its own, in no one's way, tells if it helped."""
    if not can_drop_caches():
        return False
    witness = home / "witness"
    witness.write_bytes(bytes(_PAGE))
    try:
        return cool(witness)
    finally:
        witness.unlink()
