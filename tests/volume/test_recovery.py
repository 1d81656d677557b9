"""What a crash can leave, and what the next unlock makes of it (FORMAT.md section 11, each row of its table)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.core import frames, symlinks
from encfs.errors import DataError, PlaceError, SizeError
from encfs.format.geometry import Geometry
from encfs.format.header import HeaderFlag
from encfs.format.session import SessionState
from encfs.volume import Volume
from encfs.volume.recovery import RecoveryReport
from tests.support.volumes import CELLS, LONG, ROOT, LowerVolume, flip, open_file, pattern, read

LONG_DIR = LONG + b"d"


def populate(volume: Volume) -> None:
    """A volume with some of everything, all of it synced and settled."""
    volume.make_directory(b"d")
    volume.make_directory(b"d/sub")
    volume.make_directory(b"d/" + LONG_DIR)
    for path in (b"a", b"d/b", b"d/sub/c", b"d/" + LONG_DIR + b"/e", LONG):
        with open_file(volume, path) as file:
            file.write(0, pattern(9000, path))
            file.sync()
    volume.make_symlink(b"l", b"target")
    volume.make_symlink(b"d/" + LONG + b"l", b"target of a long name")


@pytest.fixture(params=CELLS)
def crashed(request: pytest.FixtureRequest, tmp_path: Path) -> LowerVolume:
    """A volume whose last session did not end; everything in it is whole."""
    lower = LowerVolume(tmp_path / "volume", request.param)
    with lower.unlock() as volume:
        populate(volume)
    lower.crash()
    return lower


def recover(lower: LowerVolume, *, failed: int = 0, **repaired: int) -> RecoveryReport:
    """Unlock, and hold the report against what was to be repaired; the next unlock repairs nothing."""
    with lower.unlock() as volume:
        report = volume.recovery
        assert report is not None
        assert report.repaired == repaired
        assert report.total == sum(repaired.values())
        assert report.failed == failed
        assert not volume.ctx.tolerant
        assert volume.ctx.events == failed
        states = [record.state for record in volume.sessions.records()]
        assert states.count(SessionState.OPEN) == 1
        assert SessionState.RECOVERED in states
    with lower.unlock() as volume:
        assert volume.recovery is None
    return report


def assert_strict(lower: LowerVolume) -> None:
    """After recovery a mismatch is evidence again, not a crash."""
    with lower.unlock() as volume:
        volume.write_file(b"strict", pattern(9000))
    path = lower.lower(b"strict")
    os.truncate(path, path.stat().st_size + 1)
    with lower.unlock() as volume:
        with volume.open(b"strict") as file:
            assert file._file.damaged_size
        assert volume.ctx.events == 1
        volume.remove(b"strict")
    assert lower.findings() == []


def assert_whole(lower: LowerVolume) -> None:
    """Nothing that was synced is lost or changed."""
    with lower.unlock() as volume:
        for path in (b"a", b"d/b", b"d/sub/c", b"d/" + LONG_DIR + b"/e", LONG):
            assert read(volume, path) == pattern(9000, path)
        assert volume.read_link(b"l") == b"target"
        assert volume.read_link(b"d/" + LONG + b"l") == b"target of a long name"


def test_nothing_to_repair(crashed: LowerVolume) -> None:
    """A crash that left nothing behind repairs nothing and counts everything (FORMAT.md section 11)."""
    report = recover(crashed)
    assert report.objects == 10
    assert_whole(crashed)
    assert_strict(crashed)


# -- row 1: shorter than a header ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 511])
def test_unfinished_create(crashed: LowerVolume, length: int) -> None:
    """L = 0 or below 512: a create that never finished becomes an empty file (FORMAT.md section 11, row 1)."""
    name = crashed.seal_name(crashed.root_id(), b"new")
    (crashed.path / name).write_bytes(bytes(length))
    recover(crashed, created=1)
    with crashed.unlock() as volume:
        assert read(volume, b"new") == b""
        volume.write_file(b"new", b"content")
    assert_whole(crashed)
    assert_strict(crashed)


@pytest.mark.parametrize(("name", "suffix"), [(b"n" * 200, ""), (b"n" * 200, ".l"), (b"link", ".l")])
def test_unfinished_create_that_cannot_be_finished(crashed: LowerVolume, name: bytes, suffix: str) -> None:
    """Without the header a long name is lost, and so is a symlink's target: the entry goes (sections 7, 9.4, 11)."""
    path = crashed.path / (crashed.seal_name(crashed.root_id(), name) + suffix)
    path.write_bytes(b"")
    recover(crashed, created=1)
    assert not path.exists()
    assert_whole(crashed)


