"""A backing store that is full or breaks: the file as it was, nothing half-made (DESIGN section 4)."""

from __future__ import annotations

import os
from errno import EDQUOT, EIO, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encfs.core import frames
from encfs.errors import DataError, LowerIOError, PlaceError
from encfs.format.geometry import Geometry
from encfs.volume import Volume
from encfs.volume.file import OpenFile
from tests.support.stores import FailingStore, FullStore
from tests.support.volumes import CELLS, LONG, LowerVolume, flip, open_file, pattern, read


def content(file: OpenFile) -> bytes:
    """All plain bytes of an open file."""
    return b"".join(bytes(file.read(at, 1 << 20)) for at in range(0, file.size, 1 << 20))


def check_as_before(lower: LowerVolume, volume: Volume, file: OpenFile, before: bytes) -> None:
    """The file is what it was: for its handle, for a new one, for the next session."""
    assert content(file) == before
    assert file.size == len(before)
    file.settle()
    assert os.fstat(file.fd).st_size == volume.ctx.geometry.lower_size(len(before))
    header = frames.open_header(volume.ctx.ring, os.pread(file.fd, 512, 0))
    assert header.size == len(before)
    assert volume.ctx.events == 0


SIZES = [0, 1, 100, 3551, 3552, 3553, 7616, 10_000]


@pytest.mark.parametrize("cell_size", CELLS)
@pytest.mark.parametrize("fresh", [False, True], ids=["reopened", "kept open"])
@pytest.mark.parametrize("only_growth", [False, True], ids=["no write at all", "no new bytes"])
def test_append_to_a_full_store(fast_path: Path, cell_size: int, fresh: bool, only_growth: bool) -> None:
    """An append that fails after any number of bytes leaves size and last cell as they were (DESIGN section 4)."""
    lower = LowerVolume(fast_path / "volume", cell_size)
    with lower.unlock(store=FullStore) as volume:
        store = volume.ctx.store
        store.only_growth = only_growth
        for number, size in enumerate(SIZES):
            name, before = b"f%d" % number, pattern(size, number)
            volume.write_file(name, before)
            for room in (0, 1, 100, 512, 3000, 4096, 8000, cell_size, cell_size + 1, 2 * cell_size + 5):
                if not fresh:
                    volume.settle()
                with open_file(volume, name) as file:
                    if fresh and size:
                        file.write(size - 1, before[-1:])  # the last cell is in memory
                    store.room = room
                    with pytest.raises(OSError, match="No space left") as failed:
                        file.write(size, pattern(4 * cell_size))
                    # In place nothing needs room, but a store that refuses all is as broken as one can be.
                    store.room = None
                    assert failed.value.errno == ENOSPC
                    if not only_growth and volume.ctx.events:
                        volume.ctx.events = 0
                        file.truncate(0)
                        file.write(0, before)
                    check_as_before(lower, volume, file, before)
    assert lower.findings() == []


@pytest.mark.parametrize("cell_size", CELLS)
def test_overwrite_and_grow_on_a_full_store(fast_path: Path, cell_size: int) -> None:
    """A failed write that replaces the end of a file and goes on keeps every byte outside (DESIGN section 4)."""
    lower = LowerVolume(fast_path / "volume", cell_size)
    g = Geometry(cell_size)
    with lower.unlock(store=FullStore) as volume:
        store = volume.ctx.store
        store.only_growth = True
        before = pattern(g.start_of(2) + 700)
        for number, offset in enumerate((0, 10, g.start_of(1), g.start_of(2) - 1, g.start_of(2), g.start_of(2) + 5)):
            name = b"f%d" % number
            volume.write_file(name, before)
            with open_file(volume, name) as file:
                store.room = 100
                with pytest.raises(OSError, match="No space left"):
                    file.write(offset, pattern(5 * cell_size, "new"))
                store.room = None
                assert file.size == len(before)
                assert content(file)[:offset] == before[:offset]
                assert content(file)[g.start_of(2) :] == before[g.start_of(2) :]
        assert volume.ctx.events == 0
    assert lower.findings() == []


