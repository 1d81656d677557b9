"""After a power cut: what has a name and no data, or a name that its record does not know (FORMAT.md section 11)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from encfs.format.header import HeaderFlag
from encfs.format.slots import SlotKind
from encfs.store.local import LocalStore
from encfs.volume import Volume
from tests.support.volumes import LONG, RECOVERY_KEY, LowerVolume, open_file, pattern, read

TAGS = {b"user.tag": b"t"}


def tag(volume: Volume, path: bytes) -> None:
    """An attribute on an object."""
    volume.attributes.set(volume.resolve(path), b"user.tag", b"t")


def tags(volume: Volume, path: bytes) -> dict[bytes, bytes]:
    """The attributes of an object."""
    return dict(volume.attributes.get_all(volume.resolve(path)))


def write(volume: Volume, path: bytes) -> None:
    """A file of three cells, synced, with an attribute."""
    with open_file(volume, path) as file:
        file.write(0, pattern(9000, path))
        file.sync()
    tag(volume, path)


def recover(lower: LowerVolume, **repaired: int) -> None:
    """Unlock after a crash: exactly these repairs, no integrity event, and nothing that verify finds."""
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.repaired == repaired
        assert volume.recovery.failed == 0
        assert volume.ctx.events == 0
    assert lower.findings() == []


@pytest.fixture
def crashed(lower: LowerVolume) -> LowerVolume:
    """A volume with some files, whose last session did not end."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        tag(volume, b"d")
        for path in (b"a", LONG):
            write(volume, path)
        volume.make_symlink(b"l" * 200, b"target of a long name")
    lower.crash()
    return lower


def lose_data(path: Path) -> None:
    """The size reached the disk, the data did not."""
    size = path.stat().st_size
    os.truncate(path, 0)
    os.truncate(path, size)


def test_a_file_whose_data_never_reached_the_disk(crashed: LowerVolume) -> None:
    """The first 4,096 bytes are zero: a create that never finished, no attributes (FORMAT.md section 11, row 1)."""
    lose_data(crashed.lower(b"a"))
    recover(crashed, created=1)
    with crashed.unlock() as volume:
        assert read(volume, b"a") == b""
        assert tags(volume, b"a") == {}
        assert read(volume, LONG) == pattern(9000, LONG)
        assert tags(volume, LONG) == TAGS
        volume.write_file(b"a", b"again")
    assert crashed.lower(b"a").stat().st_size == 4096 + 5


def test_a_header_that_was_zeroed_is_damage(crashed: LowerVolume) -> None:
    """Zero bytes for a header with a cell beside it come from no cut write: nothing is cut off (section 11, row 1)."""
    path = crashed.lower(b"a")
    content = bytes(512) + path.read_bytes()[512:]
    path.write_bytes(content)
    with crashed.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 1
    assert path.read_bytes() == content
    assert crashed.findings() == [("file-damaged", b"a")]


@pytest.mark.parametrize("name", [LONG, b"l" * 200], ids=["long name", "symlink in a file"])
def test_what_cannot_be_named_again_goes(crashed: LowerVolume, name: bytes) -> None:
    """Zero bytes for a header under a long name or that of a symlink: text or target is lost (section 11, row 1)."""
    path = crashed.lower(name)
    lose_data(path)
    recover(crashed, created=1)
    assert not path.exists()


def test_attributes_of_an_unfinished_create_go(crashed: LowerVolume) -> None:
    """L = 0 with attributes that are sealed under an id that never reached the disk (FORMAT.md section 11, row 1)."""
    os.truncate(crashed.lower(b"a"), 0)
    recover(crashed, created=1)
    with crashed.unlock() as volume:
        assert tags(volume, b"a") == {}
        assert read(volume, b"a") == b""


def test_attributes_of_a_directory_with_a_new_id_go(crashed: LowerVolume) -> None:
    """A directory whose record is rebuilt with a new id has no attributes: they were sealed under the old one."""
    os.truncate(crashed.lower(b"d") / "cloakfs.d", 0)
    recover(crashed, record=1)
    with crashed.unlock() as volume:
        assert tags(volume, b"d") == {}


def test_a_link_reached_the_disk_and_its_header_did_not(crashed: LowerVolume) -> None:
    """Several links and no MULTI in the header: it is set, and each name opens (FORMAT.md sections 9.1 and 11)."""
    os.link(crashed.lower(b"a"), crashed.path / crashed.seal_name(crashed.root_id(), b"b"))
    recover(crashed, place=1)
    assert crashed.header(b"a").flags & HeaderFlag.MULTI
    with crashed.unlock() as volume:
        assert read(volume, b"a") == read(volume, b"b") == pattern(9000, b"a")


def test_an_unfinished_create_with_links(crashed: LowerVolume) -> None:
    """The same without a header: an empty file under each name (FORMAT.md section 11)."""
    path = crashed.lower(b"a")
    os.link(path, crashed.path / crashed.seal_name(crashed.root_id(), b"b"))
    lose_data(path)
    recover(crashed, created=1)
    with crashed.unlock() as volume:
        assert read(volume, b"a") == read(volume, b"b") == b""


class _Noting(LocalStore):
    """Notes which calls are made."""

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd)
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("write_out", "rename", "link", "exchange", "fdatasync", "fsync", "truncate"):
            self.calls.append(name)
        return super().__getattribute__(name)


OTHER_LONG = b"M" * 220


@pytest.mark.parametrize(
    ("work", "calls"),
    [
        (lambda v: v.make_directory(b"e"), ["write_out", "rename"]),
        (lambda v: v.make_symlink(OTHER_LONG, b"target"), ["write_out", "rename"]),
        (lambda v: v.rename(b"a", OTHER_LONG), ["write_out", "rename"]),
        (lambda v: v.rename(b"d", OTHER_LONG), ["write_out", "rename"]),
        (lambda v: v.rename(b"a", b"b"), ["rename"]),
        (lambda v: v.rename(b"d", b"e"), ["rename"]),
        (lambda v: v.changes.link(v.resolve(b"a"), v.tree.root, OTHER_LONG), ["write_out", "link"]),
        (lambda v: v.changes.exchange(v.tree.root, b"a", v.tree.root, LONG), ["write_out", "exchange"]),
    ],
    ids=["mkdir", "long symlink", "file to long", "directory to long", "file", "directory", "link", "exchange"],
)
def test_what_a_name_needs_is_written_out_before_it(crashed: LowerVolume, work: Any, calls: list[str]) -> None:
    """A record or header that nothing else can tell leaves for the medium before the name does (section 11)."""
    store = crashed.make_store(_Noting)
    with Volume.unlock(os.fsencode(crashed.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store) as volume:
        store.calls.clear()
        work(volume)
        assert [call for call in store.calls if call != "truncate"] == calls


@pytest.mark.parametrize(("start", "calls"), [(30_000, ["fdatasync", "truncate"]), (0, ["truncate", "truncate"])])
def test_a_sparse_file_shrinks_when_all_of_it_is_there(crashed: LowerVolume, start: int, calls: list[str]) -> None:
    """Header and cells are durable before the cut: on the medium the new last cell may be a hole (section 11)."""
    store = crashed.make_store(_Noting)
    key = (RECOVERY_KEY, SlotKind.RECOVERY)
    with Volume.unlock(os.fsencode(crashed.path), *key, store=store) as volume, open_file(volume, b"new") as file:
        file.write(start, pattern(40_000 - start))
        file.sync()
        store.calls.clear()
        file.truncate(9000)
        assert store.calls[:2] == calls