def test_real_unfinished_create(lower: LowerVolume) -> None:
    """The state that a killed process really leaves between create and close (FORMAT.md section 11, row 1)."""

    def work(volume: Volume) -> None:
        volume.changes.create(volume.tree.root, b"new", 0o640, ROOT)
        volume.changes.create(volume.tree.root, LONG, 0o640, ROOT)

    lower.crash(work)
    recover(lower, created=2)
    with lower.unlock() as volume:
        assert [(entry.name, entry.size, entry.mode & 0o777) for entry in volume.list_directory()] == [
            (b"new", 0, 0o640)
        ]


# -- row 2: the lower size does not fit ---------------------------------------------------------------------


@pytest.mark.parametrize("cell_size", CELLS)
@pytest.mark.parametrize("first", [0, 1, 10, 3000, -1, 0.5])
@pytest.mark.parametrize("more", [1, 20, 3000, 5000, 200_000])
def test_growth_that_was_not_settled(tmp_path: Path, cell_size: int, first: float, more: int) -> None:
    """The last cell's own length tells the true end of a file that grew (FORMAT.md section 11, row 2)."""
    lower = LowerVolume(tmp_path / "volume", cell_size)
    p0 = Geometry(cell_size).P0
    synced = p0 if first == -1 else p0 // 2 if first == 0.5 else int(first)
    data = pattern(synced + more)

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, data[:synced])
        file.sync()
        file.sync()
        file.write(synced, data[synced:])

    lower.crash(work)
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"log") == data
    header = lower.header(b"log")
    assert (header.size, header.synced_size) == (len(data), synced)
    assert lower.findings() == []
    assert_strict(lower)


def test_growth_within_the_last_cell_by_many_small_writes(lower: LowerVolume) -> None:
    """The lower size still fits the old header while only the last cell has grown (FORMAT.md section 11, row 2)."""

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, b"synced;")
        file.sync()
        for number in range(50):
            file.write(file.size, b"line %d;" % number)

    lower.crash(work)
    recover(lower, size=1)
    with lower.unlock() as volume:
        content = read(volume, b"log")
    assert content.startswith(b"synced;line 0;")
    assert content.endswith(b"line 49;")


def test_shrink_that_was_cut_short(lower: LowerVolume) -> None:
    """A header for the smaller size and cells of the larger one: either size is right, no byte is lost (row 2)."""
    data = pattern(20_000)
    with lower.unlock() as volume:
        volume.write_file(b"a", data)
    lower.crash()
    path = lower.lower(b"a")
    lower.write_header(path, replace(lower.header(b"a"), size=5000, synced_size=5000))
    recover(lower, size=1)
    with lower.unlock() as volume:
        content = read(volume, b"a")
    assert len(content) >= 5000
    assert content == data[: len(content)]


