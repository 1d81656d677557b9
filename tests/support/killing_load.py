"""Programs for a storm of kills: each goes on, round after round, where its directory was when the daemon died.

Owns: what each program does, and what must be in its directory for what it has said. Must not know: mounts, kills.

Every step can be taken again: the one that was under way when the daemon died is the first of the next round.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

from tests.support.killing import Said, Say, sync
from tests.support.volumes import pattern

NOTHING = Said(-1, -1)


class Program:
    """A writer in a directory of its own.

    Attributes:
        said: what it has said in all rounds: the last step it has begun, and the last one it has called done.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.said = NOTHING

    def work(self, say: Say) -> None:
        """Until the mount is gone."""
        self.begin()
        number = self.said.done + 1
        while True:
            say("b", number)
            self.step(number)
            say("d", number)
            number += 1

    def hear(self, said: Said) -> None:
        """What the round that has just ended adds."""
        self.said = Said(max(self.said.begun, said.begun), max(self.said.done, said.done))

    def begin(self) -> None:
        """Before the first step of a round."""

    def step(self, number: int) -> None:
        """Do it so that it is durable."""
        raise NotImplementedError

    def check(self) -> None:
        """All that it has called done is there, and of what was under way nothing that cannot be."""
        raise NotImplementedError


_HEAD = struct.Struct(">III")


class Log(Program):
    """Appends records of all lengths, each with its number and a checksum, and fsyncs."""

    @staticmethod
    def record(number: int) -> bytes:
        payload = pattern(1 + number * 37 % 6000, ("log", number))
        return _HEAD.pack(number, len(payload), zlib.crc32(payload)) + payload

    def whole(self) -> tuple[int, int]:
        """How many records are whole, and the bytes that they take."""
        data = (self.top / "log").read_bytes() if (self.top / "log").exists() else b""
        count = offset = 0
        while len(data) >= offset + _HEAD.size:
            number, size, checksum = _HEAD.unpack_from(data, offset)
            payload = data[offset + _HEAD.size : offset + _HEAD.size + size]
            if number != count or size == 0 or len(payload) != size or zlib.crc32(payload) != checksum:
                break
            count, offset = count + 1, offset + _HEAD.size + size
        return count, offset

    def begin(self) -> None:
        if (self.top / "log").exists():
            os.truncate(self.top / "log", len(b"".join(map(self.record, range(self.said.done + 1)))))

    def step(self, number: int) -> None:
        fd = os.open(self.top / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, self.record(number))
        os.fsync(fd)
        os.close(fd)

    def check(self) -> None:
        count, end = self.whole()
        assert self.said.done < count <= self.said.begun + 1, f"{count} records, {self.said}"
        data = (self.top / "log").read_bytes() if count else b""
        assert data[:end] == b"".join(map(self.record, range(count)))
        rest = self.record(self.said.begun)
        assert len(data) - end <= len(rest)
        assert all(byte in (0, expected) for byte, expected in zip(data[end:], rest, strict=False))


class Records(Program):
    """Overwrites records of one size in place, each over two or three cells, and fsyncs."""

    SLOTS, SIZE = 30, 5000

    def content(self, number: int) -> bytes:
        return pattern(self.SIZE, ("record", number))

    def slot(self, number: int) -> int:
        return number if number < self.SLOTS else number * 7 % self.SLOTS

    def step(self, number: int) -> None:
        fd = os.open(self.top / "records", os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, self.content(number), self.slot(number) * self.SIZE)
        os.fsync(fd)
        os.close(fd)

    def check(self) -> None:
        data = (self.top / "records").read_bytes() if self.said.done >= 0 else b""
        newest = {self.slot(number): number for number in range(self.said.done + 1)}
        under_way = self.said.begun if self.said.begun > self.said.done else None
        for slot, number in newest.items():
            found, old = data[slot * self.SIZE : (slot + 1) * self.SIZE], self.content(number)
            if under_way is not None and self.slot(under_way) == slot:
                new = self.content(under_way)
                assert len(found) == len(old)
                assert all(byte in pair for byte, *pair in zip(found, old, new, strict=True)), f"record {slot}"
            else:
                assert found == old, f"record {slot}"


class Saves(Program):
    """Saves documents as programs do: a new file, fsync, rename over the old one, fsync of the directory."""

    NAMES = ("letter", "report", "long-" + "n" * 200)

    def content(self, number: int) -> bytes:
        return pattern(500 + number * 997 % 30_000, ("document", number))

    def step(self, number: int) -> None:
        new = self.top / "document.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, self.content(number))
        os.fsync(fd)
        os.close(fd)
        new.rename(self.top / self.NAMES[number % 3])
        sync(self.top)

    def check(self) -> None:
        for turn, name in enumerate(self.NAMES):
            mine = [number for number in range(self.said.begun + 1) if number % 3 == turn]
            done = [number for number in mine if number <= self.said.done]
            if done:
                found = (self.top / name).read_bytes()
                assert found in [self.content(number) for number in (done[-1], mine[-1])], name


