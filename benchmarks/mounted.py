"""cloakfs against the bare directory and against gocryptfs, on real mounts, with the same work.

    python -m benchmarks.mounted [--quick] [--directory DIR] [--repetitions N] [--only GROUP ...] [--output FILE]

Every ratio is cloakfs against the peer that is named: above 1, cloakfs is faster. README.md has the method.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import encfs
from benchmarks.harness import peers, report, tree, workloads
from benchmarks.harness.clock import Spread, in_turn, significant
from benchmarks.harness.peers import Peer, PeerError, Site
from benchmarks.harness.quiet import Others, quietest
from benchmarks.harness.workloads import Amounts, Round, Step, WrongBytesError

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_OURS = "cloakfs"


def can_drop_caches() -> bool:
    """Whether steps that start cold can be measured here."""
    return os.access(_DROP_CACHES, os.W_OK)


def drop_caches(sites: list[Site]) -> None:
    """Everything written, nothing cached, and every daemon idle again."""
    os.sync()
    if can_drop_caches():
        _DROP_CACHES.write_text("3", encoding="ascii")
    peers.settle(sites)


class Course:
    """The steps of all repetitions on the peers of one backing store.

    Attributes:
        seconds, cpu: of each step and peer, one figure per repetition; ``cpu`` is the daemon's.
        others: of each step, the share of the machine that others used while all peers took it.
    """

    def __init__(self, sites: list[Site], steps: list[Step]) -> None:
        self._sites = sites
        self._steps = steps
        self.seconds: dict[str, dict[str, list[float]]] = {s.name: {site.peer: [] for site in sites} for s in steps}
        self.cpu: dict[str, dict[str, list[float]]] = {s.name: {site.peer: [] for site in sites} for s in steps}
        self.others: dict[str, list[float]] = {s.name: [] for s in steps}

    def repeat(self, rnd: Round, number: int) -> None:
        """One repetition: every step on every peer before the next step.

        Raises:
            WrongBytesError: a peer did not give back what was written.
        """
        for step in self._steps:
            others = Others(self._daemons())
            for site in in_turn(self._sites, number):
                try:
                    self._take(step, site, rnd)
                except WrongBytesError as exc:
                    raise WrongBytesError(f"{step.title} on {site.peer}: {exc}") from exc
            self.others[step.name].append(others.share(self._daemons()))

    def _daemons(self) -> float:
        return sum(site.cpu_seconds() for site in self._sites)

    def _take(self, step: Step, site: Site, rnd: Round) -> None:
        step.prepare(site.path, rnd)
        if step.warm:
            step.run(site.path, rnd)
        if step.cold:
            drop_caches(self._sites)
        else:
            os.sync()
            peers.settle(self._sites)
        cpu, started = site.cpu_seconds(), time.perf_counter()
        step.run(site.path, rnd)
        self.seconds[step.name][site.peer].append(time.perf_counter() - started)
        peers.settle([site])
        self.cpu[step.name][site.peer].append(site.cpu_seconds() - cpu)
        if step.check_cold:
            drop_caches(self._sites)
        step.check(site.path, rnd)


def results_of(course: Course, steps: list[Step], amounts: Amounts) -> list[dict[str, Any]]:
    """The figures of one backing store for the JSON document, from the repetitions that count."""
    found = []
    for step in steps:
        counted = quietest(course.others[step.name])
        seconds = {peer: [values[n] for n in counted] for peer, values in course.seconds[step.name].items()}
        cpu = {peer: [values[n] for n in counted] for peer, values in course.cpu[step.name].items()}
        entry: dict[str, Any] = {
            "what": step.name,
            "title": step.title,
            "repetitions_counted": len(counted),
            "others_share": significant(statistics.median(course.others[step.name][n] for n in counted), 2),
            "seconds": {peer: Spread.of(values).as_json() for peer, values in seconds.items()},
            "daemon_cpu_seconds": {
                peer: significant(statistics.median(values), 3) for peer, values in cpu.items() if any(values)
            },
            **_ratios(seconds),
        }
        if step.unit != "s":
            entry["rate_unit"] = step.unit
            entry["rate"] = {
                peer: significant(step.amount(amounts) / statistics.median(values)) for peer, values in seconds.items()
            }
        found.append(entry)
    return found


def _ratios(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Against each other peer: the ratio, and the lowest and highest of a single repetition."""
    ours = seconds[_OURS]
    each = {peer: [a / b for a, b in zip(values, ours)] for peer, values in seconds.items() if peer != _OURS}
    return {
        "ratio": {peer: significant(statistics.median(values), 3) for peer, values in each.items()},
        "ratio_range": {peer: [significant(f(values), 3) for f in (min, max)] for peer, values in each.items()},
    }