@pytest.mark.parametrize("cell_size", CELLS)
@pytest.mark.parametrize("call", ["write", "truncate"])
def test_hole_on_a_full_store(fast_path: Path, cell_size: int, call: str) -> None:
    """A hole that cannot be finished is not there at all (DESIGN section 4, FORMAT.md section 9.2)."""
    lower = LowerVolume(fast_path / "volume", cell_size)
    with lower.unlock(store=FullStore) as volume:
        store = volume.ctx.store
        store.only_growth = True
        for number, size in enumerate(SIZES):
            name, before = b"f%d" % number, pattern(size, number)
            volume.write_file(name, before)
            for far in (10, cell_size, 10 * cell_size):
                for room in (0, 600, cell_size - 1, cell_size + 1):
                    with open_file(volume, name) as file:
                        store.room = room
                        try:
                            if call == "write":
                                file.write(size + far, pattern(3 * cell_size))
                            else:
                                file.truncate(size + far)
                        except OSError as exc:
                            assert exc.errno == ENOSPC
                            store.room = None
                            check_as_before(lower, volume, file, before)
                        else:
                            assert call == "truncate"
                            store.room = None
                            assert content(file) == before + bytes(far)
                            file.truncate(size)
    assert lower.findings() == []


def test_full_then_freed(fast_path: Path) -> None:
    """After a failed write the file takes the same write when there is room again (DESIGN section 4)."""
    lower = LowerVolume(fast_path / "volume")
    with lower.unlock(store=FullStore) as volume:
        volume.write_file(b"a", pattern(5000))
        with open_file(volume, b"a") as file:
            volume.ctx.store.room = 5000
            with pytest.raises(OSError, match="No space left"):
                file.write(5000, pattern(50_000, 1))
            volume.ctx.store.room = None
            file.write(5000, pattern(50_000, 1))
        assert read(volume, b"a") == pattern(5000) + pattern(50_000, 1)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_growth_on_a_full_store(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any file, any growing write, any room: as before, or written (DESIGN section 4)."""
    lower, volume = _opened_once(tmp_path_factory)
    store = volume.ctx.store
    store.only_growth = True
    size = data.draw(st.one_of(st.sampled_from(SIZES), st.integers(0, 20_000)), label="size")
    before = pattern(size, "before")
    reopen = data.draw(st.booleans(), label="reopened")
    with open_file(volume, b"f") as file:
        file.truncate(0)
        file.write(0, before)
        if data.draw(st.booleans(), label="synced"):
            file.sync()
        if reopen:
            file.close()
            volume.resolve(b"f").file = None
    with open_file(volume, b"f") as file:
        offset = data.draw(st.integers(size, size + 20_000), label="offset")
        new = pattern(data.draw(st.integers(1, 30_000), label="length"), "new")
        store.room = data.draw(st.integers(0, 40_000), label="room")
        try:
            file.write(offset, new)
        except OSError:
            store.room = None
            check_as_before(lower, volume, file, before)
        else:
            store.room = None
            assert content(file) == before + bytes(offset - size) + new


_ONCE: list[tuple[LowerVolume, Volume]] = []


def _opened_once(factory: pytest.TempPathFactory) -> tuple[LowerVolume, Volume]:
    """One volume for all examples."""
    if not _ONCE:
        lower = LowerVolume(factory.mktemp("full") / "volume")
        _ONCE.append((lower, lower.unlock(store=FullStore)))
    return _ONCE[0]


@pytest.fixture(scope="module", autouse=True)
def _close_once() -> Any:
    yield
    while _ONCE:
        lower, volume = _ONCE.pop()
        volume.close()
        assert lower.findings() == []


# -- truncation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("after", [0, 1])
def test_shrink_that_fails(lower: LowerVolume, failing: str, after: int) -> None:
    """A truncation that fails leaves size and content as they were (DESIGN section 4)."""
    before = pattern(20_000)
    with lower.unlock(store=FailingStore) as volume, open_file(volume, b"a") as file:
        file.write(0, before)
        file.sync()
        file.sync()
        store = volume.ctx.store
        store.broken, store.after = {failing: EIO}, after
        try:
            file.truncate(5000)
        except OSError:
            store.broken = {}
            assert content(file) == before
            file.settle()
        else:
            assert (failing, after) == ("fdatasync", 1)
            store.broken = {}
            assert content(file) == before[:5000]
    assert lower.findings() == []


def test_emptying_that_fails(lower: LowerVolume) -> None:
    """A file whose new header cannot be written keeps its content (DESIGN section 4)."""
    before = pattern(20_000)
    with lower.unlock(store=FailingStore) as volume:
        volume.write_file(b"a", before)
        with open_file(volume, b"a") as file:
            volume.ctx.store.broken = {"pwrite": ENOSPC}
            with pytest.raises(OSError, match="No space left"):
                file.truncate(0)
            volume.ctx.store.broken = {}
            assert content(file) == before
            file.write(3, b"change")
        assert read(volume, b"a") == before[:3] + b"change" + before[9:]
    assert lower.findings() == []


# -- closing --------------------------------------------------------------------------------------------------


def test_create_on_a_full_store(lower: LowerVolume) -> None:
    """A file whose header finds no room is not left behind without one (DESIGN section 4; FORMAT.md section 9.3)."""
    with lower.unlock(store=FullStore) as volume:
        volume.ctx.store.room = 0
        file = volume.open(b"a", create=True, writable=True)
        with pytest.raises(OSError, match="No space left"):
            file.write(0, b"content")
        with pytest.raises(OSError, match="No space left"):
            file.close()
        volume.ctx.store.room = None
        assert volume.list_directory() == []
        volume.write_file(b"a", b"content")
        assert read(volume, b"a") == b"content"
    assert lower.findings() == []


@pytest.mark.parametrize("failing", ["pwrite", "truncate", "futime"])
def test_header_that_cannot_be_written_at_close(lower: LowerVolume, failing: str) -> None:
    """What was written stays readable when the close that should settle it fails (DESIGN section 4)."""
    with lower.unlock(store=FailingStore) as volume:
        volume.write_file(b"a", b"old")
        file = volume.open(b"a", writable=True)
        file.write(0, pattern(10_000))
        store = volume.ctx.store
        store.broken = {failing: EIO}
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
        store.broken = {}
        assert volume.stat(b"a").size == 10_000
        assert read(volume, b"a") == pattern(10_000)
        assert volume.ctx.events == 0
    assert lower.findings() == []


def test_header_that_can_never_be_written(lower: LowerVolume) -> None:
    """If it fails to the end the session stays OPEN, and the next unlock finds the true size (section 11)."""
    volume = lower.unlock(store=FailingStore)
    volume.write_file(b"a", b"old")
    file = volume.open(b"a", writable=True)
    file.write(0, pattern(10_000))
    volume.ctx.store.broken = {"pwrite": EIO}
    with pytest.raises(OSError, match="Input/output error"):
        file.close()
    with pytest.raises(LowerIOError):
        volume.close()
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.repaired == {"size": 1}
        assert read(volume, b"a") == pattern(10_000)
    assert lower.findings() == []


# -- names ----------------------------------------------------------------------------------------------------


def populate(volume: Volume) -> None:
    """One of each kind of thing."""
    for directory in (b"d", b"e", b"d/sub", b"e/empty"):
        volume.make_directory(directory)
    for name in (b"a", b"b", LONG, b"d/f"):
        volume.write_file(name, name)
    volume.make_symlink(b"l", b"target")


def tree(volume: Volume, path: bytes = b"") -> dict[bytes, object]:
    """Everything that is in a volume, by path."""
    seen: dict[bytes, object] = {}
    for entry in volume.list_directory(path):
        full = path + b"/" + entry.name if path else entry.name
        kind = entry.mode & 0o170000
        if kind == 0o040000:
            seen |= {full: None} | tree(volume, full)
        else:
            seen[full] = volume.read_link(full) if kind == 0o120000 else read(volume, full)
    return seen


CHANGES = {
    "create": lambda volume: volume.open(b"new", create=True).close(),
    "mkdir": lambda volume: volume.make_directory(b"new"),
    "symlink": lambda volume: volume.make_symlink(b"new", b"target"),
    "symlink in a file": lambda volume: volume.make_symlink(b"new", b"t" * 4000),
    "link": lambda volume: volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"new"),
    "link of a symlink": lambda volume: volume.changes.link(
        volume.resolve(b"l", follow=False), volume.tree.root, b"new"
    ),
    "rename": lambda volume: volume.rename(b"a", b"new"),
    "rename over": lambda volume: volume.rename(b"a", b"b"),
    "rename long": lambda volume: volume.rename(LONG, b"d/" + LONG),
    "rename a directory": lambda volume: volume.rename(b"d", b"e/d"),
    "rename a directory over": lambda volume: volume.rename(b"d/sub", b"e/empty"),
    "rename a symlink": lambda volume: volume.rename(b"l", b"d/l"),
    "rename a symlink to a long name": lambda volume: volume.rename(b"l", LONG + b"l"),
    "rename a symlink over a long name": lambda volume: volume.rename(b"l", LONG),
    "exchange": lambda volume: volume.changes.exchange(volume.tree.root, b"a", volume.resolve(b"d"), b"sub"),
    "exchange symlinks": lambda volume: volume.changes.exchange(volume.tree.root, b"l", volume.tree.root, b"a"),
    "unlink": lambda volume: volume.remove(b"a"),
    "rmdir": lambda volume: volume.remove(b"e/empty"),
}
CALLS = [
    "pwrite",
    "rename",
    "exchange",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "symlink",
    "chmod",
    "chown",
    "utime",
    "open",
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_names_that_fails(fast_path: Path, change: str) -> None:
    """Whichever lower call of a change fails: the tree before or after it, nothing in between (DESIGN section 4)."""
    whole = LowerVolume(fast_path / "whole")
    with whole.unlock() as volume:
        populate(volume)
        before = tree(volume)
        CHANGES[change](volume)
        after = tree(volume)
    failures = 0
    for call in CALLS:
        for good in range(6):
            lower = LowerVolume(fast_path / f"{call}-{good}")
            with lower.unlock(store=FailingStore) as volume:
                populate(volume)
                store = volume.ctx.store
                store.broken, store.after, store.times = {call: ENOSPC}, good, 1
                try:
                    CHANGES[change](volume)
                    failed = False
                except OSError:
                    failed = True
                store.broken = {}
                volume.ctx.events = 0
                seen = tree(volume)
                assert seen in (before, after), (call, good)
                assert volume.ctx.events == 0, (call, good)
            assert [finding for finding in lower.findings() if finding[0] != "temporary"] == [], (call, good)
            if not failed:
                break
            failures += 1
    assert failures


def test_exchange_with_a_damaged_file(lower: LowerVolume) -> None:
    """An exchange that fails on one side leaves the other side as it was (DESIGN section 4)."""
    with lower.unlock() as volume:
        populate(volume)
    flip(lower.lower(b"b"), 100)
    with lower.unlock() as volume:
        root = volume.tree.root
        for pair in ((b"a", b"b"), (b"b", b"a"), (b"d", b"b"), (b"l", b"b")):
            with pytest.raises(DataError):
                volume.changes.exchange(root, pair[0], root, pair[1])
        assert read(volume, b"a") == b"a"
        assert read(volume, b"d/f") == b"d/f"
        assert volume.read_link(b"l") == b"target"
    assert lower.findings() == [("file-damaged", b"b")]


def test_failed_place_is_not_settled_later(lower: LowerVolume) -> None:
    """A place that could not be written is not written by the close of the file either (FORMAT.md section 9.1)."""
    with lower.unlock(store=FailingStore) as volume:
        volume.write_file(b"a", b"content")
        with open_file(volume, b"a") as file:
            volume.ctx.store.broken = {"pwrite": EDQUOT}
            with pytest.raises(OSError, match="quota"):
                volume.rename(b"a", LONG)  # To a short name the header would follow the rename.
            volume.ctx.store.broken = {}
            file.write(7, b" and more")
        try:
            assert read(volume, b"a") == b"content and more"
        except PlaceError:
            pytest.fail("the header names the place that the file never got")
    assert lower.findings() == []


def test_attributes_on_a_full_store(lower: LowerVolume) -> None:
    """Attributes that find no room leave the old ones (FORMAT.md section 10)."""
    with lower.unlock(store=FailingStore) as volume:
        volume.write_file(b"a", b"")
        node = volume.resolve(b"a")
        volume.attributes.set(node, b"user.x", b"old")
        volume.ctx.store.broken = {"setxattr": ENOSPC}
        with pytest.raises(OSError, match="No space left"):
            volume.attributes.set(node, b"user.x", b"new")
        volume.ctx.store.broken = {}
        assert volume.attributes.get_all(node) == {b"user.x": b"old"}
        assert volume.attributes.read(node) == {b"user.x": b"old"}
        with pytest.raises(OSError, match="No space left"):
            volume.attributes.set(node, b"user.y", bytes(65_000))
        assert volume.attributes.get_all(node) == {b"user.x": b"old"}
