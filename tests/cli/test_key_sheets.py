"""``cloakfs key recovery`` and ``key shares``: sheets made, proved, used in an emergency, and renewed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import pytest

from encfs.cli import break_glass, cmd_cat, cmd_key, cmd_mount, cmd_status, key_sheets, mounting, terminal
from encfs.cli.mount_options import parse
from encfs.errors import CloakfsError, ExitCode, LowerIOError, NotEmptyError, UsageError, WrongSecretError
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import keys, read_config
from tests.support.command import PASSPHRASE, Made, run
from tests.support.mounting import cloakfs, is_mounted
from tests.support.paper import codes_on, words_on
from tests.support.pty_session import PtySession

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "slip39.json").read_text(encoding="utf-8"))
HOLDERS = ("--holder", "Anna", "--holder", "Ben", "--holder", "Cleo")
TWO_OF_THREE = ("--threshold", "2", "--shares", "3")


def call(command: click.Command, *arguments: object) -> None:
    """A command in this process, without a terminal; what it refuses is raised."""
    command.main([str(one) for one in arguments], standalone_mode=False)


def make_shares(volume: Made, out: Path, *more: str) -> list[Path]:
    """Two of three, as text files."""
    call(key_sheets.shares, volume.path, *TWO_OF_THREE, *HOLDERS, "--text", "--yes", "--out-dir", out, *more)
    return sorted(out.iterdir())


def config(volume: Made) -> bytes:
    """The bytes of what opens it."""
    return (volume.path / "cloakfs.volume").read_bytes()


def reserve(volume: Made) -> list[str]:
    """Labels of the keys in reserve that were used here."""
    return [slot["label"] for slot in break_glass.uses(read_config(bytes(volume.path)))]


def words_of(share: Path) -> str:
    """The words of a share file."""
    return share.read_text().splitlines()[-1]


# -- recovery sheets -----------------------------------------------------------------------------------------------


def test_a_recovery_sheet_by_questions(volume: Made, elsewhere: Path, tmp_path: Path) -> None:
    """The custodian, the passphrase, and the key from the paper; a wrong or mistyped one is told, and asked again."""
    sheet = elsewhere / "sheet.pdf"
    with PtySession("key", "recovery", str(volume.path), "--out", str(sheet)) as session:
        session.answer("Who keeps the sheet? ", "Dr. Weber")
        session.answer("Passphrase of", PASSPHRASE)
        session.expect("The sheet is in")
        assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
        text, [key] = words_on(sheet.read_bytes()), codes_on(sheet.read_bytes())
        session.answer("Recovery key: ", encode_recovery_key(bytes(32)))
        session.expect("Not right: this is a recovery key, but not this one.")
        session.answer("Recovery key: ", key[:-1] + ("0" if key[-1] != "0" else "1"))
        session.expect("Not right: ")
        before = session.text
        session.answer("Recovery key: ", key.lower())
        session.expect("The slot sheet of Dr. Weber is added, and was tried")
        session.expect("Print these, then delete them")
        assert session.end() == 0
    assert PASSPHRASE not in session.text
    assert key not in before
    assert "Nobody has typed it" not in session.text
    assert all(fact in text for fact in ("Custodian Dr. Weber", "Volume volume", "Volume id "))
    paper = tmp_path / "typed"
    paper.write_text(key)
    paper.chmod(0o600)
    call(cmd_key.test, volume.path, "--recovery-file", paper)
    assert reserve(volume) == []


def test_a_recovery_sheet_to_a_printer(volume: Made) -> None:
    """The pipe gets the PDF and nothing else; what nobody has typed is told as not proved; the key opens."""
    command = [sys.executable, "-m", "encfs", "key", "recovery", str(volume.path), *volume.secret]
    more = ["--custodian", "Anna", "--out", "-", "--yes"]
    done = subprocess.run([*command, *more], capture_output=True, check=True)
    told = done.stderr.decode()
    assert "is added, and was tried" in told
    assert "Nobody has typed it from the paper yet" in told
    [key] = codes_on(done.stdout)
    volume.recovery_file.write_text(key)
    call(cmd_cat.command, volume.path, "letters/a.txt", "--recovery-file", volume.recovery_file)
    assert reserve(volume) == ["sheet of Anna"]


# -- shares ----------------------------------------------------------------------------------------------------------


def test_shares_by_questions(volume: Made, elsewhere: Path) -> None:
    """Sheets for three; two are typed back: a typo, a share twice and one of another volume are told on the way."""
    out = elsewhere / "sheets"
    arguments = ("key", "shares", str(volume.path), *TWO_OF_THREE, "--out-dir", str(out))
    with PtySession(*arguments, *volume.secret) as session:
        for number, holder in enumerate(("Anna", "Ben", "Cleo"), start=1):
            session.answer(f"Who keeps share {number} of 3? ", holder)
        session.expect("let 2 holders type theirs")
        pages = [path.read_bytes() for path in sorted(out.iterdir())]
        assert [stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()] == [0o600] * 3
        (first,), (third,) = codes_on(pages[0]), codes_on(pages[2])
        assert "Holder Cleo" in words_on(pages[2])
        start, rest = third.split()[:20], third.split()[20:]
        session.answer("words 1 to 33: ", VECTORS["ours"]["shares"][0])
        session.expect("does not open this volume.")
        session.answer("words 1 to 33: ", " ".join(["acadmic", *start[1:]]))
        session.expect("Word 1 is not in the list of words. Is it academic")
        session.answer("words 1 to 33: ", " ".join(start))
        session.answer("words 21 to 33: ", " ".join(rest))
        session.expect("Share 3 is right. 1 share is missing.")
        session.answer("words 1 to 33: ", third)
        session.expect("was given already")
        session.answer("words 1 to 33: ", first)
        session.expect("Share 1 is right. These are all.")
        session.expect("The slot 2 of 3 shares is added, and was tried")
        assert session.end() == 0
    with PtySession("cat", str(volume.path), "letters/a.txt", "--shares") as session:
        session.expect("2 shares are needed, in any order.")
        session.answer("words 1 to 33: ", third)
        session.answer("words 1 to 33: ", first)
        session.expect("Dear colleague")
        assert session.end() == 0
    assert reserve(volume) == ["2 of 3 shares"]


def test_shares_in_scripts(volume: Made, elsewhere: Path) -> None:
    """Any two files open it in a command and as mount options; too few, mixed and damaged ones are told by name."""
    one, two, three = make_shares(volume, elsewhere / "a", *volume.secret)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (one, two, three)] == [0o600] * 3
    read = run("cat", volume.path, "letters/a.txt", "--share-file", three, "--share-file", one)
    assert (read.code, read.out) == (0, "Dear colleague\n")
    foreign, bad = elsewhere / "foreign", elsewhere / "bad"
    foreign.write_text(VECTORS["ours"]["shares"][0])
    bad.write_text(words_of(two).rsplit(" ", 1)[0] + " zzz\n")
    for files, message in (
        ([one], "1 more share is needed"),
        ([one, one], "given already"),
        ([one, foreign], f"{foreign}: share 1 of set {VECTORS['ours']['set_id']} does not open this volume"),
        ([bad], f"{bad}: word 33 is not in the list"),
    ):
        options = [part for name in files for part in ("--share-file", name)]
        with pytest.raises(UsageError) as caught:
            call(cmd_cat.command, volume.path, "letters/a.txt", *options)
        assert message in str(caught.value)
    assert parse([f"share-file={one},ro", "share-file=/b"]).secret.share_files == (str(one), "/b")
    with pytest.raises(UsageError, match="more than one source"):
        call(cmd_cat.command, volume.path, "empty", "--share-file", one, *volume.secret)
    with pytest.raises(UsageError, match="the first share is needed"):
        call(cmd_cat.command, volume.path, "empty", "--shares")


def test_shares_of_two_sets(volume: Made, elsewhere: Path) -> None:
    """Each set opens by itself; a mix is told, and nothing is opened with it."""
    old, *_ = make_shares(volume, elsewhere / "old", *volume.secret, "--label", "old")
    new, other, _ = make_shares(volume, elsewhere / "new", *volume.secret, "--label", "new")
    with pytest.raises(UsageError, match="does not go with the shares of set"):
        call(cmd_cat.command, volume.path, "empty", "--share-file", old, "--share-file", new)
    call(cmd_cat.command, volume.path, "empty", "--share-file", other, "--share-file", new)
    assert reserve(volume) == ["new"]


def test_a_volume_without_shares(volume: Made, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a wrong secret, said before a word is typed."""
    share = elsewhere / "share"
    share.write_text(VECTORS["ours"]["shares"][0])
    with pytest.raises(WrongSecretError, match="this volume has no set of shares"):
        call(cmd_cat.command, volume.path, "empty", "--share-file", share)
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr(terminal, "tell", lambda text: pytest.fail(f"somebody was asked: {text}"))
    with pytest.raises(WrongSecretError, match="this volume has no set of shares"):
        call(cmd_cat.command, volume.path, "empty", "--shares")


