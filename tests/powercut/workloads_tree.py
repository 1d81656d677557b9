"""Workloads on names: trees that are made and synced, and everything else at once, never synced."""

from __future__ import annotations

import os
import random
from errno import EMLINK
from pathlib import Path

from encfs.volume import Volume
from tests.powercut.workload import Progress, Workload, read, sync_directory, sync_file, text
from tests.support.linux import renameat2

LONG = "a long name " * 17
EXCHANGE = 2


class Tree(Workload):
    """Makes directories with things in them and syncs each; the one before gets another name."""

    name = "tree"

    def step(self, number: int) -> None:
        box = self.top / f"box{number}"
        long = box / f"{LONG}{number}"
        for directory in (box, box / "links", box / "tagged", long):
            directory.mkdir()
            self.between()
        (box / "links/l").symlink_to(f"target {number}")
        os.setxattr(box / "tagged", "user.tag", b"%d" % number)
        for path in (box / "file", long / "file", long / LONG):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, text(number * 531 % 9000, self.seed, number))
            self.between()
            os.fsync(fd)
            os.close(fd)
        for directory in (box / "links", box / "tagged", long, box):
            sync_directory(directory)
        if number > 1:
            (self.top / f"box{number - 1}").rename(self.top / self._final(number - 1))
            self.between()
        sync_directory(self.top)

    def _final(self, number: int) -> str:
        return f"{LONG}done{number}" if number % 3 == 0 else f"done{number}"

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        here = {os.fsdecode(entry.name) for entry in volume.list_directory(self.plain)}
        for number in range(1, progress.done + 1):
            places = {self._final(number)} if number < progress.done else {f"box{number}", self._final(number)}
            if number == progress.done == progress.begun:
                places = {f"box{number}"}
            found = here & places
            assert len(found) == 1, f"box {number} is in {found} of {places}: {progress}"
            self._check_box(volume, self.plain + b"/" + os.fsencode(found.pop()), number)

    def _check_box(self, volume: Volume, box: bytes, number: int) -> None:
        long = f"{LONG}{number}".encode()
        assert {entry.name for entry in volume.list_directory(box)} == {b"links", b"tagged", b"file", long}
        assert volume.read_link(box + b"/links/l") == b"target %d" % number
        tags = volume.attributes.get_all(volume.resolve(box + b"/tagged"))
        assert tags == {b"user.tag": b"%d" % number}
        content = text(number * 531 % 9000, self.seed, number)
        for path in (b"file", long + b"/file", long + b"/" + LONG.encode()):
            assert read(volume, box + b"/" + path) == content, path


class Churn(Workload):
    """Creates, writes, moves, links, exchanges, empties and removes, and syncs now and then: nothing of it is promised.

    But what a power cut leaves of it must not look like tampering.
    """

    name = "churn"

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        self._chance = random.Random(self.seed)
        self._made = 0

    def step(self, number: int) -> None:
        make = [self._create, self._create, self._make_directory, self._links]
        move = [self._move, self._move, self._exchange]
        actions = [*make, *move, self._rewrite, self._append, self._remove, self._tag, self._sync]
        for _ in range(6):
            self.between()
            try:
                self._chance.choice(actions)()
            except OSError as exc:
                if exc.errno != EMLINK:  # A file has one long name (FORMAT.md section 9.1).
                    raise

    def _fresh(self) -> Path:
        self._made += 1
        directories = [self.top, *self._some(Path.is_dir)]
        name = f"{LONG if self._chance.random() < 0.3 else ''}{self._made}"
        return self._chance.choice(directories) / name

    def _some(self, kind) -> list[Path]:
        found = sorted(path for path in self.top.rglob("*") if not path.is_symlink() and kind(path))
        return self._chance.sample(found, min(len(found), 2))

    def _content(self) -> bytes:
        return text(self._chance.choice((0, 3, 900, 3552, 5000, 30_000)), self._made)

    def _create(self) -> None:
        path = self._fresh()
        path.write_bytes(self._content())
        if self._chance.random() < 0.4:
            os.setxattr(path, "user.tag", b"t" * self._chance.choice((1, 300)))

    def _make_directory(self) -> None:
        path = self._fresh()
        path.mkdir()
        what = self._chance.randrange(5)
        if what == 0:
            os.setxattr(path, "user.tag", b"t")
        elif what == 1:
            (path / "l").symlink_to("somewhere")
        elif what == 2:
            (path / "f").write_bytes(self._content())
        elif what == 3:
            (path / "d").mkdir()

    def _links(self) -> None:
        self._fresh().symlink_to("t" * self._chance.choice((5, 3500)))
        for path in self._some(Path.is_file)[:1]:
            if len(path.name) < 100:
                os.link(path, self.top / f"link{self._made}")

    def _move(self) -> None:
        for path in self._some(Path.exists)[:1]:
            target = self._fresh()
            if not target.is_relative_to(path):
                path.rename(target)

    def _exchange(self) -> None:
        pair = self._some(Path.exists)
        if len(pair) == 2 and not any(a.is_relative_to(b) for a, b in (pair, pair[::-1])):
            renameat2(pair[0], pair[1], EXCHANGE)

    def _rewrite(self) -> None:
        for path in self._some(Path.is_file)[:1]:
            path.write_bytes(self._content())

    def _append(self) -> None:
        for path in self._some(Path.is_file)[:1]:
            with path.open("ab") as file:
                file.write(self._content())

    def _remove(self) -> None:
        for path in self._some(Path.is_file)[:1]:
            path.unlink()
        for path in self._some(Path.is_dir):
            if not any(path.iterdir()):
                path.rmdir()

    def _sync(self) -> None:
        for path in self._some(Path.exists)[:1]:
            sync_directory(path) if path.is_dir() else sync_file(path)

    def _tag(self) -> None:
        for path in self._some(Path.exists)[:1]:
            os.setxattr(path, "user.tag", b"t" * self._chance.choice((1, 2000)))

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        for entry in volume.list_directory(self.plain):
            volume.stat(self.plain + b"/" + entry.name, follow=False)
