"""OpenFile against a bytearray: any sequence of operations leaves the same bytes, whatever the cell size."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encfs.format.geometry import Geometry
from encfs.format.header import HeaderFlag
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume
from encfs.volume.file import OpenFile
from encfs.volume.paths import VolumeFile
from tests.support.reader import load_tool
from tests.support.volumes import CELLS, RECOVERY_KEY, LowerVolume, StallingStore, pattern

reader = load_tool("inspect_lower")


def offsets(cell_size: int) -> st.SearchStrategy[int]:
    """Plain offsets, most of them at or next to a border of a cell."""
    g = Geometry(cell_size)
    borders = [g.start_of(index) for index in range(5)]
    near = [at + step for at in borders for step in (-1, 0, 1) if at + step >= 0]
    return st.one_of(st.sampled_from(near), st.integers(0, g.start_of(5)))


def operations(cell_size: int) -> st.SearchStrategy[Any]:
    """One operation on a file; ``stall``: reads that may not wait are refused the first time."""
    at = offsets(cell_size)
    return st.one_of(
        st.tuples(st.just("write"), at, at, st.booleans()),
        st.tuples(st.just("write"), at, st.integers(1, 40), st.booleans()),
        st.tuples(st.just("append"), st.integers(1, 2 * cell_size), st.booleans()),
        st.tuples(st.just("read"), at, at, st.booleans()),
        st.tuples(st.just("truncate"), at, st.booleans()),
        st.tuples(st.just("empty")),
        st.tuples(st.just("zero"), st.sampled_from([1, cell_size, 3 * cell_size])),
        st.tuples(st.just("sync")),
        st.tuples(st.just("settle")),
        st.tuples(st.just("reopen"), st.booleans()),
        st.tuples(st.just("rekey"), st.integers(1, 9)),
    )


class Both:
    """A file in a volume, and what should be in it."""

    def __init__(self, volume: Volume, store: StallingStore, name: bytes, keys: Any) -> None:
        self.volume, self.store, self.name, self.keys = volume, store, name, keys
        self.model = bytearray()
        self.handle: VolumeFile = volume.open(name, create=True, writable=True)
        self.count = 0
        self.rekeying: Iterator[None] = iter(())

    @property
    def file(self) -> OpenFile:
        return self.handle._file

    def run(self, operation: Any) -> None:
        """Do it on both sides, and compare what can be seen at once."""
        kind, *rest = operation
        self.count += 1
        getattr(self, f"do_{kind}")(*rest)
        assert self.file.size == len(self.model)

    def unwaiting(self, call: Any, stall: bool) -> Any:
        """First without waiting; where that is refused nothing has changed, and the call with waiting does it."""
        self.store.stall = stall
        try:
            return call(False)
        except BlockingIOError:
            assert stall
            assert self.file.size == len(self.model)
        finally:
            self.store.stall = False
        self.compare()
        return call(True)

    def do_write(self, offset: int, size: int, stall: bool) -> None:
        data = pattern(size, (self.count, offset))
        written = self.unwaiting(lambda wait: self.file.write(offset, data, wait=wait), stall)
        assert written == size
        if data:
            if offset > len(self.model):
                self.model.extend(bytes(offset - len(self.model)))
            self.model[offset : offset + size] = data

    def do_append(self, size: int, stall: bool) -> None:
        self.do_write(len(self.model), size, stall)

    def do_read(self, offset: int, size: int, stall: bool) -> None:
        data = self.unwaiting(lambda wait: bytes(self.file.read(offset, size, wait=wait)), stall)
        assert data == bytes(self.model[offset : offset + size])

    def do_truncate(self, size: int, stall: bool) -> None:
        self.unwaiting(lambda wait: self.file.truncate(size, wait=wait), stall)
        self.model[size:] = bytes(max(0, size - len(self.model)))

    def do_empty(self) -> None:
        self.do_truncate(0, False)

    def do_zero(self, more: int) -> None:
        """Zero bytes written by a program are data, not a hole."""
        self.file.write(len(self.model), bytes(more))
        self.model.extend(bytes(more))

    def do_sync(self) -> None:
        self.file.sync()
        self.check_below()

    def do_settle(self) -> None:
        self.file.settle()
        self.check_below()

    def do_reopen(self, writable: bool) -> None:
        self.handle.close()
        self.handle = self.volume.open(self.name, writable=writable)
        assert not self.file.damaged_size
        self.compare()
        if not writable:
            self.handle.close()
            self.handle = self.volume.open(self.name, writable=True)

    def do_rekey(self, steps: int) -> None:
        """So many steps of giving the file a new content key; where none is under way one begins (section 14)."""
        for _ in range(steps):
            if next(self.rekeying, self) is self:
                self.rekeying = self._rekey(self.file)

    def _rekey(self, file: OpenFile) -> Iterator[None]:
        """Cell by cell; a file that is opened anew is finished by the next one."""
        if file is not self.file:
            return
        if not file.half_way():
            staged = file.stage()
            yield
            if file is not self.file:
                return
            if not file.commit(staged):
                file.begin_alone()
        index = 0
        while index < file._ctx.geometry.cells_for(file.size):
            yield
            if file is not self.file:
                return
            assert file.rekey_run(index, 1)[1] == 0
            index += 1
        yield
        if file is self.file:
            file.finish()

    def compare(self) -> None:
        """The whole content, in pieces."""
        content, offset = b"", 0
        while piece := bytes(self.file.read(offset, 50_000)):
            content += piece
            offset += len(piece)
        assert content == bytes(self.model)

    def check_below(self) -> None:
        """What is on the disk now, read by somebody else: size, every cell, holes only where they may be."""
        low = reader.LowerFile(self.file.fd, self.volume.config.cell_size, self.keys)
        assert low.header["size"] == low.size == len(self.model)
        assert b"".join(map(low.plain_cell, range(low.cells))) == bytes(self.model)

    def finish(self) -> None:
        self.compare()
        self.do_reopen(True)
        self.check_below()
        self.handle.close()
        self.volume.remove(self.name)
        assert self.volume.ctx.events == 0


@pytest.fixture(scope="module", params=CELLS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A volume unlocked for the whole module, and the reader's keys of it."""
    base: Path = tmp_path_factory.mktemp("model")
    lower = LowerVolume(base / "volume", request.param)
    key = base / "recovery"
    key.write_text(encode_recovery_key(RECOVERY_KEY))
    arguments = argparse.Namespace(no_key=False, recovery_file=key, passphrase_file=None)
    keys = reader.Volume(lower.path, arguments).keys
    volume = lower.unlock(store=StallingStore)
    yield volume, volume.ctx.store, keys
    volume.close()
    assert lower.findings() == []


