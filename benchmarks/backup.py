"""What a backup costs: the first run, one with nothing new, one with 1 % changed, and a restore of everything.

    python -m benchmarks.backup [--quick] [--files N] [--gigabytes N] [--directory DIR] [--samples FILE] [--output FILE]

cloakfs with both engines beside restic and rsync over the same plain files; the target is an ext4 of its own. Root is
needed. README.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import filesystems, interrupts, report, tables
from benchmarks.harness.backup_peers import ALL, RESTIC, RSYNC, Contender, contenders
from benchmarks.harness.clock import Spread, in_turn, ratio
from benchmarks.harness.peers import PeerError, Site, settle
from benchmarks.harness.practice_files import Files, scratch
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.bench.caches import forget
from encfs.wording import plural
from tests.support import blockdev

STEPS: Final = {
    "first": "first run",
    "unchanged": "nothing has changed",
    "changed": "1 % saved again",
    "restore": "restore everything",
}
_FILES, _GIGABYTES = 10_000, 5.0
_QUICK_FILES, _QUICK_GIGABYTES = 60, 0.012
_REPETITIONS: Final = 3
_DISK: Final = Path("/var/tmp")  # noqa: S108 - what is made there has a fresh name
_CELL_SIZE: Final = 4096
_SHARE: Final = 0.01
# Of all files together: the volume, the plain tree, what was restored; on the other disk the targets.
_ROOM: Final = 3.1
_ROOM_FOR_TARGETS: Final = 1.2
_SPARE: Final = 256 << 20
_SECTORS_WRITTEN, _SECTOR = 6, 512  # Documentation/admin-guide/iostats.rst of the kernel
_PEERS: Final = (RESTIC, RSYNC)


@dataclass(frozen=True, slots=True)
class Sample:
    """One step of one contender. ``cpu``: seconds of all processes; ``written``: bytes, to the disk of the target."""

    step: str
    who: str
    repetition: int
    seconds: float
    cpu: float
    written: int


class Samples:
    """Those that were taken so far, also in a file, where a run that was broken off goes on from."""

    def __init__(self, file: Path | None, settings: dict[str, Any], per_repetition: int) -> None:
        """Raises: PeerError: the file is of a run with other settings. OSError, ValueError: it cannot be read."""
        self._file = file
        self._all: list[Sample] = []
        self._per_repetition = per_repetition
        if file is None:
            return
        if file.exists() and file.stat().st_size:
            first, *lines = file.read_text(encoding="utf-8").splitlines()
            if json.loads(first) != settings:
                raise PeerError(f"{file.name} is of a run with other settings")
            self._all = [Sample(**json.loads(line)) for line in lines]
            return
        file.write_text(json.dumps(settings) + "\n", encoding="utf-8")

    def add(self, sample: Sample) -> None:
        self._all.append(sample)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: getattr(sample, name) for name in Sample.__slots__}) + "\n")
        print(
            f"  {sample.repetition + 1}. {STEPS[sample.step]}, {sample.who}: {sample.seconds:.1f} s,"
            f" {sample.cpu:.1f} s of CPU, {sample.written / 1e6:.1f} MB",
            flush=True,
        )

    def is_whole(self, repetition: int) -> bool:
        """Whether all of a repetition is there; what is there of one that is not does not count."""
        found = {(one.step, one.who) for one in self._all if one.repetition == repetition}
        return len(found) == self._per_repetition

    def of(self, step: str, who: str) -> list[Sample]:
        """One for each whole repetition, in their order."""
        found = {one.repetition: one for one in self._all if (one.step, one.who) == (step, who)}
        return [one for number, one in sorted(found.items()) if self.is_whole(number)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happens: ``base`` is for the targets, on another disk than the files; they are made anew each time."""

    base: Path
    site: Site
    room: int

    @contextmanager
    def targets(self) -> Iterator[Path]:
        """An empty filesystem. Raises: OSError."""
        image, where = self.base / "target.image", self.base / "target"
        where.mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(self.room)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m0", str(image)], check=True, capture_output=True)
        try:
            with blockdev.mounted_image(image, where, "ext4"):
                yield where
        finally:
            image.unlink()


