"""A log that grows by 100 bytes at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness.workloads.steps import Amounts, Round, Step, WrongBytesError

_ENTRY = 100
Count = Callable[[Amounts], int]


def _append(path: Path, rnd: Round, *, name: str, count: Count, sync_each: bool) -> None:
    fd = os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for number in range(count(rnd.amounts)):
            os.write(fd, rnd.data[number * _ENTRY : (number + 1) * _ENTRY])
            if sync_each:
                os.fsync(fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(path: Path, rnd: Round, *, name: str, count: Count) -> None:
    if (path / name).read_bytes() != rnd.data[: count(rnd.amounts) * _ENTRY]:
        raise WrongBytesError("the log has other bytes than were appended")


def _step(name: str, title: str, count: Count, *, sync_each: bool) -> Step:
    run = partial(_append, name=name, count=count, sync_each=sync_each)
    return Step("append", name, title, "per s", run, count, read_back=partial(_check, name=name, count=count))


STEPS = (
    _step("append", "append 100 bytes", lambda amounts: amounts.appends, sync_each=False),
    _step("append_fsync", "append 100 bytes, fsync each", lambda amounts: amounts.synced_appends, sync_each=True),
)
