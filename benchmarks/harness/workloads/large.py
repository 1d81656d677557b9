"""One large file from end to end: written, written over, read, read by four at once, in calls of three sizes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from benchmarks.harness.workloads.forked import at_once
from benchmarks.harness.workloads.memory import PAGE, clear
from benchmarks.harness.workloads.steps import Amounts, Round, Step, WrongBytesError

_CALLS = (("1m", "1 MiB", 1 << 20), ("128k", "128 KiB", 128 << 10), ("4k", "4 KiB", 4 << 10))
_READERS = 4


def _file(path: Path) -> Path:
    return path / "large"


def _size(rnd: Round) -> int:
    return rnd.amounts.large_mib << 20


def _first(rnd: Round) -> memoryview:
    return rnd.data[: _size(rnd)]


def _second(rnd: Round) -> memoryview:
    """Other bytes at every place than :func:`_first`."""
    return rnd.data[PAGE : PAGE + _size(rnd)]


def write(file: Path, data: memoryview, flags: int, call: int) -> None:
    """Write ``data`` from the start of ``file`` on, ``call`` bytes at a time; it is with the filesystem at the end."""
    fd = os.open(file, os.O_WRONLY | flags, 0o644)
    try:
        for start in range(0, len(data), call):
            os.write(fd, data[start : start + call])
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(file: Path, into: memoryview, start: int, call: int) -> None:
    fd = os.open(file, os.O_RDONLY)
    try:
        done = 0
        while done < len(into):
            count = os.preadv(fd, [into[done : done + call]], start + done)
            if count == 0:
                raise WrongBytesError("the large file ends early")
            done += count
    finally:
        os.close(fd)


def _remove(path: Path, rnd: Round) -> None:
    del rnd
    _file(path).unlink(missing_ok=True)


def _write_new(path: Path, rnd: Round, *, call: int) -> None:
    write(_file(path), _first(rnd), os.O_CREAT | os.O_EXCL, call)


def _check_new(path: Path, rnd: Round) -> None:
    if _file(path).read_bytes() != _first(rnd):
        raise WrongBytesError("the large file has other bytes than were written")


def _write_over(path: Path, rnd: Round, *, call: int) -> None:
    write(_file(path), _second(rnd), 0, call)


def _read_all(path: Path, rnd: Round, *, call: int) -> None:
    _read(_file(path), rnd.buffer[: _size(rnd)], 0, call)


def _read_at_once(path: Path, rnd: Round, *, call: int) -> float:
    share, file = _size(rnd) // _READERS, _file(path)
    starts = [number * share for number in range(_READERS)]
    return at_once([partial(_read, file, rnd.buffer[start : start + share], start, call) for start in starts])


def _check_read(path: Path, rnd: Round) -> None:
    del path
    if rnd.buffer[: _size(rnd)] != _second(rnd):
        raise WrongBytesError("the large file has other bytes than were written over it")
    clear(rnd.buffer, _size(rnd))


def _megabytes(amounts: Amounts) -> float:
    return amounts.large_mib * (1 << 20) / 1e6


def _steps(short: str, calls: str, call: int) -> tuple[Step, ...]:
    """What is written over is checked by the reads that follow."""
    new, over, read = (partial(function, call=call) for function in (_write_new, _write_over, _read_all))
    read_4 = partial(_read_at_once, call=call)
    # fmt: off
    return (
        Step("large", f"seq_write_{short}", f"write, {calls} calls, fsync", "MB/s", new, _megabytes,
             prepare=_remove, read_back=_check_new),
        Step("large", f"seq_rewrite_{short}", f"rewrite, {calls} calls, fsync", "MB/s", over, _megabytes),
        Step("large", f"seq_read_{short}", f"read, {calls} calls, cold", "MB/s", read, _megabytes,
             check=_check_read, cold=True),
        Step("large", f"read_4_{short}", f"4 readers, {calls} calls, cold", "MB/s", read_4, _megabytes,
             check=_check_read, cold=True),
    )
    # fmt: on


STEPS = tuple(step for call in _CALLS for step in _steps(*call))
