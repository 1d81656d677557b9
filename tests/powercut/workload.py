"""What a workload of the power-cut rig is, and what its marks in the log promise."""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encfs import runtime
from encfs.format.geometry import Geometry
from encfs.volume import Volume

PAGE = 4096


@dataclass(slots=True)
class Progress:
    """Of one workload at one point of the log: the last step that was begun, and the last that was confirmed."""

    begun: int = 0
    done: int = 0


@dataclass(slots=True)
class Marks:
    """Writes marks into the log: ``<workload> begun|done <step>``.

    Before each, what this host remembers of the volume (FORMAT.md section 13) is copied to ``memory(number)``: all that
    it claims to be durable has to be on the disk at that mark.
    """

    fd: int
    memory: Callable[[int], Path]
    count: int = 0

    def begun(self, workload: Workload, step: int) -> None:
        """From here on traces of this step may be on the disk."""
        self.note(f"{workload.name} begun {step}")

    def done(self, workload: Workload, step: int) -> None:
        """From here on all of this step has to be on the disk."""
        self.note(f"{workload.name} done {step}")

    def note(self, text: str) -> None:
        """One mark."""
        self.count += 1
        (memory,) = (runtime.state_directory() / "volumes").glob("*.sqlite")
        with closing(sqlite3.connect(memory)) as now, closing(sqlite3.connect(self.memory(self.count))) as kept:
            now.backup(kept)
        os.write(self.fd, text.encode())


def progress_of(marks: list[bytes]) -> dict[str, Progress]:
    """What the marks before a crash say of each workload that had begun."""
    found: dict[str, Progress] = {}
    for mark in marks:
        if b" " not in mark:
            continue  # Only a good moment for a power cut.
        name, what, step = mark.decode().split()
        setattr(found.setdefault(name, Progress()), what, int(step))
    return found


class Workload:
    """One program. It has a directory of its own name in the volume, and step 0 is done before the log begins."""

    name: ClassVar[str]

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.top = Path()
        self.between: Callable[[], None] = lambda: None  # what else goes on between two calls of a step

    @property
    def plain(self) -> bytes:
        """The directory as a path in the volume."""
        return self.name.encode()

    def prepare(self, volume: Volume) -> None:
        """Step 0."""

    def start(self, mountpoint: Path, lower: Path) -> None:
        """The volume is mounted at ``mountpoint`` now; it lies in ``lower``."""
        self.top = mountpoint / self.name

    def step(self, number: int) -> None:
        """Do step ``number`` (from 1) and wait until it is durable."""
        raise NotImplementedError

    def stop(self) -> None:
        """Close what is open."""

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        """Assert that ``volume`` holds what was promised. ``scratch``: an empty directory."""
        raise NotImplementedError


def text(size: int, *seed: object) -> bytes:
    """Bytes that tell where they belong."""
    return hashlib.shake_128(repr(seed).encode()).digest(size)


def sync_directory(path: Path) -> None:
    """fsync of a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """fsync of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(volume: Volume, path: bytes) -> bytes:
    """A whole file."""
    return b"".join(volume.read_file(path))


def segments(size: int, geometry: Geometry) -> list[tuple[int, int]]:
    """What is written whole or not at all: a cell, or what lies of it in one page of the kernel's."""
    borders = {0, size, *range(PAGE, size, PAGE)}
    index = 1
    while (start := int(geometry.start_of(index))) < size:
        borders.add(start)
        index += 1
    ordered = sorted(borders)
    return list(itertools.pairwise(ordered))


def assert_old_or_new(content: bytes, versions: list[bytes], geometry: Geometry, what: str) -> None:
    """Every part of ``content`` is that part of one of ``versions``; a shorter version goes on with zero bytes."""
    size = len(content)
    padded = [version.ljust(size, b"\0") for version in versions]
    for start, end in segments(size, geometry):
        assert content[start:end] in [version[start:end] for version in padded], f"{what}: neither in [{start}, {end})"
