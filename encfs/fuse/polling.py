"""Waiting for the next FUSE request without going to sleep, or to another task, between two close ones.

pyfuse3 reads its module attribute ``trio`` late (its own asyncio support replaces it so). The stand-in below changes
two things. Waiting for the FUSE descriptor polls for a moment, then blocks for a moment, and only then asks trio. And
the lock that pyfuse3's tasks read under stays with the task that has it: a task that is done with a request reads the
next one itself, and wakes another task to read only when its request has to wait for something.

What a trip through the scheduler for each request cost: benchmarks/LEVERS.md. An idle mount sleeps in epoll and costs
no CPU.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from os import sched_yield
from types import TracebackType, coroutine
from typing import Any, TypeVar

import pyfuse3
import trio

_T = TypeVar("_T")

SPIN_SECONDS = 50e-6
# A program that computes between two requests: blocking in poll is a wake-up cheaper than going through trio, and
# other tasks are held up by no more than this.
BLOCK_MILLISECONDS = 1
# Other tasks (control socket, timers) get a turn after so many requests at the latest.
_TURN_AFTER = 64


class ReadLock:
    """Lets one task at a time wait for requests; the others stay parked until :meth:`hand_over`.

    pyfuse3 starts a task only when none waits, and ends one when two do, so at most one is parked while another reads.
    That one reading is never ended with a task parked and nobody to wake it: it ends when the session does, and then
    ``ended`` is set and everybody is woken in turn.
    """

    def __init__(self) -> None:
        self.ended = False
        self._held = False
        self._lot = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        if self._held:
            await self._lot.park()
        else:
            self._held = True

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = False
        if kind is not None:
            self.ended = True
        if self.ended:
            self.hand_over()

    def hand_over(self) -> None:
        """Whoever reads now is about to wait for something else: wake a parked task to read, if there is one."""
        if not self._held and self._lot:
            self._held = True
            self._lot.unpark()


class _Lowlevel:
    """``trio.lowlevel`` with a ``wait_readable`` that polls first."""

    def __init__(self, lock: ReadLock) -> None:
        self.threads_out = 0
        self._lock = lock
        self._fd = -1
        self._poll = select.poll()
        self._since_turn = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever trio has
        return getattr(trio.lowlevel, name)

    async def wait_readable(self, fd: int) -> None:
        if fd != self._fd:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
            self._fd = fd
        self._since_turn += 1
        if self.threads_out or self._since_turn >= _TURN_AFTER:
            self._since_turn = 0
            await trio.lowlevel.checkpoint()
        while not (found := self._poll_for_a_moment()):
            self._since_turn = 0
            if self._lock.ended:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(fd)
        if found[0][1] != select.POLLIN:
            self._lock.ended = True  # Unmounted: the task that reads ends, and with it every other.

    def _poll_for_a_moment(self) -> list[tuple[int, int]]:
        ready, now = self._poll.poll, time.perf_counter
        if found := ready(0):
            return found
        deadline = now() + SPIN_SECONDS
        while now() < deadline:
            sched_yield()
            if found := ready(0):
                return found
        return [] if self.threads_out else ready(BLOCK_MILLISECONDS)


class _Trio:
    """``trio`` with the lock and the waiting replaced."""

    def __init__(self) -> None:
        self.lock = ReadLock()
        self.lowlevel = _Lowlevel(self.lock)

    def Lock(self) -> ReadLock:  # noqa: N802 - trio's name
        return self.lock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever trio has
        return getattr(trio, name)


class Poller:
    """Installs the stand-in, and tells it what requests do.

    Attributes:
        hand_over: to be called before a request waits for anything; see :func:`waiting`.
    """

    def __init__(self) -> None:
        self._stand_in = _Trio()
        self.hand_over = self._stand_in.lock.hand_over

    def install(self) -> None:
        """Replace ``pyfuse3.trio``; call before ``pyfuse3.init``."""
        pyfuse3.trio = self._stand_in  # type: ignore[attr-defined]

    def thread_out(self, change: int) -> None:
        """+1 when a request waits for a thread, -1 when it is back."""
        self._stand_in.lowlevel.threads_out += change

    def end(self) -> None:
        """Nobody is to wait for requests any more; call before ``pyfuse3.terminate``."""
        self._stand_in.lock.ended = True


@coroutine
def waiting(request: Coroutine[Any, Any, _T], trap: object, on_wait: Callable[[], None]) -> Generator[Any, Any, _T]:
    """Go on with a request that waits for ``trap``; ``on_wait`` is called before each wait."""
    while True:
        on_wait()
        try:
            answer = yield trap
        except BaseException as exc:  # noqa: BLE001 - handed on, whatever it is
            step = partial(request.throw, exc)
        else:
            step = partial(request.send, answer)
        try:
            trap = step()
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
