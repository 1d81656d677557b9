"""Every change from outside is seen, named, and leaves the rest readable (FORMAT.md sections 6 to 10)."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.core.cells import CellError
from encfs.errors import AuthenticationError, DataError, FormatError, PlaceError, SizeError
from encfs.format.geometry import Geometry
from encfs.format.header import HeaderFlag
from encfs.volume import Volume
from tests.support.volumes import CELLS, LONG, SECRET, LowerVolume, flip, open_file, pattern, read

OTHER = b"the other file"


@pytest.fixture(params=CELLS)
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> LowerVolume:
    """A volume with a file of three and a half cells, and another one."""
    lower = LowerVolume(tmp_path / "volume", request.param)
    with lower.unlock() as volume:
        volume.write_file(b"a", content(lower))
        volume.write_file(b"b", OTHER)
    return lower


def content(lower: LowerVolume) -> bytes:
    """What the file of these tests holds."""
    return pattern(Geometry(lower.cell_size).start_of(3) + 1000)


def readable(volume: Volume, path: bytes) -> dict[int, bytes]:
    """Cell by cell, what still opens."""
    g, cells = volume.ctx.geometry, {}
    with volume.open(path) as file:
        for index in range(g.cells_for(file.size)):
            try:
                cells[index] = file.read(g.start_of(index), g.capacity(index))
            except CellError as exc:
                assert exc.index == index
    return cells


def expected(lower: LowerVolume) -> dict[int, bytes]:
    """The plain bytes of each of its cells."""
    g, data = Geometry(lower.cell_size), content(lower)
    return {index: data[g.start_of(index) : g.start_of(index + 1)] for index in range(4)}


@pytest.mark.parametrize(
    "offset",
    [0, 4, 5, 6, 7, 11, 15, 16, 31, 32, 47, 48, 59, 60, 68, 140, 155, 300, 495, 496, 511],
)
def test_header_bit(victim: LowerVolume, offset: int) -> None:
    """One bit anywhere in a header: the file does not open, others do, and it can be removed (FORMAT.md section 6)."""
    flip(victim.lower(b"a"), offset)
    with victim.unlock() as volume:
        with pytest.raises((AuthenticationError, FormatError)):
            read(volume, b"a")
        assert volume.ctx.events == 1
        assert read(volume, b"b") == OTHER
        assert [entry.name for entry in volume.list_directory()] == [b"a", b"b"]
        volume.remove(b"a")
        assert [entry.name for entry in volume.list_directory()] == [b"b"]


@pytest.mark.parametrize("cell", [0, 1, 2, 3])
@pytest.mark.parametrize("region", ["len", "flags", "zero", "nonce", "text", "middle", "padding", "tag"])
def test_cell_bit(victim: LowerVolume, cell: int, region: str) -> None:
    """One bit anywhere in a cell: that cell is refused by number, the others open, a new write heals (section 9.2)."""
    size = victim.cell_size
    begin, end = (cell * size or 512), (cell + 1) * size
    where = {"len": 0, "flags": 2, "zero": 3, "nonce": 9, "text": 16, "middle": 2000, "padding": -17, "tag": -1}[region]
    offset = where + (end if where < 0 else begin)
    flip(victim.lower(b"a"), offset, 2 if region == "len" else 1)
    good = expected(victim)
    with victim.unlock() as volume:
        del good[cell]
        assert readable(volume, b"a") == good
        assert read(volume, b"b") == OTHER
        with open_file(volume, b"a") as file:
            start = volume.ctx.geometry.start_of(cell)
            if cell != 3:
                with pytest.raises(CellError):
                    file.write(start + 1, b"part of a damaged cell")
            file.write(start, expected(victim)[cell])
        assert readable(volume, b"a") == expected(victim)
    assert victim.findings() == []


def test_swapped_cells(victim: LowerVolume) -> None:
    """A cell is bound to its number: two swapped ones are both refused (FORMAT.md section 9.2)."""
    path, size = victim.lower(b"a"), victim.cell_size
    raw = bytearray(path.read_bytes())
    raw[size : 2 * size], raw[2 * size : 3 * size] = raw[2 * size : 3 * size], raw[size : 2 * size]
    path.write_bytes(raw)
    with victim.unlock() as volume:
        assert set(readable(volume, b"a")) == {0, 3}


def test_cell_of_another_file(victim: LowerVolume) -> None:
    """A cell is bound to its file by the content key (FORMAT.md section 9.2)."""
    with victim.unlock() as volume:
        volume.write_file(b"c", content(victim))
    path, size = victim.lower(b"a"), victim.cell_size
    raw = bytearray(path.read_bytes())
    raw[size : 2 * size] = victim.lower(b"c").read_bytes()[size : 2 * size]
    path.write_bytes(raw)
    with victim.unlock() as volume:
        assert set(readable(volume, b"a")) == {0, 2, 3}


@pytest.mark.parametrize("cell", [0, 1, 3])
def test_zeroed_cell(victim: LowerVolume, cell: int) -> None:
    """A cell of zero bytes is refused in a file that is not SPARSE (FORMAT.md section 9.2)."""
    path, size = victim.lower(b"a"), victim.cell_size
    raw = bytearray(path.read_bytes())
    begin = cell * size or 512
    raw[begin : (cell + 1) * size] = bytes((cell + 1) * size - begin)
    path.write_bytes(raw)
    with victim.unlock() as volume:
        with pytest.raises(CellError, match="hole"):
            read(volume, b"a")
        assert set(readable(volume, b"a")) == {0, 1, 2, 3} - {cell}


def test_zeroed_cell_of_a_sparse_file(victim: LowerVolume) -> None:
    """In a SPARSE file a cell of zero bytes is a hole, but never the last one (FORMAT.md section 9.2)."""
    g, size = Geometry(victim.cell_size), victim.cell_size
    with victim.unlock() as volume, open_file(volume, b"s") as file:
        file.write(g.start_of(2), b"x" * g.capacity(2))
        assert file.header.flags == HeaderFlag.SPARSE
        file.write(0, b"begin")
    path = victim.lower(b"s")
    raw = bytearray(path.read_bytes())
    raw[512:size] = bytes(size - 512)
    path.write_bytes(raw)
    with victim.unlock() as volume:
        assert readable(volume, b"s")[0] == bytes(g.capacity(0))
    raw[2 * size : 3 * size] = bytes(size)
    path.write_bytes(raw)
    with victim.unlock() as volume:
        assert set(readable(volume, b"s")) == {0, 1}
    assert victim.findings() == [("cell-damaged", b"s")]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_truncation_at_a_border_of_cells(victim: LowerVolume, keep: int) -> None:
    """A lower file cut at a border of cells is seen, and what is left can be read (FORMAT.md section 9.3)."""
    os.truncate(victim.lower(b"a"), keep * victim.cell_size)
    check_damaged(victim, {index: cell for index, cell in expected(victim).items() if index < keep})


@pytest.mark.parametrize("by", [-1, -999, -1000, 1, 5000, 1 << 20])
def test_any_other_lower_size(victim: LowerVolume, by: int) -> None:
    """A lower file that is longer or shorter than its header says is seen (FORMAT.md section 9.3)."""
    path = victim.lower(b"a")
    os.truncate(path, path.stat().st_size + by)
    check_damaged(victim, expected(victim))


def check_damaged(victim: LowerVolume, good: dict[int, bytes]) -> None:
    """The file is damaged: what is there reads, nothing can be written but by emptying it."""
    before = victim.lower(b"a").read_bytes()
    with victim.unlock() as volume, volume.open(b"a", writable=True) as file:
        assert volume.ctx.events == 1
        assert file.size == len(content(victim))
        g = volume.ctx.geometry
        for index in range(4):
            if index in good:
                assert file.read(g.start_of(index), g.capacity(index)) == good[index]
            else:
                with pytest.raises(DataError):
                    file.read(g.start_of(index), g.capacity(index))
        for change in (lambda: file.write(0, b"x"), lambda: file.truncate(10), lambda: file.truncate(1 << 20)):
            with pytest.raises(SizeError):
                change()
        file.sync()
    assert victim.lower(b"a").read_bytes() == before, "a damaged file was changed"
    assert ("file-size", b"a") in victim.findings()
    with victim.unlock() as volume:
        volume.write_file(b"a", b"new")
        assert read(volume, b"a") == b"new"
    assert victim.findings() == []


def test_truncation_into_the_header(victim: LowerVolume) -> None:
    """Without a whole header a file does not open after a clean session; it can be removed (FORMAT.md section 11)."""
    os.truncate(victim.lower(b"a"), 300)
    os.truncate(victim.lower(b"b"), 0)
    with victim.unlock() as volume:
        for name in (b"a", b"b"):
            with pytest.raises(SizeError):
                read(volume, name)
            volume.remove(name)
        assert volume.list_directory() == []


# -- places -------------------------------------------------------------------------------------------------


@pytest.fixture
def places(lower: LowerVolume) -> LowerVolume:
    """A volume with two of everything, in two directories."""
    with lower.unlock() as volume:
        for directory in (b"d1", b"d2"):
            volume.make_directory(directory)
            volume.make_directory(directory + b"/" + LONG)
            volume.make_directory(directory + b"/sub")
            volume.write_file(directory + b"/sub/deep", b"deep in " + directory)
            for name in (b"f", b"g", LONG + b"f"):
                volume.write_file(directory + b"/" + name, b"file " + directory + name)
            for name in (b"l", b"m"):
                volume.make_symlink(directory + b"/" + name, b"target " + directory + name)
            volume.make_symlink(directory + b"/in-file", b"t" * 4000)
    return lower


def swap(one: Path, two: Path) -> None:
    """Let two lower names swap what they name."""
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def fails_with(call: Callable[[], object], kind: type[Exception]) -> None:
    """Assert that a call raises this very error."""
    with pytest.raises(kind):
        call()


def test_swapped_files(places: LowerVolume) -> None:
    """Two files swapped below, in one directory or two, do not open (FORMAT.md section 9.1)."""
    swap(places.lower(b"d1/f"), places.lower(b"d1/g"))
    swap(places.lower(b"d1/" + LONG + b"f"), places.lower(b"d2/f"))
    with places.unlock() as volume:
        for path in (b"d1/f", b"d1/g", b"d2/f"):
            fails_with(lambda path=path: read(volume, path), PlaceError)
        names = {entry.name for entry in volume.list_directory(b"d1")}
        assert LONG + b"f" not in names
        assert read(volume, b"d2/g") == b"file d2g"
    assert places.findings() == [
        ("entry-damaged", b"d1"),
        ("file-moved", b"d1/f"),
        ("file-moved", b"d1/g"),
        ("file-moved", b"d2/f"),
    ]


def test_moved_and_copied_file(places: LowerVolume) -> None:
    """A file copied over another, also one with its own header, does not open there (FORMAT.md section 9.1)."""
    shutil.copyfile(places.lower(b"d1/f"), places.lower(b"d2/f"))
    shutil.copyfile(places.lower(b"d1/f"), places.lower(b"d1/g"))
    with places.unlock() as volume:
        fails_with(lambda: read(volume, b"d2/f"), PlaceError)
        fails_with(lambda: read(volume, b"d1/g"), PlaceError)
        assert read(volume, b"d1/f") == b"file d1f"


def test_file_moved_to_another_directory(places: LowerVolume) -> None:
    """An encrypted name opens in its own directory only: elsewhere the entry is foreign (FORMAT.md section 7)."""
    path = places.lower(b"d1/f")
    path.rename(places.lower(b"d2") / path.name)
    with places.unlock() as volume:
        fails_with(lambda: read(volume, b"d1/f"), FileNotFoundError)
        assert len(volume.list_directory(b"d2")) == 9 - 1
        assert volume.ctx.events == 1
    assert places.findings() == [("foreign", b"d2")]


@pytest.mark.parametrize("names", [(b"d1", b"d2"), (b"d1/sub", b"d2/sub"), (b"d1/sub", b"d1/" + LONG)])
def test_swapped_directories(places: LowerVolume, names: tuple[bytes, bytes]) -> None:
    """Two directories swapped below do not open (FORMAT.md section 8)."""
    swap(places.lower(names[0]), places.lower(names[1]))
    with places.unlock() as volume:
        fails_with(lambda: volume.list_directory(names[0]), PlaceError)
        assert volume.list_directory(b"") != []
        other = b"d2" if names[0] != b"d1" else b""
        assert volume.list_directory(other) != []
    assert len(places.findings()) == 2


def test_swapped_records(places: LowerVolume) -> None:
    """A directory record in another directory is refused (FORMAT.md section 8)."""
    swap(places.lower(b"d1") / "cloakfs.d", places.lower(b"d2") / "cloakfs.d")
    with places.unlock() as volume:
        fails_with(lambda: volume.list_directory(b"d1"), PlaceError)
        fails_with(lambda: volume.stat(b"d2/f"), PlaceError)


def test_swapped_symlinks(places: LowerVolume) -> None:
    """Two symlinks swapped below are not followed (FORMAT.md section 9.4)."""
    swap(places.lower(b"d1/l"), places.lower(b"d1/m"))
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d1/l"), PlaceError)
        fails_with(lambda: volume.read_link(b"d1/m"), PlaceError)
        assert volume.read_link(b"d2/l") == b"target d2l"
    assert places.findings() == [("symlink-moved", b"d1/l"), ("symlink-moved", b"d1/m")]


def test_symlink_copied_to_another_name(places: LowerVolume) -> None:
    """The sealed target of one symlink is refused under another name (FORMAT.md section 9.4)."""
    target = os.readlink(places.lower(b"d1/l"))
    path = places.lower(b"d2/l")
    path.unlink()
    path.symlink_to(target)
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d2/l"), PlaceError)


def test_symlink_bit(places: LowerVolume) -> None:
    """One character of a sealed target: the symlink does not open, and can be removed (FORMAT.md section 9.4)."""
    path = places.lower(b"d1/l")
    target = os.readlink(path)
    path.unlink()
    path.symlink_to(target[:20] + ("A" if target[20] != "A" else "B") + target[21:])
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d1/l"), AuthenticationError)
        volume.remove(b"d1/l")
    assert places.findings() == []


def test_symlink_to_somewhere(places: LowerVolume) -> None:
    """A lower symlink that cloakfs did not make is never followed (FORMAT.md section 9.4)."""
    path = places.lower(b"d1/l")
    path.unlink()
    path.symlink_to("/dev/null")
    with places.unlock() as volume:
        with pytest.raises(DataError):
            volume.read_link(b"d1/l")
        with pytest.raises(DataError):
            read(volume, b"d1/l")


def test_symlink_in_a_file_is_bound_too(places: LowerVolume) -> None:
    """A symlink kept in a file is held to its place and its cells (FORMAT.md section 9.4)."""
    swap(places.lower(b"d1/in-file"), places.lower(b"d2/in-file"))
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d1/in-file"), PlaceError)
    swap(places.lower(b"d1/in-file"), places.lower(b"d2/in-file"))
    flip(places.lower(b"d1/in-file"), 1000)
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d1/in-file"), CellError)
        assert volume.read_link(b"d2/in-file") == b"t" * 4000


def test_kind_of_entry_changed(places: LowerVolume) -> None:
    """A symlink's file under a file's name, and a file under a symlink's, is refused (FORMAT.md section 9.4)."""
    path = places.lower(b"d1/in-file")
    path.rename(path.with_name(path.name.removesuffix(".l")))
    with places.unlock() as volume:
        fails_with(lambda: read(volume, b"d1/in-file"), DataError)
    path = places.lower(b"d2/f")
    path.rename(path.with_name(path.name + ".l"))
    with places.unlock() as volume:
        fails_with(lambda: volume.read_link(b"d2/f"), DataError)


