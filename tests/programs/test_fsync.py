"""What was synced is there after kill -9 of the daemon, whichever way it was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs.workers.common import SLOT, SLOTS, record
from tests.support.mounting import MountedVolume
from tests.support.programs import MARKER, Maker, Reporter, crash, reporting, worker

pytestmark = [pytest.mark.mount, pytest.mark.programs]


def check_append(directory: Path, last: int) -> None:
    """All lines, complete and in order; after the last synced one at most a piece of the next."""
    lines = (directory / "append").read_bytes().split(b"\n")
    numbers = [int(line[:8]) for line in lines[:-1]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) in {last, last + 1}
    for number, line in zip(numbers, lines):
        assert record(number).startswith(line[8:])
    assert (f"{last + 1:08}".encode() + record(last + 1)).startswith(lines[-1]) or lines[-1] == b""


def check_slots(name: str) -> Callable[[Path, int], None]:
    """Every slot holds the last record that was synced to it; only the next one may be half written."""

    def check(directory: Path, last: int) -> None:
        content = (directory / name).read_bytes().ljust(SLOTS * SLOT, b"\0")
        for slot in range(SLOTS):
            numbers = [number for number in range(1, last + 1) if number * 29 % SLOTS == slot]
            if (last + 1) * 29 % SLOTS == slot:
                continue
            expected = record(numbers[-1]) if numbers else bytes(SLOT)
            assert content[slot * SLOT : (slot + 1) * SLOT] == expected, f"slot {slot}"

    return check


def check_truncate(directory: Path, last: int) -> None:
    """The last number is at the end, unless the next change has begun: then what it had left is zero or ours."""
    content = (directory / "truncate").read_bytes()
    if content[-8:] != f"{last:08}".encode():
        found = {int(number) for number in re.findall(rb"\d{8}", content)}
        assert set(content) <= set(b"0123456789\0")
        assert max(found, default=0) <= last + 1


def check_replace(directory: Path, last: int) -> None:
    """Each of the eight names has its last synced version, or the next one, whole."""
    for name in range(8):
        numbers = [number for number in range(1, last + 1) if number % 8 == name]
        path = directory / f"{MARKER} {name}"
        if not numbers and not path.exists():
            continue
        content = path.read_bytes()
        assert len(content) % SLOT == 0
        assert content
        allowed = [*numbers[-1:], *([last + 1] if (last + 1) % 8 == name else [])]
        assert content in [record(number) * (len(content) // SLOT) for number in allowed]


KINDS = {
    "append": check_append,
    "overwrite": check_slots("overwrite"),
    "truncate": check_truncate,
    "replace": check_replace,
    "mmap": check_slots("mmap"),
}


def rounds(volume: MountedVolume, kind: str, counts: tuple[int, ...]) -> None:
    """Write, kill the daemon, look; each time on what the last time has left."""
    last = 0
    for count in counts:
        writer = Reporter(worker("ledger", volume.path, kind, last + 1))
        with reporting(writer):
            writer.read(count)
            crash(volume, writer)
        last = int(writer.lines[-1])
        KINDS[kind](volume.path, last)
        if kind == "append":
            last = tidy_append(volume.path / "append")
    volume.remount()
    KINDS[kind](volume.path, last)


def tidy_append(path: Path) -> int:
    """Cut a piece of a line off, as a program does with its log; returns the number of the last whole line."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    with path.open("r+b") as file:
        file.truncate(len(whole))
    return whole.count(b"\n")


@pytest.mark.parametrize("kind", KINDS)
def test_synced_records_survive(volume: MountedVolume, kind: str) -> None:
    """kill -9 of the daemon three times under a program that syncs each record: every synced record is there."""
    rounds(volume, kind, (1, 10, 60))


@pytest.mark.parametrize("kind", ["append", "overwrite"])
def test_synced_records_survive_in_large_cells(make_volume: Maker, kind: str) -> None:
    """The same with cells of 64 KiB, where one cell holds many records."""
    rounds(make_volume(cell_size=65536), kind, (5, 70))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_synced_records_survive_many_crashes(volume: MountedVolume, kind: str) -> None:
    """The same through forty crashes."""
    rounds(volume, kind, tuple(count % 37 + 1 for count in range(11, 411, 10)))