# -- nothing is changed ----------------------------------------------------------------------------------------------

RECOVERY = ("key", "recovery", "{volume}", "--out", "{out}/sheet.pdf")
SHARES = ("key", "shares", "{volume}", *TWO_OF_THREE, "--out-dir", "{out}/sheets")


@pytest.mark.parametrize(
    ("arguments", "answers", "last"),
    [
        (RECOVERY, [("Who keeps", "Anna"), ("Passphrase of", PASSPHRASE)], "Recovery key: "),
        (SHARES, [("Who keeps share 1", "Anna")], "Who keeps share 2"),
        ((*SHARES, *HOLDERS), [("Passphrase of", PASSPHRASE), ("words 1 to 33", "academic acid")], "words 3 to 33"),
    ],
)
def test_given_up_at_any_prompt(
    volume: Made, elsewhere: Path, arguments: tuple[str, ...], answers: list[tuple[str, str]], last: str
) -> None:
    """Ctrl-C leaves the volume as it was, and no sheet."""
    before = config(volume)
    filled = [text.format(volume=volume.path, out=elsewhere) for text in arguments]
    with PtySession(*filled) as session:
        for prompt, answer in answers:
            session.answer(prompt, answer)
        session.expect(last)
        session.send("\x03")
        assert session.end() == ExitCode.INTERRUPTED
    assert config(volume) == before
    assert list(elsewhere.iterdir()) == []


