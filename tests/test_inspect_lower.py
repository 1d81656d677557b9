"""tools/inspect_lower.py, an independent reader of FORMAT.md, against two writers.

The first writer is tests/support/mini_writer.py, the second the program itself. Reader and mini writer share no code
with each other or with the program, so where all agree the page is enough to write a reader from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from encfs.volume import Volume
from encfs.volume.checkpoint_make import CheckpointMaker
from encfs.volume.steps import Waiting

REPOSITORY = Path(__file__).resolve().parent.parent
TOOL = REPOSITORY / "tools" / "inspect_lower.py"
PASSPHRASE = "correct h\u00f6rse"
CELLS = (4096, 16384, 65536)
SIZE_TABLE = {
    0: (512, 512, 512),
    1: (4_097, 16_385, 65_537),
    3_000: (7_096, 19_384, 68_536),
    5_000: (9_640, 21_384, 70_536),
    1 << 30: (1_082_201_088, 1_075_859_968, 1_074_332_416),
}


def load(path: Path) -> ModuleType:
    """A module by its path: neither tools/ nor tests/ is a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


reader = load(TOOL)
writer = load(REPOSITORY / "tests" / "support" / "mini_writer.py")


def content(size: int) -> bytes:
    """Bytes that differ from cell to cell and never are all zero."""
    return hashlib.shake_128(str(size).encode()).digest(size)


def edge_sizes(cell: int) -> list[int]:
    """Plain sizes around every boundary of the first three cells (section 9.3)."""
    first, later = cell - 544, cell - 32
    edges = [first, first + later, first + 2 * later]
    return sorted({0, 1, 3000, 5000, *(edge + step for edge in edges for step in (-1, 0, 1))})


class Case:
    """A mini volume, its passphrase file, and the reader on it."""

    def __init__(self, directory: Path, cell: int = 4096) -> None:
        self.passphrase_file = directory / "passphrase"
        self.passphrase_file.write_bytes(PASSPHRASE.encode() + b"\n")
        self.recovery_file = directory / "recovery"
        self.mini = writer.MiniVolume(directory / "lower", PASSPHRASE.encode(), cell)
        self.recovery_file.write_text(writer.recovery_text(self.mini.recovery))
        self.root: Path = self.mini.root.path

    def run(self, *args: object, capture: pytest.CaptureFixture[bytes], status: int = 0, key: bool = True) -> bytes:
        """Standard output of the reader; a recovery key opens fast, so it is what most tests use."""
        secret = ["--recovery-file", str(self.recovery_file)] if key else []
        capture.readouterr()
        assert reader.main([*map(str, args), *secret]) == status, capture.readouterr()
        self.output, self.errors = capture.readouterr()
        return self.output

    def json(self, *args: object, capture: pytest.CaptureFixture[bytes], status: int = 0, key: bool = True) -> Any:
        """What the reader prints with --json."""
        return json.loads(self.run(*args, "--json", capture=capture, status=status, key=key))

    def tree(self, capture: pytest.CaptureFixture[bytes], status: int = 0) -> dict[bytes, dict[str, Any]]:
        """The entries of --tree by plain path."""
        found = self.json(self.root, "--tree", capture=capture, status=status)
        return {plain(entry["path"]): entry for entry in found["entries"] if "path" in entry}


def plain(text: str) -> bytes:
    """The bytes of a name in the reader's JSON."""
    return text.encode("utf-8", "surrogateescape")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An empty volume with cells of 4096 bytes."""
    return Case(tmp_path)


@pytest.fixture
def capture(capfdbinary: pytest.CaptureFixture[bytes]) -> pytest.CaptureFixture[bytes]:
    """Standard output in bytes."""
    return capfdbinary


def flip(path: Path, offset: int) -> None:
    """Change one bit of a lower file."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


# Sections 3 to 5: config, slots, keys