def test_directory_replaced_by_a_file(places: LowerVolume) -> None:
    """A file moved onto a directory's lower name does not open as what it was (FORMAT.md sections 8 and 9.1)."""
    path = places.lower(b"d1/sub")
    shutil.rmtree(path)
    shutil.copyfile(places.lower(b"d1/f"), path)
    with places.unlock() as volume:
        fails_with(lambda: volume.list_directory(b"d1/sub"), OSError)
        fails_with(lambda: read(volume, b"d1/sub"), PlaceError)


@pytest.mark.parametrize("offset", [0, 5, 12, 20, 50, 61, 77, 100, 500])
def test_record_bit(places: LowerVolume, offset: int) -> None:
    """One bit of a directory record: the directory does not open, the rest does (FORMAT.md section 8)."""
    flip(places.lower(b"d1") / "cloakfs.d", offset)
    with places.unlock() as volume:
        for _ in range(2):
            fails_with(lambda: volume.list_directory(b"d1"), DataError)
        fails_with(lambda: volume.write_file(b"d1/new", b""), DataError)
        assert read(volume, b"d2/f") == b"file d2f"
    assert places.findings() == [("directory-damaged", b"d1")]


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "long"])
def test_record_gone(places: LowerVolume, damage: str) -> None:
    """A missing record, or one of another length, is evidence after a clean session (FORMAT.md section 11)."""
    record = places.lower(b"d1") / "cloakfs.d"
    raw = record.read_bytes()
    record.unlink()
    if damage != "missing":
        record.write_bytes({"empty": b"", "short": raw[:-1], "long": raw + b"\0"}[damage])
    with places.unlock() as volume:
        fails_with(lambda: volume.list_directory(b"d1"), SizeError)
        assert read(volume, b"d2/f") == b"file d2f"


