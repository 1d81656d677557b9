"""A log that grows by 100 bytes at a time."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.harness.workloads.steps import Amounts, Round, Step, WrongBytesError

_ENTRY = 100


def _entries(rnd: Round, count: int) -> memoryview:
    return rnd.data[: count * _ENTRY]


def _append(file: Path, entries: memoryview, *, sync_each: bool) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for start in range(0, len(entries), _ENTRY):
            os.write(fd, entries[start : start + _ENTRY])
            if sync_each:
                os.fsync(fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(file: Path, entries: memoryview) -> None:
    if file.read_bytes() != entries:
        raise WrongBytesError("the log has other bytes than were appended")


def _run_plain(path: Path, rnd: Round) -> None:
    _append(path / "log", _entries(rnd, rnd.amounts.appends), sync_each=False)


def _check_plain(path: Path, rnd: Round) -> None:
    _check(path / "log", _entries(rnd, rnd.amounts.appends))


def _run_synced(path: Path, rnd: Round) -> None:
    _append(path / "synced.log", _entries(rnd, rnd.amounts.synced_appends), sync_each=True)


def _check_synced(path: Path, rnd: Round) -> None:
    _check(path / "synced.log", _entries(rnd, rnd.amounts.synced_appends))


def _appends(amounts: Amounts) -> float:
    return amounts.appends


def _synced_appends(amounts: Amounts) -> float:
    return amounts.synced_appends


STEPS = (
    Step("append", "append", "append 100 bytes", "per s", _run_plain, _appends, read_back=_check_plain),
    Step(
        "append",
        "append_fsync",
        "append 100 bytes, fsync each",
        "per s",
        _run_synced,
        _synced_appends,
        read_back=_check_synced,
    ),
)
