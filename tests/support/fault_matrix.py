"""One call of the backing store fails, once: what must hold afterwards, whatever the call and the operation.

Owns: running an operation with a fault in it, and going on behind it. Must not know: which operations and faults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EINTR, EIO, ENODEV, ENOMEM, ENOSPC, EROFS
from typing import Any, NamedTuple

from encfs.volume import Volume
from tests.support.model_store import ModelStore
from tests.support.steps import State, Step, allowed, state
from tests.support.stores import Failing

CODES = (EIO, ENOSPC, EDQUOT, ENODEV, EROFS, EACCES, EINTR, ENOMEM)


class FailingModelStore(Failing, ModelStore):
    """A store in memory that fails on purpose."""


class Fault(NamedTuple):
    """The call number ``call`` of an operation, named ``name``, fails with ``code``."""

    call: int
    name: str
    code: int


@contextmanager
def counting(store: Failing) -> Iterator[list[str]]:
    """The names of the calls that are made in the block."""
    store.calls = []
    try:
        yield store.calls
    finally:
        store.calls = None


@contextmanager
def faulty(store: Failing, fault: Fault) -> Iterator[None]:
    """In the block, one call fails."""
    store.calls, store.fails = [], (fault.call, fault.code)
    try:
        yield
    finally:
        store.calls = store.fails = None


def calls_of(store: Failing, volume: Volume, steps: Sequence[Step]) -> list[str]:
    """The store calls that steps make when nothing fails."""
    with counting(store) as calls:
        for step in steps:
            step(volume)
    return calls


def endure(volume: Volume, steps: Sequence[Step], fault: Fault, states: Sequence[State]) -> int | None:
    """Take steps with a fault in one of them, then go on where that stopped, to the end; the errno that was raised.

    After the fault a program sees what was before the step or is after it, or a write in part. What was not done
    is done again, and works.
    """
    store: Any = volume.ctx.store
    told: int | None = None
    done = 0
    with faulty(store, fault):
        try:
            for step in steps:
                step(volume)
                done += 1
        except OSError as exc:
            told = exc.errno
    if told is not None:
        seen = state(volume)
        assert allowed([states[done], states[done + 1]], seen), "neither old nor new"
        for step in steps[done + (seen == states[done + 1]) :]:
            step(volume)
    assert state(volume) == states[-1], "not what it is without the fault"
    return told