def test_refused_before_anything_is_asked(volume: Made, elsewhere: Path) -> None:
    """Places, names and numbers that make no sense: the volume stays as it was, and nothing is written anywhere."""
    there = elsewhere / "there"
    there.write_text("something")
    before = config(volume)
    beside = volume.path.parent / "sheet.pdf"
    new = ("--out", elsewhere / "new.pdf")
    anna = ("--custodian", "Anna", "--yes", *volume.secret)
    holders = (*HOLDERS, "--yes", *volume.secret, "--out-dir", elsewhere / "sheets")
    refusals: list[tuple[click.Command, tuple[object, ...], type[CloakfsError], str]] = [
        (key_sheets.recovery, ("--out", beside, *anna), UsageError, "on the medium of the volume"),
        (key_sheets.recovery, ("--out", there, *anna), NotEmptyError, "exists already"),
        (key_sheets.recovery, (*new, "--custodian", "Anna", *volume.secret), UsageError, "no terminal"),
        (key_sheets.recovery, (*new, "--yes", *volume.secret), UsageError, "custodian is needed"),
        (key_sheets.recovery, (*new, *anna, "--custodian", "診療所"), UsageError, "cannot be printed"),
        (key_sheets.recovery, (*new, *anna, "--custodian", "x" * 64), UsageError, "a label has"),
        (key_sheets.recovery, (*new, *anna, "--custodian", " "), UsageError, "names who keeps it"),
        (key_sheets.recovery, (*new, *anna, "--replace", "passphrase"), UsageError, "on no sheet"),
        (key_sheets.recovery, (*new, *anna, "--replace", "nobody"), UsageError, "no slot is called"),
        (key_sheets.recovery, (*new, *anna, "--label", "recovery key"), UsageError, "there is a slot"),
        (key_sheets.recovery, ("--out", "-", *anna, "--json"), UsageError, "both want standard output"),
        (key_sheets.shares, (*holders, "--threshold", 1, "--shares", 3), UsageError, "alone"),
        (key_sheets.shares, (*holders, "--threshold", 4, "--shares", 3), UsageError, "cannot be made"),
        (key_sheets.shares, (*holders, "--threshold", 2, "--shares", 2), UsageError, "2 shares for 3 holders"),
        (key_sheets.shares, (*TWO_OF_THREE, *holders, "--out-dir", beside), UsageError, "on the medium"),
    ]
    for command, options, kind, message in refusals:
        with pytest.raises(kind) as caught:
            call(command, volume.path, *options)
        assert message in str(caught.value), (options, str(caught.value))
    wrong = elsewhere / "wrong"
    wrong.write_text("not the passphrase at all")
    wrong.chmod(0o600)
    with pytest.raises(WrongSecretError):
        call(key_sheets.recovery, volume.path, *new, "--custodian", "A", "--yes", "--passphrase-file", wrong)
    assert config(volume) == before
    assert not beside.exists()
    assert sorted(path.name for path in elsewhere.iterdir()) == ["there", "wrong"]


