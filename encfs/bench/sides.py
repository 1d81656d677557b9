"""The sides that are compared: the bare directory, a volume used as a library, a mounted volume.

Owns: how each is made in a scratch folder and taken off again, and what a volume does without FUSE. Must not know: the
mounted work (``work.py``), how a mount is made; that is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from encfs.bench.caches import cool, files_below
from encfs.bench.figures import BARE, CLOAKFS, Figure, Part, figure_of, in_turn, rate
from encfs.bench.transfer import check, read_file, write_file
from encfs.bench.work import Amounts, Sample, Work
from encfs.crypto import rng
from encfs.volume import Volume

SECRET: Final = b"a passphrase that opens nothing but this scratch volume"
_PIECE: Final = 1 << 20

Mounted = Callable[[Path, Path], AbstractContextManager[None]]
"""Given a volume directory and an empty directory: mounts the one at the other for a block."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, and how often."""

    amounts: Amounts
    repetitions: int


def mounted_figures(home: Path, plan: Plan, mounted: Mounted) -> Iterator[Figure]:
    """The work on a mount and on the bare directory, taking turns; figures when all is done, progress as it goes.

    Raises:
        WrongBytesError: other bytes were read than were written.
        CloakfsError: it does not mount. OSError: the medium failed.
    """
    volume, plain, bare = home / "volume", home / "mnt", home / "bare"
    for directory in (plain, bare):
        directory.mkdir()
    Volume.create(os.fsencode(volume), secret=SECRET)
    taken: dict[str, dict[str, list[Sample]]] = {}
    with mounted(volume, plain):
        for number in range(plan.repetitions):
            work = Work(plan.amounts)
            places = ((CLOAKFS, plain, volume), (BARE, bare, None))
            for side, place, lower in in_turn(places, number):
                for sample in work.steps(place, lower):
                    taken.setdefault(sample.name, {}).setdefault(side, []).append(sample)
    for name, by_side in taken.items():
        first = by_side[CLOAKFS][0]
        rates = {side: [sample.rate for sample in samples] for side, samples in by_side.items()}
        colds = [sample.cold for samples in by_side.values() for sample in samples if sample.cold is not None]
        yield figure_of(Part.MOUNTED, name, first.title, first.unit, rates, colds=colds)


def library_figures(home: Path, memory: Path | None, plan: Plan) -> Iterator[Figure]:
    """A volume without FUSE, on the medium and in memory, against plain writes and reads of the same file there.

    Raises:
        WrongBytesError: other bytes were read than were written.
        OSError: the medium failed.
    """
    yield from _library(home, "medium", "on this medium", plan)
    if memory is not None:
        yield from _library(memory, "memory", "in memory", plan)


def _library(where: Path, name: str, place: str, plan: Plan) -> Iterator[Figure]:
    lower, plain = where / "library", where / "plain"
    Volume.create(os.fsencode(lower), secret=SECRET)
    samples: dict[str, dict[str, list[float]]] = {verb: {CLOAKFS: [], BARE: []} for verb in ("write", "read")}
    colds: dict[str, list[bool]] = {"write": [], "read": []}
    with Volume.unlock(os.fsencode(lower), SECRET) as volume:
        sides: list[tuple[str, _InVolume | _Plain]]
        sides = [(CLOAKFS, _InVolume(volume, lower)), (BARE, _Plain(plain))]
        for number in range(plan.repetitions):
            data = rng.random_bytes(plan.amounts.large)
            for side, file in in_turn(sides, number):
                samples["write"][side].append(rate(lambda: file.write(data), len(data) / 1e6))  # noqa: B023 - called now
                colds["read"].append(cool(*file.lower_files()))
                found = bytearray(len(data))
                samples["read"][side].append(rate(lambda: file.read(found), len(data) / 1e6))  # noqa: B023 - too
                check(found, data)
                file.remove()
    for verb, rates in samples.items():
        title = f"{verb} without a mount, {place}"
        yield figure_of(Part.LIBRARY, f"{verb}_{name}", title, "MB/s", rates, colds=colds[verb])


class _InVolume:
    """A large file of a volume."""

    def __init__(self, volume: Volume, lower: Path) -> None:
        self._volume = volume
        self._lower = lower

    def lower_files(self) -> list[Path]:
        return files_below(self._lower)

    def write(self, data: bytes) -> None:
        with self._volume.open(b"large", writable=True, create=True) as file:
            for start in range(0, len(data), _PIECE):
                file.write(start, data[start : start + _PIECE])
            file.sync()

    def read(self, into: bytearray) -> None:
        start = 0
        for piece in self._volume.read_file(b"large"):
            into[start : start + len(piece)] = piece
            start += len(piece)

    def remove(self) -> None:
        self._volume.remove(b"large")


class _Plain:
    """The same file in a plain directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lower_files(self) -> list[Path]:
        return [self._path]

    def write(self, data: bytes) -> None:
        write_file(self._path, data, _PIECE)

    def read(self, into: bytearray) -> None:
        read_file(self._path, into, _PIECE)

    def remove(self) -> None:
        self._path.unlink()
