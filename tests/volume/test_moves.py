"""Renamed files whose header does not name the new place yet (FORMAT.md section 11).

The node of a file is known, as it is to the kernel on a mount, so the header waits; without that it is written at once.
"""

from __future__ import annotations

import os
from errno import EIO, ENOSPC
from pathlib import Path

import pytest

from encfs.core import frames
from encfs.errors import CloakfsError, PlaceError
from encfs.format.header import FileHeader
from encfs.volume import Volume
from encfs.volume.moves import WAITING_MAX
from encfs.volume.node import Node
from tests.support.stores import FailingStore
from tests.support.volumes import LowerVolume, pattern


def known(volume: Volume, path: bytes) -> Node:
    """The node of a path, to which the kernel refers from now on."""
    node = volume.resolve(path)
    node.lookups += 1
    return node


def header_at(volume: Volume, lower: Path) -> FileHeader:
    """The header as it lies there."""
    return frames.open_header(volume.ctx.ring, lower.read_bytes()[:512])


def make(volume: Volume, *paths: bytes) -> None:
    """Files with content, each another one."""
    for path in paths:
        volume.write_file(path, pattern(9000, path))


def content(volume: Volume, path: bytes) -> bytes:
    """All of a file."""
    return b"".join(volume.read_file(path))


def test_header_waits_and_is_written_before_clean(lower: LowerVolume) -> None:
    """Section 11: the entry moves at once, the header names the new place at the latest before CLEAN."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        make(volume, b"a")
        known(volume, b"a")
        volume.rename(b"a", b"d/b")
        below = lower.lower_in(volume, b"d/b")
        assert header_at(volume, below).name == b"a"
        assert len(volume.tree.moves) == 1
        assert content(volume, b"d/b") == pattern(9000, b"a")
    with lower.unlock(read_only=True) as volume:
        header = header_at(volume, below)
        assert (header.name, header.parent) == (b"b", volume.tree.dir_id(volume.resolve(b"d")))
        assert content(volume, b"d/b") == pattern(9000, b"a")
        assert volume.ctx.events == 0
    assert lower.findings() == []


def test_opening_brings_the_header_in_line(lower: LowerVolume) -> None:
    """Section 11: whoever opens the file and closes it leaves a header that names the place."""
    with lower.unlock() as volume:
        make(volume, b"a")
        node = known(volume, b"a")
        volume.rename(b"a", b"b")
        assert content(volume, b"b") == pattern(9000, b"a")
        assert node.owed is None
        assert header_at(volume, lower.lower_in(volume, b"b")).name == b"b"


def test_renames_in_a_row(lower: LowerVolume) -> None:
    """Section 11: what the header is held against is the place it had before the first of them."""
    with lower.unlock() as volume:
        make(volume, b"a", b"x")
        node, other = known(volume, b"a"), known(volume, b"x")
        for target, source in ((b"b", b"a"), (b"c", b"b"), (b"a", b"c")):
            volume.rename(source, target)
        volume.rename(b"x", b"b")
        assert node.owed is not None
        assert node.owed[1] == b"a"
        assert other.owed is not None
        assert other.owed[1] == b"x"
        volume.rename(b"b", b"a")
        assert node.ghost is not None
        assert node.owed is None
        assert content(volume, b"a") == pattern(9000, b"x")
    assert lower.findings() == []


def test_open_file_moves(lower: LowerVolume) -> None:
    """Section 11: a file that is open has its header settled with its content."""
    with lower.unlock() as volume:
        make(volume, b"a")
        node = known(volume, b"a")
        with volume.open(b"a", writable=True) as file:
            volume.rename(b"a", b"b")
            file.write(9000, b"more")
            file.sync()
            assert header_at(volume, lower.lower_in(volume, b"b")).name == b"b"
        assert node.owed is None
        assert content(volume, b"b") == pattern(9000, b"a") + b"more"
    assert lower.findings() == []


def test_crash_while_headers_wait(lower: LowerVolume) -> None:
    """Section 11: after a crash the directory entry is right, also where two files have changed places."""

    def work(volume: Volume) -> None:
        make(volume, b"a", b"b", b"e")
        for path in (b"a", b"b", b"e"):
            known(volume, path)
        for source, target in ((b"a", b"t"), (b"b", b"a"), (b"t", b"b"), (b"e", b"f")):
            volume.rename(source, target)
        assert len(volume.tree.moves) == 3

    lower.crash(work)
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 0
        assert content(volume, b"a") == pattern(9000, b"b")
        assert content(volume, b"b") == pattern(9000, b"a")
        assert content(volume, b"f") == pattern(9000, b"e")
    assert lower.findings() == []


def test_another_file_in_its_place_is_noticed(lower: LowerVolume) -> None:
    """Section 9.1: while a header waits, a file that is put in the place of the renamed one does not become it."""
    with lower.unlock() as volume:
        make(volume, b"a", b"other")
        known(volume, b"a")
        volume.rename(b"a", b"b")
        below, foreign = lower.lower_in(volume, b"b"), lower.lower_in(volume, b"other")
        raw = foreign.read_bytes()
        below.write_bytes(raw)
        with pytest.raises(PlaceError):
            content(volume, b"b")
        volume.tree.moves.write_all()
        assert len(volume.tree.moves) == 0
        assert below.read_bytes() == raw
        with pytest.raises(PlaceError):
            content(volume, b"b")
    assert lower.findings() != []


def test_forgotten_file_is_finished_first(lower: LowerVolume) -> None:
    """Section 11: a node does not go before its header names the place; its parents would go after it."""
    with lower.unlock() as volume:
        make(volume, b"a")
        node = known(volume, b"a")
        volume.rename(b"a", b"b")
        volume.tree.nodes.forget(node.inode, 1)
        assert volume.tree.nodes.get(node.inode) is None
        assert header_at(volume, lower.lower_in(volume, b"b")).name == b"b"


def test_removed_file_waits_no_more(lower: LowerVolume) -> None:
    """Section 11: nothing is written to a file that was removed or replaced while its header waited."""
    with lower.unlock() as volume:
        make(volume, b"a", b"b", b"c")
        removed, replaced = known(volume, b"a"), known(volume, b"b")
        volume.rename(b"a", b"a2")
        volume.rename(b"b", b"b2")
        volume.remove(b"a2")
        volume.rename(b"c", b"b2")
        assert removed.owed is None
        assert replaced.owed is None
        volume.tree.moves.write_all()
        assert content(volume, b"b2") == pattern(9000, b"c")
    assert lower.findings() == []


def test_header_that_cannot_be_written_waits_on(lower: LowerVolume) -> None:
    """Section 11: an error leaves the file waiting; what was not tried again keeps the session from being CLEAN."""
    volume = lower.unlock(store=FailingStore)
    make(volume, b"a")
    known(volume, b"a")
    volume.rename(b"a", b"b")
    store: FailingStore = volume.ctx.store  # type: ignore[assignment]
    store.broken = {"pwrite": ENOSPC}
    with pytest.raises(OSError, match=os.strerror(ENOSPC)):
        volume.tree.moves.write_all()
    assert len(volume.tree.moves) == 1
    store.broken = {"pwrite": EIO}
    with pytest.raises((OSError, CloakfsError)):
        volume.close()
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert content(volume, b"b") == pattern(9000, b"a")
    assert lower.findings() == []


def test_so_many_wait_and_no_more(lower: LowerVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest header is written when too many wait; not that of an open file, which a thread may be at work on."""
    assert WAITING_MAX >= 1024
    monkeypatch.setattr("encfs.volume.moves.WAITING_MAX", 3)
    with lower.unlock() as volume:
        names = [b"file-%d" % number for number in range(5)]
        make(volume, *names)
        with volume.open(b"file-0", writable=True):
            for name in names:
                known(volume, name)
                volume.rename(name, b"to-" + name)
            assert len(volume.tree.moves) == 3
            written = [header_at(volume, lower.lower_in(volume, b"to-" + name)).name for name in names]
            assert written == [b"file-0", b"to-file-1", b"to-file-2", b"file-3", b"file-4"]
    assert lower.findings() == []


def test_no_room_for_an_older_header_fails_no_rename(lower: LowerVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 11: the header that too many others push out is another file's; it is tried again later."""
    monkeypatch.setattr("encfs.volume.moves.WAITING_MAX", 1)
    with lower.unlock(store=FailingStore) as volume:
        store: FailingStore = volume.ctx.store  # type: ignore[assignment]
        make(volume, b"a", b"b")
        for name in (b"a", b"b"):
            known(volume, name)
        volume.rename(b"a", b"c")
        store.broken = {"pwrite": ENOSPC}
        volume.rename(b"b", b"d")
        store.broken = {}
        assert len(volume.tree.moves) == 2
        assert content(volume, b"d") == pattern(9000, b"b")
    with lower.unlock(read_only=True) as volume:
        assert volume.recovery is None
        assert header_at(volume, lower.lower_in(volume, b"c")).name == b"c"
    assert lower.findings() == []
