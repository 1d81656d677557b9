"""The codec per core and per thread count, and what each layer of cloakfs adds to the one below it.

    python -m benchmarks.core [--quick] [--repetitions N] [--output FILE]

The layers from the bottom up: the bare calls of the cryptography package (aead), encfs.core (core), a volume in the
memory of this process (memory), the same on a tmpfs (tmpfs), the request handlers of a mount without the kernel
(handlers), a real mount (mount). Where a layer got slower, its overhead over the one below shows it. README.md has the
method; benchmarks.compare compares two results.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import filesystems, layers, primitives, report
from benchmarks.harness.crypto_layers import Bare, Codec
from benchmarks.harness.file_layers import Files, mount_layer, volume_layer
from benchmarks.harness.handler_calls import HandlerCalls
from benchmarks.harness.layers import Amounts, Layer
from benchmarks.harness.memory_store import MemoryStore
from benchmarks.harness.peers import PeerError
from benchmarks.harness.primitives import Pace
from benchmarks.harness.workloads.steps import FailedError, WrongBytesError
from encfs.bench.caches import can_drop_caches
from encfs.core.cells import RUN_BYTES
from encfs.errors import CloakfsError
from encfs.format.limits import CELL_SIZES
from encfs.volume import Volume

_SECRET = b"a passphrase for benchmarks"
_CELL_SIZE = 4096
_FUSE = Path("/dev/fuse")
_MEMORY, _TMPFS, _HANDLERS, _MOUNT = "memory", "tmpfs", "handlers", "mount"


@contextmanager
def _unlocked(path: Path, *, in_memory: bool = False) -> Iterator[Volume]:
    """A new volume; ``in_memory``: nothing of what is done to it reaches ``path``."""
    Volume.create(os.fsencode(path), secret=_SECRET, cell_size=_CELL_SIZE)
    store = MemoryStore(path) if in_memory else None
    with Volume.unlock(os.fsencode(path), _SECRET, store=store) as volume:
        yield volume


def _stack(home: Path, stack: ExitStack) -> Iterator[Layer]:
    """All layers from the bottom up, in ``home`` on a tmpfs; ``stack`` takes them down again."""
    yield Bare(_CELL_SIZE)
    yield Codec(_CELL_SIZE)
    yield volume_layer(_MEMORY, stack.enter_context(_unlocked(home / _MEMORY, in_memory=True)))
    yield volume_layer(_TMPFS, stack.enter_context(_unlocked(home / _TMPFS)))
    handled = stack.enter_context(_unlocked(home / _HANDLERS))
    yield Files(_HANDLERS, stack.enter_context(HandlerCalls.of(handled)))
    if not os.access(_FUSE, os.R_OK | os.W_OK):
        print("the mount is left out: /dev/fuse cannot be used here", file=sys.stderr)
        return
    if not can_drop_caches():
        print("look-ups of the mount are left out: only root can make the kernel forget them", file=sys.stderr)
    peer = filesystems.cloakfs(_CELL_SIZE)
    yield mount_layer(_MOUNT, stack.enter_context(peer.mounted(home / _MOUNT)))


def measure_layers(directory: Path, amounts: Amounts, repetitions: int) -> list[dict[str, Any]]:
    """The entries of all operations; nothing is left in ``directory``.

    Raises:
        WrongBytesError, FailedError, PeerError, CloakfsError, OSError.
    """
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=directory)))
        found = layers.measure(list(_stack(home, stack)), amounts, repetitions)
    return [{**entry, "cell_size": _CELL_SIZE} for entry in found]


def thread_counts(processors: int) -> list[int]:
    """1, 2, 4 and so on, and all processors."""
    return sorted({processors, *(1 << n for n in range(processors.bit_length()))} - {0})


def measure_primitives(pace: Pace) -> list[dict[str, Any]]:
    """The entries of the codec, of names, headers and key derivations.

    Raises:
        WrongBytesError: something did not open to what it was made of.
    """
    found: list[dict[str, Any]] = []
    for cell_size in CELL_SIZES:
        for threads in thread_counts(len(os.sched_getaffinity(0))):
            found += primitives.cells(cell_size, threads, pace)
    return [*found, *primitives.names(pace), *primitives.headers(pace), *primitives.derivations(pace)]


def show_primitives(results: list[dict[str, Any]]) -> None:
    """The table of what needs no files."""
    rows = []
    for entry in results:
        parameters = [f"{entry['cell_size'] // 1024}K x{entry['threads']}"] if "cell_size" in entry else []
        parameters += [f"{entry['name_size']} bytes"] if "name_size" in entry else []
        rate = entry.get("mb_per_s", {}).get("core")
        rows.append(
            (
                " ".join([entry["what"], *parameters]),
                entry["unit"],
                report.show(entry["time"]["raw"]["median"]) if "raw" in entry["time"] else "",
                report.show(entry["time"]["core"]["median"]),
                f"{entry['overhead']:.2f}" if "overhead" in entry else "",
                report.show(rate) if rate else "",
            )
        )
    report.table(("", "unit", "raw", "core", "core/raw", "MB/s core"), rows)


def show_layers(results: list[dict[str, Any]]) -> None:
    """A row for each layer of each operation."""
    rows = []
    for entry in results:
        for name, spread in entry["time"].items():
            over = entry["over_below"].get(name)
            rows.append(
                (
                    f"{entry['title']}: {name}",
                    report.show(spread["median"]),
                    f"{report.show(spread['low'])}-{report.show(spread['high'])}",
                    "" if over is None else f"{over['difference']['median']:+.2f}",
                    "" if over is None else f"{over['ratio']['median']:.2f}",
                    f"{entry['others_share']:.0%}",
                )
            )
    print("\nmicroseconds per operation, and what a layer adds to the one above it in this table\n")
    report.table(("", "us", "lowest-highest", "added", "times", "others"), rows)


def main() -> int:
    """The program; its exit status is 1 when something failed or gave wrong bytes."""
    options = report.arguments(__doc__ or "").parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that what is mounted is taken off.
    repetitions: int = options.repetitions or (1 if options.quick else 9)
    pace = Pace(1, 0.002, 1) if options.quick else Pace(options.repetitions or 41, 0.02, 7)
    amounts = layers.QUICK if options.quick else Amounts()
    try:
        calls = measure_primitives(pace)
        show_primitives(calls)
        stacked = measure_layers(report.MEMORY, amounts, repetitions)
    except (WrongBytesError, FailedError, CloakfsError, PeerError, OSError) as exc:
        print(f"failed: {exc}", file=sys.stderr)
        return 1
    show_layers(stacked)
    settings = {
        "quick": options.quick,
        "repetitions": repetitions,
        "samples_of_calls": pace.repetitions,
        "sample_seconds": pace.sample_seconds,
        "run_bytes": RUN_BYTES,
        "large_mib": amounts.pieces * layers.PIECE >> 20,
        "random_pages": amounts.pages,
        "small_files": amounts.files,
    }
    report.write(report.document("core", settings=settings, results=[*calls, *stacked]), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
