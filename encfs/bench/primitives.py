"""The codec on this processor: runs of cells against the bare call of the library that they are made of.

Owns: the measured calls, for one thread and for all processors. Must not know: files.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final

from encfs.bench.figures import CLOAKFS, Figure, Part, figure_of, in_turn
from encfs.core.cells import CellCodec, Scratch
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.frame import FrameKind
from encfs.format.geometry import Geometry
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import CELL_SIZES
from encfs.units import DirId, FileId, SessionId

RAW: Final = "raw"
_RUN_BYTES: Final = 1 << 20
_SAMPLE_SECONDS: Final = 0.05
_SAMPLES: Final = 5
_FIRST: Final = 7  # A cell that shares its page with no header.


class CellRun:
    """A run of cells of one size, sealed and opened again and again by one thread.

    Attributes:
        count: its cells, all full; as many as fit into 1 MiB unless told.
        bytes: of plain text in them.
    """

    def __init__(self, cell_size: int, count: int | None = None) -> None:
        geometry = Geometry(cell_size)
        header = FileHeader(
            kind=FrameKind.FILE,
            log2_cell=geometry.log2_cell,
            epoch=0,
            fid=FileId(bytes(16)),
            size=0,
            synced_size=0,
            generation=0,
            session=SessionId(bytes(16)),
            flags=HeaderFlag(0),
            content_key=rng.random_bytes(32),
            cells_sealed=0,
            parent=DirId(bytes(16)),
            attribute_id=bytes(16),
            name=b"bench",
        )
        self._scratch = Scratch(geometry)
        self._codec = CellCodec(CLOAKFS_1, geometry, header)
        self.count = count or _RUN_BYTES // geometry.P
        self._full = geometry.P
        self.bytes = self.count * geometry.P
        self._data = memoryview(rng.random_bytes(self.bytes))
        aead = CLOAKFS_1.aead(header.content_key)
        aads = [b"C" + index.to_bytes(8, "big") + bytes(4) for index in range(self.count)]
        plains = [self._data[n * geometry.P : (n + 1) * geometry.P] for n in range(self.count)]
        nonces = [rng.random_bytes(12) for _ in range(self.count)]
        sealed = [bytearray(geometry.P + 16) for _ in range(self.count)]
        out = [bytearray(geometry.P) for _ in range(self.count)]
        self._raw_seal = (aead.encrypt_into, nonces, plains, aads, sealed)
        self._raw_open = (aead.decrypt_into, nonces, sealed, aads, out)
        self.raw_seal()
        self.seal()

    def seal(self) -> None:
        self._codec.seal_full(self._scratch, 0, _FIRST, self._data)

    def open(self) -> None:
        self._codec.open_run(self._scratch, _FIRST, self.count, self._full, sparse=False)

    def raw_seal(self) -> None:
        deque(map(*self._raw_seal), maxlen=0)

    def raw_open(self) -> None:
        deque(map(*self._raw_open), maxlen=0)

    def intact(self) -> bool:
        """Whether what was sealed last opens again, either way, to the bytes that it was made of."""
        self.open()
        self.raw_open()
        return self._scratch.plain[: self.bytes] == self._data == b"".join(self._raw_open[-1])


def measure() -> Iterator[Figure]:
    """Seal and open, for each cell size, on one thread and on as many as there are processors."""
    processors = len(os.sched_getaffinity(0))
    for threads in dict.fromkeys((1, processors)):
        for cell_size in CELL_SIZES:
            crew = [CellRun(cell_size) for _ in range(threads)]
            for verb, ours, raw in (("seal", "seal", "raw_seal"), ("open", "open", "raw_open")):
                yield _figure(verb, cell_size, threads, crew, ours, raw)


def _figure(verb: str, cell_size: int, threads: int, crew: list[CellRun], ours: str, raw: str) -> Figure:
    samples: dict[str, list[float]] = {CLOAKFS: [], RAW: []}
    count = _calls(getattr(crew[0], ours))
    for number in range(_SAMPLES):
        for side, name in in_turn(((CLOAKFS, ours), (RAW, raw)), number):
            seconds = _together([getattr(one, name) for one in crew], count)
            samples[side].append(threads * count * crew[0].bytes / seconds / 1e6)
    who = "1 thread" if threads == 1 else f"{threads} threads"
    return figure_of(
        Part.PRIMITIVES,
        f"{verb}_{cell_size}_{threads}",
        f"{verb} cells of {cell_size // 1024} KiB, {who}",
        "MB/s",
        samples,
    )


def _calls(function: Callable[[], None]) -> int:
    function()
    started = time.perf_counter()
    function()
    return max(1, round(_SAMPLE_SECONDS / max(time.perf_counter() - started, 1e-6)))


def _together(functions: list[Callable[[], None]], count: int) -> float:
    """Seconds from the first start to the last end of all functions at once, each called ``count`` times."""
    gate = threading.Barrier(len(functions))
    times: list[tuple[float, float]] = []

    def work(function: Callable[[], None]) -> None:
        gate.wait()
        started = time.perf_counter()
        for _ in repeat(None, count):
            function()
        times.append((started, time.perf_counter()))

    crew = [threading.Thread(target=work, args=(function,)) for function in functions]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    return max(end for _, end in times) - min(start for start, _ in times)