@pytest.mark.parametrize("examples", [250])
def test_model(opened: Any, examples: int) -> None:
    """Any operations, the bytes of a bytearray (FORMAT.md sections 9.1 to 9.3)."""
    volume, store, keys = opened
    serial = iter(range(1 << 30))

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.lists(operations(volume.config.cell_size), max_size=14))
    def check(todo: list[Any]) -> None:
        both = Both(volume, store, b"file-%d" % next(serial), keys)
        for operation in todo:
            both.run(operation)
        both.finish()

    check()


def test_one_large_write(opened: Any) -> None:
    """A write and a read of more than one run of 1 MiB are split and whole (FORMAT.md section 9.2)."""
    volume, _, _ = opened
    data = pattern(3_300_001, "large")
    with volume.open(b"large", create=True, writable=True) as handle:
        handle.write(0, b"x")
        assert handle.write(100, data) == len(data)
        assert handle.size == len(data) + 100
    content = b"".join(volume.read_file(b"large"))
    assert content == b"x" + bytes(99) + data


def test_sparse_file_needs_no_space(opened: Any) -> None:
    """A hole takes no room below and reads as zero bytes; SPARSE is set (FORMAT.md section 9.2)."""
    volume, _, _ = opened
    with volume.open(b"sparse", create=True, writable=True) as handle:
        handle.write(1 << 30, b"end")
        below = os.fstat(handle._file.fd)
        assert below.st_blocks * 512 < 300_000
        assert handle.read(0, 10) == bytes(10)
        assert handle.read(1 << 29, 100_000) == bytes(100_000)
        assert handle.read((1 << 30) - 2, 10) == b"\0\0end"
        assert handle._file.header.flags & HeaderFlag.SPARSE


def test_last_cell_is_never_a_hole(opened: Any) -> None:
    """A file cut at a border of cells in the middle of a hole ends in a cell of zeros (FORMAT.md section 9.2)."""
    volume, _, keys = opened
    g = volume.ctx.geometry
    for cell in (0, 1, 3):
        for less in (0, 1):
            name = b"cut-%d-%d" % (cell, less)
            with volume.open(name, create=True, writable=True) as handle:
                handle.write(g.start_of(6), b"end")
                size = g.start_of(cell + 1) - less
                handle.truncate(size)
                handle.sync()
                low = reader.LowerFile(handle._file.fd, volume.config.cell_size, keys)
                assert b"".join(map(low.plain_cell, range(low.cells))) == bytes(size)
                assert any(low.raw_cell(low.cells - 1))
            assert b"".join(volume.read_file(name)) == bytes(size)


def test_zeros_are_no_hole(opened: Any) -> None:
    """Zero bytes that a program wrote make no SPARSE file and no cell of zeros (FORMAT.md section 9.2)."""
    volume, _, keys = opened
    with volume.open(b"zeros", create=True, writable=True) as handle:
        handle.write(0, bytes(300_000))
        handle.sync()
        low = reader.LowerFile(handle._file.fd, volume.config.cell_size, keys)
        assert not low.header["flags"] & 1
        assert all(any(low.raw_cell(index)) for index in range(low.cells))
