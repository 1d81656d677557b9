"""The two lowest layers: the cryptography that an operation needs, as bare calls and through ``encfs.core``.

Owns: which calls those are. Must not know: files, stores.

Of a request at any offset the first and the last cell are not whole: 128 KiB touch one cell more than they fill.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import repeat

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from benchmarks.harness.layers import (
    CREATE,
    LIST,
    LOOK_UP,
    NOTE,
    PAGE,
    PIECE,
    READ,
    READ_ON,
    READ_PAGE,
    RENAME,
    UNLINK,
    WRITE,
    WRITE_PAGE,
    Work,
)
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.bench.primitives import CellRun
from encfs.core import frames
from encfs.core.cells import CellCodec, Scratch
from encfs.core.keys import KeyRing
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.format import limits
from encfs.format.frame import FrameKind
from encfs.format.geometry import Geometry
from encfs.format.header import FileHeader, HeaderFlag
from encfs.units import DirId, FileId, LowerName, SessionId, VolumeId


def new_header(cell_size: int) -> FileHeader:
    """The header of a new file in epoch 1."""
    return FileHeader(
        kind=FrameKind.FILE,
        log2_cell=Geometry(cell_size).log2_cell,
        epoch=1,
        fid=FileId(rng.random_bytes(16)),
        size=0,
        synced_size=0,
        generation=1,
        session=SessionId(rng.random_bytes(16)),
        flags=HeaderFlag(0),
        content_key=rng.random_bytes(32),
        cells_sealed=0,
        parent=DirId(rng.random_bytes(16)),
        attribute_id=rng.random_bytes(16),
        name=b"quarterly report.odt",
    )


def new_ring() -> KeyRing:
    """Keys of a volume with one epoch, 1."""
    return KeyRing(
        suite=CLOAKFS_1,
        volume_id=VolumeId(rng.random_bytes(16)),
        metadata=rng.random_bytes(32),
        epochs={1: rng.random_bytes(32)},
        active=1,
    )


Timed = tuple[Callable[[], object], Callable[[], bool]]
"""What is timed, and whether it did what it should, to be asked afterwards."""


class _Crypto:
    """A layer of calls on memory.

    Args:
        seal, open: of a run of cells.
    """

    name: str

    def __init__(self, cell_size: int, seal: Callable[[CellRun], None], open_: Callable[[CellRun], None]) -> None:
        full = Geometry(cell_size).P
        write, read, page = (CellRun(cell_size, size // full + 1) for size in (PIECE, READ, PAGE))

        def rewrite(run: CellRun) -> None:
            open_(run)
            seal(run)

        self.dir_id = DirId(rng.random_bytes(16))
        self._acts: dict[str, Callable[[Work], Timed]] = {
            WRITE: lambda work: (_times(work.amounts.pieces, seal, write), write.intact),
            READ_ON: lambda work: (_times(len(work.data) // READ, open_, read), read.intact),
            READ_PAGE: lambda work: (_times(work.amounts.pages, open_, page), page.intact),
            WRITE_PAGE: lambda work: (_times(work.amounts.pages, rewrite, page), page.intact),
            CREATE: self._create,
            LOOK_UP: lambda work: self._seal_names(work.names),
            LIST: lambda work: self._open_names(work.names),
            RENAME: self._rename,
            UNLINK: lambda work: self._seal_names(work.new_names),
        }
        self.operations = frozenset(self._acts)

    def settle(self) -> None:
        """Nothing goes on after a call."""

    def cpu_seconds(self) -> float:
        """No other process takes part."""
        return 0.0

    def take(self, operation: str, work: Work) -> float:
        """See :class:`~benchmarks.harness.layers.Layer`."""
        timed, is_right = self._acts[operation](work)
        started = time.perf_counter()
        timed()
        elapsed = time.perf_counter() - started
        if not is_right():
            raise WrongBytesError("what was sealed did not open to the same bytes")
        return elapsed

    def _seal_names(self, names: list[bytes]) -> Timed:
        raise NotImplementedError

    def _open_names(self, names: list[bytes]) -> Timed:
        raise NotImplementedError

    def _create(self, work: Work) -> Timed:
        raise NotImplementedError

    def _rename(self, work: Work) -> Timed:
        raise NotImplementedError


def _times(count: int, function: Callable[[CellRun], None], run: CellRun) -> Callable[[], object]:
    return lambda: deque(map(function, repeat(run, count)), maxlen=0)


def _padded(name: bytes) -> bytes:
    return name + bytes(-len(name) % limits.NAME_PAD)


class Bare(_Crypto):
    """The calls of the cryptography package, over arguments that were made before."""

    name = "aead"

    def __init__(self, cell_size: int) -> None:
        super().__init__(cell_size, CellRun.raw_seal, CellRun.raw_open)
        self._siv = AESSIV(rng.random_bytes(64))
        header = new_header(cell_size)
        self._clear, self._body = header.frame.clear(), header.body()
        self._cell = bytes(Geometry(cell_size).P0)

    def _seal_names(self, names: list[bytes]) -> Timed:
        seal, padded, place = self._siv.encrypt, [_padded(name) for name in names], [self.dir_id]
        sealed: list[bytes] = []
        open_ = self._siv.decrypt
        return (
            lambda: sealed.extend(seal(name, place) for name in padded),
            lambda: [open_(one, place) for one in sealed] == padded,
        )

    def _open_names(self, names: list[bytes]) -> Timed:
        padded, place, open_ = [_padded(name) for name in names], [self.dir_id], self._siv.decrypt
        sealed = [self._siv.encrypt(name, place) for name in padded]
        found: list[bytes] = []
        return lambda: found.extend(open_(one, place) for one in sealed), lambda: found == padded

    def _create(self, work: Work) -> Timed:
        """A name, a header, a cell under a key of its own."""
        names = [_padded(name) for name in work.names]
        keys = [rng.random_bytes(32) for _ in names]
        nonce, place, sealed = rng.random_bytes(12), [self.dir_id], []

        def create() -> None:
            for name, key in zip(names, keys, strict=True):
                self._siv.encrypt(name, place)
                AESGCM(key).encrypt(nonce, self._body, self._clear)
                sealed.append(AESGCM(key).encrypt(nonce, self._cell, self._clear))

        def is_right() -> bool:
            return all(
                AESGCM(key).decrypt(nonce, one, self._clear) == self._cell
                for key, one in zip(keys, sealed, strict=True)
            )

        return create, is_right

    def _rename(self, work: Work) -> Timed:
        """Two names; the header opened and sealed again."""
        pairs = [(_padded(old), _padded(new)) for old, new in zip(work.names, work.new_names, strict=True)]
        aead, nonce, place = AESGCM(rng.random_bytes(32)), rng.random_bytes(12), [self.dir_id]
        header = aead.encrypt(nonce, self._body, self._clear)
        found: list[bytes] = []

        def rename() -> None:
            for old, new in pairs:
                self._siv.encrypt(old, place)
                self._siv.encrypt(new, place)
                found.append(aead.encrypt(nonce, aead.decrypt(nonce, header, self._clear), self._clear))

        return rename, lambda: set(found) == {header}


class Codec(_Crypto):
    """The same through ``encfs.core``: nonces, keys derived for each file, coding of names and headers."""

    name = "core"

    def __init__(self, cell_size: int) -> None:
        super().__init__(cell_size, CellRun.seal, CellRun.open)
        self._geometry = Geometry(cell_size)
        self._scratch = Scratch(self._geometry)
        self._ring = new_ring()

    def _seal_names(self, names: list[bytes]) -> Timed:
        """None of them is remembered from before: a ring of its own."""
        codec, sealed = new_ring().metadata.names, list[LowerName]()
        return (
            lambda: sealed.extend(codec.seal(self.dir_id, name) for name in names),
            lambda: [codec.open(self.dir_id, one) for one in sealed] == names,
        )

    def _open_names(self, names: list[bytes]) -> Timed:
        codec = self._ring.metadata.names
        sealed = [codec.seal(self.dir_id, name) for name in names]
        found: list[bytes | None] = []
        return lambda: found.extend(codec.open(self.dir_id, one) for one in sealed), lambda: found == names

    def _create(self, work: Work) -> Timed:
        """A name, a header, a codec for the file and one cell."""
        ring, geometry, scratch = new_ring(), self._geometry, self._scratch
        headers = [new_header(geometry.cell_size) for _ in work.names]
        notes = [work.note(number) for number in range(len(headers))]
        last: list[CellCodec] = []

        def create() -> None:
            for name, header, note in zip(work.names, headers, notes, strict=True):
                ring.metadata.names.seal(self.dir_id, name)
                frames.seal_header(ring, header)
                codec = CellCodec(CLOAKFS_1, geometry, header)
                codec.seal_one(scratch, 0, 0, note, NOTE)
                last[:] = [codec]

        def is_right() -> bool:
            scratch.plain0[:] = bytes(len(scratch.plain0))
            last[0].open_run(scratch, 0, 1, NOTE, sparse=False)
            return scratch.plain0[:NOTE] == notes[-1]

        return create, is_right

    def _rename(self, work: Work) -> Timed:
        """Two names; the header opened and sealed again."""
        ring, count = new_ring(), len(work.names)
        headers = [new_header(self._geometry.cell_size) for _ in range(count)]
        sealed = [frames.seal_header(ring, header) for header in headers]
        found: list[bytes] = []

        def rename() -> None:
            for old, new, raw in zip(work.names, work.new_names, sealed, strict=True):
                ring.metadata.names.seal(self.dir_id, old)
                ring.metadata.names.seal(self.dir_id, new)
                found.append(frames.seal_header(ring, frames.open_header(ring, raw)))

        return rename, lambda: [frames.open_header(ring, raw) for raw in found] == headers
