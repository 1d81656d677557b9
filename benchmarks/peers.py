"""cloakfs against other encrypting filesystems, a passthrough and the bare directory: the same work on real mounts.

    python -m benchmarks.peers [--quick] [--directory DIR] [--only GROUP ...] [--peers NAME ...] [--output FILE]

With no options: everything on a tmpfs, and databases on the disk that holds /var/tmp. Every ratio is cloakfs against
the peer that is named: above 1, cloakfs is faster. README.md has the method.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    course,
    figures,
    filesystems,
    interrupts,
    packages,
    plots,
    report,
    tables,
    targets,
    tree,
    workloads,
)
from benchmarks.harness.course import Course
from benchmarks.harness.peers import Peer, PeerError, Site
from benchmarks.harness.workloads.programs import make_repository
from benchmarks.harness.workloads.steps import (
    QUICK,
    Amounts,
    FailedError,
    Round,
    Samples,
    Step,
    WrongBytesError,
)
from encfs.bench import charts
from encfs.bench.caches import can_drop_caches
from encfs.errors import CloakfsError
from encfs.format.limits import CELL_SIZES

_DISK = Path("/var/tmp")  # noqa: S108 - by custom on a disk; what is made there has a fresh name
_ON_DISK = ("database",)
_MOUNT, _IDLE = "mount", "idle"
_REPETITIONS = 3
_IDLE_SECONDS = 60.0


def filesystem_of(path: Path) -> str:
    """Type of the filesystem that holds ``path``, from the kernel's table."""
    real, best, kind = os.path.realpath(path), "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        where = left.split(" ")[4]
        if len(where) >= len(best) and os.path.commonpath([real, where]) == where:
            best, kind = where, right.split(" ")[0]
    return kind


class Run:
    """What is measured on every backing store: peers, amounts, repetitions, groups.

    Args:
        options: of the command line.
        candidates: the peers, cloakfs among them.
    """

    def __init__(self, options: argparse.Namespace, candidates: Sequence[Peer]) -> None:
        self.peers = candidates
        self.amounts = QUICK if options.quick else Amounts()
        self.repetitions: int = options.repetitions or (1 if options.quick else _REPETITIONS)
        self.idle_seconds: float = options.idle_seconds or (1.0 if options.quick else _IDLE_SECONDS)
        self._memory: Path = options.tmpfs

    def measure(self, store: str, base: Path, groups: Sequence[str]) -> dict[str, Any]:
        """The result of one backing store; everything happens in temporary directories, and nothing is left in them.

        The archive and what programs print lie in memory, off the store that is measured.

        Raises:
            PeerError, WrongBytesError, FailedError.
        """
        steps = _possible([step for step in workloads.STEPS if step.group in groups])
        result: dict[str, Any] = {"store": store, "filesystem": filesystem_of(base)}
        with ExitStack() as stack:
            home, memory = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=where)))
                for where in (base, self._memory)
            )
            entries = self._mount_times(home / _MOUNT) if _MOUNT in groups else []
            mounted = self.peers if steps or _IDLE in groups else ()
            sites = [stack.enter_context(_mounted(peer, home)) for peer in mounted]
            run = Course(sites, steps)
            if steps:
                self._repeat(run, self._samples(memory, steps), memory)
            if _IDLE in groups:
                idle = course.idle_cpu(sites, self.idle_seconds)
                result["idle"] = {"seconds": self.idle_seconds, "cpu_seconds": idle}
        result["steps"] = [*figures.of_steps(run, steps, self.amounts), *entries]
        result["peak_megabytes"] = figures.of_peaks(run)
        return result

    def _samples(self, memory: Path, steps: Sequence[Step]) -> Samples:
        sample = tree.make(memory / "tree.tar", self.amounts.tree_files)
        wants_git = any("git" in step.needs for step in steps)
        return Samples(sample, make_repository(sample, memory / "repository") if wants_git else None)

    def _repeat(self, run: Course, samples: Samples, memory: Path) -> None:
        for number in range(self.repetitions):
            with tempfile.TemporaryDirectory(dir=memory) as scratch:
                run.repeat(Round.new(self.amounts, samples, Path(scratch), number))
            print(f"repetition {number + 1} of {self.repetitions}", file=sys.stderr)

    def _mount_times(self, home: Path) -> list[figures.Entry]:
        home.mkdir()
        samples = course.mount_times(home, self.peers, self.repetitions)
        return [figures.of_samples(samples, group=_MOUNT, what=_MOUNT, title="mount, cheapest key derivation")]

    def settings(self) -> dict[str, Any]:
        """For the document."""
        return {"repetitions": self.repetitions, "idle_seconds": self.idle_seconds, **asdict(self.amounts)}