def test_passphrase_opens(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 4: Argon2id, HKDF, esk, erk and auth of a passphrase slot lead to the root key."""
    found = case.json(case.root, "--passphrase-file", case.passphrase_file, capture=capture, key=False)
    assert found["config"]["MAC"] == "ok"
    assert found["record"]["dir_id"] == case.mini.root.id.hex()


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (b"a\n", b"a"),
        (b"a\r\n", b"a"),
        (b"a\n\n", b"a\n"),
        (b"a", b"a"),
        (b"o\xcc\x88\n", b"\xc3\xb6"),
        (b"\xff", b"\xff"),
    ],
)
def test_passphrase_bytes(raw: bytes, meant: bytes) -> None:
    """Section 4: one final line end is left out, UTF-8 becomes NFC, other bytes stay."""
    assert reader.passphrase_bytes(raw) == meant


def test_empty_passphrase_is_refused() -> None:
    """Section 4: an empty passphrase is refused."""
    with pytest.raises(reader.Damaged, match="empty"):
        reader.passphrase_bytes(b"\r\n")


def test_wrong_secret(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 4: a secret whose commit' differs is not the slot's."""
    case.recovery_file.write_text(writer.recovery_text(bytes(32)))
    case.run(case.root, capture=capture, status=1)
    assert b"this recovery opens no slot" in case.errors


def test_recovery_text_is_read_loosely() -> None:
    """Section 4: case, spaces and dashes of a recovery key do not matter; I, L and O are read as digits."""
    key = bytes.fromhex("00443214c74254b635cf84653a56d7c675be77df00443214c74254b635cf8465")
    text = writer.recovery_text(key)
    assert re.fullmatch(r"([0-9A-Z]{5}-){12}[0-9A-Z]{5}", text)
    loose = text.lower().replace("-", " ").replace("1", "l").replace("0", "o")
    assert reader.recovery_bytes(loose + "\n") == reader.recovery_bytes(text) == key


def test_recovery_text_finds_every_single_error() -> None:
    """Section 4: any one wrong digit, and any two neighbours swapped in a group, are found."""
    text = writer.recovery_text(hashlib.sha256(b"key").digest()).replace("-", "")
    wrong = {
        text[:place] + digit + text[place + 1 :]
        for place in range(65)
        for digit in reader.CROCKFORD
        if digit != text[place]
    }
    pairs = [place for place in range(64) if place % 5 < 3 and text[place] != text[place + 1]]
    wrong |= {text[:place] + text[place + 1] + text[place] + text[place + 2 :] for place in pairs}
    for changed in wrong:
        with pytest.raises(reader.Damaged):
            reader.recovery_bytes(changed)


def test_newest_good_config_wins(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 3: the copy with the highest seq is taken; a damaged copy is named and does not matter."""
    case.mini.write_config("cloakfs.volume.bak")
    assert case.json(case.root / "cloakfs.volume.bak", capture=capture)["seq"] == 2
    flip(case.root / "cloakfs.volume", 40)
    found = case.json(case.root, capture=capture, status=1)
    assert found["config"]["checksum"] == "wrong"
    assert found["record"]["dir_id"] == case.mini.root.id.hex()


def test_config_mac(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 3: a config with a right sum and a wrong MAC is not used."""
    for name in writer.CONFIG_NAMES:
        signed, _, last = (case.root / name).read_bytes().rpartition(b"mac ")
        (case.root / name).write_bytes(signed + b"mac " + (b"B" if last[:1] == b"A" else b"A") + last[1:])
    case.run(case.root, capture=capture, status=1)
    assert b"MAC is wrong" in case.errors
    assert case.json(case.root / "cloakfs.volume", "--no-key", capture=capture, key=False)["checksum"] == "ok"


@pytest.mark.parametrize(
    "changes",
    [
        {"suite": "cloakfs-2"},
        {"min_reader": 2},
        {"features": {"compat": [], "incompat": ["new"], "ro_compat": []}},
        {"cell_size": 8192},
        {"more": 1},
    ],
)
def test_unreadable_configs(case: Case, capture: pytest.CaptureFixture[bytes], changes: dict[str, object]) -> None:
    """Section 3: an unknown suite, reader version, incompat feature, cell size or field stops the reader."""
    case.mini.write_config(**changes)
    case.run(case.root, capture=capture, status=1)


def test_newer_format(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 3: a first line with another number stops the reader."""
    for name in writer.CONFIG_NAMES:
        (case.root / name).write_bytes(case.mini.config().replace(b"cloakfs-volume 1", b"cloakfs-volume 2"))
    case.run(case.root, capture=capture, status=1)
    assert b"format" in case.errors


@pytest.mark.parametrize(
    ("field", "value"), [("memory_kib", 65535), ("passes", 2), ("lanes", 17), ("memory_kib", 4194305)]
)
def test_kdf_limits(case: Case, capture: pytest.CaptureFixture[bytes], field: str, value: int) -> None:
    """Section 4: costs outside of the limits are refused before any work."""
    case.mini.slots[0]["kdf"][field] = value
    case.mini.write_config()
    case.run(case.root, "--passphrase-file", case.passphrase_file, capture=capture, status=1, key=False)
    assert b"limits" in case.errors


@pytest.mark.parametrize("field", ["esk", "erk", "auth"])
def test_damaged_slot(case: Case, capture: pytest.CaptureFixture[bytes], field: str) -> None:
    """Section 4: where commit' is right but esk, erk or auth does not open, the slot is damaged."""
    old = case.mini.slots[1][field]
    case.mini.slots[1][field] = old[:60] + ("B" if old[60] == "A" else "A") + old[61:]
    case.mini.write_config()
    case.run(case.root, capture=capture, status=1)
    assert f"slot {field} does not authenticate".encode() in case.errors


def test_auth_must_agree(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 4: an auth of another slot, or with another authenticator, is damage; without one it is no config."""
    slot = case.mini.slots[1]
    key = writer.hkdf_expand(case.mini.root_key, b"cloakfs/1 auth")
    binding = case.mini.volume_id + reader.unb64(slot["id"], "id")
    other = writer.b64(writer.sealed(key, b"cloakfs/1 auth" + binding, bytes(32)))
    for auth, message in (
        (case.mini.slots[0]["auth"], b"slot auth does not authenticate"),
        (other, b"slot auth is not the authenticator of esk"),
        ("A" * 79, b"slot auth: 59 bytes"),
    ):
        case.mini.slots[1] = slot | {"auth": auth}
        case.mini.write_config()
        case.run(case.root, capture=capture, status=1)
        assert message in case.errors
    case.mini.slots[1] = {name: value for name, value in slot.items() if name != "auth"}
    case.mini.write_config()
    case.run(case.root, capture=capture, status=1)
    assert b"fields of the slot" in case.errors


def test_root_key_of_an_outsider(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 4: a root key that was sealed with public data alone is not taken, though MAC and sum are right."""
    mini, slot = case.mini, case.mini.slots[1]
    honest = (case.root / "cloakfs.volume.bak").read_bytes()
    mini.root_key = os.urandom(32)
    binding = mini.volume_id + reader.unb64(slot["id"], "id")
    public = reader.unb64(slot["pub"], "pub")
    erk = writer.b64(writer.hpke_seal(public, b"cloakfs/1 erk" + binding + mini.rk_id, mini.root_key))
    mini.slots[1] = slot | {"erk": erk}
    mini.write_config()
    case.run(case.root, capture=capture, status=1)
    assert b"slot erk does not authenticate" in case.errors
    (case.root / "cloakfs.volume.bak").write_bytes(honest)
    found = case.json(case.root, capture=capture, status=1)
    assert found["record"]["dir_id"] == mini.root.id.hex()


def test_retired_epoch(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 5: a frame is opened with the key of the epoch that it names, a name with the active one."""
    case.mini.epochs[1] = os.urandom(32)
    case.mini.epoch = 1
    case.mini.write_config()
    case.mini.file(case.mini.root, b"new", b"in epoch 1")
    assert case.run(case.root, "--cat-path", "new", capture=capture) == b"in epoch 1"


# Sections 7 to 10: names, directories, files, symlinks, attributes


@pytest.mark.parametrize("cell", CELLS)
def test_sizes(tmp_path: Path, capture: pytest.CaptureFixture[bytes], cell: int) -> None:
    """Sections 9.2 and 9.3: plain files of every size around a boundary read back, for each cell size."""
    case = Case(tmp_path, cell)
    for size in edge_sizes(cell):
        case.mini.file(case.mini.root, str(size).encode(), content(size))
    found = case.tree(capture)
    assert len(found) == 1 + len(edge_sizes(cell))
    for size in edge_sizes(cell):
        entry = found[str(size).encode()]
        assert (entry["kind"], entry["size"]) == ("file", size)
        assert entry["sha256"] == hashlib.sha256(content(size)).hexdigest()


@pytest.mark.parametrize("cell", CELLS)
def test_lower_size_tells_plain_size(cell: int) -> None:
    """Section 9.3: S to L and back is one-to-one, and all other L are damaged."""
    most = cell - 544 + 2 * (cell - 32)
    good = {writer.lower_size(size, cell): size for size in range(most + 1)}
    assert len(good) == most + 1
    for lower in range(4 * cell):
        if lower in good:
            assert reader.geometry(lower, cell)[2] == good[lower]
        else:
            with pytest.raises(reader.Damaged):
                reader.geometry(lower, cell)


@pytest.mark.parametrize("size", SIZE_TABLE)
def test_size_table(size: int) -> None:
    """Section 9.3: the table of lower sizes."""
    assert tuple(writer.lower_size(size, cell) for cell in CELLS) == SIZE_TABLE[size]
    assert [reader.geometry(lower, cell)[2] for lower, cell in zip(SIZE_TABLE[size], CELLS, strict=True)] == [size] * 3


NAMES = [b"a", b"n" * 15, b"n" * 16, b"n" * 17, b"n" * 160, b"n" * 161, b"n" * 255, b"\xff\xfe \n\t", "\u00e9".encode()]


def test_names(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 7: short names by AES-SIV, long ones by their MAC and the header, of any bytes."""
    for name in NAMES:
        lower = case.mini.file(case.mini.root, name, name).name
        assert len(lower) == 44 if len(name) > 160 else 43 <= len(lower) <= 235
    found = case.tree(capture)
    assert set(found) == {b".", *NAMES}
    for name in NAMES:
        assert found[name]["sha256"] == hashlib.sha256(name).hexdigest()


def test_directories(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 8: records name dir id, parent and name; the name of a long one is in the record."""
    one = case.mini.directory(case.mini.root, b"one")
    two = case.mini.directory(one, b"t" * 200)
    case.mini.file(two, b"deep", b"content")
    path = b"one/" + b"t" * 200 + b"/deep"
    assert set(case.tree(capture)) == {b".", b"one", b"one/" + b"t" * 200, path}
    assert case.run(case.root, "--cat-path", os.fsdecode(path), capture=capture) == b"content"
    assert case.run(case.root, "--cat-path", "one", capture=capture) == b"t" * 200 + b"\n"
    found = case.json(two.path, capture=capture)
    assert (found["record"]["parent"], found["place"]) == (one.id.hex(), "ok")
    case.run(case.root, "--cat-path", "one/none", capture=capture, status=2)


def test_symlinks(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.4: lower symlinks, and symlinks in files where target or name is too long."""
    targets = {
        b"s": b"../target",
        b"longest": b"t" * 3026,
        b"in file": b"t" * 3027,
        b"most": b"t" * 4095,
        b"n" * 161: b"x",
    }
    for name, target in targets.items():
        path = case.mini.symlink(case.mini.root, name, target)
        assert path.is_symlink() == (name in {b"s", b"longest"})
        assert (path.suffix == ".l") == (not path.is_symlink())
    found = case.tree(capture)
    for name, target in targets.items():
        entry = found[name]
        assert (entry["kind"], entry["size"], plain(entry["target"])) == ("symlink", len(target), target)
        assert case.run(case.root, "--cat-path", os.fsdecode(name), capture=capture) == target


def test_special_files(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.5: a pipe and a socket are of the same kind below, with an encrypted name."""
    os.mkfifo(case.root / case.mini.lower_name(case.mini.root.id, b"pipe"))
    descriptor = os.open(case.root, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        name = case.mini.lower_name(case.mini.root.id, b"socket")
        made.bind(f"/proc/self/fd/{descriptor}/{name}")
    os.close(descriptor)
    found = case.tree(capture)
    assert (found[b"pipe"]["kind"], found[b"socket"]["kind"]) == ("fifo", "socket")


def test_xattrs(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 10: attributes of files and directories are one sealed, sorted list."""
    xattrs = {b"user.b": b"\x00\xff", b"user.a": b"", b"security.x": b"value"}
    file = case.mini.file(case.mini.root, b"file", b"", xattrs=xattrs)
    case.mini.directory(case.mini.root, b"dir", xattrs)
    case.mini.file(case.mini.root, b"symlink", b"target", kind=2, xattrs=xattrs)
    found = case.tree(capture)
    for name in (b"file", b"dir", b"symlink"):
        assert {plain(key): plain(value) for key, value in found[name]["xattrs"].items()} == xattrs
    other = case.mini.file(case.mini.root, b"other", b"")
    os.setxattr(other, "user.cloakfs", os.getxattr(file, "user.cloakfs"))
    case.run(other, capture=capture, status=1)


def test_holes(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.2: with SPARSE a cell of zero bytes is a hole, the last cell never is; without it is damage."""
    size = 3552 + 3 * 4064
    whole = bytes(3552) + content(size)[3552 : 3552 + 4064] + bytes(4064) + content(size)[-4064:]
    case.mini.file(case.mini.root, b"sparse", whole, flags=writer.SPARSE, holes=(0, 2))
    assert case.run(case.root, "--cat-path", "sparse", capture=capture) == whole
    for name, flags, hole in ((b"no flag", 0, 1), (b"last", writer.SPARSE, 3)):
        path = case.mini.file(case.mini.root, name, content(size), flags=flags, holes=(hole,))
        case.run(path, capture=capture, status=1)
        assert f"cell {hole}: a hole".encode() in case.errors


@pytest.mark.parametrize("flags", [0, writer.PARITY])
def test_previous_content_key(case: Case, capture: pytest.CaptureFixture[bytes], flags: int) -> None:
    """Section 9.2: a cell whose parity bit differs from PARITY is under the previous content key."""
    path = case.mini.file(case.mini.root, b"file", content(20_000), flags=flags, old_cells=(0, 2, 4))
    assert case.run(path, "--content", capture=capture) == content(20_000)


def test_hard_links(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.1: with MULTI the header names one of the links, which is the long one if there is one."""
    below = case.mini.directory(case.mini.root, b"below")
    path = case.mini.file(case.mini.root, b"l" * 200, b"linked", flags=writer.MULTI)
    (below.path / case.mini.lower_name(below.id, b"short")).hardlink_to(path)
    link = case.mini.symlink(case.mini.root, b"link", b"there", flags=1)
    lower = below.path / case.mini.lower_name(below.id, b"link too")
    os.link(link, lower, follow_symlinks=False)
    found = case.tree(capture)
    assert found[b"l" * 200]["sha256"] == found[b"below/short"]["sha256"] == hashlib.sha256(b"linked").hexdigest()
    assert found[b"below/link too"]["target"] == "there"
    (below.path / case.mini.lower_name(below.id, b"m" * 200)).hardlink_to(path)
    case.tree(capture, status=1)


# What must not authenticate


@pytest.mark.parametrize("offset", [5, 6, 11, 20, 40, 50, 100, 500, 513, 516, 600, 4095, 4096, 4100, 9000])
def test_every_changed_byte_is_found(case: Case, capture: pytest.CaptureFixture[bytes], offset: int) -> None:
    """Sections 6 and 9.2: a changed bit anywhere in header or cells is found."""
    path = case.mini.file(case.mini.root, b"file", content(3552 + 4064 + 10))
    flip(path, offset)
    case.run(path, capture=capture, status=1)


def test_cells_do_not_move(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.2: a cell authenticates only at its index and in its file."""
    path = case.mini.file(case.mini.root, b"file", content(20_000))
    other = case.mini.file(case.mini.root, b"other", content(20_000))
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + raw[8192:12288] + raw[4096:8192] + raw[12288:])
    found = case.json(path, capture=capture, status=1)
    assert (found["cells"], found["cells authenticated"], found["sha256"]) == (6, 4, None)
    path.write_bytes(raw[:4096] + other.read_bytes()[4096:8192] + raw[8192:])
    assert case.json(path, capture=capture, status=1)["cells authenticated"] == 5


@pytest.mark.parametrize("size", [0, 3552, 3552 + 4064])
def test_cut_at_a_cell(case: Case, capture: pytest.CaptureFixture[bytes], size: int) -> None:
    """Section 9.1: a file cut to a possible lower size is found by the size in its header."""
    path = case.mini.file(case.mini.root, b"file", content(3552 + 2 * 4064))
    os.truncate(path, writer.lower_size(size, 4096))
    found = case.json(path, capture=capture, status=1)
    assert found["size"] == size
    assert any("does not fit the lower size" in problem for problem in found["problems"])


def test_places(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Sections 7, 8, 9.1 and 9.4: nothing authenticates under another name or in another directory."""
    root, below = case.mini.root, case.mini.directory(case.mini.root, b"below")
    made = [
        case.mini.file(root, b"file", b"content"),
        case.mini.file(root, b"f" * 200, b"content"),
        case.mini.symlink(root, b"symlink", b"target"),
        case.mini.symlink(root, b"s" * 200, b"target"),
        case.mini.directory(root, b"directory").path,
        case.mini.directory(root, b"d" * 200).path,
    ]
    for path in made:
        suffix = ".l" if path.suffix else ""
        for name in (path.name, case.mini.lower_name(below.id, b"file") + suffix):
            moved = path.rename(below.path / name)
            found = case.json(moved, capture=capture, status=1)
            assert "place" not in found
            moved.rename(path)
    assert case.json(case.root, "--tree", capture=capture)["problems"] == []


@pytest.mark.parametrize("name", [b"x", b"x" * 200])
def test_type_and_suffix(case: Case, capture: pytest.CaptureFixture[bytes], name: bytes) -> None:
    """Section 7: `.l` ends the lower name of a symlink in a file and of nothing else, so neither becomes the other."""
    file = case.mini.file(case.mini.root, name, b"/etc/passwd")
    symlink = case.mini.file(case.mini.root, b"y", b"target", kind=2)
    directory = case.mini.directory(case.mini.root, b"z").path
    renamed = [path.rename(path.with_name(path.name + ".l")) for path in (file, directory)]
    renamed.append(symlink.rename(symlink.with_suffix("")))
    for path in renamed:
        found = case.json(path, capture=capture, status=1)
        assert any("type and end of the lower name differ" in problem for problem in found["problems"])


def test_two_entries_of_one_name(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 7: a file and a symlink in a file can have one plain name below; the reader says so."""
    case.mini.file(case.mini.root, b"x", b"content")
    case.mini.file(case.mini.root, b"x", b"target", kind=2)
    case.tree(capture, status=1)
    assert b"second entry" in case.output


def test_pipes_do_not_stop_the_reader(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.5: a pipe in the place of a file, record or config is never waited for."""
    directory = case.mini.directory(case.mini.root, b"dir")
    for path in (case.root / "cloakfs.volume", directory.path / "cloakfs.d"):
        path.unlink()
        os.mkfifo(path)
    os.mkfifo(case.root / (case.mini.lower_name(case.mini.root.id, b"pipe") + ".l"))
    case.tree(capture, status=1)


def test_zero_fields(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 6: a sealed frame with another byte than 0 where 0 is given is refused."""
    path = case.mini.file(case.mini.root, b"file", b"x", header={"zero": 1})
    case.run(path, capture=capture, status=1)
    assert b"not zero" in case.errors


@pytest.mark.parametrize("state", [1, 2, 3])
def test_session_records(case: Case, capture: pytest.CaptureFixture[bytes], state: int) -> None:
    """Section 11: a session record is a sealed frame of type 4 under its own id."""
    path = case.mini.session_record(state)
    found = case.json(path, capture=capture)
    assert (found["state"], found["host"], found["mount_point"]) == (reader.STATES[state], "host", "/mnt/plain")
    assert case.json(case.root, capture=capture)["session records"][0]["lower"] == path.name
    case.run(path.rename(path.with_name("0" * 32)), capture=capture, status=1)


def test_foreign_and_unfinished_entries(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 2: foreign entries and unfinished work are not shown and are no damage."""
    for name in ("foreign", "cloakfs.t.0123456789abcdef", "lost+found", ".l"):
        (case.root / name).write_bytes(b"x")
    assert set(case.tree(capture)) == {b"."}
    assert case.json(case.root / "foreign", capture=capture)["kind"] == "foreign"


# What is visible without a key, and the command line


def test_without_key(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Sections 3, 6 and 9.3: config, clear parts of frames and cells, and the plain size need no key."""
    path = case.mini.file(case.mini.root, b"file", content(5000))
    found = case.json(path, "--no-key", "--cells", capture=capture, key=False)
    assert (found["lower size"], found["size"], found["cells"]) == (9640, 5000, 2)
    assert [cell["len"] for cell in found["cell headers"]] == [3552, 1448]
    assert found["frame"] | {"fid": ""} == {
        "magic": "CLKF", "version": 1, "type": 1, "log2_cell": 12, "epoch": 0, "content_epoch": 0xFFFFFFFF, "fid": "",
    }  # fmt: skip
    config = case.json(case.root, "--no-key", capture=capture, key=False)["config"]
    assert (config["checksum"], config["cell_size"], len(config["slots"])) == ("ok", 4096, 2)
    assert config["slots"][0]["kdf"]["memory_kib"] == 65536
    assert "header" not in found


def test_keys_are_hidden(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 9.1: content keys are printed only where --show-keys asks for them."""
    path = case.mini.file(case.mini.root, b"file", b"x")
    assert case.json(path, capture=capture)["header"]["content_key"] == "(hidden)"
    assert len(case.json(path, "--show-keys", capture=capture)["header"]["content_key"]) == 64


def test_copy_outside_of_the_volume(case: Case, capture: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    """Section 9.1: a lower file opens without its place; --volume says whose it is."""
    path = case.mini.file(case.mini.root, b"file", b"content")
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    assert case.run(copy, "--volume", case.root, "--content", capture=capture) == b"content"
    assert "place" not in case.json(copy, "--volume", case.root, capture=capture)
    case.run(copy, "--no-key", capture=capture, status=2, key=False)


def test_as_a_program(case: Case) -> None:
    """Section 9: the program itself lists the tree, one line for each entry, and shares no code with cloakfs."""
    case.mini.file(case.mini.root, b"a\nb", b"content")
    case.mini.symlink(case.mini.root, b"s", b"target")
    command: list[str | Path] = [sys.executable, TOOL, case.root, "--passphrase-file", case.passphrase_file, "--tree"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    digest = hashlib.sha256(b"content").hexdigest()
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["file", "7", digest, '"a\\nb"'] in lines
    assert ["symlink", "6", "-", "s", "->", "target"] in lines
    assert done.stderr == ""
    assert os.access(TOOL, os.X_OK)
    for source in (TOOL, REPOSITORY / "tests" / "support" / "mini_writer.py"):
        assert not re.search(r"^\s*(from|import)\s+(encfs|cloakfs)", source.read_text(), re.MULTILINE)


def test_usage(case: Case, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 2: without a volume root above the path there is nothing to read."""
    case.run("/nonexistent", capture=capture, status=2)
    with pytest.raises(SystemExit) as stopped:
        reader.main([str(case.root), "--no-key", "--tree"])
    assert stopped.value.code == 2


# The program: it reads what the mini writer wrote, the reader reads what the program wrote


@pytest.mark.parametrize("cell", CELLS)
def test_program_reads_the_mini_volume(tmp_path: Path, cell: int) -> None:
    """Sections 3 to 10: the program opens a volume that was written from FORMAT.md alone, and reads all of it."""
    case = Case(tmp_path, cell)
    below = case.mini.directory(case.mini.root, b"d" * 200, {b"user.x": b"y"})
    files = {str(size).encode(): content(size) for size in edge_sizes(cell)} | {name: name for name in NAMES}
    for name, data in files.items():
        case.mini.file(below, name, data, xattrs={b"user.name": name})
    gap = bytes(cell - 544) + b"end"
    case.mini.file(below, b"gap", gap, flags=writer.SPARSE, holes=(0,))
    case.mini.file(below, b"two keys", content(20_000), flags=writer.PARITY, old_cells=(0,))
    targets = {b"s": b"../target", b"in file": b"t" * 4095, b"s" * 161: b"x"}
    for name, target in targets.items():
        case.mini.symlink(below, name, target)
    with Volume.unlock(os.fsencode(case.root), PASSPHRASE.encode()) as volume:
        names = {entry.name for entry in volume.list_directory(b"d" * 200)}
        assert names == {*files, *targets, b"gap", b"two keys"}
        for name, data in (files | {b"gap": gap, b"two keys": content(20_000)}).items():
            path = b"d" * 200 + b"/" + name
            assert b"".join(volume.read_file(path)) == data
            assert volume.stat(path).size == len(data)
        for name in files:
            assert volume.attributes.get_all(volume.resolve(b"d" * 200 + b"/" + name)) == {b"user.name": name}
        for name, target in targets.items():
            assert volume.read_link(b"d" * 200 + b"/" + name) == target


def build_with_program(root: Path, cell: int, recovery: bytes) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """A volume made by the program: content of its files and targets of its symlinks by path."""
    Volume.create(os.fsencode(root), secret=PASSPHRASE.encode(), recovery_key=recovery, cell_size=cell)
    files = {b"dir/" + str(size).encode(): content(size) for size in edge_sizes(cell)}
    files |= {b"dir/" + name: name for name in NAMES} | {b"moved/" + b"m" * 255: b"moved", b"linked": b"linked"}
    targets = {b"s": b"../target", b"in file": b"t" * 4095, b"s" * 161: b"x"}
    with Volume.unlock(os.fsencode(root), PASSPHRASE.encode()) as volume:
        for name in (b"dir", b"to be moved"):
            volume.make_directory(name)
        for name, data in files.items():
            volume.write_file(name.replace(b"moved/" + b"m" * 255, b"to be moved/m"), data)
        volume.rename(b"to be moved", b"moved")
        volume.rename(b"moved/m", b"moved/" + b"m" * 255)
        for name, target in targets.items():
            volume.make_symlink(name, target)
        with volume.open(b"gap", writable=True, create=True) as file:
            file.write(5 * cell, b"end")
        with volume.open(b"shrunk", writable=True, create=True) as file:
            file.write(0, content(5 * cell))
            file.truncate(cell + 7)
            file.sync()
        volume.attributes.set(volume.resolve(b"dir"), b"user.d", b"\x00\xff")
        volume.attributes.set(volume.resolve(b"linked"), b"user.f", b"value")
        volume.changes.link(volume.resolve(b"linked"), volume.resolve(b"moved"), b"link")
        volume.changes.link(volume.resolve(b"s", follow=False), volume.resolve(b"moved"), b"link to s")
    files |= {b"gap": bytes(5 * cell) + b"end", b"shrunk": content(5 * cell)[: cell + 7], b"moved/link": b"linked"}
    return files, targets | {b"moved/link to s": targets[b"s"]}


@pytest.mark.parametrize("cell", CELLS)
def test_reader_reads_the_programs_volume(tmp_path: Path, capture: pytest.CaptureFixture[bytes], cell: int) -> None:
    """Sections 2 to 11: a reader from FORMAT.md alone finds all that was put in, with no problem, by either secret."""
    root, recovery, secrets = tmp_path / "lower", os.urandom(32), tmp_path / "secret"
    files, targets = build_with_program(root, cell, recovery)
    for option, written in (("passphrase", PASSPHRASE + "\n"), ("recovery", writer.recovery_text(recovery))):
        secrets.write_text(written)
        key = f"--{option}-file", str(secrets)
        assert reader.main([str(root), "--tree", "--json", *key]) == 0
        entries = json.loads(capture.readouterr().out)["entries"]
        found = {plain(entry["path"]): entry for entry in entries}
        kinds = {path: entry["kind"] for path, entry in found.items()}
        expected = dict.fromkeys((b".", b"dir", b"moved"), "directory") | dict.fromkeys(files, "file")
        assert kinds == expected | dict.fromkeys(targets, "symlink")
        assert {path: found[path]["sha256"] for path in files} == {
            path: hashlib.sha256(data).hexdigest() for path, data in files.items()
        }
        assert {path: found[path]["size"] for path in files} == {path: len(data) for path, data in files.items()}
        assert {path: plain(found[path]["target"]) for path in targets} == targets
        assert found[b"dir"]["xattrs"] == {"user.d": "\0\udcff"}
        assert found[b"linked"]["xattrs"] == found[b"moved/link"]["xattrs"] == {"user.f": "value"}
    assert reader.main([str(root), "--json", "--recovery-file", str(secrets)]) == 0
    shown = json.loads(capture.readouterr().out)
    assert [record["state"] for record in shown["session records"]] == ["CLEAN"]
    lower = {path.name for path in root.iterdir()} - {entry["lower"] for entry in shown["entries"]}
    assert lower == {"cloakfs.volume", "cloakfs.volume.bak", "cloakfs.d", "cloakfs.s"}


def tags(path: Path, cell: int) -> bytes:
    """The last 16 bytes of each cell of a lower file."""
    raw = path.read_bytes()
    return b"".join(raw[end - 16 : end] for end in range(cell, len(raw) + 1, cell))


def test_reader_opens_a_checkpoint(tmp_path: Path, capture: pytest.CaptureFixture[bytes]) -> None:
    """Section 12: from FORMAT.md alone a checkpoint of the program opens, and says of each object what is there."""
    cell = 4096
    root, recovery, secret = tmp_path / "lower", os.urandom(32), tmp_path / "secret"
    files, targets = build_with_program(root, cell, recovery)
    with Volume.unlock(os.fsencode(root), PASSPHRASE.encode()) as volume:
        maker = CheckpointMaker(volume, alone=True)
        for step in maker.run():
            if isinstance(step, Waiting):
                step.call()
        expected = {path: volume.tree.stat(volume.resolve(path, follow=False)) for path in [*files, *targets]}
    assert maker.result is not None
    secret.write_text(writer.recovery_text(recovery))
    key = ("--recovery-file", str(secret), "--json")
    path = root / "cloakfs.c" / maker.result.name
    assert reader.main([str(path), "--show-keys", *key]) == 0
    records = json.loads(capture.readouterr().out)["records"]
    directories = {one["dir_id"]: one for one in records if one["kind"] == "directory"}

    def plain_path(one: dict[str, Any]) -> bytes:
        parts, here = [plain(one["name"])], directories[one["dir_id"]]
        while here["name"]:
            parts.append(plain(here["name"]))
            here = directories[here["parent"]]
        return b"/".join(reversed(parts))

    found = {plain_path(one): one for one in records if one["kind"] in ("file", "symlink")}
    assert set(found) == {*files, *targets}
    by_inode = {one.stat().st_ino: one for one in root.rglob("*") if one.is_file()}
    for name, data in files.items():
        one, stat = found[name], expected[name]
        assert (one["size"], one["lower_size"], one["state"]) == (len(data), stat.st_size, 0)
        assert one["digest"] == hashlib.sha256(tags(by_inode[stat.st_ino], cell)).hexdigest()
        assert len(one["content_key"]) == 64
    end = records[-1]
    assert (end["files"], end["directories"]) == (maker.result.files, maker.result.directories)
    assert end["digest"] == maker.result.digest
    assert reader.main([str(root), *key]) == 0
    assert json.loads(capture.readouterr().out)["checkpoints"] == [maker.result.name]
    flip(path, path.stat().st_size - 1)
    assert reader.main([str(path), *key]) == 1
    capture.readouterr()
