"""Random 4 KiB reads, writes and a mix of both on one file: through the page cache, past it, and mapped."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness.workloads.access import Access
from benchmarks.harness.workloads.forked import at_once
from benchmarks.harness.workloads.large import write
from benchmarks.harness.workloads.memory import PAGE, clear
from benchmarks.harness.workloads.steps import Round, Step, WrongBytesError, nothing

_KINDS = (("read", "reads", 0.0), ("write", "writes, fsync", 1.0), ("mix", "reads and writes (70/30), fsync", 0.3))
_CALL = 1 << 20


def _file(path: Path) -> Path:
    return path / "pages"


def _through_cache(file: Path, access: Access, buffer: memoryview, *, flags: int = 0) -> None:
    fd = os.open(file, (os.O_RDWR if any(access.writes) else os.O_RDONLY) | flags)
    try:
        for number, (page, writes) in enumerate(zip(access.pages, access.writes)):
            place = slice(number * PAGE, (number + 1) * PAGE)
            if writes:
                os.pwrite(fd, access.patches[place], page * PAGE)
            else:
                os.preadv(fd, [buffer[place]], page * PAGE)
        if any(access.writes):
            os.fsync(fd)
    finally:
        os.close(fd)


def _mapped(file: Path, access: Access, buffer: memoryview) -> None:
    changes = any(access.writes)
    fd = os.open(file, os.O_RDWR if changes else os.O_RDONLY)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if changes else 0)
    with mmap.mmap(fd, 0, mmap.MAP_SHARED, protection) as pages:
        # Without this a few faults read the whole file ahead, and it would be a sequential read.
        pages.madvise(mmap.MADV_RANDOM)
        for number, (page, writes) in enumerate(zip(access.pages, access.writes)):
            place, there = slice(number * PAGE, (number + 1) * PAGE), slice(page * PAGE, (page + 1) * PAGE)
            if writes:
                pages[there] = access.patches[place]
            else:
                buffer[place] = pages[there]
        if changes:
            pages.flush()
            os.fsync(fd)


def _mapped_apart(file: Path, access: Access, buffer: memoryview) -> float:
    return at_once([partial(_mapped, file, access, buffer)])


Way = Callable[[Path, Access, memoryview], float | None]
_WAYS: tuple[tuple[str, str, Way], ...] = (
    ("", "", _through_cache),
    ("_direct", ", O_DIRECT", partial(_through_cache, flags=os.O_DIRECT)),
    ("_mmap", ", mapped", _mapped_apart),
)


def _make_file(path: Path, rnd: Round) -> None:
    if not _file(path).exists():
        write(_file(path), _content(rnd), os.O_CREAT | os.O_EXCL, _CALL)


def _content(rnd: Round) -> memoryview:
    return rnd.data[: rnd.amounts.random_mib << 20]


def _run(path: Path, rnd: Round, *, way: Way, name: str, share_written: float) -> float | None:
    return way(_file(path), rnd.access(name, share_written), rnd.buffer)


def _check_pages(path: Path, rnd: Round, *, name: str, share_written: float) -> None:
    access = rnd.access(name, share_written)
    if share_written:
        rnd.written.setdefault(path, []).append(access)
    content = _expected(path, rnd)
    for number, (page, writes) in enumerate(zip(access.pages, access.writes)):
        if not writes and rnd.buffer[number * PAGE : (number + 1) * PAGE] != content[page * PAGE : (page + 1) * PAGE]:
            raise WrongBytesError(f"page {page} has other bytes")
    clear(rnd.buffer, len(access.pages) * PAGE)


def _expected(path: Path, rnd: Round) -> bytearray:
    content = bytearray(_content(rnd))
    for access in rnd.written.get(path, ()):
        access.apply(content)
    return content


def _check_file(path: Path, rnd: Round) -> None:
    if _file(path).read_bytes() != _expected(path, rnd):
        raise WrongBytesError("the file has other bytes after random writes")


def _steps(suffix: str, manner: str, way: Way) -> Iterator[Step]:
    for kind, title, share in _KINDS:
        name = f"random_{kind}{suffix}"
        run = partial(_run, way=way, name=name, share_written=share)
        check = partial(_check_pages, name=name, share_written=share)
        yield Step(
            "random",
            name,
            f"random 4 KiB {title}{manner}",
            "per s",
            run,
            lambda amounts: amounts.random_pages,
            prepare=_make_file,
            check=check,
            read_back=_check_file if share else nothing,
            cold=True,
        )


STEPS = tuple(step for way in _WAYS for step in _steps(*way))
