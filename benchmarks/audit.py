"""What the audit log costs a mount: none, none again, the log alone, and events of files, on mounts that take turns.

    python -m benchmarks.audit [--quick] [--directory DIR] [--state DIR] [--repetitions N] [--output FILE]

README.md has the method.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import report
from benchmarks.harness.clock import Spread, in_turn, ratio
from benchmarks.harness.peers import Site
from benchmarks.harness.quiet import Others, quietest
from benchmarks.harness.tables import Table
from encfs.format.limits import SLOT_ID_SIZE
from encfs.format.slots import SlotKind
from encfs.fuse.mount import is_mounted
from encfs.units import VolumeId
from encfs.volume import Volume

TARGET: Final = 1.01
"""With events of files off, a step may cost so many times what it costs without any log."""
NONE: Final = "none"
AGAIN: Final = "none again"
"""A second mount without a log: how far it is from 1 is what this run cannot tell apart."""
_WITHOUT: Final = (NONE, AGAIN)
_LEVELS: Final = {"off": None, "metadata": 1, "full": 2}
_SITES: Final = (*_WITHOUT, *_LEVELS)
_COMPARED: Final = (AGAIN, *_LEVELS)
_KEY: Final = bytes(range(32))
_FILES, _LARGE = 2_000, 64 << 20
_REPETITIONS: Final = 10
_SMALL: Final = b"Dear colleague, " * 6
_PIECE: Final = 1 << 20
_PATIENCE_SECONDS: Final = 60.0
_GATHERED_SECONDS: Final = 1.2
_IDLE_SECONDS: Final = 0.02
_IDLE_CPU_SECONDS: Final = 0.001
_MINUTES, _QUARTERS = 200, 40
_QUARTER_SECONDS: Final = 900.0


# -- a mount -------------------------------------------------------------------------------------------------------


def serve(how: str, volume: str, mountpoint: str) -> None:
    """Mount in the foreground as ``cloakfs mount`` does, with as much of a journal as ``how`` says."""
    from encfs.audit.file_log import FileLog  # noqa: PLC0415 - of the process that serves alone
    from encfs.cli import presences  # noqa: PLC0415
    from encfs.cli.auditing import RecordedLocks  # noqa: PLC0415
    from encfs.fuse import daemon  # noqa: PLC0415

    opened = Volume.unlock(os.fsencode(volume), _KEY, SlotKind.RECOVERY)
    assert opened.slot is not None
    locks, volume_id = None, opened.config.volume_id
    if how not in _WITHOUT:
        level = _LEVELS[how]
        files = None if level is None else FileLog(volume_id, opened.slot.id, reads=level > 1)
        presence = presences.for_mount(volume, opened.config, opened.slot, mountpoint=mountpoint, read_only=False)
        locks = RecordedLocks(presence, volume_id, opened.slot.id, files)
    daemon.start(opened, daemon.MountOptions(volume=volume, mountpoint=mountpoint), foreground=True, locks=locks)


@contextmanager
def mounted(base: Path, state: Path, how: str) -> Iterator[Site]:
    """A new volume, mounted; afterwards nothing of it is left."""
    volume, mountpoint = base / how, base / f"{how}.mnt"
    mountpoint.mkdir()
    Volume.create(os.fsencode(volume), secret=b"four unrelated words here", recovery_key=_KEY)
    command = [sys.executable, "-m", "benchmarks.audit", "--serve", how, str(volume), str(mountpoint)]
    process = subprocess.Popen(command, env={**os.environ, "CLOAKFS_STATE_DIRECTORY": str(state / how)}, cwd=report.TOP)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_mounted(str(mountpoint)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the mount {how} did not come")
            time.sleep(0.02)
        yield Site(how, mountpoint, process.pid)
    finally:
        process.terminate()
        process.wait()


# -- what a log does by itself -------------------------------------------------------------------------------------


def keep_up(volume: str) -> dict[str, Any]:
    """What the process of a mount does for the log by itself: each minute, and each quarter of an hour (a record)."""
    from encfs.cli.auditing import RecordedLocks  # noqa: PLC0415
    from encfs.cli.presences import MountPresence  # noqa: PLC0415
    from encfs.registers.heartbeat import Presence  # noqa: PLC0415

    now = [0.0]
    used = Presence("ab" * 16, path=volume, slot="cd" * SLOT_ID_SIZE, slot_label="benchmark", read_only=False)
    locks = RecordedLocks(MountPresence(used, boot_time=lambda: now[0]), VolumeId(b"\xab" * 16), b"\xcd" * SLOT_ID_SIZE)
    locks.mounted()
    seconds: dict[str, list[float]] = {"minute": [], "quarter": []}
    for what, times, passed in (("minute", _MINUTES, 0.0), ("quarter", _QUARTERS, _QUARTER_SECONDS)):
        for _ in range(times):
            now[0] += passed
            before = time.process_time()
            locks.meanwhile((), 0)
            seconds[what].append(time.process_time() - before)
    minute, quarter = (Spread.of([each * 1e6 for each in seconds[what]]) for what in ("minute", "quarter"))
    percent = (14 * minute.median + quarter.median) / _QUARTER_SECONDS / 1e6 * 100
    return {
        "minute_microseconds": minute.as_json(),
        "quarter_microseconds": quarter.as_json(),
        "percent_of_a_core": round(percent, 5),
    }


def kept_up(base: Path, state: Path) -> dict[str, Any]:
    """:func:`keep_up` in a process with a state directory of its own."""
    command = [sys.executable, "-m", "benchmarks.audit", "--keep-up", str(base)]
    environment = {**os.environ, "CLOAKFS_STATE_DIRECTORY": str(state / "kept-up")}
    done = subprocess.run(command, env=environment, cwd=report.TOP, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- the work ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """``act`` does it ``times`` times in a folder of its own."""

    name: str
    title: str
    times: int
    act: Callable[[Path, int], None]


def _create(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:05}").write_bytes(_SMALL)


def _append(folder: Path, count: int) -> None:
    for number in range(count):
        with (folder / f"{number:05}").open("ab") as file:
            file.write(_SMALL)


def _read(folder: Path, count: int) -> None:
    for number in range(count):
        if (folder / f"{number:05}").read_bytes() != _SMALL * 2:
            raise AssertionError("other bytes came back")


def _look(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:05}").stat()


def _rename(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:05}").rename(folder / f"to {number:05}")


def _unlink(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"to {number:05}").unlink()


def _write_large(folder: Path, pieces: int) -> None:
    with (folder / "large").open("wb", buffering=0) as file:
        for number in range(pieces):
            file.write(bytes([number % 256]) * _PIECE)
        os.fsync(file.fileno())


def _read_large(folder: Path, pieces: int) -> None:
    with (folder / "large").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for number in range(pieces):
            if file.read(_PIECE) != bytes([number % 256]) * _PIECE:
                raise AssertionError("other bytes came back")


def steps(files: int, large: int) -> tuple[Step, ...]:
    """In the order in which one leaves what the next one needs."""
    pieces = large // _PIECE
    return (
        Step("create", "create, write 96 bytes, close", files, _create),
        Step("append", "open, append, close", files, _append),
        Step("read", "open, read, close", files, _read),
        Step("stat", "stat", files, _look),
        Step("rename", "rename", files, _rename),
        Step("unlink", "unlink", files, _unlink),
        Step("write-large", "write a large file, fsync, per MiB", pieces, _write_large),
        Step("read-large", "read it, per MiB", pieces, _read_large),
    )


def settle(site: Site) -> None:
    """Until its daemon has nothing left to do: events are written within a second or so, which counts as its time."""
    quiet = _GATHERED_SECONDS if site.peer in ("metadata", "full") else _IDLE_SECONDS
    used, since = site.cpu_seconds(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(_IDLE_SECONDS)
        if site.cpu_seconds() - used > _IDLE_CPU_SECONDS:
            used, since = site.cpu_seconds(), time.monotonic()


def measure(sites: list[Site], work: tuple[Step, ...], repetitions: int) -> list[dict[str, Any]]:
    """An entry for each step."""
    wall: dict[str, dict[str, list[float]]] = {step.name: {site.peer: [] for site in sites} for step in work}
    busy: dict[str, dict[str, list[float]]] = {step.name: {site.peer: [] for site in sites} for step in work}
    shares: dict[str, list[float]] = {step.name: [] for step in work}
    for number in range(repetitions):
        for site in sites:
            (site.path / f"{number}").mkdir()
        for step in work:
            others = Others(sum(site.cpu_seconds() for site in sites))
            for site in in_turn(sites, number):
                cpu, before = site.cpu_seconds(), time.perf_counter()
                step.act(site.path / f"{number}", step.times)
                wall[step.name][site.peer].append((time.perf_counter() - before) / step.times)
                settle(site)
                busy[step.name][site.peer].append((site.cpu_seconds() - cpu) / step.times)
            shares[step.name].append(others.share(sum(site.cpu_seconds() for site in sites)))
        for site in sites:
            shutil.rmtree(site.path / f"{number}")
    return [_entry(step, wall[step.name], busy[step.name], shares[step.name]) for step in work]


def _entry(
    step: Step, wall: dict[str, list[float]], busy: dict[str, list[float]], shares: list[float]
) -> dict[str, Any]:
    kept = quietest(shares)

    def of(samples: list[float]) -> list[float]:
        return [samples[number] for number in kept]

    return {
        "what": step.name,
        "title": step.title,
        "times": step.times,
        "others_share": round(max(of(shares)), 3),
        "samples": len(kept),
        "microseconds": {how: Spread.of([s * 1e6 for s in of(wall[how])]).as_json() for how in _SITES},
        "daemon_microseconds": {how: Spread.of([s * 1e6 for s in of(busy[how])]).as_json() for how in _SITES},
        "ratio": {how: round(ratio(of(wall[how]), of(wall[NONE])), 3) for how in _COMPARED},
        "daemon_ratio": {how: round(ratio(of(busy[how]), of(busy[NONE])), 3) for how in _COMPARED},
        "daemon_ratio_quartiles": {how: _quartiles(of(busy[how]), of(busy[NONE])) for how in _COMPARED},
    }


def _quartiles(above: list[float], below: list[float]) -> list[float]:
    """Between which half of the ratios within repetitions lies."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return [round(ratios[len(ratios) // 4], 3), round(ratios[-1 - len(ratios) // 4], 3)]


