"""``cloakfs stick create``: what lies on the stick afterwards, and what is left untouched when it is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from encfs.stick import finder
from tests.stick.conftest import Inserted
from tests.support import blockdev, media
from tests.support.command import CHEAP, PASSPHRASE, run
from tests.support.linux import needs_root
from tests.support.mounting import is_mounted
from tests.support.pty_session import PtySession

EXFAT = media.marks("exfat")
WORDS = "Praxis Dr. Müller, Tel. 030 123456"


def digest(image: Path) -> str:
    """Every byte of a stick."""
    return hashlib.sha256(image.read_bytes()).hexdigest()


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def fill(directory: Path) -> None:
    """Take the last block of a filesystem, also of what is kept for root."""
    with (directory / "ballast").open("wb") as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    end = os.fstat(file.fileno()).st_size
                    os.posix_fallocate(file.fileno(), end, size)


@pytest.mark.parametrize("kind", media.kinds("ext4", "exfat"))
def test_a_stick_of_a_directory(
    base: Path, inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], kind: str
):
    """Volume, note and reader are added, what was there stays and is told; it opens by the directory of the stick.

    A second time changes nothing, and so does a recovery key that would lie on the stick itself.
    """
    stick = inserted(kind).path
    (stick / "old.txt").write_bytes(b"readable by everybody")
    refused = run("stick", "create", stick, *secret, "--yes", *CHEAP, "--recovery-out", stick / "key")
    assert refused.code == ExitCode.USAGE
    assert "on the medium of the volume" in refused.err
    assert set(contents(stick)) == {"old.txt"}
    reader = base / "dist" / "cloakfs-reader.pyz"
    reader.parent.mkdir()
    reader.write_bytes(b"a reader")
    code = (
        "import sys; from pathlib import Path; from encfs.stick import reader_file\n"
        f"reader_file.find.__defaults__ = ((Path({str(reader.parent)!r}),),)\n"
        "from encfs.cli.main import main; main()"
    )
    made = run("stick", "create", stick, "--if-found", WORDS, *making, program=("-c", code))
    assert made.code == 0, made.err
    assert "old.txt" in made.out
    assert "NOT encrypted" in made.out
    assert "Praxis Dr. Mueller, Tel. 030 123456" in made.out
    found = contents(stick)
    assert found["old.txt"] == b"readable by everybody"
    assert found["IF-FOUND.txt"] == finder.note(WORDS)
    assert found["cloakfs-reader.pyz"] == b"a reader"
    assert "encrypted/cloakfs.volume" in found
    again = run("stick", "create", stick, *making)
    assert again.code == ExitCode.NOT_EMPTY
    assert contents(stick) == found
    (base / "at").mkdir()
    assert run("mount", stick, base / "at", *secret, "--log", base / "log").code == 0
    (base / "at" / "letter").write_bytes(b"Dear colleague")
    assert run("status", stick, "--quick").out.startswith(str(stick / "encrypted"))
    assert run("lock", stick).code == 0
    assert run("cat", stick, "letter", *secret).out == "Dear colleague"
    assert run("verify", stick, *secret).code == 0


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_stick_that_is_full_or_write_protected(
    base: Path, inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], kind: str
):
    """Nothing half-made is left on a full stick; a stick that is full or read-only later opens for reading.

    The error of a writable mount says so each time.
    """
    lower = inserted(kind)
    fill(lower.path)
    full = run("stick", "create", lower.path, *making)
    assert full.code == ExitCode.LOWER_IO, full.err
    assert set(contents(lower.path)) == {"ballast"}
    (lower.path / "ballast").unlink()
    assert run("stick", "create", lower.path, *making).code == 0
    at = base / "at"
    at.mkdir()
    log = ("--log", base / "log")
    assert run("mount", lower.path, at, *secret, *log).code == 0
    (at / "letter").write_bytes(b"Dear colleague")
    assert run("lock", at).code == 0
    fill(lower.path)
    refused = run("mount", lower.path, at, *secret, *log)
    assert (refused.code, "--read-only" in refused.err) == (ExitCode.LOWER_IO, True), refused.err
    (lower.path / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(lower.path)], check=True)
    refused = run("mount", lower.path, at, *secret, *log)
    assert (refused.code, "--read-only" in refused.err) == (ExitCode.READ_ONLY, True), refused.err
    assert run("mount", lower.path, at, "--read-only", *secret, *log).code == 0
    assert (at / "letter").read_bytes() == b"Dear colleague"
    assert run("stick", "create", lower.path, *making).code == ExitCode.NOT_EMPTY
    ejected = run("stick", "eject", at)
    assert (ejected.code, "Safe to remove" in ejected.out) == (0, True), ejected.err


def test_nobody_is_there_to_say_that_the_note_is_right(base: Path, secret: tuple[str, str]):
    """Without a terminal the note has to be agreed to by an option; nothing is made."""
    (base / "stick").mkdir()
    refused = run("stick", "create", base / "stick", *secret, "--no-recovery", *CHEAP)
    assert (refused.code, "--yes" in refused.err) == (ExitCode.USAGE, True)
    assert list((base / "stick").iterdir()) == []


def test_a_person_is_asked(base: Path, secret: tuple[str, str]):
    """The words are asked for and shown as the finder will read them; no answer but yes makes anything."""
    stick = base / "stick"
    stick.mkdir()
    options = ("stick", "create", str(stick), *secret, "--no-recovery", *CHEAP)
    with PtySession(*options) as session:
        session.answer("Your words: ", "Practice Weber")
        session.answer("Is that right?", "")
        assert session.end() == ExitCode.USAGE
        assert "    Practice Weber\n" in session.text
    assert list(stick.iterdir()) == []
    with PtySession(*options) as session:
        session.answer("Your words: ", "Practice Weber")
        session.answer("Is that right?", "y")
        assert session.end() == 0, session.text
    assert b"Practice Weber\r\n" in (stick / "IF-FOUND.txt").read_bytes()


@needs_root
@pytest.mark.parametrize("arguments", [(), ("--confirm", "loop"), ("--confirm", "yes"), ("--confirm", "")])
def test_a_wrong_name_leaves_the_device_untouched(
    base: Path, empty_stick: str, making: tuple[str, ...], arguments: tuple[str, ...]
):
    """Neither --yes nor another name stands for the name of the device: every byte stays."""
    subprocess.run(["mkfs.ext4", "-q", "-L", "PRECIOUS", empty_stick], check=True)
    before = digest(base / "stick image")
    refused = run("stick", "create", empty_stick, *making, *arguments)
    assert refused.code == ExitCode.USAGE, refused.err
    assert digest(base / "stick image") == before
    if not arguments:
        assert "PRECIOUS" in refused.out
        assert "ext4" in refused.out


@needs_root
@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_what_is_in_use_is_not_formatted(
    base: Path, inserted: Inserted, empty_stick: str, making: tuple[str, ...], kind: str
):
    """A mounted device, one that another program has for itself, and the disk of the machine are refused."""
    lower = inserted(kind)
    (lower.path / "precious").write_bytes(b"precious")
    refused = run("stick", "create", lower.device, *making, "--confirm", os.path.basename(lower.device))
    assert (refused.code, f"is mounted at {lower.path}" in refused.err) == (ExitCode.USAGE, True), refused.err
    assert (lower.path / "precious").read_bytes() == b"precious"
    fd = os.open(empty_stick, os.O_RDONLY | os.O_EXCL)
    try:
        before = digest(base / "stick image")
        refused = run("stick", "create", empty_stick, *making, "--confirm", os.path.basename(empty_stick))
        assert (refused.code, "is in use" in refused.err) == (ExitCode.USAGE, True), refused.err
        assert digest(base / "stick image") == before
    finally:
        os.close(fd)
    root = subprocess.run(["findmnt", "-no", "SOURCE", "/"], capture_output=True, text=True, check=True).stdout.strip()
    if Path(root).is_block_device():
        refused = run("stick", "create", root, *making, "--confirm", os.path.basename(root))
        assert (refused.code, "this machine runs from" in refused.err) == (ExitCode.USAGE, True), refused.err


@needs_root
@pytest.mark.parametrize("kind", [pytest.param("exfat", marks=EXFAT)])
def test_a_stick_of_a_device(base: Path, empty_stick: str, secret: tuple[str, str], kind: str):
    """The typed name erases and formats; another name, or another medium than was shown, leaves every byte."""
    del kind
    name = os.path.basename(empty_stick)
    options = ("stick", "create", empty_stick, *secret, "--no-recovery", "--yes", "--name", "PRACTICE", *CHEAP)
    before = digest(base / "stick image")
    with PtySession(*options) as session:
        session.answer(f"Type its name, {name}: ", "sda")
        assert session.end() == ExitCode.USAGE
    assert digest(base / "stick image") == before
    with PtySession(*options) as session:
        session.expect(f"Type its name, {name}: ")
        subprocess.run(["mkfs.ext4", "-q", "-L", "OTHER", empty_stick], check=True)
        before = digest(base / "stick image")
        session.send(name + "\n")
        assert session.end() == ExitCode.USAGE
        assert "not what it was" in session.text
    assert digest(base / "stick image") == before
    with PtySession(*options) as session:
        session.expect("'OTHER'")
        session.answer(f"Type its name, {name}: ", name)
        assert session.end() == 0, session.text
    told = subprocess.run(["blkid", "-p", "-o", "export", empty_stick], capture_output=True, text=True, check=True)
    assert {"TYPE=exfat", "LABEL=PRACTICE"} <= set(told.stdout.split())
    path = base / "stick"
    path.mkdir()
    lower = media.Lower("exfat", path, base / "stick image", device=empty_stick)
    subprocess.run(["mount.exfat-fuse", empty_stick, str(path)], check=True, capture_output=True)
    try:
        assert (path / "IF-FOUND.txt").read_bytes() == finder.note("")
        assert run("verify", path, *secret).code == 0
    finally:
        blockdev.unmount(lower.path)
    assert not is_mounted(path)


@needs_root
def test_a_stick_of_a_device_by_a_script(base: Path, empty_stick: str, making: tuple[str, ...]):
    """With --confirm nothing is asked; --json says what was made; the recovery key may not lie on the erased stick."""
    name = os.path.basename(empty_stick)
    made = run("stick", "create", empty_stick, *making, "--confirm", name, "--json")
    assert made.code == 0, made.err
    assert {key: made.json[key] for key in ("directory", "volume", "device", "recovery")} == {
        "directory": None,
        "volume": None,
        "device": empty_stick,
        "recovery": "none",
    }
    assert made.json["files"][0] == "IF-FOUND.txt"
    assert "IF-FOUND.txt" in made.err
    assert PASSPHRASE not in made.out + made.err
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if line.startswith(f"{empty_stick} ")]
    assert not list(base.glob("state/**/cloakfs-stick-*"))