def test_emptying_that_was_cut_short(lower: LowerVolume) -> None:
    """A fresh header over the old cells: the file is empty, and no old cell opens (FORMAT.md sections 9.1 and 11)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(20_000))
    path = lower.lower(b"a")
    old = path.read_bytes()
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.truncate(0)
    lower.crash()
    path.write_bytes(path.read_bytes() + old[512:])
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"a") == b""
    assert path.stat().st_size == 512


@pytest.mark.parametrize("cell_size", CELLS)
def test_last_cell_torn_while_growing(tmp_path: Path, cell_size: int) -> None:
    """A cell that reached the disk in part ends the run of good cells (FORMAT.md section 11, row 2)."""
    lower = LowerVolume(tmp_path / "volume", cell_size)
    g, data = Geometry(cell_size), pattern(6 * cell_size)

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, data[:1000])
        file.sync()
        file.sync()
        file.write(1000, data[1000:])

    lower.crash(work)
    path = lower.lower(b"log")
    os.truncate(path, 4 * cell_size + 2048)
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"log") == data[: g.start_of(4)]
    assert lower.findings() == []


def test_cell_missing_in_the_middle_of_growth(lower: LowerVolume) -> None:
    """A later cell that reached the disk before an earlier one is not taken (FORMAT.md section 11, row 2)."""
    g, data = Geometry(4096), pattern(40_000)

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, data[:9000])
        file.sync()
        file.sync()
        file.write(9000, data[9000:])

    lower.crash(work)
    path = lower.lower(b"log")
    with path.open("r+b") as raw:
        raw.seek(5 * 4096)
        raw.write(bytes(4096))
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"log") == data[: g.start_of(5)]


@pytest.mark.parametrize("synced", [0, 9000])
@pytest.mark.parametrize("damage", ["zeroed", "flipped"])
@pytest.mark.parametrize("missing", [3, 258, 259, 260, 400, 518, 598, 599])
def test_cell_missing_in_a_long_growth(lower: LowerVolume, missing: int, damage: str, synced: int) -> None:
    """Wherever the run of good cells ends, around what is opened at once too (FORMAT.md section 11, row 2)."""
    g = Geometry(4096)
    data = pattern(g.start_of(599) + 100)

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, data[:synced])
        file.sync()
        file.sync()
        for begin in range(synced, len(data), 1 << 19):
            file.write(begin, data[begin : begin + (1 << 19)])

    lower.crash(work)
    path = lower.lower(b"log")
    if damage == "flipped":
        flip(path, missing * 4096 + 100)
    else:
        with path.open("r+b") as raw:
            raw.seek(missing * 4096)
            raw.write(bytes(4096))
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"log") == data[: g.start_of(missing)]


def test_sparse_growth(lower: LowerVolume) -> None:
    """In a SPARSE file holes are part of the run, but never its end (FORMAT.md sections 9.2 and 11)."""

    def work(volume: Volume) -> None:
        file = volume.open(b"s", create=True, writable=True)
        file.write(0, b"begin")
        file.write(100_000, b"end")

    lower.crash(work)
    path = lower.lower(b"s")
    os.truncate(path, 60 * 4096)
    recover(lower, size=1)
    with lower.unlock() as volume:
        assert read(volume, b"s") == b"begin" + bytes(100_000 - 5) + b"end"
    assert lower.header(b"s").flags == HeaderFlag.SPARSE
    assert lower.findings() == []


@pytest.mark.parametrize("damage", ["cut", "cut at a border", "flipped", "zeroed"])
def test_never_below_the_synced_size(lower: LowerVolume, damage: str) -> None:
    """Synced bytes that are gone are no crash: the file stays as it is, as evidence (FORMAT.md section 11, row 2)."""
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.write(0, pattern(20_000))
        file.sync()
        file.sync()
    lower.crash()
    path = lower.lower(b"a")
    size = path.stat().st_size
    if damage == "flipped":
        flip(path, 5 * 4096 + 100)
    if damage == "zeroed":
        with path.open("r+b") as raw:
            raw.seek(5 * 4096)
            raw.write(bytes(4096))
    os.truncate(path, {"cut": 3 * 4096 + 7, "cut at a border": 4 * 4096}.get(damage, size + 1))
    before = path.read_bytes()
    recover(lower, failed=1)
    assert path.read_bytes() == before
    with lower.unlock() as volume, volume.open(b"a") as file:
        assert file.size == 20_000
        assert file.read(0, 3552) == pattern(20_000)[:3552]
    assert ("file-size", b"a") in lower.findings()


def test_damaged_cell_is_no_crash(crashed: LowerVolume) -> None:
    """A cell that does not open, in a file of the right size, is evidence also after a crash (section 11)."""
    path = crashed.lower(b"a")
    flip(path, 1000)
    before = path.read_bytes()
    recover(crashed)
    assert path.read_bytes() == before
    assert crashed.findings() == [("cell-damaged", b"a")]


def test_damaged_header_is_no_crash(crashed: LowerVolume) -> None:
    """A header that does not open is evidence also after a crash (FORMAT.md section 11)."""
    flip(crashed.lower(b"a"), 100)
    recover(crashed, failed=1)
    assert crashed.findings() == [("file-damaged", b"a")]


# -- row 3: places ------------------------------------------------------------------------------------------


def test_file_at_another_place(crashed: LowerVolume) -> None:
    """The entry is right: the header is rewritten for it (FORMAT.md section 11, row 3)."""
    path, header = crashed.lower(b"a"), crashed.header(b"a")
    sub = crashed.record(crashed.lower(b"d/sub")).dir_id
    crashed.write_header(path, replace(header, parent=sub, name=b"elsewhere"))
    crashed.write_header(crashed.lower(b"d/b"), replace(crashed.header(b"d/b"), name=LONG))
    recover(crashed, place=2)
    after = crashed.header(b"a")
    assert (after.parent, after.name) == (crashed.root_id(), b"a")
    assert after.generation > header.generation
    assert_whole(crashed)
    assert crashed.findings() == []


def test_hard_linked_file_has_no_wrong_place(lower: LowerVolume) -> None:
    """With MULTI the place is free, so nothing is repaired (FORMAT.md section 11, row 3)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
        volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"b")
    lower.crash()
    lower.write_header(lower.lower(b"a"), replace(lower.header(b"a"), name=b"gone"))
    recover(lower)


