"""What a measurement says: one piece of work, its rate on each side, and the medians behind that.

Owns: the shape of a result and how repetitions become one. Must not know: what is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar


class Part(StrEnum):
    """The parts of a run, from the bottom up."""

    PRIMITIVES = "primitives"
    KDF = "kdf"
    LIBRARY = "library"
    MOUNTED = "mounted"


CLOAKFS: Final = "cloakfs"
BARE: Final = "bare"

_Side = TypeVar("_Side")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.

    Attributes:
        name: for scripts; ``title``: for people.
        unit: of ``rates``, more is better, such as "MB/s" or "files/s".
        rates: by side (``cloakfs``, ``bare``, ``raw``), the median of the repetitions.
        spread: by side, the lowest and the highest of them.
        cold: whether all that was read, on every side, came from below and not from the kernel's memory; None where
            nothing is read.
    """

    part: Part
    name: str
    title: str
    unit: str
    rates: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cold: bool | None = None

    @property
    def share(self) -> float | None:
        """How much of the rate of the side below is left, None where there is nothing to compare."""
        below = next((rate for side, rate in self.rates.items() if side != CLOAKFS), None)
        ours = self.rates.get(CLOAKFS)
        return ours / below if ours is not None and below else None


def figure_of(
    part: Part, name: str, title: str, unit: str, samples: Mapping[str, list[float]], *, colds: Collection[bool] = ()
) -> Figure:
    """The row of rates that were measured several times; ``colds`` says of each reading whether it came from below."""
    return Figure(
        part,
        name,
        title,
        unit,
        {side: statistics.median(values) for side, values in samples.items()},
        {side: (min(values), max(values)) for side, values in samples.items()},
        all(colds) if colds else None,
    )


def rate(work: Callable[[], object], amount: float) -> float:
    """``amount`` divided by the seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return amount / max(time.perf_counter() - started, 1e-9)


def in_turn(sides: Sequence[_Side], number: int) -> Sequence[_Side]:
    """The order of the sides in sample ``number``: who is first changes, so that none always finds a warm machine."""
    return sides if number % 2 == 0 else sides[::-1]
