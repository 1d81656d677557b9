"""What else the machine was doing: samples from a busy moment are set aside before anybody looks at them.

Owns: the CPU time of everybody else, and which repetitions count because of it. Must not know: the samples.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

_QUIET_SHARE = 0.1
_AT_LEAST = 3
_TICK = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1


class Others:
    """A stretch of time: :meth:`share` is what part of all cores others used in it, kernel threads among them."""

    def __init__(self, daemons: float) -> None:
        """``daemons``: CPU seconds so far of the processes that belong to the benchmark but are not its children."""
        self._busy, self._own, self._wall = _busy_seconds(), _own_seconds() + daemons, time.monotonic()

    def share(self, daemons: float) -> float:
        """Between 0 and 1, from the making of this object until now."""
        theirs = _busy_seconds() - self._busy - (_own_seconds() + daemons - self._own)
        return min(1.0, max(0.0, theirs / (time.monotonic() - self._wall) / _CORES))


def _busy_seconds() -> float:
    """All cores together since boot; time that the hypervisor gave to somebody else counts as busy."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def quietest(shares: Sequence[float]) -> list[int]:
    """Which repetitions count: those in which others used less than a tenth, or the three with the least."""
    quiet = [number for number, share in enumerate(shares) if share < _QUIET_SHARE]
    if len(quiet) >= _AT_LEAST:
        return quiet
    return sorted(sorted(range(len(shares)), key=shares.__getitem__)[:_AT_LEAST])