def test_symlink_at_another_place(crashed: LowerVolume) -> None:
    """A lower symlink sealed for another place is sealed anew for this one (FORMAT.md section 11, row 3)."""
    path = crashed.lower(b"l")
    with crashed.unlock(read_only=True) as volume:
        target = symlinks.seal_target(
            volume.ctx.ring, dir_id=crashed_root(volume), name=b"other", target=b"target", multi=False
        )
    path.unlink()
    os.symlink(target, os.fsencode(path))
    recover(crashed, place=1)
    assert_whole(crashed)
    assert crashed.findings() == []


def crashed_root(volume: Volume) -> object:
    """The id of the root directory."""
    return volume.config.root_dir_id


@pytest.mark.parametrize("path", [b"d", b"d/sub"])
def test_directory_at_another_place(crashed: LowerVolume, path: bytes) -> None:
    """The record of a directory is rewritten for the entry (FORMAT.md section 11, row 3)."""
    lower = crashed.lower(path)
    before = crashed.record(lower)
    crashed.write_record(lower, name=b"elsewhere", parent=os.urandom(16))
    recover(crashed, place=1)
    after = crashed.record(lower)
    assert replace(after, generation=0, session=before.session) == replace(before, generation=0)
    assert after.generation > before.generation
    assert_whole(crashed)
    assert crashed.findings() == []


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_rename_of_a_long_name_that_was_cut_short(crashed: LowerVolume, kind: str) -> None:
    """The record names the new place, the entry is the old long one: the rename is finished (sections 7 and 11)."""
    path = {"file": LONG, "directory": b"d/" + LONG_DIR, "symlink": b"d/" + LONG + b"l"}[kind]
    parent, _, name = path.rpartition(b"/")
    lower = crashed.lower(path)
    with crashed.unlock(read_only=True) as volume:
        dir_id = volume.tree.dir_id(volume.resolve(parent))
    fresh = name[:-1] + b"!"
    if kind == "directory":
        crashed.write_record(lower, name=fresh)
    else:
        crashed.write_header(lower, replace(crashed.header_at(lower), name=fresh))
    recover(crashed, place=1)
    with crashed.unlock() as volume:
        names = {entry.name for entry in volume.list_directory(parent)}
        assert fresh in names
        assert name not in names
        volume.rename((parent + b"/" + fresh).strip(b"/"), path)
    assert not lower.with_name(crashed.seal_name(dir_id, fresh)).exists()
    assert_whole(crashed)
    assert crashed.findings() == []


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("to", [b"short", b"N" * 210])
def test_rename_of_a_long_name_to_another_directory(crashed: LowerVolume, kind: str, to: bytes) -> None:
    """A rename between directories that was cut short is finished too (FORMAT.md sections 7 and 11)."""
    path = {"file": LONG, "directory": b"d/" + LONG_DIR, "symlink": b"d/" + LONG + b"l"}[kind]
    lower = crashed.lower(path)
    sub = crashed.record(crashed.lower(b"d/sub")).dir_id
    if kind == "directory":
        crashed.write_record(lower, name=to, parent=sub)
    else:
        crashed.write_header(lower, replace(crashed.header_at(lower), name=to, parent=sub))
    recover(crashed, place=1)
    with crashed.unlock() as volume:
        volume.rename(b"d/sub/" + to, path)
    assert_whole(crashed)
    assert crashed.findings() == []


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_long_name_whose_new_place_is_taken(crashed: LowerVolume, kind: str) -> None:
    """Where the new place is taken the long name is lost, but nothing else is (FORMAT.md sections 7 and 11)."""
    path = {"file": LONG, "directory": b"d/" + LONG_DIR, "symlink": b"d/" + LONG + b"l"}[kind]
    parent, _, name = path.rpartition(b"/")
    lower = crashed.lower(path)
    with crashed.unlock() as volume:
        taken = (parent + b"/taken").strip(b"/")
        volume.write_file(taken, b"here already")
        before = {entry.name for entry in volume.list_directory(parent)}
    crashed.crash()
    if kind == "directory":
        crashed.write_record(lower, name=b"taken")
    else:
        crashed.write_header(lower, replace(crashed.header_at(lower), name=b"taken"))
    recover(crashed, place=1)
    with crashed.unlock() as volume:
        after = {entry.name for entry in volume.list_directory(parent)}
        (found,) = after - before
        assert before - after == {name}
        assert read(volume, taken) == b"here already"
        volume.rename((parent + b"/" + found).strip(b"/"), path)
    assert_whole(crashed)
    assert crashed.findings() == []