def _mounted(peer: Peer, home: Path) -> AbstractContextManager[Site]:
    """One after the other is mounted: the end can come in between."""
    interrupts.checkpoint()
    return peer.mounted(home)


def _possible(steps: Sequence[Step]) -> list[Step]:
    """The steps that can be taken here; of the others it is said why not."""
    found = []
    for step in steps:
        missing = [program for program in step.needs if shutil.which(program) is None]
        if missing:
            print(f"{step.title} is left out: {missing[0]} is not installed", file=sys.stderr)
        elif step.cold and not can_drop_caches():
            print(f"{step.title} is left out: only root can drop the kernel's caches", file=sys.stderr)
        else:
            found.append(step)
    return found


def choose_peers(names: Sequence[str], cell_size: int) -> list[Peer]:
    """cloakfs and the peers that were named, installed where possible; of one that is missing it is said."""
    programs = [name for name in names if name in filesystems.ENCRYPTED]
    packages.install_missing(programs, besides=["fuse3"])
    found = [filesystems.cloakfs(cell_size)]
    for name in names:
        if name in programs and shutil.which(name) is None:
            print(f"{name} is left out: it is not installed", file=sys.stderr)
        else:
            found.append(filesystems.MAKERS[name]())
    return found


def stores_of(options: argparse.Namespace) -> Iterator[tuple[str, Path, Sequence[str]]]:
    """Which backing stores are measured, and which groups on each."""
    groups = options.only or [*workloads.GROUPS, _MOUNT, _IDLE]
    yield targets.MEMORY, options.tmpfs, groups
    if options.directory is not None:
        disk, on_disk = options.directory, [group for group in groups if group in workloads.GROUPS]
    else:
        disk, on_disk = _DISK, [group for group in groups if group in _ON_DISK and not options.quick]
    if on_disk and filesystem_of(disk) == "tmpfs":
        print(f"{' '.join(on_disk)} on a disk is left out: name one with --directory", file=sys.stderr)
    elif on_disk:
        yield targets.DISK, disk, on_disk


def arguments() -> argparse.Namespace:
    """The options."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="a disk to measure everything on as well")
    parser.add_argument("--tmpfs", type=Path, default=report.MEMORY, help="a tmpfs (default: /dev/shm)")
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=[*workloads.GROUPS, _MOUNT, _IDLE])
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="NAME",
        choices=list(filesystems.MAKERS),
        default=list(filesystems.MAKERS),
        help=f"whom to compare with (default: {' '.join(filesystems.MAKERS)})",
    )
    parser.add_argument("--cell-size", type=int, default=4096, choices=CELL_SIZES, help="of cloakfs (default: 4096)")
    parser.add_argument("--idle-seconds", type=float, metavar="S", help="how long idle daemons are watched")
    return parser.parse_args()


def can_plot(options: argparse.Namespace) -> bool:
    """Whether there will be plots; a smoke run has none. Why not is said before anything is measured."""
    try:
        charts.check(Path("any.svg"))
    except CloakfsError as exc:
        print(f"no plots: {exc}. {exc.hint}", file=sys.stderr)
        return False
    return not options.quick


def write(
    document: dict[str, Any], shown: Sequence[tables.Table], options: argparse.Namespace, *, with_plots: bool
) -> None:
    """The JSON document, a page of tables beside it, and plots."""
    target = report.write(document, options)
    if target is None:
        return
    target.with_suffix(".md").write_text(tables.page(document, shown), encoding="utf-8")
    for result in document["results"] if with_plots else ():
        for path in plots.plot(result, list(document["peers"]), target.with_suffix("")):
            print(f"plotted: {path.name}")


def main() -> int:
    """The program; its exit status is 1 when a peer failed or gave wrong bytes, 128 and more after a signal."""
    options = arguments()
    with_plots = can_plot(options)
    chosen = choose_peers(options.peers, options.cell_size)
    run, names = Run(options, chosen), [peer.name for peer in chosen]
    results, shown = [], []
    try:
        with interrupts.held_back():
            for store, base, groups in stores_of(options):
                print(f"on {filesystem_of(base)}: {' '.join(names)}", file=sys.stderr)
                results.append(run.measure(store, base, groups))
                for table in tables.tables_of(results[-1], names):
                    table.print()
                    shown.append(table)
    except (PeerError, WrongBytesError, FailedError) as exc:
        print(f"failed: {exc}", file=sys.stderr)
        return 1
    verdicts = targets.judge(results)
    shown.append(tables.table_of_targets(verdicts))
    shown[-1].print()
    document = report.document(
        "peers",
        settings={"quick": options.quick, "cell_size": options.cell_size, **run.settings()},
        results=results,
        peers={peer.name: {"version": peer.version, "settings": peer.settings} for peer in chosen},
        targets=[verdict.as_json() for verdict in verdicts],
    )
    write(document, shown, options, with_plots=with_plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
