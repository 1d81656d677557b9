"""Larger files, mostly hole or all data: what each operation costs.

Owns: the files, what is done to them, what has to come back. Must not know: how anything is told.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from benchmarks.harness.interrupts import checkpoint
from benchmarks.harness.peers import Site
from benchmarks.harness.scaling import Act, Operation, Plan, Point, Series, cool, dice
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.crypto import rng

_PAGE = 4096
_MIB = 1 << 20
_CALL = 128 << 10
_END_MIB = 8
_FEW = 20
_WRITTEN_OF_A_HOLE = 512
"""Pages that have data in a sparse file."""
_ROOM = 1.5
"""A dense file is made where there is room for so many times its size."""

_OPERATIONS = (
    Operation("open", "open and close"),
    Operation("read", "read 4 KiB at random, cold"),
    Operation("write", "write 4 KiB at random, fsync at the end"),
    Operation("fsync", "fsync after one page"),
    Operation("read_end", f"read the last {_END_MIB} MiB, per MiB, cold"),
    Operation("append", "append 100 bytes, fsync"),
    Operation("cut", "cut one byte off"),
)
SPARSE = Series("sparse", "A larger file, mostly hole", "MiB", _OPERATIONS)
DENSE = Series("dense", "A larger file, all data", "MiB", _OPERATIONS)


class _File:
    """One file: what it was made of, and the pages that were written since.

    Args:
        base: what every MiB of a dense file holds after its first 8 bytes, which number it; None: a hole.
    """

    def __init__(self, site: Site, size: int, base: bytes | None, samples: int) -> None:
        self._cooled = partial(cool, site)
        self._path = str(site.path / f"file {size // _MIB}")
        self._size = size
        self._base = base
        self._samples = samples
        self._written: dict[int, bytes] = {}
        self.acts: dict[str, Act] = {
            "open": self._open,
            "read": self._read,
            "write": self._write,
            "fsync": self._fsync,
            "read_end": self._read_end,
            "append": self._append,
            "cut": self._cut,
        }

    def make(self) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if self._base is None:
                os.ftruncate(fd, self._size)
                self._write_pages(fd, self._pages("holes", count=_WRITTEN_OF_A_HOLE))
            else:
                for number in range(self._size // _MIB):
                    checkpoint()
                    os.write(fd, self._piece(number))
            os.fsync(fd)
        finally:
            os.close(fd)

    def _piece(self, number: int) -> bytes:
        assert self._base is not None
        return number.to_bytes(8) + self._base[8:]

    def _page(self, page: int) -> bytes:
        """What page ``page`` has to be."""
        if page in self._written:
            return self._written[page]
        if self._base is None:
            return bytes(_PAGE)
        start = page * _PAGE % _MIB
        return self._piece(page * _PAGE // _MIB)[start : start + _PAGE]

    def _pages(self, *what: object, count: int) -> list[int]:
        """Pages of the whole file by chance."""
        pages = self._size // _PAGE
        return dice(*what, self._size).sample(range(pages), min(pages, count))

    def _write_pages(self, fd: int, pages: Sequence[int]) -> float:
        """Seconds for all of them."""
        data = {page: rng.random_bytes(_PAGE) for page in pages}
        started = time.perf_counter()
        for page, content in data.items():
            os.pwrite(fd, content, page * _PAGE)
        os.fsync(fd)
        elapsed = time.perf_counter() - started
        self._written.update(data)
        return elapsed

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDWR)

    def _check(self, fd: int, pages: Sequence[int]) -> None:
        self._cooled()
        for page in pages:
            if os.pread(fd, _PAGE, page * _PAGE) != self._page(page):
                raise WrongBytesError(f"page {page} is another one")

    # -- what is measured ------------------------------------------------------------------------------

    def _open(self, number: int) -> float:
        del number
        self._cooled()
        started = time.perf_counter()
        for _ in range(_FEW):
            os.close(self._opened())
        return (time.perf_counter() - started) / _FEW

    def _read(self, number: int) -> float:
        """Of a sparse file the pages that have data; holes are read without a look at the medium."""
        pages = self._pages("read", number, count=self._samples)
        if self._base is None:
            pages = dice("read", number, self._size).sample(sorted(self._written), min(len(self._written), len(pages)))
        fd = self._opened()
        try:
            self._cooled()
            started = time.perf_counter()
            found = [os.pread(fd, _PAGE, page * _PAGE) for page in pages]
            elapsed = time.perf_counter() - started
        finally:
            os.close(fd)
        if found != [self._page(page) for page in pages]:
            raise WrongBytesError("a page is another one")
        return elapsed / len(pages)

    def _write(self, number: int) -> float:
        pages = self._pages("write", number, count=self._samples)
        fd = self._opened()
        try:
            self._cooled()
            elapsed = self._write_pages(fd, pages)
            self._check(fd, pages)
        finally:
            os.close(fd)
        return elapsed / len(pages)

    def _fsync(self, number: int) -> float:
        pages = self._pages("fsync", number, count=_FEW)
        elapsed = 0.0
        fd = self._opened()
        try:
            for page in pages:
                self._written[page] = rng.random_bytes(_PAGE)
                os.pwrite(fd, self._written[page], page * _PAGE)
                started = time.perf_counter()
                os.fsync(fd)
                elapsed += time.perf_counter() - started
            self._check(fd, pages)
        finally:
            os.close(fd)
        return elapsed / len(pages)

    def _read_end(self, number: int) -> float:
        del number
        size = min(self._size, _END_MIB * _MIB)
        first = self._size - size
        buffer = bytearray(size)
        view = memoryview(buffer)
        fd = self._opened()
        try:
            self._cooled()
            started = time.perf_counter()
            count = sum(os.preadv(fd, [view[at : at + _CALL]], first + at) for at in range(0, size, _CALL))
            elapsed = time.perf_counter() - started
        finally:
            os.close(fd)
        pages = range(first // _PAGE, self._size // _PAGE)
        if count != size or buffer != b"".join(map(self._page, pages)):
            raise WrongBytesError("the end is another one")
        return elapsed / (size / _MIB)

    def _append(self, number: int) -> float:
        more = rng.random_bytes(100 * _FEW)
        fd = self._opened()
        try:
            os.lseek(fd, 0, os.SEEK_END)
            started = time.perf_counter()
            for n in range(_FEW):
                os.write(fd, more[n * 100 : (n + 1) * 100])
                os.fsync(fd)
            elapsed = time.perf_counter() - started
            self._cooled()
            if os.pread(fd, len(more) + 1, self._size) != more:
                raise WrongBytesError(f"what repetition {number} appended is not there")
            os.ftruncate(fd, self._size)
        finally:
            os.close(fd)
        return elapsed / _FEW

    def _cut(self, number: int) -> float:
        """Off bytes that were appended for it."""
        del number
        fd = self._opened()
        try:
            os.pwrite(fd, bytes(_FEW), self._size)
            os.fsync(fd)
            started = time.perf_counter()
            for n in range(_FEW):
                os.ftruncate(fd, self._size + _FEW - 1 - n)
            elapsed = time.perf_counter() - started
            if os.fstat(fd).st_size != self._size:
                raise WrongBytesError("it was cut to another size")
            self._check(fd, [self._size // _PAGE - 1])
        finally:
            os.close(fd)
        return elapsed / _FEW


def sparse(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Files of one volume in which a few pages have data."""
    yield from _files(plan, stack, plan.amounts.sparse, None)


def dense(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Files of one volume without a hole, as far as there is room."""
    yield from _files(plan, stack, plan.amounts.dense, rng.random_bytes(_MIB))


def _files(plan: Plan, stack: ExitStack, sizes: Sequence[int], base: bytes | None) -> Iterator[Point]:
    site = stack.enter_context(plan.peer.mounted(plan.base))
    for size in sizes:
        checkpoint()
        room = os.statvfs(site.path)
        if base is not None and room.f_bavail * room.f_frsize < size * _MIB * _ROOM:
            print(f"a file of {size:,} MiB is left out: there is no room for it", file=sys.stderr)
            continue
        file = _File(site, size * _MIB, base, plan.amounts.samples)
        file.make()
        yield Point(size, site, file.acts)
