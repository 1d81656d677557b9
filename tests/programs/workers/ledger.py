"""Writes numbered records to files, syncs, and prints the number of each one that is synced; until it is stopped.

    ledger.py DIRECTORY KIND [SEED]

"append": one growing file, as logs grow. "overwrite": records at random places of one file, with holes. "truncate": a
file that shrinks and grows. "replace": files that are made new and renamed over the old one, directory synced. "mmap":
"overwrite" through a shared mapping. tests/programs/test_fsync.py knows what each kind must have left behind.
"""

import mmap
import os
import random
import sys
from pathlib import Path

from common import MARKER, SLOT, SLOTS, record


def append(directory: Path, number: int, chance: random.Random) -> None:
    """A piece of a record of odd length, at the end of the file."""
    fd = os.open(directory / "append", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{number:08}".encode() + record(number)[: chance.randrange(3000)] + b"\n")
    (os.fsync if number % 2 else os.fdatasync)(fd)
    os.close(fd)


def overwrite(directory: Path, number: int, chance: random.Random) -> None:
    """A record in its slot."""
    fd = os.open(directory / "overwrite", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, record(number), (number * 29 % SLOTS) * SLOT)
    if chance.random() < 0.5:
        # A part of it once more: the cell is written twice before one sync.
        os.pwrite(fd, record(number)[100:200], (number * 29 % SLOTS) * SLOT + 100)
    os.fdatasync(fd)
    os.close(fd)


def truncate(directory: Path, number: int, chance: random.Random) -> None:
    """A file whose size goes up and down; its last eight bytes are the number."""
    fd = os.open(directory / "truncate", os.O_RDWR | os.O_CREAT, 0o600)
    size = chance.randrange(8, 60000)
    os.ftruncate(fd, size)
    os.pwrite(fd, f"{number:08}".encode(), size - 8)
    os.fsync(fd)
    os.close(fd)


def replace(directory: Path, number: int, chance: random.Random) -> None:
    """A new file, renamed over one of eight."""
    target, temporary = directory / f"{MARKER} {number % 8}", directory / f"new {number % 3}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, record(number) * chance.randrange(1, 5))
    os.fsync(fd)
    os.close(fd)
    temporary.rename(target)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def mapped(directory: Path, number: int, chance: random.Random) -> None:
    """A record in its slot, through a mapping."""
    fd = os.open(directory / "mmap", os.O_RDWR | os.O_CREAT, 0o600)
    if os.fstat(fd).st_size != SLOTS * SLOT:
        os.ftruncate(fd, SLOTS * SLOT)
    start = (number * 29 % SLOTS) * SLOT
    with mmap.mmap(fd, SLOTS * SLOT) as memory:
        memory[start : start + SLOT] = record(number)
        memory.flush()
    if chance.random() < 0.5:
        os.fsync(fd)
    os.close(fd)


KINDS = {"append": append, "overwrite": overwrite, "truncate": truncate, "replace": replace, "mmap": mapped}


def main(directory: Path, kind: str, first: int) -> None:
    """Write for ever."""
    chance = random.Random(first)
    number = first
    while True:
        KINDS[kind](directory, number, chance)
        print(number, flush=True)
        number += 1


main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