def together(results: list[dict[str, Any]], how: str, which: str) -> float:
    """The geometric mean of a ratio over all steps."""
    product = 1.0
    for entry in results:
        product *= float(entry[which][how])
    return round(product ** (1 / len(results)), 3)


def table_of(results: list[dict[str, Any]]) -> Table:
    """For people."""
    rows = [
        (
            entry["title"],
            report.show(entry["microseconds"][NONE]["median"]),
            *(f"{entry['ratio'][how]:.3f} ({entry['daemon_ratio'][how]:.3f})" for how in _COMPARED),
        )
        for entry in results
    ]
    all_steps = (
        f"{together(results, how, 'ratio'):.3f} ({together(results, how, 'daemon_ratio'):.3f})" for how in _COMPARED
    )
    rows.append(("all, geometric mean", "", *all_steps))
    head = ("", "no log, us", "no log again", "log, no files", "metadata", "full")
    return Table("Times what it costs without a log (CPU time of the daemon)", head, rows)


def told_of(by_itself: dict[str, Any]) -> str:
    """For people."""
    minute, quarter = (by_itself[f"{what}_microseconds"]["median"] for what in ("minute", "quarter"))
    return (
        f"A log without events of files: {report.show(minute)} us of CPU time each minute, {report.show(quarter)} us"
        f" each quarter of an hour; together {by_itself['percent_of_a_core']} % of a core. Requests do nothing for it."
    )


