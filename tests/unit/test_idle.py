"""When a mount counts as idle (encfs/fuse/idle.py), on a clock that needs no time; which requests count as use."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyfuse3")
import pyfuse3
import trio
import trio.testing

from encfs.errors import MountBusyError
from encfs.fuse.idle import IdleWatch
from encfs.fuse.operations import Operations
from encfs.locking import IdleRule, WhenOpen

QUARTER = 900.0


class Mount:
    """Is used when told so, and busy until a point in time; knows when it was asked to lock, and how."""

    def __init__(self, rule: IdleRule, *, busy_until: float = 0.0, slept: Callable[[], float] = lambda: 0.0) -> None:
        self.uses = 0
        self.busy_until = busy_until
        self.asked: list[tuple[float, bool]] = []
        self.scope = trio.CancelScope()
        self.watch = IdleWatch(rule, lambda: self.uses, self.lock, lambda: trio.current_time() - self.start + slept())
        self.start = 0.0

    async def lock(self, force: bool) -> None:
        now = trio.current_time() - self.start
        self.asked.append((now, force))
        if now < self.busy_until and not force:
            raise MountBusyError("files are open")
        self.scope.cancel()

    async def run(self, *uses: float) -> float:
        """Use it at these points in time; when it is locked."""
        self.start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.use, uses)
            with self.scope:
                await self.watch.watch()
            nursery.cancel_scope.cancel()
        return trio.current_time() - self.start

    async def use(self, points: tuple[float, ...]) -> None:
        for point in points:
            await trio.sleep_until(self.start + point)
            self.uses += 1


def run(mount: Mount, *uses: float) -> float:
    """:meth:`Mount.run` on a clock that jumps to whatever is waited for."""
    return trio.run(mount.run, *uses, clock=trio.testing.MockClock(autojump_threshold=0))


def test_locks_after_that_time():
    """Not before, and at most a twentieth later."""
    locked = run(Mount(IdleRule(QUARTER)))
    assert QUARTER <= locked <= QUARTER * 1.05


def test_each_use_begins_it_anew():
    """The time runs from the last use, not from the mount."""
    locked = run(Mount(IdleRule(QUARTER)), 10, 850, 1700)
    assert 1700 + QUARTER <= locked <= 1700 + QUARTER * 1.06


def test_open_files_are_waited_for(caplog):
    """As long as it is busy it is asked again without force, and locked soon after; the log is quiet."""
    mount = Mount(IdleRule(QUARTER), busy_until=5000)
    locked = run(mount)
    assert 5000 <= locked <= 5000 + QUARTER / 20
    assert not any(force for _, force in mount.asked)
    assert mount.watch.held
    assert caplog.text == ""


def test_open_files_are_warned_of_once(caplog):
    """With ``warn`` one line says that it stays unlocked, not one for each try; and it says no name."""
    caplog.set_level(logging.INFO)
    run(Mount(IdleRule(QUARTER, WhenOpen.WARN), busy_until=5000))
    assert [record.message for record in caplog.records] == ["idle, but not locked: programs have files open"]


def test_open_files_are_cut_off():
    """With ``force`` nothing keeps it open."""
    mount = Mount(IdleRule(QUARTER, WhenOpen.FORCE), busy_until=5000)
    assert run(mount) <= QUARTER * 1.05
    assert [force for _, force in mount.asked] == [True]


def test_sleep_is_idleness_too():
    """A machine that slept for hours and could not lock before does so at the next look."""
    assert run(Mount(IdleRule(QUARTER), slept=lambda: 8 * 3600.0 if trio.current_time() else 0.0)) <= QUARTER / 10


def test_which_requests_are_use():
    """All but stat and statfs, by which df and desktops look at a mount again and again, and flush (of each fork)."""
    state = SimpleNamespace(medium=SimpleNamespace(gone=False, suspect=lambda _: None), uses=0)
    operations: Any = Operations.__new__(Operations)
    operations.state = state
    counted = {}
    for name, function in inspect.getmembers(Operations, inspect.iscoroutinefunction):
        if not hasattr(function, "__wrapped__"):
            continue
        state.uses = 0
        arguments = [None] * (len(inspect.signature(function).parameters) - 1)
        with pytest.raises(pyfuse3.FUSEError):
            getattr(operations, name)(*arguments).send(None)
        counted[name] = state.uses
    assert {name for name, uses in counted.items() if uses == 0} == {"flush", "getattr", "statfs"}
    assert {name for name, uses in counted.items() if uses == 1} >= {"lookup", "open", "read", "write", "opendir"}