# -- row 4: directory records -------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "flipped"])
@pytest.mark.parametrize("path", [b"d", b"d/sub"])
def test_lost_record(crashed: LowerVolume, damage: str, path: bytes) -> None:
    """A lost record is rebuilt from the headers and records of the children (FORMAT.md section 11, row 4)."""
    directory = crashed.lower(path)
    before = crashed.record(directory)
    damage_record(directory / "cloakfs.d", damage)
    recover(crashed, record=1)
    after = crashed.record(directory)
    assert (after.dir_id, after.parent, after.name) == (before.dir_id, before.parent, before.name)
    assert_whole(crashed)
    assert crashed.findings() == []
    assert_strict(crashed)


def damage_record(record: Path, damage: str) -> None:
    """Do to a directory record what a crash can."""
    raw = record.read_bytes()
    if damage == "missing":
        record.unlink()
    else:
        record.write_bytes({"empty": b"", "short": raw[:100], "flipped": raw[:-1] + bytes([raw[-1] ^ 1])}[damage])


def test_lost_record_with_subdirectories_only(lower: LowerVolume) -> None:
    """The record of a child directory names the id as well (FORMAT.md section 11, row 4)."""
    with lower.unlock() as volume:
        for path in (b"d", b"d/e", b"d/f"):
            volume.make_directory(path)
        volume.write_file(b"d/e/x", b"content")
    lower.crash()
    damage_record(lower.lower(b"d") / "cloakfs.d", "empty")
    recover(lower, record=1)
    with lower.unlock() as volume:
        assert [entry.name for entry in volume.list_directory(b"d")] == [b"e", b"f"]
        assert read(volume, b"d/e/x") == b"content"


