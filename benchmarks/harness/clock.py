"""Timing that survives a busy machine: everything that is compared alternates, and medians are taken.

Owns: repetitions, their order, what is said of a list of samples. Must not know: what is measured.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and extremes of samples, in the samples' unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """At least one sample."""
        return cls(statistics.median(samples), min(samples), max(samples))

    def as_json(self, digits: int = 4) -> dict[str, float]:
        """Rounded to significant digits: more would claim a precision that is not there."""
        return {
            "median": significant(self.median, digits),
            "low": significant(self.low, digits),
            "high": significant(self.high, digits),
        }


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of samples that were taken next to each other: a slow minute counts on both sides."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def significant(value: float, digits: int = 4) -> float:
    """``value`` with so many significant digits."""
    return float(f"{value:.{digits}g}")


def in_turn(names: Sequence[_T], repetition: int) -> list[_T]:
    """The order of a repetition: each goes first equally often, and none always follows the same other."""
    shift = repetition % len(names)
    turned = [*names[shift:], *names[:shift]]
    return turned[::-1] if repetition // len(names) % 2 else turned


def alternate(
    work: Mapping[str, Callable[[], object]], *, repetitions: int, sample_seconds: float, threads: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of each function, one sample per repetition, the functions taking turns.

    A sample is as many calls as take about ``sample_seconds``. One thread is measured in its own CPU time, so that
    others on the machine count little. Several threads each make that many calls at once; their time is what the
    wall clock says from the first start to the last end.
    """
    counts = {name: _calls_for(function, sample_seconds) for name, function in work.items()}
    samples: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(repetitions):
        for name in in_turn(list(work), repetition):
            elapsed = _timed(work[name], counts[name], threads)
            samples[name].append(elapsed / counts[name])
    return samples


def _calls_for(function: Callable[[], object], seconds: float) -> int:
    function()
    count = 1
    while (elapsed := _timed(function, count, 1)) < seconds / 2:
        count = max(count * 2, int(count * seconds / max(elapsed, 1e-6) / 2))
    return max(1, round(count * seconds / elapsed))


def _timed(function: Callable[[], object], count: int, threads: int) -> float:
    if threads == 1:
        started = time.thread_time()
        deque((function() for _ in repeat(None, count)), maxlen=0)
        return time.thread_time() - started
    gate = threading.Barrier(threads)
    times: list[tuple[float, float]] = []

    def work() -> None:
        function()
        gate.wait()
        started = time.perf_counter()
        deque((function() for _ in repeat(None, count)), maxlen=0)
        times.append((started, time.perf_counter()))

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return max(end for _, end in times) - min(start for start, _ in times)
