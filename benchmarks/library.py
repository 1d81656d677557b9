"""What a volume does as a library, without FUSE: between this and benchmarks.peers lies the kernel's way to us.

    python -m benchmarks.library [--quick] [--repetitions N] [--directory DIR] [--output FILE]

Requests have the sizes in which the kernel sends them: writes of 1 MiB, reads of 512 KiB, single pages. Figures are
per second of CPU time of the calling thread.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import report
from benchmarks.harness.clock import Spread, in_turn
from encfs.format.limits import CELL_SIZES
from encfs.volume import Volume

_SECRET = b"a passphrase for benchmarks"
_WRITE, _READ, _PAGE = 1 << 20, 512 << 10, 4096
_PAGES = 4000
_UNITS = {"write": "MB/s", "read": "MB/s", "read_4k": "per s"}


class Library:
    """One volume below ``home``, and one large file in it."""

    def __init__(self, home: Path, cell_size: int, data: bytes, stack: ExitStack) -> None:
        path = os.fsencode(home / f"volume-{cell_size}")
        Volume.create(path, secret=_SECRET, cell_size=cell_size)
        self._volume = stack.enter_context(Volume.unlock(path, _SECRET))
        self._data = memoryview(data)
        count = len(data) // _PAGE
        self._pages = random.Random(5).sample(range(count), min(_PAGES, count))  # noqa: S311 - the same in every run
        self.work: dict[str, Callable[[], float]] = {
            "write": self._write,
            "read": self._read,
            "read_4k": self._read_pages,
        }

    def _write(self) -> float:
        """MB/s."""
        if self._volume.list_directory():
            self._volume.remove(b"large")
        with self._volume.open(b"large", create=True, writable=True) as file:
            started = time.thread_time()
            for start in range(0, len(self._data), _WRITE):
                file.write(start, bytes(self._data[start : start + _WRITE]))
            return len(self._data) / 1e6 / (time.thread_time() - started)

    def _read(self) -> float:
        """MB/s. The bytes are compared in a second pass: keeping them would measure the memory they are kept in."""
        with self._volume.open(b"large") as file:
            started = time.thread_time()
            for start in range(0, len(self._data), _READ):
                file.read(start, _READ)
            elapsed = time.thread_time() - started
            for start in range(0, len(self._data), _READ):
                _expect(file.read(start, _READ) == self._data[start : start + _READ])
        return len(self._data) / 1e6 / elapsed

    def _read_pages(self) -> float:
        """Pages per second."""
        with self._volume.open(b"large") as file:
            started = time.thread_time()
            parts = [file.read(page * _PAGE, _PAGE) for page in self._pages]
            elapsed = time.thread_time() - started
        for part, page in zip(parts, self._pages, strict=True):
            _expect(part == self._data[page * _PAGE :][:_PAGE])
        return len(self._pages) / elapsed


def _expect(same: bool) -> None:  # noqa: FBT001 - it is all it is told
    if not same:
        raise SystemExit("failed: other bytes came back than were written")


def measure(home: Path, data: bytes, repetitions: int) -> list[dict[str, Any]]:
    """Every piece of work on a volume of each cell size, the cell sizes taking turns."""
    samples: dict[tuple[int, str], list[float]] = {(cell, what): [] for cell in CELL_SIZES for what in _UNITS}
    with ExitStack() as stack:
        libraries = {cell: Library(home, cell, data, stack) for cell in CELL_SIZES}
        for number in range(repetitions):
            for what in _UNITS:
                for cell in in_turn(list(libraries), number):
                    samples[cell, what].append(libraries[cell].work[what]())
    return [
        {"what": what, "cell_size": cell, "unit": _UNITS[what], "rate": Spread.of(values).as_json()}
        for (cell, what), values in samples.items()
    ]


def main() -> int:
    """The program."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--directory", type=Path, default=report.MEMORY, metavar="DIR", help="default: a tmpfs")
    options = parser.parse_args()
    size, repetitions = (4, 1) if options.quick else (128, options.repetitions or 7)
    with tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=options.directory) as home:
        results = measure(Path(home), os.urandom(size << 20), repetitions)
    report.table(
        ("", "unit", "median", "lowest", "highest"),
        [
            (
                f"{entry['what']} {entry['cell_size'] // 1024}K",
                entry["unit"],
                *(report.show(entry["rate"][which]) for which in ("median", "low", "high")),
            )
            for entry in results
        ],
    )
    settings = {"quick": options.quick, "repetitions": repetitions, "file_mib": size}
    report.write(report.document("library", settings=settings, results=results), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