def test_lost_records_of_a_whole_path(lower: LowerVolume) -> None:
    """Directories whose children have lost their records too are rebuilt from below (FORMAT.md section 11, row 4)."""
    with lower.unlock() as volume:
        for path in (b"d", b"d/e", b"d/e/f"):
            volume.make_directory(path)
            volume.write_file(path + b"/x", path)
    lower.crash()
    paths = [lower.lower(path) for path in (b"d", b"d/e", b"d/e/f")]
    for path in paths:
        damage_record(path / "cloakfs.d", "missing")
    recover(lower, record=3)
    with lower.unlock() as volume:
        for path in (b"d", b"d/e", b"d/e/f"):
            assert read(volume, path + b"/x") == path


def test_lost_record_of_an_empty_directory(lower: LowerVolume) -> None:
    """A directory without children gets a new id (FORMAT.md section 11, row 4)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
    lower.crash()
    directory = lower.lower(b"d")
    before = lower.record(directory).dir_id
    damage_record(directory / "cloakfs.d", "empty")
    recover(lower, record=1)
    assert lower.record(directory).dir_id != before
    with lower.unlock() as volume:
        volume.write_file(b"d/x", b"content")
        assert read(volume, b"d/x") == b"content"
    assert lower.findings() == []


def test_lost_record_and_children_that_never_were(lower: LowerVolume) -> None:
    """Power went right after mkdir and create: what is in the directory was never more than a name (section 11)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.write_file(b"d/x", b"")
    lower.crash()
    child, directory = lower.lower(b"d/x"), lower.lower(b"d")
    os.truncate(child, 0)
    damage_record(directory / "cloakfs.d", "empty")
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 0
        assert volume.recovery.repaired == {"created": 1, "record": 1}
        assert volume.list_directory(b"d") == []
        volume.write_file(b"d/x", b"content")
        volume.remove(b"d/x")
        volume.remove(b"d")
    assert lower.findings() == []


def test_record_of_the_root_is_not_rebuilt(crashed: LowerVolume) -> None:
    """The root's record was written with the config: without it recovery fails and nothing is touched (section 8)."""
    damage_record(crashed.path / "cloakfs.d", "flipped")
    with crashed.unlock() as volume:
        assert volume.recovery is not None
        assert volume.recovery.failed == 1
        with pytest.raises(DataError):
            volume.list_directory()