def test_root_record(places: LowerVolume) -> None:
    """The root's record is held to the config (FORMAT.md section 8)."""
    shutil.copyfile(places.lower(b"d1") / "cloakfs.d", places.path / "cloakfs.d")
    with places.unlock() as volume:
        fails_with(volume.list_directory, PlaceError)


def test_name_bit(places: LowerVolume) -> None:
    """A lower name with one character changed is foreign: not shown, never removed (FORMAT.md sections 2 and 7)."""
    path = places.lower(b"d1/f")
    changed = path.with_name(("A" if path.name[5] != "A" else "B").join((path.name[:5], path.name[6:])))
    path.rename(changed)
    with places.unlock() as volume:
        assert b"f" not in {entry.name for entry in volume.list_directory(b"d1")}
        fails_with(lambda: read(volume, b"d1/f"), FileNotFoundError)
        for entry in volume.list_directory(b"d1"):
            if stat.S_ISDIR(entry.mode) and entry.name != LONG:
                volume.remove(b"d1/sub/deep")
            volume.remove(b"d1/" + entry.name)
        fails_with(lambda: volume.remove(b"d1"), OSError)
    assert changed.exists()
    assert places.findings() == [("foreign", b"d1")]


# -- other volumes ------------------------------------------------------------------------------------------


