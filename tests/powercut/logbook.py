"""The log of the disk: its entries, and the disk as it may be after a power cut at any of them.

The model of the medium (THREAT_MODEL.md section 4): what was written before the last completed flush is there. Of what
was written later each aligned 4 KiB page may be there or not, whatever the order of writing was; a page is never torn.
"""

from __future__ import annotations

import enum
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
_HEAD = struct.Struct(">BQI")


class Kind(enum.IntEnum):
    """What an entry is."""

    WRITE = 1
    FLUSH_BEGIN = 2
    FLUSH_END = 3
    MARK = 4


def pack(kind: Kind, offset: int, size: int) -> bytes:
    """What stands before the data of an entry."""
    return _HEAD.pack(kind, offset, size)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry; ``data`` of a mark is its text."""

    kind: Kind
    offset: int
    data: bytes

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """The write in pieces that a medium takes whole or not at all."""
        end = self.offset + len(self.data)
        start = self.offset
        while start < end:
            stop = min(start - start % PAGE + PAGE, end)
            yield start, self.data[start - self.offset : stop - self.offset]
            start = stop


def read_log(path: Path) -> list[LogEntry]:
    """All entries, in order."""
    raw = path.read_bytes()
    entries, at = [], 0
    while at < len(raw):
        kind, offset, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        entries.append(LogEntry(Kind(kind), offset, raw[at : at + size]))
        at += size
    return entries


class Survivors(enum.StrEnum):
    """What is on the medium of the pages that no flush has confirmed."""

    NONE = "none"
    ALL = "all"
    SOME = "some"  # a random half, in random order
    MOST = "most"  # all but a few, in random order
    FEW = "few"
    TORN = "torn"  # in order, up to a page in the middle of the last write


_SHARE = {Survivors.SOME: 0.5, Survivors.MOST: 0.9, Survivors.FEW: 0.1}


@dataclass(frozen=True, slots=True, order=True)
class CrashPoint:
    """The power fails after the first ``index`` entries."""

    index: int
    survivors: Survivors
    seed: int

    def __str__(self) -> str:
        return f"{self.index}:{self.survivors}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> CrashPoint:
        """The point that :meth:`__str__` wrote."""
        index, survivors, seed = text.split(":")
        return cls(int(index), Survivors(survivors), int(seed))


def chosen_pages(entries: list[LogEntry], point: CrashPoint) -> list[tuple[int, bytes]]:
    """Which pages of unconfirmed writes are on the medium, in the order in which they got there."""
    writes = [entry for entry in entries if entry.kind is Kind.WRITE]
    if point.survivors is Survivors.NONE or not writes:
        return []
    chance = random.Random(point.seed)
    pages = [page for entry in writes[:-1] for page in entry.pages()]
    last = list(writes[-1].pages())
    if point.survivors is Survivors.TORN:
        return pages + last[: chance.randrange(len(last))]
    pages += last
    if point.survivors is not Survivors.ALL:
        share = _SHARE[point.survivors]
        pages = [page for page in pages if chance.random() < share]
        chance.shuffle(pages)
    return pages


class Medium:
    """The disk as the log goes on: what is confirmed in one file, and what may be there after a power cut in copies.

    ``base``: the disk as it was when the log began. Points have to be visited in order of rising index.
    """

    def __init__(self, base: Path, entries: list[LogEntry], directory: Path) -> None:
        self._entries = entries
        self._confirmed_until = 0
        self._confirmed = directory / "confirmed"
        self._directory = directory
        copy_sparse(base, self._confirmed)

    def confirmed_at(self, index: int) -> int:
        """How many entries are before the end of the last flush that was done within the first ``index`` entries."""
        while index and self._entries[index - 1].kind is not Kind.FLUSH_END:
            index -= 1
        return index

    def after(self, point: CrashPoint) -> Path:
        """A fresh image of what is left; the caller deletes it."""
        until = self.confirmed_at(point.index)
        assert until >= self._confirmed_until, "points go forward"
        fd = os.open(self._confirmed, os.O_RDWR)
        try:
            for entry in self._entries[self._confirmed_until : until]:
                if entry.kind is Kind.WRITE:
                    os.pwrite(fd, entry.data, entry.offset)
        finally:
            os.close(fd)
        self._confirmed_until = until
        image = self._directory / "crashed"
        image.unlink(missing_ok=True)
        copy_sparse(self._confirmed, image)
        fd = os.open(image, os.O_RDWR)
        try:
            for offset, data in chosen_pages(self._entries[until : point.index], point):
                os.pwrite(fd, data, offset)
        finally:
            os.close(fd)
        return image

    def marks(self, index: int) -> list[bytes]:
        """The marks among the first ``index`` entries."""
        return [entry.data for entry in self._entries[:index] if entry.kind is Kind.MARK]


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file, leaving out its holes."""
    with source.open("rb") as read, target.open("wb") as written:
        size = os.fstat(read.fileno()).st_size
        written.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # ENXIO: only a hole is left.
            at = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            os.lseek(read.fileno(), start, os.SEEK_SET)
            written.seek(start)
            left = at - start
            while left:
                left -= os.sendfile(written.fileno(), read.fileno(), None, min(left, 1 << 24))


def choose_points(entries: list[LogEntry], count: int, seed: int, first: int = 0) -> list[CrashPoint]:
    """Crash points spread over a log, in order.

    A third of them follow at once on a promise, a third on any other mark, and the others are anywhere.
    """
    chance = random.Random(seed)
    marks = [i for i in range(first, len(entries)) if entries[i].kind is Kind.MARK]
    promises = [i + 1 for i in marks if b" done " in entries[i].data]
    others = [i + 1 for i in marks if b" done " not in entries[i].data]
    kinds = [Survivors.NONE, Survivors.SOME, Survivors.ALL, Survivors.FEW, Survivors.TORN, Survivors.MOST]
    points = set()
    tries = 0
    while len(points) < count and tries < 50 * count:
        kind = kinds[tries % len(kinds)]
        near = ([], promises, others)[chance.randrange(3)]
        if near:
            index = chance.choice(near)
        else:
            stratum = (len(entries) - first) * (len(points) + chance.random()) / count
            index = first + min(int(stratum) + 1, len(entries) - first)
        points.add(CrashPoint(index, kind, chance.randrange(1 << 30)))
        tries += 1
    return sorted(points)