def test_record_with_nothing_to_tell_its_id(lower: LowerVolume) -> None:
    """Where no child can name the id the directory stays as it is: its names would be lost (section 11, row 4)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.make_symlink(b"d/l", b"target")
    lower.crash()
    directory = lower.lower(b"d")
    damage_record(directory / "cloakfs.d", "empty")
    before = sorted(path.name for path in directory.iterdir())
    recover(lower, failed=1)
    assert sorted(path.name for path in directory.iterdir()) == before
    assert lower.findings() == [("directory-size", b"d")]


def test_moved_file_does_not_tell_the_id(lower: LowerVolume) -> None:
    """Most children decide; one that was put there from elsewhere does not (FORMAT.md section 11, row 4)."""
    with lower.unlock() as volume:
        for directory in (b"d", b"e"):
            volume.make_directory(directory)
        for name in (b"d/x", b"d/y", b"e/z"):
            volume.write_file(name, name)
    lower.crash()
    directory, alien = lower.lower(b"d"), lower.lower(b"e/z")
    before = lower.record(directory).dir_id
    alien.rename(directory / alien.name)
    damage_record(directory / "cloakfs.d", "missing")
    with lower.unlock() as volume:
        assert volume.tree.dir_id(volume.resolve(b"d")) == before
        assert read(volume, b"d/x") == b"d/x"


# -- row 5: temporaries -------------------------------------------------------------------------------------


def test_temporaries_are_removed(crashed: LowerVolume) -> None:
    """Unfinished creates, directories and config writes go (FORMAT.md section 11, row 5)."""
    temporary = "cloakfs.t.0123456789abcdef"
    (crashed.path / temporary).write_bytes(b"half a config")
    directory = crashed.lower(b"d") / temporary
    directory.mkdir()
    (directory / "cloakfs.d").write_bytes(b"half a record")
    deep = crashed.lower(b"d/sub") / temporary
    deep.mkdir()
    (deep / temporary).mkdir()
    (deep / temporary / "cloakfs.d").write_bytes(b"")
    link = crashed.lower(b"d/" + LONG_DIR) / temporary
    link.symlink_to("somewhere")
    recover(crashed, temporary=4)
    assert not list(crashed.path.rglob("cloakfs.t.*"))
    assert_whole(crashed)
    assert crashed.findings() == []


def test_foreign_entries_stay(crashed: LowerVolume) -> None:
    """What is not ours is neither shown nor removed (FORMAT.md section 2)."""
    for name in ("lost+found", "Thumbs.db", "A" * 43, "~" + "B" * 43):
        (crashed.path / name).write_bytes(b"foreign")
    with crashed.unlock() as volume:
        assert volume.recovery is not None
        assert len(volume.list_directory()) == 4
    for name in ("lost+found", "Thumbs.db", "A" * 43, "~" + "B" * 43):
        assert (crashed.path / name).read_bytes() == b"foreign"


# -- when it runs -------------------------------------------------------------------------------------------


def test_everything_at_once(crashed: LowerVolume) -> None:
    """All rows in one volume are repaired in one pass and counted apart (FORMAT.md section 11)."""
    grown = crashed.lower(b"d/b")
    os.truncate(grown, grown.stat().st_size + 77)
    crashed.write_header(crashed.lower(b"a"), replace(crashed.header(b"a"), name=b"elsewhere"))
    damage_record(crashed.lower(b"d/sub") / "cloakfs.d", "missing")
    (crashed.path / crashed.seal_name(crashed.root_id(), b"new")).write_bytes(b"")
    (crashed.path / "cloakfs.t.0000000000000000").write_bytes(b"")
    report = recover(crashed, size=1, place=1, record=1, created=1, temporary=1)
    assert report.objects == 11
    assert_whole(crashed)
    assert_strict(crashed)


@pytest.mark.parametrize("damage", ["created", "size", "place", "record", "temporary"])
def test_clean_volume_is_not_repaired(lower: LowerVolume, damage: str) -> None:
    """After clean sessions the same states are evidence: unlocking repairs nothing (FORMAT.md section 11)."""
    with lower.unlock() as volume:
        populate(volume)
    path = lower.lower(b"a")
    expected: list[tuple[str, bytes]] = []
    if damage == "created":
        (lower.path / lower.seal_name(lower.root_id(), b"new")).write_bytes(b"")
        expected = [("file-size", b"new")]
    elif damage == "size":
        os.truncate(path, path.stat().st_size + 1)
        expected = [("file-size", b"a")]
    elif damage == "place":
        lower.write_header(path, replace(lower.header(b"a"), name=b"elsewhere"))
        expected = [("file-moved", b"a")]
    elif damage == "record":
        (lower.lower(b"d") / "cloakfs.d").unlink()
        expected = [("directory-size", b"d")]
    else:
        (lower.path / "cloakfs.t.0000000000000000").write_bytes(b"")
    before = objects(lower)
    with lower.unlock() as volume:
        assert volume.recovery is None
        assert not volume.ctx.tolerant
    assert objects(lower) == before
    assert lower.findings() == expected


def objects(lower: LowerVolume) -> dict[str, object]:
    """The lower tree but for the session records."""
    return {path: seen for path, seen in lower.snapshot().items() if "cloakfs.s" not in path}


def test_two_crashes_in_a_row(lower: LowerVolume) -> None:
    """A crash while recovering, or before anything was done, is recovered by the next unlock (FORMAT.md section 11)."""

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, b"first")
        file.sync()
        file.write(5, b"second")

    lower.crash(work)
    child = os.fork()
    if child == 0:
        try:
            lower.unlock_and_die()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77
    with lower.unlock(read_only=True) as volume:
        assert [record.state for record in volume.sessions.records()] == [SessionState.OPEN] * 2
    with lower.unlock() as volume:
        assert volume.recovery is not None
        assert read(volume, b"log") == b"firstsecond"
        assert [record.state for record in volume.sessions.records()].count(SessionState.RECOVERED) == 2


def test_read_only_after_a_crash(lower: LowerVolume) -> None:
    """Read-only nothing is repaired, but what the crash left can be read (FORMAT.md section 11)."""

    def work(volume: Volume) -> None:
        file = volume.open(b"log", create=True, writable=True)
        file.write(0, b"first")
        file.sync()
        file.write(5, b"second")

    lower.crash(work)
    before = lower.snapshot()
    with lower.unlock(read_only=True) as volume:
        assert volume.recovery is None
        assert read(volume, b"log") == b"firstsecond"
        assert volume.ctx.events == 0
    assert lower.snapshot() == before


def test_recovery_tells_its_progress(crashed: LowerVolume) -> None:
    """Whoever waits for a long recovery sees how far it is (DESIGN section 4)."""
    from encfs.format.slots import SlotKind
    from tests.support.volumes import RECOVERY_KEY

    told: list[tuple[str, int]] = []
    unlock: Callable[..., Volume] = Volume.unlock
    with unlock(
        os.fsencode(crashed.path),
        RECOVERY_KEY,
        SlotKind.RECOVERY,
        progress=lambda phase, count: told.append((phase, count)),
    ):
        pass
    assert {phase for phase, _ in told} == {"recovering"}
    assert [count for _, count in told] == sorted(count for _, count in told)
    assert told[-1][1] == 10


def test_place_errors_are_back_after_recovery(crashed: LowerVolume) -> None:
    """After RECOVERED a wrong place is tampering (FORMAT.md section 11)."""
    recover(crashed)
    crashed.write_header(crashed.lower(b"a"), replace(crashed.header(b"a"), name=b"elsewhere"))
    crashed.write_record(crashed.lower(b"d"), name=b"elsewhere")
    with crashed.unlock() as volume:
        with pytest.raises(PlaceError):
            read(volume, b"a")
        with pytest.raises(PlaceError):
            volume.list_directory(b"d")


def test_shorter_than_synced_is_told_as_such(lower: LowerVolume) -> None:
    """While tolerant, opening such a file says what is wrong with it (FORMAT.md section 11)."""
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.write(0, pattern(9000))
        file.sync()
        file.sync()
    lower.crash()
    os.truncate(lower.lower(b"a"), 4096)
    with lower.unlock(read_only=True) as volume, pytest.raises(SizeError, match="synced size"):
        read(volume, b"a")


def test_header_of_a_recovered_file_is_of_this_session(lower: LowerVolume) -> None:
    """A repaired header names the session that repaired it (FORMAT.md section 9.1)."""
    lower.crash(lambda volume: volume.open(b"log", create=True, writable=True).write(0, b"content"))
    path = lower.lower(b"log")
    os.truncate(path, 8192)
    with lower.unlock() as volume:
        session = volume.ctx.session
        header = frames.open_header(volume.ctx.ring, path.read_bytes()[:512])
    assert header.session == session