class Trees(Program):
    """Makes directories with a file and a symlink, moves some, and deletes those of forty steps ago."""

    KEPT = 40

    def place(self, number: int) -> Path:
        return self.top / f"d{number % 3}" / f"e{number}" / ("long-" + "x" * (number % 2 * 200))

    def step(self, number: int) -> None:
        inner = self.place(number)
        shutil.rmtree(inner.parent, ignore_errors=True)
        inner.mkdir(parents=True)
        fd = os.open(inner / "file", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, pattern(100 + number * 61 % 9000, number))
        os.fsync(fd)
        os.close(fd)
        (inner / "link").symlink_to(f"to {number}")
        if number % 4 == 0:
            inner.rename(inner.with_name("moved"))
        old = self.place(number - self.KEPT).parent
        if number >= self.KEPT and old.exists():
            shutil.rmtree(old)
        sync(self.top)

    def check(self) -> None:
        for number in range(max(0, self.said.begun - self.KEPT + 1), self.said.done + 1):
            inner = self.place(number)
            inner = inner.with_name("moved") if number % 4 == 0 else inner
            assert (inner / "file").read_bytes() == pattern(100 + number * 61 % 9000, number)
            assert os.readlink(inner / "link") == f"to {number}"
            assert sorted(os.listdir(inner)) == ["file", "link"]
        for number in range(max(0, self.said.done - self.KEPT + 1)):
            assert not self.place(number).parent.exists()


class Sizes(Program):
    """Cuts and lengthens a file, and fsyncs."""

    def size(self, number: int) -> int:
        return 0 if number % 10 == 9 else number * 7919 % 50_000

    def grow(self, content: bytes, number: int) -> bytes:
        """What the file holds after a step: the old content, cut, or with new content behind it."""
        size = self.size(number)
        return content[:size] + pattern(max(0, size - len(content)), ("size", number))

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.known = (-1, b"")

    def content(self, number: int) -> bytes:
        """After a step; never asked for one before the last it was asked for."""
        at, content = self.known
        for step in range(at + 1, number + 1):
            content = self.grow(content, step)
        self.known = (number, content)
        return content

    def step(self, number: int) -> None:
        old, new = self.content(number - 1), self.content(number)
        fd = os.open(self.top / "file", os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(fd, min(len(old), len(new)))
        if len(new) > len(old):
            os.pwrite(fd, new[len(old) :], len(old))
        os.fsync(fd)
        os.close(fd)

    def check(self) -> None:
        if self.said.done < 0:
            return
        old = self.content(self.said.done)
        new = self.grow(old, self.said.begun) if self.said.begun > self.said.done else old
        found = (self.top / "file").read_bytes()
        assert min(len(old), len(new)) <= len(found) <= max(len(old), len(new))
        longer = max(old, new, key=len)
        common = min(len(old), len(new))
        assert found[:common] == longer[:common]
        assert all(byte in (0, other) for byte, other in zip(found[common:], longer[common:], strict=False))


class Names(Program):
    """Moves a file, a symlink and a directory from name to name; a rename is done when it returns."""

    NAMES = ("short", "long-" + "a" * 200, "other", "long-" + "b" * 240, "sub/short", "sub/long-" + "c" * 200)
    KINDS = ("f", "l", "d")

    def begin(self) -> None:
        if self.said.begun >= 0:
            return
        for kind in self.KINDS:
            shutil.rmtree(self.top / kind, ignore_errors=True)
            (self.top / kind / "sub").mkdir(parents=True)
        (self.top / "f" / self.NAMES[0]).write_bytes(b"content")
        sync(self.top / "f" / self.NAMES[0])
        (self.top / "l" / self.NAMES[0]).symlink_to("target")
        (self.top / "d" / self.NAMES[0] / "inside").mkdir(parents=True)

    def where(self, kind: str, number: int) -> Path:
        return self.top / kind / self.NAMES[(number + 1) % 6]

    def step(self, number: int) -> None:
        for kind in self.KINDS:
            try:
                self.where(kind, number - 1).rename(self.where(kind, number))
            except FileNotFoundError:
                self.where(kind, number).lstat()  # Moved in the round before, which was cut short.

    def check(self) -> None:
        if self.said.begun < 0:
            return
        for kind in self.KINDS:
            there = [name for name in self.NAMES if os.path.lexists(self.top / kind / name)]
            (name,) = there
            path = self.top / kind / name
            assert path in (self.where(kind, self.said.done), self.where(kind, self.said.begun))
            if kind == "f":
                assert path.read_bytes() == b"content"
            elif kind == "l":
                assert os.readlink(path) == "target"
            else:
                assert os.listdir(path) == ["inside"]


class Draft(Program):
    """Appends past the cache of the kernel and never syncs: whenever the daemon dies, it is in the middle of this."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.fd = -1
        self.first = -1

    def line(self, number: int) -> bytes:
        return pattern(1 + number * 37 % 700, ("draft", number))

    def begin(self) -> None:
        (self.top / "draft").unlink(missing_ok=True)
        self.fd = os.open(self.top / "draft", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_DIRECT, 0o644)
        self.step(self.said.done)

    def step(self, number: int) -> None:
        os.write(self.fd, self.line(number))

    def hear(self, said: Said) -> None:
        self.first = self.said.done
        super().hear(said)

    def check(self) -> None:
        found = (self.top / "draft").read_bytes() if (self.top / "draft").exists() else b""
        written = b"".join(map(self.line, range(self.first, self.said.begun + 1)))
        assert len(found) <= len(written)
        assert all(byte in (0, expected) for byte, expected in zip(found, written, strict=False))


PROGRAMS: tuple[type[Program], ...] = (Log, Records, Saves, Trees, Sizes, Names, Draft)
