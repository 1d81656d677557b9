"""``cloakfs-reader.pyz`` in a Python that has nothing of cloakfs: list, extract, verify (docs/reader.md)."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from encfs import __version__
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, SharedSecret
from encfs.errors import ExitCode
from encfs.format.key_file import encode_key_file
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import Kdf, KdfAlg, ShareSet, SlotKind, encode_share_set
from encfs.sheets.shares import Collector, split
from encfs.volume.keys import Keys
from encfs.volume.skeleton import minimal_kdf
from tests.support.command import run
from tests.support.portable_reader import Reader, builder, clean_environment, lower_names, make_wheels, read_only
from tests.support.pty_session import PtySession
from tests.support.volumes import RECOVERY_KEY, SECRET, LowerVolume
from tests.volume.test_golden import ALL, WHOLE, Golden

Recovery = tuple[str, str]
THROUGH_A_LINK = ("extract", "volume", "letters/link/x", "--to", "o")


def tree(path: Path) -> list[tuple[str, int, int, bytes]]:
    """All there is below a directory: names, modes, times, contents."""
    found = []
    for one in sorted(path.rglob("*")):
        info = one.lstat()
        content = one.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found.append((str(one.relative_to(path)), info.st_mode, info.st_mtime_ns, content))
    return found


# -- the archive -------------------------------------------------------------------------------------------------------


def test_the_archive(reader: Reader, tmp_path: Path) -> None:
    """The same bytes each time, with the modules that are needed and no others, and nothing of the build machine."""
    again = tmp_path / "again.pyz"
    builder.build(again, builder.pins())
    assert again.read_bytes() == reader.archive.read_bytes()
    modules = set(builder.modules())
    assert {"encfs.reader.main", "encfs.volume.verify", "encfs.store.portable"} <= modules
    assert not [name for name in modules if name.split(".")[1:2] in (["cli"], ["fuse"], ["host"], ["kinds"])]
    assert os.fsencode(builder.TOP) not in reader.archive.read_bytes()
    assert reader.run("--version").out == f"cloakfs-reader {__version__}\n"
    assert reader.archive.stat().st_mode & 0o111


def test_the_tool(tmp_path: Path) -> None:
    """``tools/build-reader`` prints size and SHA-256 of what it made, also with the plain Python of the system."""
    for name, program in (("venv", ["tools/build-reader"]), ("plain", ["python3", "-I", "tools/build_reader.py"])):
        command = [*program, "--to", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=builder.TOP)
        content = (tmp_path / name / "cloakfs-reader.pyz").read_bytes()
        assert f"{len(content):,} bytes" in done.stdout
        assert done.stdout.splitlines()[-1] == f"SHA-256 {hashlib.sha256(content).hexdigest()}"
    first, second = tmp_path.glob("*/cloakfs-reader.pyz")
    assert first.read_bytes() == second.read_bytes()


def test_an_older_python_is_told(reader: Reader) -> None:
    """The first lines of the archive are read by every Python 3, and say which one is needed."""
    code = builder.MAIN.replace("sys.version_info < (3, 11)", "True")
    done = subprocess.run([reader.python, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.FAILURE
    assert "3.11 or newer is needed" in done.stderr


# -- golden volumes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_golden_volumes(either: Reader, name: str, tmp_path: Path) -> None:
    """Every golden volume, of all cell sizes and a crashed one: names, sizes, contents, targets, times."""
    golden = Golden(name, tmp_path)
    key = tmp_path / "key"
    key.write_text(golden.manifest["recovery_key"])
    before = tree(golden.path)
    secret = ("--recovery-file", key)
    listed = either.run("list", "-r", golden.path, "--json", *secret)
    extracted = either.run("extract", golden.path, "--to", tmp_path / "out", "--json", *secret)
    verified = either.run("verify", golden.path, "--json", *secret)
    assert tree(golden.path) == before
    if name not in WHOLE:
        # What a crash left is read as far as it goes; nothing says which of it has to be there.
        assert "has the volume open for writing, or did not close it" in listed.err
        return
    assert (listed.code, verified.code, extracted.code) == (0, 0, 0), (listed.err, verified.out, extracted.err)
    found = {entry["path"]: entry for entry in listed.json["entries"]}
    assert set(found) == {entry["path"] for entry in golden.entries()}
    names = {one["to"]: one["name"] for one in extracted.json["renamed"]}
    copies = {_name_inside(path, tmp_path / "out", names): path for path in (tmp_path / "out").rglob("*")}
    for entry in golden.entries():
        _compare(entry, found[entry["path"]], copies.get(entry["path"]), windows=either.names is not None)
    assert verified.json["clean"]
    assert verified.json["attributes"] is (either.names is None)


def _name_inside(path: Path, top: Path, names: dict[str, str]) -> str:
    """The path in the volume of a copy; names that Windows forbids were escaped, each part by itself."""
    parts = path.relative_to(top).parts
    return "/".join(names.get("\\".join(parts[: end + 1]), part) for end, part in enumerate(parts))


def _compare(entry: dict[str, Any], listed: dict[str, Any], copy: Path | None, *, windows: bool) -> None:
    kind = "special" if entry["kind"] == "fifo" else entry["kind"]
    assert listed["type"] == kind
    if kind == "special" or (kind == "symlink" and windows):
        assert copy is None
        return
    assert copy is not None, entry
    info = copy.lstat()
    if kind == "symlink":
        assert listed["target"] == entry["target"] == os.readlink(copy)
        return
    if kind == "file":
        assert listed["size"] == info.st_size == entry["size"]
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == entry["sha256"]
        assert info.st_nlink == (1 if windows else entry["links"])
        assert info.st_mtime_ns == entry["mtime_ns"]
    # Only root gives set-user-id bits to whom they belong, and Windows has no root.
    assert stat.S_IMODE(info.st_mode) == int(entry["mode"], 8) & (0o777 if windows else 0o7777)


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_what_opens_a_volume(either: Reader, lower: LowerVolume, tmp_path: Path) -> None:
    """Passphrase, key file, both together and shares open it; each of them wrong, or alone, does not."""
    alone, other = os.urandom(32), os.urandom(32)
    shares = split(os.urandom(32), 2, 3)
    collector = Collector()
    for share in shares[:2]:
        collector.add(share.text)
    shared, set_id = collector.secret(), shares[0].set_id
    none, pair = Kdf(KdfAlg.NONE), SlotKind.PASSPHRASE_AND_KEY_FILE
    data = encode_share_set(ShareSet(set_id, 2, 3))
    for slot, source in (
        (
            NewSlot(kind=SlotKind.KEY_FILE, label="a", kdf=none, secret=SlotSecret(key=alone)),
            KnownSecret.of(SlotKind.KEY_FILE, alone),
        ),
        (
            NewSlot(kind=pair, label="b", kdf=minimal_kdf(), secret=SlotSecret(b"word", other)),
            KnownSecret(pair, b"word", other),
        ),
        (
            NewSlot(kind=SlotKind.SHARES, label="c", kdf=none, secret=SlotSecret(key=shared), data=data),
            SharedSecret(set_id, shared),
        ),
    ):
        with Keys(os.fsencode(lower.path), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)) as keys:
            keys.add(slot, source)
    files = {"alone": encode_key_file(alone), "other": encode_key_file(other), "word": b"word\n", "wrong": b"x\n"}
    files |= {"secret": SECRET, "share1": shares[0].text.encode(), "share2": b"# Ben\n" + shares[2].text.encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def opens(*options: str) -> int:
        return either.run("list", "volume", *options, cwd=tmp_path).code

    assert opens("--passphrase-file", "secret") == 0
    assert opens("--key-file", "alone") == 0
    assert opens("--passphrase-file", "word", "--key-file", "other") == 0
    assert opens("--share-file", "share1", "--share-file", "share2") == 0
    assert opens("--share-file", "share1") == ExitCode.USAGE
    assert opens("--passphrase-file", "wrong", "--key-file", "other") == ExitCode.WRONG_SECRET
    assert opens("--key-file", "other") == ExitCode.USAGE  # The passphrase would have to be asked for.
    assert opens("--key-file", "word") == ExitCode.USAGE
    assert "slot 5     set of shares (c)" in either.run("info", "volume", cwd=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("list", "volume", "--passphrase-file", "wrong"), ExitCode.WRONG_SECRET, "is wrong"),
        (("list", "volume", "--recovery-file", "wrong"), ExitCode.USAGE, "wrong: "),
        (("list", "volume", "--recovery-file", "nowhere"), ExitCode.FAILURE, "nowhere: no such file"),
        (("list", "volume"), ExitCode.USAGE, "there is no terminal to ask for it"),
        (("list", "."), ExitCode.NOT_A_VOLUME, "this directory holds no cloakfs volume"),
        (("info", "nowhere"), ExitCode.NOT_A_VOLUME, "there is no such directory"),
        (("list", "volume", "gone", "--recovery-file", "recovery"), ExitCode.NOT_FOUND, "gone: there is no such file"),
        (("list", "volume", "..", "--recovery-file", "recovery"), ExitCode.USAGE, "cannot be in a path"),
        (("extract", "volume", "--recovery-file", "recovery"), ExitCode.USAGE, "--to"),
        (("extract", "volume", "--to", "volume/x"), ExitCode.USAGE, "lies in the volume directory"),
        (("list", "volume", "--shares"), ExitCode.WRONG_SECRET, "this volume has no set of shares"),
        ((*THROUGH_A_LINK, "--recovery-file", "recovery"), ExitCode.USAGE, "this is a symlink in the volume"),
    ],
)
@pytest.mark.usefixtures("recovery", "lower")
def test_failures(either: Reader, arguments: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    """Each failure has the status of cloakfs and says what is wrong; with --json it is an object as well."""
    (tmp_path / "wrong").write_text("another one\n")
    result = either.run(*arguments, "--json", cwd=tmp_path)
    assert (result.code, text in result.err) == (code, True), result.err
    told = result.json["error"]
    assert (told["exit_code"], f"cloakfs-reader: {told['message']}\n" in result.err) == (code, True)
    assert not (tmp_path / "o").exists()


def test_somebody_types(reader: Reader, lower: LowerVolume) -> None:
    """The passphrase is asked for without being shown, three times; a recovery key may be typed on several lines."""
    session = PtySession("list", str(lower.path), program=reader.command)
    for _ in range(2):
        session.answer(f"Passphrase of {lower.path}: ", "no")
        session.expect("is wrong")
    session.answer(f"Passphrase of {lower.path}: ", SECRET.decode())
    session.expect("letters/")
    assert session.end() == 0
    assert SECRET.decode() not in session.text
    key = encode_recovery_key(RECOVERY_KEY)
    session = PtySession("list", str(lower.path), "--recovery", program=reader.command)
    session.answer("  groups: ", key[:30])
    session.answer("  and on: ", key[30:])
    session.expect("letters/")
    assert session.end() == 0


# -- what is extracted -------------------------------------------------------------------------------------------------


def test_only_what_is_asked_for(either: Reader, lower: LowerVolume, recovery: Recovery, tmp_path: Path) -> None:
    """A path is copied with the directories that lead to it, with its mode and time, and nothing else is."""
    result = either.run("extract", "volume", "letters/2026/a.txt", "--to", "out", *recovery, cwd=tmp_path)
    assert result.code == 0, result.err
    assert result.out == "Extracted 1 file, 2 directories (15 B) to out, in plain text.\n"
    copy = tmp_path / "out" / "letters" / "2026" / "a.txt"
    assert [one[0] for one in tree(tmp_path / "out")] == ["letters", "letters/2026", "letters/2026/a.txt"]
    assert copy.read_bytes() == b"Dear colleague\n"
    with lower.unlock(read_only=True) as volume:
        entry = volume.stat(b"letters/2026/a.txt")
    assert (copy.stat().st_mtime_ns, copy.stat().st_mode) == (entry.mtime_ns, entry.mode)
    assert stat.S_IMODE((tmp_path / "out" / "letters" / "2026").stat().st_mode) == 0o750
    both = either.run("extract", "volume", "letters", "letters/2026", "--to", "two", *recovery, cwd=tmp_path)
    assert both.code == 0, both.err
    assert {path.name for path in (tmp_path / "two").rglob("*.*")} == {"a.txt", "long.bin"}


def test_nothing_is_overwritten_unasked(either: Reader, lower: LowerVolume, recovery: Recovery, tmp_path: Path) -> None:
    """A file that is there stays, the rest is copied, and the status tells; --overwrite replaces files and no more."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "letters").mkdir(parents=True)
    (out / "letters").chmod(0o711)
    (out / "letters" / "long.bin").write_bytes(b"mine")
    (out / "empty").mkdir()
    elsewhere.mkdir()
    (out / "letters" / "2026").symlink_to(elsewhere)
    command = ("extract", lower.path, "--to", "out", *recovery)
    result = either.run(*command, cwd=tmp_path)
    assert result.code == ExitCode.FAILURE
    assert "not extracted: letters/long.bin" in result.err
    assert "--overwrite replaces files" in result.err
    assert (out / "letters" / "long.bin").read_bytes() == b"mine"
    replaced = either.run(*command, "--overwrite", cwd=tmp_path)
    assert replaced.code == ExitCode.FAILURE
    assert (out / "letters" / "long.bin").read_bytes() == bytes(range(256)) * 40
    assert "not extracted: empty" in replaced.err
    assert "not extracted: letters/2026" in replaced.err
    assert list(elsewhere.iterdir()) == []  # Nothing is written through a symlink that was there.
    assert stat.S_IMODE((out / "letters").stat().st_mode) == 0o711  # A directory that was there stays as it was.
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