def show(results: list[dict[str, Any]], names: list[str]) -> None:
    """The table of one backing store."""
    others = [name for name in names if name != _OURS]
    rows = []
    for entry in results:
        figures = entry.get("rate") or {peer: spread["median"] for peer, spread in entry["seconds"].items()}
        ranges = entry["ratio_range"]
        rows.append(
            (
                entry["title"],
                entry.get("rate_unit", "s"),
                *(report.show(figures[name]) for name in names),
                *(f"{entry['ratio'][peer]:.2f} ({ranges[peer][0]:.2f}-{ranges[peer][1]:.2f})" for peer in others),
                f"{entry['others_share']:.0%}",
            )
        )
    report.table(("", "unit", *names, *(f"against {peer}" for peer in others), "others"), rows)


def filesystem_of(path: Path) -> str:
    """Type of the filesystem that holds ``path``, from the kernel's table."""
    real, best, kind = os.path.realpath(path), "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        where = left.split(" ")[4]
        if len(where) >= len(best) and os.path.commonpath([real, where]) == where:
            best, kind = where, right.split(" ")[0]
    return kind


def measure(
    base: Path, tmpfs: Path, all_peers: list[Peer], steps: list[Step], amounts: Amounts, repetitions: int
) -> Course:
    """Run everything in a temporary directory below ``base``, and leave nothing there.

    The archive and what programs print lie below ``tmpfs``, off the store that is measured.

    Raises:
        PeerError, WrongBytesError.
    """
    with ExitStack() as stack:
        home, memory = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=where)))
            for where in (base, tmpfs)
        )
        sample = tree.make(memory / "tree.tar", amounts.tree_files)
        sites = [stack.enter_context(peer.mounted(home)) for peer in all_peers]
        course = Course(sites, steps)
        for number in range(repetitions):
            course.repeat(Round.new(amounts, sample, memory, number), number)
            print(f"repetition {number + 1} of {repetitions} on {filesystem_of(base)}", file=sys.stderr)
        return course


def choose_steps(options: argparse.Namespace) -> list[Step]:
    """The steps that were asked for and can be taken here."""
    steps = list(workloads.STEPS)
    if options.only:
        steps = [step for step in steps if step.group in options.only]
    if not can_drop_caches():
        print("not root: steps that start with cold caches are left out", file=sys.stderr)
        steps = [step for step in steps if not step.cold]
    return steps


def choose_peers(cell_size: int) -> list[Peer]:
    """The bare directory, gocryptfs where it is installed, and cloakfs."""
    found = [peers.bare()]
    other = peers.gocryptfs()
    if other is None:
        print("gocryptfs is not installed: only the bare directory is compared", file=sys.stderr)
    else:
        found.append(other)
    return [*found, peers.cloakfs(cell_size, encfs.__version__)]


def main() -> int:
    """The program; its exit status is 1 when a peer did not mount or gave wrong bytes."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="also measure on the filesystem of DIR")
    parser.add_argument("--tmpfs", type=Path, default=report.MEMORY, help="a tmpfs (default: /dev/shm)")
    parser.add_argument("--cell-size", type=int, default=4096, choices=(4096, 16384, 65536))
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=workloads.GROUPS)
    options = parser.parse_args()
    amounts = workloads.QUICK if options.quick else Amounts()
    repetitions = options.repetitions or (1 if options.quick else 7)
    steps, all_peers = choose_steps(options), choose_peers(options.cell_size)
    stores = [options.tmpfs, *([options.directory] if options.directory else [])]
    results = []
    for base in stores:
        try:
            course = measure(base, options.tmpfs, all_peers, steps, amounts, repetitions)
        except (PeerError, WrongBytesError) as exc:
            print(f"failed: {exc}", file=sys.stderr)
            return 1
        found = results_of(course, steps, amounts)
        print(f"\nbacking store: {filesystem_of(base)}\n")
        show(found, [peer.name for peer in all_peers])
        results.append({"store": filesystem_of(base), "steps": found})
    settings = {
        "quick": options.quick,
        "repetitions": repetitions,
        "cell_size": options.cell_size,
        **{name: getattr(amounts, name) for name in Amounts.__dataclass_fields__},
    }
    versions = {peer.name: peer.version for peer in all_peers}
    report.write(report.document("mounted", settings=settings, results=results, peers=versions), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
