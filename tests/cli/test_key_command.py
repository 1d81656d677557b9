"""``cloakfs key``: what opens a volume, shown and changed, by scripts and by hand."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from tests.support.command import CHEAP, PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession

NEW = "seven other words that nobody guesses"


@pytest.fixture
def new_passphrase(tmp_path: Path) -> Path:
    """A file with the new passphrase."""
    path = tmp_path / "new"
    path.write_text(NEW + "\n")
    path.chmod(0o600)
    return path


def labels(volume: Made) -> list[str]:
    """Of the slots, as a script sees them."""
    return [slot["label"] for slot in run("key", "list", volume.path, "--json").json["slots"]]


def opened_with(volume: Made, *secret: str | Path) -> str | int:
    """The label of the slot that a secret opens, or the exit code."""
    result = run("key", "test", volume.path, "--json", *secret)
    return str(result.json["slot"]["label"]) if result.code == 0 else result.code


def test_list_shows_every_slot_without_a_secret(volume: Made) -> None:
    """Label, kind, date, cost and last use; no passphrase is asked for, and none is needed."""
    shown = run("key", "list", volume.path)
    assert shown.code == 0
    assert all(text in shown.out for text in ("passphrase", "recovery key", "Argon2id, 64 MiB, 3 passes", "never"))
    run("cat", volume.path, "empty", *volume.secret)
    (first, second) = run("key", "list", volume.path, "--json").json["slots"]
    assert (first["kind"], second["kind"]) == ("passphrase", "recovery")
    assert first["last_used"] >= first["created"]
    assert second["last_used"] is None
    assert set(first) == {"id", "kind", "label", "created", "kdf", "last_used", "shares"}


def test_a_person_comes_and_goes(volume: Made, new_passphrase: Path) -> None:
    """Added with a passphrase of her own, renamed, changed, removed; nobody else notices."""
    add = ("--label", "Anna", "--new-passphrase-file", new_passphrase, *CHEAP)
    assert run("key", "add", volume.path, *volume.secret, *add).code == 0
    anna = ("--passphrase-file", str(new_passphrase))
    assert opened_with(volume, *anna) == "Anna"
    assert run("key", "rename", volume.path, "Anna", "Anna Schmidt", *anna).code == 0
    assert labels(volume) == ["passphrase", "recovery key", "Anna Schmidt"]
    other = new_passphrase.with_name("other")
    other.write_text("nine completely different words of hers\n")
    assert run("key", "change", volume.path, "Anna Schmidt", *anna, "--new-passphrase-file", other, *CHEAP).code == 0
    assert opened_with(volume, *anna) == ExitCode.WRONG_SECRET
    assert opened_with(volume, "--passphrase-file", other) == "Anna Schmidt"
    assert run("key", "remove", volume.path, "Anna Schmidt", *volume.secret, "--yes").code == 0
    assert opened_with(volume, "--passphrase-file", other) == ExitCode.WRONG_SECRET
    assert labels(volume) == ["passphrase", "recovery key"]
    assert run("verify", volume.path, *volume.secret).code == 0


def test_key_files(volume: Made, elsewhere: Path, new_passphrase: Path) -> None:
    """Made by us, readable by its owner only; alone, or with a passphrase; every command takes them."""
    stick, both = elsewhere / "stick.key", elsewhere / "both.key"
    assert run("key", "add", volume.path, *volume.secret, "--label", "stick", "--new-key-file", stick).code == 0
    assert stat.S_IMODE(stick.stat().st_mode) == 0o600
    more = ("--label", "both", "--new-key-file", both, "--new-passphrase-file", new_passphrase, *CHEAP)
    assert run("key", "add", volume.path, "--key-file", stick, *more).code == 0
    assert opened_with(volume, "--key-file", stick) == "stick"
    assert opened_with(volume, "--key-file", both, "--passphrase-file", new_passphrase) == "both"
    assert opened_with(volume, "--key-file", both, *volume.secret) == ExitCode.WRONG_SECRET
    assert opened_with(volume, "--passphrase-file", new_passphrase) == ExitCode.WRONG_SECRET
    needs = run("cat", volume.path, "letters/a.txt", "--key-file", both)
    assert (needs.code, "passphrase that goes with the key file" in needs.err) == (ExitCode.USAGE, True)
    assert run("cat", volume.path, "letters/a.txt", "--key-file", stick).out == "Dear colleague\n"
    assert run("verify", volume.path, "--key-file", stick).code == 0


def test_a_key_file_on_the_medium_of_the_volume_is_refused(volume: Made) -> None:
    """Lost together, it protects nothing: nothing is made, and the message says what to do."""
    place = volume.path.parent / "stick.key"
    result = run("key", "add", volume.path, *volume.secret, "--label", "stick", "--new-key-file", place)
    assert (result.code, "another stick or disk" in result.err) == (ExitCode.USAGE, True)
    assert not place.exists()
    assert labels(volume) == ["passphrase", "recovery key"]


@pytest.mark.parametrize("content", [b"", bytes(32), b"cloakfs-key-file 1 short 00000000\n"])
def test_what_is_no_key_file_is_told(volume: Made, elsewhere: Path, content: bytes) -> None:
    """Before anything is tried, and without touching the file."""
    bad = elsewhere / "bad.key"
    bad.write_bytes(content)
    bad.chmod(0o600)
    assert opened_with(volume, "--key-file", bad) == ExitCode.USAGE
    result = run("key", "add", volume.path, *volume.secret, "--label", "stick", "--new-key-file", bad)
    assert (result.code, "key file" in result.err) == (ExitCode.USAGE, True)
    assert bad.read_bytes() == content
    assert labels(volume) == ["passphrase", "recovery key"]


def test_a_file_that_was_made_for_nothing_goes_again(volume: Made, elsewhere: Path, tmp_path: Path) -> None:
    """A weak passphrase, a label that is taken, a wrong secret: no key file is left behind, no slot is made."""
    weak, key = tmp_path / "weak", elsewhere / "k"
    weak.write_text("summer\n")
    weak.chmod(0o600)
    for options, code in (
        (("--label", "x", "--new-key-file", key, "--new-passphrase-file", weak), ExitCode.WEAK_PASSPHRASE),
        (("--label", "passphrase", "--new-key-file", key), ExitCode.USAGE),
        (("--label", "x" * 65, "--new-key-file", key), ExitCode.USAGE),
        (("--label", "x", "--kind", "recovery", "--new-key-file", key), ExitCode.USAGE),
        (("--label", "x", "--kind", "key-file"), ExitCode.USAGE),
        (("--label", "x"), ExitCode.USAGE),
        (("--new-key-file", key), ExitCode.USAGE),
    ):
        assert run("key", "add", volume.path, *volume.secret, *options).code == code, options
        assert not key.exists()
    wrong = run("key", "add", volume.path, "--passphrase-file", weak, "--label", "x", "--new-key-file", key)
    assert wrong.code == ExitCode.WRONG_SECRET
    assert not key.exists()
    assert labels(volume) == ["passphrase", "recovery key"]


def test_another_recovery_key(volume: Made, elsewhere: Path) -> None:
    """Written to a new file elsewhere; it opens, and the old one does until its slot is removed."""
    out = elsewhere / "recovery"
    made = run("key", "add", volume.path, *volume.secret, "--label", "safe", "--recovery-out", out, "--json")
    assert (made.code, made.json["slot"]["kind"]) == (0, "recovery")
    assert opened_with(volume, "--recovery-file", out) == "safe"
    assert (
        run("key", "add", volume.path, *volume.secret, "--label", "x", "--recovery-out", out).code == ExitCode.NOT_EMPTY
    )
    assert run("key", "remove", volume.path, "recovery key", *volume.secret, "--yes").code == 0
    assert opened_with(volume, "--recovery-file", volume.recovery_file) == ExitCode.WRONG_SECRET
    assert opened_with(volume, "--recovery-file", out) == "safe"


def test_slots_are_found_by_label_or_id(volume: Made) -> None:
    """An unknown one is told with those that there are; nothing is changed."""
    slot = run("key", "list", volume.path, "--json").json["slots"][1]
    assert run("key", "rename", volume.path, slot["id"][:6], "paper", *volume.secret).code == 0
    assert labels(volume) == ["passphrase", "paper"]
    result = run("key", "remove", volume.path, "nobody", *volume.secret, "--yes")
    assert result.code == ExitCode.USAGE
    assert "passphrase" in result.err
    assert "paper" in result.err


def test_removing_asks_as_much_as_is_lost(volume: Made) -> None:
    """The last recovery key and the last slot want a word; anything else, and Ctrl-C, change nothing."""
    for slot, warning, word in (
        ("recovery key", "last recovery key", "remove"),
        ("passphrase", "last slot", "destroy"),
    ):
        for answer in ("yes", "", "\x03"):
            with PtySession("key", "remove", str(volume.path), slot, *volume.secret) as session:
                session.expect(warning)
                session.answer(f'Type "{word}": ', answer) if answer != "\x03" else session.send(answer)
                assert session.end() == ExitCode.INTERRUPTED
            assert slot in labels(volume)
        with PtySession("key", "remove", str(volume.path), slot, *volume.secret) as session:
            session.answer(f'Type "{word}": ', word)
            session.expect("is gone")
            assert session.end() == 0
    assert labels(volume) == []
    assert opened_with(volume, *volume.secret) == ExitCode.WRONG_SECRET


def test_added_by_questions(volume: Made) -> None:
    """The old passphrase, a label, the new passphrase twice; what was typed is on no screen."""
    with PtySession("key", "add", str(volume.path), *CHEAP) as session:
        session.answer("Whose is the new slot", "Anna Schmidt")
        session.answer("Passphrase of", PASSPHRASE)
        session.answer("New passphrase: ", NEW)
        session.answer("The same again: ", NEW)
        session.expect("The slot Anna Schmidt is added, and was tried")
        assert session.end() == 0
    assert PASSPHRASE not in session.text
    assert NEW not in session.text
    assert labels(volume) == ["passphrase", "recovery key", "Anna Schmidt"]


@pytest.mark.parametrize("stop_at", ["Whose is the new slot", "Passphrase of", "New passphrase: ", "The same again: "])
def test_given_up_at_any_prompt(volume: Made, stop_at: str) -> None:
    """Ctrl-C changes nothing."""
    before = (volume.path / "cloakfs.volume").read_bytes()
    with PtySession("key", "add", str(volume.path), *CHEAP) as session:
        for prompt, answer in (
            ("Whose is the new slot", "Anna"),
            ("Passphrase of", PASSPHRASE),
            ("New passphrase: ", NEW),
            ("The same again: ", NEW),
        ):
            if prompt == stop_at:
                session.expect(prompt)
                session.send("\x03")
                break
            session.answer(prompt, answer)
        assert session.end() == ExitCode.INTERRUPTED
    assert (volume.path / "cloakfs.volume").read_bytes() == before


def test_keys_of_a_mounted_volume(mounted: MountedVolume, tmp_path: Path, new_passphrase: Path) -> None:
    """A slot is added while the volume is in use; the mount goes on, and the next one opens with it."""
    del tmp_path
    add = ("--label", "Anna", "--new-passphrase-file", new_passphrase, *CHEAP)
    assert run("key", "add", mounted.path, "--passphrase-file", mounted.secret_file, *add).code == 0
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"
    lower = run("status", mounted.path, "--json").json["volumes"][0]["volume"]
    assert run("lock", mounted.path).code == 0
    assert run("cat", lower, "a.txt", "--passphrase-file", new_passphrase).out == "Dear colleague\n"
