"""Volumes for tests of the library: made fast, crashed on purpose, looked at from below."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from encfs.core import frames
from encfs.core.keys import KeyRing
from encfs.format.directory import DirectoryRecord
from encfs.format.header import FileHeader
from encfs.format.slots import SlotKind
from encfs.store.local import LocalStore
from encfs.units import DirId
from encfs.volume import Volume
from encfs.volume.changes import Caller
from encfs.volume.context import Context
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.verify import Finding, Severity, Summary, Verifier
from tests.support.stores import DyingStore

CELLS = (4096, 16384, 65536)
SECRET = b"a passphrase for tests"
# A recovery key needs no Argon2id, so a volume unlocks in milliseconds.
RECOVERY_KEY = bytes(range(32))
ROOT = Caller(0, 0)
LONG = b"long-" + b"L" * 195  # a name that only a MAC of stands below


def pattern(size: int, seed: object = 0) -> bytes:
    """Bytes that differ from cell to cell."""
    return hashlib.shake_128(repr(seed).encode()).digest(size)


@cache
def _template(cell_size: int) -> Path:
    """One volume for each cell size, made once in a process and copied for each test."""
    directory = Path(tempfile.mkdtemp(prefix="cloakfs-template-"))
    Volume.create(os.fsencode(directory / "volume"), secret=SECRET, recovery_key=RECOVERY_KEY, cell_size=cell_size)
    return directory / "volume"


def remove_templates() -> None:
    """The end of a test run."""
    for cell_size in CELLS:
        shutil.rmtree(_template(cell_size).parent, ignore_errors=True)
    _template.cache_clear()


class LowerVolume:
    """A volume below ``path``, locked between calls."""

    def __init__(self, path: Path, cell_size: int = 4096) -> None:
        self.path = path
        self.cell_size = cell_size
        shutil.copytree(_template(cell_size), path)

    def copy(self, path: Path) -> LowerVolume:
        """The same volume elsewhere, hard links and attributes included."""
        first: dict[int, str] = {}

        def copy_one(source: str, target: str) -> str:
            known = first.setdefault(os.stat(source).st_ino, target)
            return shutil.copy2(source, target) if known == target else os.link(known, target) or target

        made = copy.copy(self)
        made.path = path
        shutil.copytree(self.path, path, symlinks=True, copy_function=copy_one)
        return made

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path)

    def unlock(self, *, store: Any = None, read_only: bool = False, mountpoint: bytes = b"") -> Volume:
        """Unlock; ``store`` is a class whose instance is put under the volume."""
        made = None if store is None else self.make_store(store)
        return Volume.unlock(
            os.fsencode(self.path),
            RECOVERY_KEY,
            SlotKind.RECOVERY,
            read_only=read_only,
            mountpoint=mountpoint,
            store=made,
        )

    def make_store(self, kind: Any) -> Any:
        """An instance of a store class for this volume."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return kind(fd)
        finally:
            os.close(fd)

    def crash(self, work: Callable[[Volume], object] = lambda _: None, *, settled: bool = False) -> None:
        """Do ``work`` in a process that ends without a word: files stay as they are, the session stays OPEN.

        ``settled``: the files are closed before, so that only the session is open.
        """
        child = os.fork()
        if child == 0:
            status = 1
            try:
                volume = self.unlock()
                work(volume)
                if settled:
                    for node in volume.tree.open_nodes():
                        assert node.file is not None
                        node.file.handles = 0
                        volume.tree.close_file(node)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, "the process that was to crash failed"

    def unlock_and_die(self) -> None:
        """In a forked child: unlock, and end with status 77 at the first change of a file's lower size."""
        fd = os.open(self.path, os.O_RDONLY)
        store = DyingStore(fd)
        store.truncate = lambda *_: os._exit(77)  # type: ignore[method-assign]
        Volume.unlock(os.fsencode(self.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store)

    def lower(self, plain: bytes) -> Path:
        """Where a plain path is below."""
        with self.unlock(read_only=True) as volume:
            return self.lower_in(volume, plain)

    def lower_in(self, volume: Volume, plain: bytes) -> Path:
        """The same with a volume that is unlocked already."""
        node: Node | None = volume.resolve(plain, follow=False)
        parts: list[bytes] = []
        while node is not None and node is not volume.tree.root:
            parts.append(node.lower_name)
            node = node.parent
        return Path(os.fsdecode(b"/".join([os.fsencode(self.path), *reversed(parts)])))

    def header(self, plain: bytes) -> FileHeader:
        """The header of a file as it is on the disk."""
        return self.header_at(self.lower(plain))

    def header_at(self, lower: Path) -> FileHeader:
        with self.unlock(read_only=True) as volume:
            return frames.open_header(volume.ctx.ring, lower.read_bytes()[:512])

    def write_header(self, lower: Path, header: FileHeader) -> None:
        """Put a header of our own making into a lower file."""
        with self.unlock(read_only=True) as volume:
            sealed = frames.seal_header(volume.ctx.ring, header)
        with lower.open("r+b") as file:
            file.write(sealed)

    def record(self, lower: Path) -> DirectoryRecord:
        """The record of a lower directory."""
        with self.unlock(read_only=True) as volume:
            return frames.open_directory(volume.ctx.ring, (lower / "cloakfs.d").read_bytes())

    def write_record(self, lower: Path, **changes: object) -> None:
        """Overwrite a directory record with some fields changed."""
        record = replace(self.record(lower), **changes)
        with self.unlock(read_only=True) as volume:
            (lower / "cloakfs.d").write_bytes(frames.seal_directory(volume.ctx.ring, record))

    def seal_name(self, dir_id: bytes, name: bytes) -> str:
        with self.unlock(read_only=True) as volume:
            return os.fsdecode(volume.ctx.ring.metadata.names.seal(DirId(dir_id), name))

    def root_id(self) -> DirId:
        with self.unlock(read_only=True) as volume:
            return volume.config.root_dir_id

    def verify(self) -> tuple[list[Finding], Summary]:
        """Findings of a strict read-only verification, and its summary."""
        with self.unlock(read_only=True) as volume:
            return verify(volume)

    def findings(self) -> list[tuple[str, bytes]]:
        """(code, plain path) of what is found, information left out."""
        found, _ = self.verify()
        return sorted((one.code, one.path) for one in found if one.severity is not Severity.INFO)

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        """All there is to see of the lower tree: kinds, modes, owners, sizes, mtimes, bytes, targets, attributes."""
        seen: dict[str, tuple[Any, ...]] = {}
        for directory, names, files in os.walk(self.path):
            for name in [".", *names, *files]:
                path = Path(directory, name)
                stat = path.lstat()
                content: bytes | str = b""
                if path.is_symlink():
                    content = os.readlink(path)
                elif path.is_file():
                    content = path.read_bytes()
                attributes = {} if path.is_symlink() else {key: os.getxattr(path, key) for key in os.listxattr(path)}
                key = os.path.normpath(path)
                seen[key] = (stat.st_mode, stat.st_uid, stat.st_size, stat.st_mtime_ns, content, str(attributes))
        return seen


def own_ring(ring: KeyRing) -> KeyRing:
    """A ring with the same keys that learns, loses and forgets by itself: it outlives its volume."""
    own = copy.copy(ring)
    own._epochs = dict(ring._epochs)
    return own


def verify(volume: Volume) -> tuple[list[Finding], Summary]:
    """All findings in an unlocked volume."""
    verifier = Verifier(volume)
    findings = [step for step in verifier.run() if isinstance(step, Finding)]
    return findings, verifier.summary


def read(volume: Volume, path: bytes) -> bytes:
    """A whole file."""
    return b"".join(volume.read_file(path))


def flip(path: Path, offset: int, bit: int = 1) -> None:
    """Change one bit of a lower file, leaving its times alone."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class StallingStore(LocalStore):
    """A store on which a read that may not wait always would have to, while ``stall`` is true."""

    stall = False

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if self.stall and not wait:
            raise BlockingIOError(11, "would wait")
        return super().preadv(fd, buffer, offset, wait=True)


@contextmanager
def open_file(volume: Volume, path: bytes) -> Iterator[OpenFile]:
    """The open file behind a path, created if it is missing, with all of OpenFile's calls."""
    handle = volume.open(path, writable=True, create=True)
    try:
        yield handle._file
    finally:
        handle.close()


__all__ = [
    "CELLS",
    "LONG",
    "RECOVERY_KEY",
    "ROOT",
    "SECRET",
    "Context",
    "LowerVolume",
    "StallingStore",
    "flip",
    "open_file",
    "pattern",
    "read",
    "verify",
]