def test_damage(either: Reader, lower: LowerVolume, recovery: Recovery, tmp_path: Path) -> None:
    """A damaged file is reported and left out, the rest is copied (25); verify finds what ``cloakfs verify`` finds."""
    with lower.unlock(read_only=True) as volume:
        place = lower.path / os.fsdecode(b"/".join(lower_names(volume, b"letters/long.bin")))
    with place.open("r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    before = tree(lower.path)
    extracted = either.run("extract", "volume", "--to", "out", *recovery, cwd=tmp_path)
    assert extracted.code == ExitCode.DAMAGED_DATA
    assert "not extracted: letters/long.bin: cell 1" in extracted.err
    assert not (tmp_path / "out" / "letters" / "long.bin").exists()
    assert (tmp_path / "out" / "letters" / "2026" / "a.txt").read_bytes() == b"Dear colleague\n"
    verified = either.run("verify", "volume", "--json", *recovery, cwd=tmp_path)
    same = run("verify", lower.path, "--json", *recovery)
    assert verified.code == same.code == ExitCode.FINDINGS
    assert verified.json["findings"] == same.json["findings"]
    assert verified.json["summary"] == same.json["summary"]
    line = next(one for one in run("verify", lower.path, *recovery).out.splitlines() if one.startswith("ERROR"))
    assert line in either.run("verify", "volume", *recovery, cwd=tmp_path).out
    assert tree(lower.path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_medium_that_cannot_be_written(either: Reader, lower: LowerVolume, recovery: Recovery) -> None:
    """From a mount that is read-only, as of a stick with its switch on: list and verify, without a word about it."""
    with read_only(lower.path):
        with pytest.raises(OSError, match="Read-only"):
            (lower.path / "x").write_bytes(b"")
        listed = either.run("list", "-r", lower.path, *recovery)
        assert (listed.code, listed.err) == (0, "")
        assert "letters/2026/a.txt" in listed.out
        assert either.run("verify", lower.path, *recovery).code == 0


def test_a_volume_in_use(reader: Reader, on_windows: Reader, lower: LowerVolume, recovery: Recovery) -> None:
    """On Linux a volume that somebody writes to is not read; where there are no locks it is, with a warning."""
    with lower.unlock():
        refused = reader.run("list", lower.path, *recovery)
        warned = on_windows.run("list", lower.path, *recovery)
    assert refused.code == ExitCode.VOLUME_IN_USE
    assert f"by process {os.getpid()}" in refused.err
    assert warned.code == 0
    assert "has the volume open for writing, or did not close it" in warned.err
    assert on_windows.run("list", lower.path, *recovery).err == ""


# -- the packages ------------------------------------------------------------------------------------------------------


def test_without_the_packages(archive: Path, lower: LowerVolume, recovery: Recovery, tmp_path: Path) -> None:
    """It says what is missing and how to get it; with wheels beside it, it runs, and nothing of them stays."""
    beside, temporary = tmp_path / "stick", tmp_path / "temporary"
    beside.mkdir()
    temporary.mkdir()
    wheels = beside / "cloakfs-reader-wheels"
    builder.build(beside / archive.name, make_wheels(wheels))
    python = clean_environment(tmp_path / "bare", ())
    bare = Reader(python, beside / archive.name, environment={"TMPDIR": str(temporary)})
    before = tree(beside)
    result = bare.run("list", lower.path, *recovery)
    assert (result.code, result.err) == (0, "")
    assert "letters/" in result.out
    assert bare.run("list", lower.path).code == ExitCode.USAGE  # The status of the process that does the work.
    assert list(temporary.iterdir()) == []
    assert tree(beside) == before
    # A wheel that is not the one that the reader was built for is not loaded, whatever its name is.
    [changed] = wheels.glob("cryptography-*.whl")
    content = bytearray(changed.read_bytes())
    content[100] ^= 1
    changed.write_bytes(content)
    refused = bare.run("list", lower.path, *recovery)
    assert refused.code == ExitCode.FAILURE
    assert f"Refused, because it is not the file that this reader was built for: {changed}" in refused.err
    for path in wheels.iterdir():
        path.unlink()
    missing = bare.run("list", lower.path, *recovery)
    assert missing.code == ExitCode.FAILURE
    assert "of: cryptography, cffi, argon2-cffi, argon2-cffi-bindings" in missing.err
    assert "pip install" in missing.err
    assert "--dest cloakfs-reader-wheels" in missing.err
    assert list(temporary.iterdir()) == []