def test_standard_output_that_is_no_pipe(volume: Made, capfd: pytest.CaptureFixture[str]) -> None:
    """A sheet is not written to a terminal, nor into a file that others may read."""
    before = config(volume)
    assert stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)  # As capfd has it.
    with pytest.raises(UsageError, match="for a pipe to a printer"):
        call(key_sheets.recovery, volume.path, "--out", "-", "--yes", "--custodian", "A", *volume.secret)
    assert capfd.readouterr().out == ""
    assert config(volume) == before


def test_a_place_that_fails_takes_all_sheets_with_it(
    volume: Made, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third sheet cannot be written: the others go again, and no slot is made."""
    real: Callable[[str, bytes], None] = key_sheets.secret_files.write_new

    def failing(path: str, content: bytes) -> None:
        if "share-3" in path:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(key_sheets.secret_files, "write_new", failing)
    before = config(volume)
    with pytest.raises(OSError, match="No space"):
        make_shares(volume, elsewhere / "sheets", *volume.secret)
    assert list(elsewhere.iterdir()) == []
    assert config(volume) == before


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), LowerIOError("not what the medium gives back")])
def test_sheets_stay_where_their_slot_may_be(
    volume: Made, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A medium that fails once the configs are written: the old sheets open nothing any more, so the new ones stay."""
    make_shares(volume, elsewhere / "old", *volume.secret)
    real = keys.write_config_proved

    def failing(*arguments: Any) -> None:
        real(*arguments)
        raise error

    with monkeypatch.context() as broken, pytest.raises(type(error)):
        broken.setattr(keys, "write_config_proved", failing)
        make_shares(volume, elsewhere / "new", *volume.secret, "--replace", "2 of 3 shares")
    _, two, three = sorted((elsewhere / "new").iterdir())
    call(cmd_cat.command, volume.path, "empty", "--share-file", two, "--share-file", three)


def test_without_the_packages(volume: Made, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once how to get them; unlocking with shares takes only one of them, and says so too."""
    monkeypatch.setitem(sys.modules, "segno", None)
    for command, arguments in (
        (key_sheets.recovery, ("--out", elsewhere / "x.pdf")),
        (key_sheets.shares, (*TWO_OF_THREE, "--out-dir", elsewhere / "x")),
    ):
        with pytest.raises(CloakfsError, match="segno, which is not installed") as caught:
            call(command, volume.path, *arguments)
        assert (caught.value.exit_code, "cloakfs[sheets]" in caught.value.hint) == (ExitCode.FAILURE, True)
    monkeypatch.setitem(sys.modules, "shamir_mnemonic", None)
    with pytest.raises(CloakfsError, match="shamir_mnemonic, which is not installed"):
        call(cmd_cat.command, volume.path, "empty", "--share-file", volume.recovery_file)
    assert list(elsewhere.iterdir()) == []


# -- after an emergency ------------------------------------------------------------------------------------------------


def test_a_used_key_is_shown_until_it_is_renewed(
    volume: Made, elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status tells which key in reserve opened the volume here, and how to renew it; a test of it does not count."""
    one, two, _ = make_shares(volume, elsewhere / "first", *volume.secret)
    shares = ("--share-file", one, "--share-file", two)

    def status(*more: str) -> str:
        capfd.readouterr()
        call(cmd_status.command, volume.path, "--quick", *more)
        return capfd.readouterr().out

    call(cmd_key.test, volume.path, *shares)
    assert "ATTENTION" not in status()
    call(cmd_cat.command, volume.path, "empty", *shares)
    [used] = json.loads(status("--json"))["volumes"][0]["break_glass"]
    assert (used["label"], used["kind"], used["last_used"] >= used["created"]) == ("2 of 3 shares", "shares", True)
    assert used["shares"] | {"set": 0} == {"set": 0, "threshold": 2, "count": 3}
    shown = status()
    assert "ATTENTION" in shown
    assert f"cloakfs key shares {volume.path} --replace '2 of 3 shares' --threshold 2 --shares 3 --out-dir" in shown
    renewed, third, _ = make_shares(volume, elsewhere / "second", *shares, "--replace", "2 of 3 shares")
    assert reserve(volume) == []
    with pytest.raises(UsageError, match="does not open this volume"):
        call(cmd_cat.command, volume.path, "empty", *shares)
    call(cmd_cat.command, volume.path, "empty", "--share-file", renewed, "--share-file", third)
    assert reserve(volume) == ["2 of 3 shares"]
    call(cmd_key.remove, volume.path, "2 of 3 shares", *volume.secret, "--yes")
    assert reserve(volume) == []


def test_status_where_nothing_can_be_remembered(volume: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a place of his own is told nothing, and status works."""
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(volume.passphrase_file))
    assert reserve(volume) == []


def test_a_changed_slot_is_an_emergency_too(volume: Made) -> None:
    """Who uses the recovery key to give a slot another label has used it."""
    recovery = ("--recovery-file", volume.recovery_file)
    call(cmd_key.rename, volume.path, "passphrase", "Anna", *recovery)
    assert reserve(volume) == ["recovery key"]


def test_a_mount_with_shares(
    volume: Made, elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount says it, in words and in JSON, in the foreground too; and so does its status."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse")
    one, two, _ = make_shares(volume, elsewhere / "sheets", *volume.secret)
    shares = ("--share-file", str(one), "--share-file", str(two))
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    text = "opened here with the shares '2 of 3 shares'"
    told = json.loads(cloakfs("mount", str(volume.path), str(mountpoint), *shares, "--json").stdout)
    try:
        assert [slot["label"] for slot in told["break_glass"]] == ["2 of 3 shares"]
        mounting.tell(told["mount"])
        call(cmd_status.command, mountpoint, "--quick")
        assert capsys.readouterr().out.count(text) == 2
    finally:
        cloakfs("lock", str(mountpoint))
    assert not is_mounted(mountpoint)
    from encfs.fuse.daemon import MountOptions

    daemon = Mock(MountOptions=MountOptions)
    daemon.start.side_effect = lambda opened, *_, **__: opened.close()
    monkeypatch.setattr(mounting, "load_daemon", lambda: daemon)
    monkeypatch.setattr(mounting, "default_signals", lambda: None)
    call(cmd_mount.command, volume.path, mountpoint, "--foreground", *volume.secret)
    assert text in capsys.readouterr().err
