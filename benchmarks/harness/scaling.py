"""The cost of an operation as the work grows: points of growing size, the same operations on each, taking turns.

Owns: the order of things, what a figure is, whether it stays flat. Must not know: what an operation does
(``scale_files.py``, ``scale_sizes.py``), how a point is mounted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import peers, report
from benchmarks.harness.clock import Spread, in_turn, significant
from benchmarks.harness.filesystems import OURS
from benchmarks.harness.interrupts import checkpoint
from benchmarks.harness.peers import Peer, Site
from benchmarks.harness.tables import Table
from benchmarks.harness.workloads.steps import FailedError, WrongBytesError
from encfs.bench import charts
from encfs.bench.caches import forget

_RATE = "per s"
FLAT = 2.0
"""A cost grows when the largest point costs more than so many times the cheapest one."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How far it goes.

    Attributes:
        files: files of a volume, in directories of 100. entries: of one directory. clients: programs at once.
        sparse, dense: sizes of a file in MiB, mostly hole or all data.
        samples: how often an operation is done at a point in a repetition, at most.
    """

    files: Sequence[int] = (1_000, 10_000, 100_000)
    entries: Sequence[int] = (1, 10, 100, 1_000, 10_000, 50_000)
    sparse: Sequence[int] = (1, 16, 256, 1_024, 4_096, 16_384)
    dense: Sequence[int] = (1, 16, 256, 1_024)
    clients: Sequence[int] = (1, 2, 4, 8, 16)
    samples: int = 200


FULL = Amounts(files=(1_000, 10_000, 100_000, 1_000_000), dense=(1, 16, 256, 1_024, 4_096, 16_384))
QUICK = Amounts(files=(20, 200), entries=(1, 30), sparse=(1, 8), dense=(1, 4), clients=(1, 3), samples=8)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a series is made from.

    Attributes:
        peer: what is measured. base: an empty directory for its homes.
    """

    peer: Peer
    base: Path
    amounts: Amounts
    repetitions: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A row: what is done, and the unit of one of it; ``scale`` makes that unit of seconds.

    Attributes:
        shared: as many programs as the size says do it at once, so it is also told how many are done in a second.
    """

    name: str
    title: str
    unit: str = "us"
    scale: float = 1e6
    shared: bool = False


Act = Callable[[int], float]
"""Given the number of the repetition, does an operation many times and checks the bytes; the seconds of one.

Raises WrongBytesError.
"""


@dataclass(slots=True)
class Point:
    """One size.

    Attributes:
        acts: by the name of the operation.
        known: seconds that were measured while the point was made, by the name of the operation.
    """

    size: int
    site: Site
    acts: Mapping[str, Act]
    known: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Series:
    """Points of growing size and what is done at each. ``x_label`` says what grows."""

    name: str
    title: str
    x_label: str
    operations: Sequence[Operation]


def cool(site: Site) -> None:
    """The kernel forgets everything, and the daemon has heard of it: it is told of each file that is forgotten."""
    forget()
    peers.settle([site])


def dice(*what: object) -> random.Random:
    """The same in every run."""
    return random.Random(repr(what))  # noqa: S311 - chooses samples, no secrets


def measure(series: Series, points: Sequence[Point], repetitions: int) -> list[dict[str, Any]]:
    """An entry for each operation at each point, and one for the daemon's memory.

    Raises:
        WrongBytesError: something else came back than was written.
        FailedError: something failed.
    """
    seconds: dict[tuple[str, int], list[float]] = {}
    for point in points:
        seconds.update({(name, point.size): values for name, values in point.known.items()})
    for number in range(repetitions):
        for operation in series.operations:
            acting = [point for point in points if operation.name in point.acts]
            for point in in_turn(acting, number) if acting else ():
                taken = _take(series, operation, point, number)
                seconds.setdefault((operation.name, point.size), []).append(taken)
    entries = [
        entry
        for operation in series.operations
        for point in points
        if (operation.name, point.size) in seconds
        for entry in _entries(series, operation, point.size, seconds[operation.name, point.size])
    ]
    return [*entries, *_memory(series, points)]


def _take(series: Series, operation: Operation, point: Point, number: int) -> float:
    """What goes wrong says where."""
    where = f"{series.title}, {operation.title}, {point.size:,}"
    checkpoint()
    peers.settle([point.site])
    try:
        return point.acts[operation.name](number)
    except WrongBytesError as exc:
        raise WrongBytesError(f"{where}: {exc}") from exc
    except OSError as exc:
        raise FailedError(f"{where}: {exc}") from exc


def _entries(series: Series, operation: Operation, size: int, seconds: Sequence[float]) -> Iterator[dict[str, Any]]:
    what = f"scale/{series.name}/{operation.name}"

    def entry(more: str, title: str, unit: str, values: Sequence[float], key: str) -> dict[str, Any]:
        spread = Spread.of(values).as_json()
        return {"what": what + more, "size": size, "title": title, "unit": unit, key: {OURS: spread}}

    yield entry("", operation.title, operation.unit, [value * operation.scale for value in seconds], "time")
    if operation.shared:
        rates = [1 / value for value in seconds]
        yield entry("/all", f"{operation.title}, of all programs together", _RATE, rates, "rate")
        yield entry("/each", f"{operation.title}, of each program", _RATE, [rate / size for rate in rates], "rate")


def _memory(series: Series, points: Sequence[Point]) -> list[dict[str, Any]]:
    """Points that share a daemon have no figure of their own: what it needs is that of the largest."""
    apart = len({point.site.pid for point in points}) == len(points)
    return [
        {
            "what": f"scale/{series.name}/memory",
            "size": point.size,
            "title": "most memory of the daemon",
            "unit": "MB",
            "time": {OURS: Spread.of([significant(point.site.peak_bytes() / 1e6)]).as_json()},
        }
        for point in (points if apart else points[-1:])
    ]


# -- for people ----------------------------------------------------------------------------------------


def medians(series: Series, entries: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, float]]:
    """Of each row (title, unit) of a series: the figure at each size."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for entry in entries:
        if entry["what"].startswith(f"scale/{series.name}/"):
            row = found.setdefault((entry["title"], entry["unit"]), {})
            row[entry["size"]] = (entry.get("time") or entry["rate"])[OURS]["median"]
    return found


def table_of(series: Series, entries: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each operation, a column for each size; how much the largest costs, in units of the cheapest."""
    rows = medians(series, entries)
    sizes = sorted({size for row in rows.values() for size in row})
    shown = [
        (
            f"{title}, {unit}",
            *(report.show(row[size]) if size in row else "-" for size in sizes),
            "-" if unit == _RATE else _growth(row),
        )
        for (title, unit), row in rows.items()
    ]
    return Table(f"{series.title}, by {series.x_label}", ("", *(f"{size:,}" for size in sizes), "largest"), shown)


def _growth(row: Mapping[int, float]) -> str:
    cheapest = min(row.values())
    if len(row) < 2 or cheapest == 0:
        return "-"
    times = row[max(row)] / cheapest
    return f"{times:.2f}, flat" if times <= FLAT else f"{times:.2f}, GROWS"


def plot(series: Series, entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The rows in microseconds as lines.

    Raises:
        CloakfsError: nothing is installed to plot with.
    """
    charts.lines(
        path,
        title=f"{series.title}: cost of an operation",
        x_label=series.x_label,
        y_label="us per operation",
        series={
            title: sorted((float(size), value) for size, value in row.items())
            for (title, unit), row in medians(series, entries).items()
            if unit == "us"
        },
        log_y=True,
        subtitle="a line that stays level does not grow with the work",
    )