def test_objects_of_another_volume(lower: LowerVolume, tmp_path: Path) -> None:
    """Header, record, symlink and config of another volume with the same passphrase are refused (section 5)."""
    other = tmp_path / "other"
    Volume.create(os.fsencode(other), secret=SECRET)
    with Volume.unlock(os.fsencode(other), SECRET) as volume:
        volume.write_file(b"a", b"alien")
        volume.make_directory(b"d")
        volume.make_symlink(b"l", b"alien")
        alien = {name: Path(os.fsdecode(path)) for name, path in lower_paths(volume, other).items()}
    with lower.unlock() as volume:
        volume.write_file(b"a", b"ours")
        volume.make_directory(b"d")
        volume.make_symlink(b"l", b"ours")
    shutil.copyfile(alien[b"a"], lower.lower(b"a"))
    shutil.copyfile(alien[b"d"] / "cloakfs.d", lower.lower(b"d") / "cloakfs.d")
    link = lower.lower(b"l")
    link.unlink()
    link.symlink_to(os.readlink(alien[b"l"]))
    with lower.unlock() as volume:
        fails_with(lambda: read(volume, b"a"), AuthenticationError)
        fails_with(lambda: volume.list_directory(b"d"), AuthenticationError)
        fails_with(lambda: volume.read_link(b"l"), AuthenticationError)
    shutil.copyfile(other / "cloakfs.volume", lower.path / "cloakfs.volume")
    shutil.copyfile(other / "cloakfs.volume", lower.path / "cloakfs.volume.bak")
    with Volume.unlock(os.fsencode(lower.path), SECRET) as volume:
        fails_with(volume.list_directory, AuthenticationError)


