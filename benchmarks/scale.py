"""The cost of an operation as the work grows: more files, more entries, larger files, more programs at once.

    python -m benchmarks.scale [--quick | --full] [--only SERIES ...] [--directory DIR] [--output FILE]

On a real mount of cloakfs. A cost stays flat when the largest point costs no more than twice the cheapest. README.md
has the method.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import filesystems, interrupts, report, scale_files, scale_sizes, scaling, tables
from benchmarks.harness.peers import Peer, PeerError
from benchmarks.harness.scaling import Amounts, Plan, Point, Series
from benchmarks.harness.workloads.steps import FailedError, WrongBytesError
from encfs.bench import charts
from encfs.bench.caches import can_drop_caches
from encfs.errors import CloakfsError

SERIES: dict[str, tuple[Series, Callable[[Plan, ExitStack], Iterator[Point]]]] = {
    series.name: (series, points)
    for series, points in (
        (scale_files.FILES, scale_files.files),
        (scale_files.ENTRIES, scale_files.entries),
        (scale_sizes.SPARSE, scale_sizes.sparse),
        (scale_sizes.DENSE, scale_sizes.dense),
        (scale_files.CLIENTS, scale_files.clients),
    )
}
_CELL_SIZE = 4096
_REPETITIONS = 3


def measure(name: str, peer: Peer, directory: Path, amounts: Amounts, repetitions: int) -> list[dict[str, Any]]:
    """The entries of one series; nothing is left in ``directory``.

    Raises:
        WrongBytesError, FailedError, PeerError.
    """
    series, points = SERIES[name]
    with ExitStack() as stack:
        base = stack.enter_context(tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=directory))
        plan = Plan(peer, Path(base), amounts, repetitions)
        try:
            made = list(points(plan, stack))
        except OSError as exc:
            raise FailedError(f"{series.title}: {exc}") from exc
        return scaling.measure(series, made, repetitions)


def arguments() -> argparse.Namespace:
    """The options."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--full", action="store_true", help="up to a million files, and 16 GiB of data; hours")
    parser.add_argument("--only", nargs="+", metavar="SERIES", choices=list(SERIES), default=list(SERIES))
    parser.add_argument("--directory", type=Path, default=report.MEMORY, metavar="DIR", help="default: /dev/shm")
    options = parser.parse_args()
    if options.quick and options.full:
        parser.error("--quick and --full are two different runs")
    return options


def write(document: dict[str, Any], shown: list[tables.Table], options: argparse.Namespace) -> None:
    """The JSON document, a page of tables beside it, and a plot of each series unless it is a smoke run."""
    target = report.write(document, options)
    if target is None:
        return
    target.with_suffix(".md").write_text(tables.page(document, shown), encoding="utf-8")
    for name in options.only if not options.quick else ():
        path = target.with_name(f"{target.stem}-{name}.svg")
        try:
            scaling.plot(SERIES[name][0], document["results"], path)
        except CloakfsError as exc:
            print(f"no plots: {exc}. {exc.hint}", file=sys.stderr)
            return
        print(f"plotted: {path.name}")


def main() -> int:
    """The program; its exit status is 1 when something failed or gave wrong bytes, 128 and more after a signal."""
    options = arguments()
    if not can_drop_caches():
        print("only root can make the kernel forget names: what is called cold here is not", file=sys.stderr)
    amounts = scaling.QUICK if options.quick else scaling.FULL if options.full else Amounts()
    repetitions: int = options.repetitions or (1 if options.quick else _REPETITIONS)
    peer = filesystems.cloakfs(_CELL_SIZE)
    results: list[dict[str, Any]] = []
    shown: list[tables.Table] = []
    try:
        charts.check(Path("any.svg"))
    except CloakfsError as exc:
        print(f"there will be no plots: {exc}. {exc.hint}", file=sys.stderr)
    try:
        with interrupts.held_back():
            for name in options.only:
                results += measure(name, peer, options.directory, amounts, repetitions)
                shown.append(scaling.table_of(SERIES[name][0], results))
                shown[-1].print()
    except (WrongBytesError, FailedError, PeerError) as exc:
        print(f"failed: {exc}", file=sys.stderr)
        return 1
    document = report.document(
        "scale",
        settings={"quick": options.quick, "repetitions": repetitions, "cell_size": _CELL_SIZE, **asdict(amounts)},
        results=results,
        peers={peer.name: {"version": peer.version, "settings": peer.settings}},
    )
    write(document, shown, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