class Round:
    """One repetition: each step is taken by all contenders in turn before the next."""

    def __init__(self, number: int, place: Place, targets: Path, files: Files, who: Sequence[Contender]) -> None:
        self._number, self._place, self._targets = number, place, targets
        self._files, self._who = files, who

    def samples(self) -> Iterator[Sample]:
        """In their order. Raises: PeerError, WrongBytesError, OSError."""
        for one in self._who:
            self._target(one).mkdir()
            one.begin(self._target(one))
        for step in STEPS:
            if step == "changed":
                self._files.change(sorted({one.tree for one in self._who}), _SHARE)
            for one in in_turn(self._who, self._number):
                yield self._restored(one) if step == "restore" else self._taken(step, one)
                interrupts.checkpoint()
        for one in self._who:
            one.end(self._target(one))

    def _target(self, one: Contender) -> Path:
        return self._targets / one.name.replace(" ", "-")

    def _taken(self, step: str, one: Contender) -> Sample:
        return self._sample(step, one, lambda: one.take(self._target(one)))

    def _restored(self, one: Contender) -> Sample:
        to = one.tree.with_name("back")
        where: list[Path] = []
        sample = self._sample("restore", one, lambda: where.append(one.restore(self._target(one), to)))
        self._files.check(where[0], one.name)
        shutil.rmtree(to)
        return sample

    def _sample(self, step: str, one: Contender, act: Callable[[], object]) -> Sample:
        """With nothing in memory, until all of it is on the disk."""
        forget()
        settle([self._place.site])
        written, cpu, before = self._written(), self._cpu(), time.perf_counter()
        act()
        os.sync()
        seconds = time.perf_counter() - before
        return Sample(step, one.name, self._number, seconds, self._cpu() - cpu, self._written() - written)

    def _written(self) -> int:
        """To the device, since it is there."""
        device = os.stat(self._targets).st_dev
        counts = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text(encoding="ascii").split()
        return int(counts[_SECTORS_WRITTEN]) * _SECTOR

    def _cpu(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + self._place.site.cpu_seconds()


def results_of(samples: Samples, names: Sequence[str]) -> list[dict[str, Any]]:
    """An entry for each step that has whole repetitions."""
    found = []
    for step, title in STEPS.items():
        taken = {name: samples.of(step, name) for name in names}
        if not all(taken.values()):
            continue
        seconds = {name: [one.seconds for one in all_of] for name, all_of in taken.items()}
        entry: dict[str, Any] = {"what": step, "title": title, "repetitions_counted": len(taken[names[0]])}
        entry["seconds"] = {name: Spread.of(each).as_json() for name, each in seconds.items()}
        entry["cpu"] = {name: Spread.of([one.cpu for one in all_of]).as_json() for name, all_of in taken.items()}
        entry["written_mb"] = {
            name: Spread.of([one.written / 1e6 for one in all_of]).as_json() for name, all_of in taken.items()
        }
        entry["ratio"] = {
            peer: {name: round(ratio(seconds[name], seconds[peer]), 2) for name in names if name != peer}
            for peer in _PEERS
            if peer in names
        }
        found.append(entry)
    return found


def tables_of(results: Sequence[dict[str, Any]], names: Sequence[str]) -> list[tables.Table]:
    """For people."""

    def rows(what: str, show: Callable[[float], str]) -> list[tuple[str, ...]]:
        return [(entry["title"], *(show(entry[what][name]["median"]) for name in names)) for entry in results]

    shown = [
        tables.Table("Seconds", ("", *names), rows("seconds", report.show)),
        tables.Table("CPU seconds of all processes", ("", *names), rows("cpu", report.show)),
        tables.Table("MB written to the disk of the target", ("", *names), rows("written_mb", report.show)),
    ]
    for peer in (peer for peer in _PEERS if peer in names):
        others = [name for name in names if name != peer]
        ratios = [(entry["title"], *(f"{entry['ratio'][peer][name]:.2f}" for name in others)) for entry in results]
        shown.append(tables.Table(f"Times the seconds of {peer}", ("", *others), ratios))
    return shown


def options_of() -> argparse.Namespace:
    """The options."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--files", type=int, metavar="N", help=f"default: {_FILES:,}")
    parser.add_argument("--gigabytes", type=float, metavar="N", help=f"all together; default: {_GIGABYTES:g}")
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--directory", type=Path, default=report.MEMORY, metavar="DIR", help="default: /dev/shm")
    parser.add_argument(
        *("--targets",), type=Path, default=_DISK, metavar="DIR", help=f"another disk; default: {_DISK}"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="keep each sample there; a run that was broken off goes on from it"
    )
    options = parser.parse_args()
    options.files = options.files or (_QUICK_FILES if options.quick else _FILES)
    options.gigabytes = options.gigabytes or (_QUICK_GIGABYTES if options.quick else _GIGABYTES)
    options.repetitions = options.repetitions or (1 if options.quick else _REPETITIONS)
    return options


def measure(options: argparse.Namespace, samples: Samples) -> dict[str, Contender]:
    """Take all repetitions that are not there yet.

    Returns: who took part, by name.
    Raises: PeerError, WrongBytesError, OSError. SystemExit: a signal came.
    """
    total = int(options.gigabytes * 1e9)
    room = int(total * _ROOM_FOR_TARGETS * len(options.only)) + _SPARE
    _require(options.directory, int(total * _ROOM) + _SPARE, "--directory")
    _require(options.targets, room, "--targets")
    peer = filesystems.cloakfs(_CELL_SIZE)
    with ExitStack() as stack:
        base = Path(stack.enter_context(scratch(options.directory)))
        site = stack.enter_context(peer.mounted(base))
        place = Place(Path(stack.enter_context(scratch(options.targets))), site, room)
        found = contenders(base / peer.name, base / "plain", place.base)
        who = [found[name] for name in options.only]
        for number in range(options.repetitions):
            if samples.is_whole(number):
                continue
            files = Files(options.files, total, seed=number)
            trees = sorted({one.tree for one in who})
            files.fill(trees)
            with place.targets() as targets:
                for sample in Round(number, place, targets, files, who).samples():
                    samples.add(sample)
            for tree in trees:
                shutil.rmtree(tree)
    return {one.name: one for one in who}


def page(document: dict[str, Any], shown: Sequence[tables.Table]) -> str:
    """The whole result in Markdown, with what was backed up."""
    settings = document["settings"]
    counted = max((entry["repetitions_counted"] for entry in document["results"]), default=0)
    text = f"{settings['files']:,} files, {settings['gigabytes']:g} GB; medians of {plural(counted, 'repetition')}."
    return tables.page(document, shown).replace("\n\n", f"\n\n{text}\n\n", 1)


def _require(directory: Path, size: int, option: str) -> None:
    """Raises: PeerError: there is not so much room."""
    free = shutil.disk_usage(directory).free
    if free < size:
        raise PeerError(f"{size / 1e9:.1f} GB have to be free, and {free / 1e9:.1f} are; see {option}, --gigabytes")


def main() -> int:
    """The program; its exit status is 1 when something failed or gave wrong bytes, 128 and more after a signal."""
    options = options_of()
    if os.geteuid() != 0:
        print("root is needed: for a filesystem of its own, and to make the kernel forget files", file=sys.stderr)
        return 1
    settings = {"quick": options.quick, "files": options.files, "gigabytes": options.gigabytes, "names": options.only}
    samples = None
    try:
        samples = Samples(options.samples, settings, len(STEPS) * len(options.only))
        with interrupts.held_back():
            found = measure(options, samples)
    except (PeerError, WrongBytesError, OSError) as exc:
        print(f"failed: {exc}", file=sys.stderr)
        return 1
    finally:
        shown = tables_of(results_of(samples, options.only), options.only) if samples is not None else []
        for table in shown:
            table.print()
    peers = {one.name: {"version": one.version, "settings": one.settings} for one in found.values()}
    document = report.document(
        "backup",
        settings={**settings, "repetitions": options.repetitions, "cell_size": _CELL_SIZE, "share": _SHARE},
        results=results_of(samples, options.only),
        peers=peers,
    )
    target = report.write(document, options)
    if target is not None:
        target.with_suffix(".md").write_text(page(document, shown), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