def lower_paths(volume: Volume, root: Path) -> dict[bytes, bytes]:
    """Lower paths of what is in the root."""
    found = {}
    for entry in volume.list_directory():
        node = volume.resolve(entry.name, follow=False)
        found[entry.name] = os.fsencode(root) + b"/" + node.lower_name
    return found


# -- attributes ---------------------------------------------------------------------------------------------


def test_attributes_are_bound_to_their_object(places: LowerVolume) -> None:
    """Sealed attributes of one object are refused on another (FORMAT.md section 10)."""
    with places.unlock() as volume:
        for path in (b"d1/f", b"d1/g", b"d1", b"d2"):
            volume.attributes.set(volume.resolve(path), b"user.color", path)
    for one, two in ((b"d1/f", b"d1/g"), (b"d1", b"d2")):
        os.setxattr(places.lower(two), "user.cloakfs", os.getxattr(places.lower(one), "user.cloakfs"))
    with places.unlock() as volume:
        assert volume.attributes.get_all(volume.resolve(b"d1/f")) == {b"user.color": b"d1/f"}
        fails_with(lambda: volume.attributes.get_all(volume.resolve(b"d1/g")), AuthenticationError)
        fails_with(lambda: volume.attributes.get_all(volume.resolve(b"d2")), AuthenticationError)
        assert read(volume, b"d1/g") == b"file d1g"
    assert places.findings() == [("attributes-damaged", b"d1/g"), ("attributes-damaged", b"d2")]


def test_attributes_bit(places: LowerVolume) -> None:
    """One bit of sealed attributes is seen; the content is not touched by it (FORMAT.md section 10)."""
    with places.unlock() as volume:
        volume.attributes.set(volume.resolve(b"d1/f"), b"user.color", b"blue")
    path = places.lower(b"d1/f")
    sealed = bytearray(os.getxattr(path, "user.cloakfs"))
    sealed[-1] ^= 1
    os.setxattr(path, "user.cloakfs", bytes(sealed))
    with places.unlock() as volume:
        fails_with(lambda: volume.attributes.get_all(volume.resolve(b"d1/f")), AuthenticationError)
        assert read(volume, b"d1/f") == b"file d1f"