def main() -> int:
    """The program."""
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return 0
    if sys.argv[1:2] == ["--keep-up"]:
        print(json.dumps(keep_up(*sys.argv[2:])))
        return 0
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--directory", type=Path, default=report.MEMORY, metavar="DIR", help="default: /dev/shm")
    parser.add_argument("--state", type=Path, default=Path("/var/tmp"), metavar="DIR", help="where the log is: a disk")  # noqa: S108
    options = parser.parse_args()
    files, large = (20, _PIECE) if options.quick else (_FILES, _LARGE)
    repetitions = options.repetitions or (1 if options.quick else _REPETITIONS)
    with (
        tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=options.directory) as base,
        tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=options.state) as state,
        mounted(Path(base), Path(state), NONE) as none,
        mounted(Path(base), Path(state), AGAIN) as again,
        mounted(Path(base), Path(state), "off") as off,
        mounted(Path(base), Path(state), "metadata") as metadata,
        mounted(Path(base), Path(state), "full") as full,
    ):
        by_itself = kept_up(Path(base), Path(state))
        results = measure([none, again, off, metadata, full], steps(files, large), repetitions)
    table_of(results).print()
    print(told_of(by_itself))
    settings = {"quick": options.quick, "repetitions": repetitions, "files": files, "target": TARGET}
    document = report.document("audit", settings=settings, results=results)
    document["by_itself"] = by_itself
    document["all"] = {
        which: {how: together(results, how, which) for how in _COMPARED} for which in ("ratio", "daemon_ratio")
    }
    target = report.write(document, options)
    if target is not None:
        text = f"# What the audit log costs a mount\n\n{table_of(results).markdown()}\n{told_of(by_itself)}\n"
        target.with_suffix(".md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
