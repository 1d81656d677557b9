"""Workloads on single files: a log that grows, overwriting in place, saved documents, truncation, the config."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

from encfs.core import config as core_config
from encfs.core.sources import KnownSecret
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.skeleton import open_root, read_copies, write_config
from tests.powercut.workload import Progress, Workload, assert_old_or_new, read, sync_directory, text
from tests.support.volumes import RECOVERY_KEY

SLOTS = 12
SLOT = 4999


class Log(Workload):
    """Appends records of odd length to one file, and syncs after each second or third."""

    name = "log"

    def _record(self, number: int) -> bytes:
        return text(random.Random(self.seed * 1000 + number).choice((1, 90, 700, 4064, 6000)), self.seed, number)

    def _stream(self, until: int) -> bytes:
        return b"".join(self._record(n) for n in range(3 * until))

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        self._fd = os.open(self.top / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        sync_directory(self.top)

    def step(self, number: int) -> None:
        for record in range(3 * (number - 1), 3 * number):
            os.write(self._fd, self._record(record))
            self.between()
        (os.fsync if number % 2 else os.fdatasync)(self._fd)

    def stop(self) -> None:
        os.close(self._fd)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        content, promised = read(volume, b"log/log"), self._stream(progress.done)
        assert len(content) >= len(promised), f"the log is short: {len(content)} of {len(promised)} bytes"
        assert self._stream(progress.begun).startswith(content), "the log holds what was never appended"


class Overwrite(Workload):
    """Puts new records in the place of old ones."""

    name = "overwrite"

    def _content(self, until: int) -> bytes:
        content = bytearray(text(SLOTS * SLOT, self.seed, "slots"))
        for number in range(1, until + 1):
            at = self._slot(number) * SLOT
            content[at : at + SLOT] = text(SLOT, self.seed, number)
        return bytes(content)

    def _slot(self, number: int) -> int:
        return random.Random(self.seed * 7919 + number).randrange(SLOTS)

    def prepare(self, volume: Volume) -> None:
        volume.write_file(b"overwrite/slots", self._content(0))

    def step(self, number: int) -> None:
        fd = os.open(self.top / "slots", os.O_RDWR)
        os.pwrite(fd, text(SLOT, self.seed, number), self._slot(number) * SLOT)
        self.between()
        os.fdatasync(fd)
        os.close(fd)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        content = read(volume, b"overwrite/slots")
        assert len(content) == SLOTS * SLOT
        versions = [self._content(until) for until in range(progress.done, progress.begun + 1)]
        assert_old_or_new(content, versions, volume.ctx.geometry, self.name)


class Save(Workload):
    """Saves documents as programs do: new file, attribute, fsync, rename over the old one, fsync of the directory."""

    name = "save"
    documents = (b"letter.odt", b"a letter with a long name " * 9)

    def _document(self, number: int) -> bytes:
        return b"%8d" % number + text(random.Random(self.seed * 31 + number).randrange(20_000), self.seed, number)

    def prepare(self, volume: Volume) -> None:
        for document in self.documents:
            volume.write_file(b"save/" + document, self._document(0))

    def step(self, number: int) -> None:
        for document in self.documents:
            path = self.top / os.fsdecode(document)
            fresh = path.with_name(f".~{number}")
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.setxattr(fd, "user.DOSATTRIB", b"%8d" % number)
            os.write(fd, self._document(number))
            os.fsync(fd)
            os.close(fd)
            self.between()
            fresh.rename(path)
            self.between()
            sync_directory(self.top)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        for document in self.documents:
            content = read(volume, b"save/" + document)
            number = int(content[:8])
            assert progress.done <= number <= progress.begun, f"{document!r} is version {number}: {progress}"
            assert content == self._document(number), f"{document!r} is not whole"
            attributes = volume.attributes.get_all(volume.resolve(b"save/" + document))
            assert attributes.get(b"user.DOSATTRIB") == (content[:8] if number else None)
        names = {entry.name for entry in volume.list_directory(b"save")} - set(self.documents)
        assert names <= {b".~%d" % progress.begun}, names


class Truncate(Workload):
    """A file that shrinks and grows; its last eight bytes are the number of the step."""

    name = "truncate"

    def _size(self, number: int) -> int:
        return random.Random(self.seed * 17 + number).choice((8, 500, 3552, 4096, 9000, 25_000, 40_000))

    def _content(self, until: int) -> bytes:
        content = text(20_000, self.seed, "start")
        for number in range(1, until + 1):
            content = content[: self._size(number)].ljust(self._size(number), b"\0")
            content = content[:-8] + b"%8d" % number
        return content

    def prepare(self, volume: Volume) -> None:
        volume.write_file(b"truncate/file", self._content(0))

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        self._fd = os.open(self.top / "file", os.O_RDWR)

    def step(self, number: int) -> None:
        """The file stays open: only a second fsync of it says what the first one confirmed (FORMAT.md section 9.1)."""
        os.ftruncate(self._fd, self._size(number))
        self.between()
        os.pwrite(self._fd, b"%8d" % number, self._size(number) - 8)
        self.between()
        os.fsync(self._fd)

    def stop(self) -> None:
        os.close(self._fd)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        content = read(volume, b"truncate/file")
        versions = [self._content(until) for until in range(progress.done, progress.begun + 1)]
        sizes = [len(version) for version in versions]
        assert min(sizes) <= len(content) <= max(sizes), f"size {len(content)}, not within {sizes}"
        assert_old_or_new(content, versions, volume.ctx.geometry, self.name)


class ConfigChange(Workload):
    """Writes both copies of the config with the next ``seq``, as a change of keys does (FORMAT.md section 3)."""

    name = "config"

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        self._lower = lower

    def step(self, number: int) -> None:
        store, root_fd = open_root(os.fsencode(self._lower))
        try:
            unlocked = core_config.unlock(read_copies(store, root_fd), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY))
            assert unlocked.config.seq == number
            changed = replace(unlocked.config, seq=number + 1)
            write_config(store, root_fd, core_config.seal_config(unlocked.ring.suite, changed, unlocked.root_key))
        finally:
            os.close(root_fd)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        assert progress.done <= volume.config.seq - 1 <= progress.begun, f"seq {volume.config.seq}: {progress}"
