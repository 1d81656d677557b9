"""SIGINT and SIGTERM end a benchmark between two operations, never inside one.

Owns: their handlers while something is measured. Must not know: what is measured.

An exception out of a signal handler can come while a mount is made, when nobody is there yet who takes it off; while it
is taken off; or between open(2) and the line that keeps the descriptor, which then keeps the mount busy.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHELL_STATUS = 128
_received: list[int] = []


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, a signal waits for the next :func:`checkpoint`; the end is one too.

    Raises:
        SystemExit: as :func:`checkpoint`.
    """
    _received.clear()
    before = {number: signal.signal(number, lambda number, _: _received.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    checkpoint()


def checkpoint() -> None:
    """A place where it is safe to end.

    Raises:
        SystemExit: a signal came; the status is the one that a shell gives it.
    """
    if _received:
        number = _received[0]
        _received.clear()
        raise SystemExit(_SHELL_STATUS + number)
