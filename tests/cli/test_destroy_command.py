"""``cloakfs destroy`` (docs/destroy.md): the keys go for good, and a certificate says what was proved."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from encfs.audit.home import host_signer
from encfs.cli import medium_facts
from encfs.cli.medium_facts import Facts
from encfs.core.documents import Document, open_document
from encfs.errors import ExitCode
from encfs.evidence import destructions, made
from encfs.format import base64url
from encfs.registers import media, volumes
from encfs.stick import layout
from encfs.volume import Volume, read_config
from tests.cli.test_audit_command import recorded
from tests.support.command import PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession

NAMES = ("cloakfs.volume", "cloakfs.volume.bak")
CONFIRMED = ("--confirm", "volume")


def configs(volume: Made) -> list[bytes]:
    """Both copies, as far as they are there."""
    return [(volume.path / name).read_bytes() for name in NAMES if (volume.path / name).exists()]


def certificate_in(path: Path) -> Document:
    """What was written, with its signature checked."""
    return open_document(path.read_bytes(), "destruction")


def test_a_volume_is_destroyed(volume: Made, tmp_path: Path, host_memory: Path) -> None:
    """Proved to open before, opened by nothing after; the certificate is signed here and tells no secret."""
    fast = ("--recovery-file", str(volume.recovery_file))
    out = tmp_path / "certificate.json"
    options = ("--by", "Dr. Weber", "--reason", "end of the contract", "--witness", "A. Schmidt", "--label", "stick 7")
    slots = json.loads(configs(volume)[0].splitlines()[1])["slots"]
    assert run("cat", volume.path, "letters/a.txt", *fast).code == 0
    done = run("destroy", volume.path, *CONFIRMED, *fast, *options, "--certificate", out)
    assert (done.code, done.err) == (0, "")
    assert configs(volume) == []
    for secret in (fast, volume.secret):
        assert run("cat", volume.path, "letters/a.txt", *secret).code == ExitCode.NOT_A_VOLUME
    document = certificate_in(out)
    body = document.body
    assert document.signer == host_signer().public
    assert body["volume"]["path"] == str(volume.path)
    assert [slot["kind"] for slot in body["volume"]["slots"]] == ["passphrase", "recovery"]
    assert body["verification"]["opened_before_with"].startswith("recovery key (")
    assert (body["verification"]["copies"], body["verification"]["copies_left"]) == (2, 0)
    assert body["sanitization"]["technique"] == "cryptographic erase"
    assert body["people"]["name"] == "Dr. Weber"
    assert (body["people"]["reason"], body["people"]["witness"]) == ("end of the contract", "A. Schmidt")
    assert body["medium"]["label"] == "stick 7"
    assert {one["kind"] for one in body["holders"]} >= {"backup", "passphrase", "recovery-key"}
    written = out.read_text() + (host_memory / "registers" / "destructions").read_text() + done.out
    written += json.dumps(recorded())
    secrets = [PASSPHRASE, volume.recovery_file.read_text().splitlines()[1], "letters", "Dear colleague"]
    secrets += [slot[name] for slot in slots for name in ("esk", "erk", "auth")]
    assert [each for each in secrets if each in written] == []


def test_a_certificate_is_checked(volume: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another computer: as it was signed, and by which key; one changed letter is noticed."""
    out = tmp_path / "c.json"
    run("destroy", volume.path, *CONFIRMED, "--certificate", out, "--reason", "sold")
    fingerprint = host_signer().public.fingerprint()
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "another computer"))
    checked = run("evidence", "--check", out, "--json", "-")
    assert (checked.code, checked.json["signer"], checked.json["body"]) == (0, fingerprint, certificate_in(out).body)
    assert fingerprint in run("evidence", "--check", out).out
    out.write_text(out.read_text().replace('"sold"', '"lost"'))
    assert run("evidence", "--check", out).code == ExitCode.FINDINGS
    assert run("destroy").code == ExitCode.USAGE


def test_its_history_stays(volume: Made) -> None:
    """The log of the computer keeps what was done with a volume, and that it was destroyed."""
    fast = ("--recovery-file", str(volume.recovery_file))
    run("cat", volume.path, "empty", *fast)
    run("destroy", volume.path, *CONFIRMED)
    besides = {"register.volumes", "register.configs", "key.break-glass"}
    records = [one for one in recorded() if one["action"] not in besides]
    assert [(one["action"], one["outcome"], one["object"]) for one in records] == [
        ("volume.unlock", "done", None),
        ("volume.cat", "done", None),
        ("volume.destroy", "begun", None),
        ("register.destructions", "done", "begun"),
        ("register.destructions", "done", "done"),
        ("volume.destroy", "done", None),
    ]
    assert len({one["volume_id"] for one in records}) == 1
    assert run("audit", "verify").code == 0


def test_the_registers_know(volume: Made) -> None:
    """The volume is destroyed, and not on its medium any more; other media that had it are told as copies."""
    volume_id = json.loads(configs(volume)[0].splitlines()[1])["volume_id"]
    hexadecimal = base64url.decode(volume_id.encode()).hex()
    media.add("Stick 7", serial="S7", volumes=["00" * 16, hexadecimal])
    media.add("Stick 8", volumes=[hexadecimal])
    done = run("destroy", volume.path, *CONFIRMED, "--label", "stick 7", "--json").json["body"]
    copies = [one["what"] for one in done["holders"] if one["kind"] == "copy"]
    assert (len(copies), "Stick 8" in copies[0]) == (1, True)
    assert done["sanitization"]["method"] == "not claimed"
    assert [media.medium(label).volumes for label in ("Stick 7", "Stick 8")] == [("00" * 16,), (hexadecimal,)]
    assert media.medium("Stick 7").serial == "S7"
    known = volumes.known_volume(hexadecimal)
    assert known is not None
    assert known.destroyed is not None


def test_a_certificate_to_sign(volume: Made, tmp_path: Path) -> None:
    """The pages have every field of SP 800-88 and lines for two people; the signed certificate is inside."""
    pdf, out = tmp_path / "c.pdf", tmp_path / "c.json"
    options = ("--by", "Dr. Weber", "--witness", "A. Schmidt", "--destination", "recycled", "--label", "stick 7")
    assert run("destroy", volume.path, *CONFIRMED, *options, "--pdf", pdf, "--certificate", out).code == 0
    document = pypdfium2.PdfDocument(pdf)
    try:
        words = " ".join(" ".join(page.get_textpage().get_text_bounded() for page in document).split())
        assert bytes(document.get_attachment(0).get_data()) == out.read_bytes()
    finally:
        document.close()
    for wanted in (
        *("Manufacturer", "Model", "Serial number", "Media type", "Source computer", "Medium, your label stick 7"),
        *("Standard NIST SP 800-88", "Method", "Technique Cryptographic erase", "Tool cloakfs", "Verification full"),
        *("Position", "Location", "Telephone", "Signature", "Performed by", "Verified by: A. Schmidt", "Dr. Weber"),
        *("Destination of the medium recycled", "This is not legal advice.", "the recovery key 'recovery key'"),
        host_signer().public.fingerprint(),
    ):
        assert wanted in words, wanted


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), ExitCode.USAGE),
        (("--confirm", "Volume"), ExitCode.USAGE),
        (("--confirm", ""), ExitCode.USAGE),
        ((*CONFIRMED, "--also", "{passphrase}"), ExitCode.USAGE),
        ((*CONFIRMED, "--also", "{passphrase}.gone"), ExitCode.USAGE),
        ((*CONFIRMED, "--certificate", "{passphrase}"), ExitCode.NOT_EMPTY),
        ((*CONFIRMED, "--certificate", "{volume}/c"), ExitCode.USAGE),
        ((*CONFIRMED, "--certificate", "{volume}.gone/c"), ExitCode.USAGE),
        ((*CONFIRMED, "--passphrase-file", "{recovery}"), ExitCode.WRONG_SECRET),
    ],
)
def test_refused_before_anything_is_changed(volume: Made, options: tuple[str, ...], code: ExitCode) -> None:
    """Nobody to ask, a wrong name, no key in a file, no place for the certificate, a secret that opens nothing."""
    before = configs(volume)
    places = {"passphrase": volume.passphrase_file, "volume": volume.path, "recovery": volume.recovery_file}
    given = [option.format(**places) for option in options]
    assert run("destroy", volume.path, *given).code == code
    assert configs(volume) == before
    assert volume.passphrase_file.exists()
    assert not any(one["action"] == "volume.destroy" for one in recorded_if_begun())


def recorded_if_begun() -> list[dict[str, Any]]:
    """All records, none where there is no log."""
    shown = run("audit", "show", "--json")
    records: list[dict[str, Any]] = shown.json["records"] if shown.code == 0 else []
    return records


def test_in_use(volume: Made) -> None:
    """Somebody has it open, as on another computer: refused."""
    before = configs(volume)
    with Volume.unlock(os.fsencode(volume.path), PASSPHRASE.encode()):
        assert run("destroy", volume.path, *CONFIRMED).code == ExitCode.VOLUME_IN_USE
    assert configs(volume) == before


def test_mounted(mounted: MountedVolume) -> None:
    """By its directory and by its mount point: refused, with the command that locks it."""
    for place in (mounted.lower, mounted.path):
        refused = run("destroy", place, "--confirm", mounted.lower.name)
        assert refused.code == ExitCode.VOLUME_IN_USE
        assert "cloakfs lock" in refused.err
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"


def test_not_where_it_cannot_be_recorded(volume: Made, host_memory: Path) -> None:
    """Exit status 30, and every byte stays: in the log, and in the register."""
    before = configs(volume)
    host_memory.mkdir(mode=0o700)
    (host_memory / "registers").write_text("a file stands in the way")
    assert run("destroy", volume.path, *CONFIRMED).code != 0
    assert configs(volume) == before
    (host_memory / "registers").unlink()
    (host_memory / "audit").write_text("a file stands in the way")
    assert run("destroy", volume.path, *CONFIRMED).code == ExitCode.AUDIT
    assert configs(volume) == before


def test_copies_elsewhere(volume: Made, tmp_path: Path) -> None:
    """Copies in the directory go; what is more than a copy, or lies elsewhere, goes only where it was named."""
    whole = configs(volume)[0]
    (volume.path / "old copy").write_bytes(whole)
    outside = tmp_path / "cloakfs.volume.usb"
    outside.write_bytes(whole)
    archive = volume.path / "backup.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(volume.path / NAMES[0], "cloakfs.volume")
        tar.add(volume.passphrase_file, "other")
    refused = run("destroy", volume.path, *CONFIRMED)
    assert (refused.code, "backup.tar" in refused.err) == (ExitCode.USAGE, True)
    assert archive.exists()
    done = run("destroy", volume.path, *CONFIRMED, "--also", archive, "--also", outside, "--json")
    assert done.code == 0
    assert done.json["body"]["verification"]["copies"] == 5
    assert not any(place.exists() for place in (archive, outside, volume.path / "old copy"))
    assert configs(volume) == []


_DYING = """
import os, sys
from encfs.registers.ledger import Ledger
from encfs.store.local import LocalStore
from encfs.cli.main import main
left = int(sys.argv.pop(1))
def dying(where, name):
    real = getattr(where, name)
    static = isinstance(vars(where)[name], staticmethod)
    def call(self, *arguments, **more):
        global left
        if armed and left == 0:
            os._exit(77)
        left -= armed
        return real(*arguments, **more) if static else real(self, *arguments, **more)
    setattr(where, name, call)
armed = False
append = Ledger.append
def armed_append(self, kind, *arguments, **more):
    global armed
    if kind == "done":
        armed, died = False, left == 0
        if died:
            os._exit(77)
    done = append(self, kind, *arguments, **more)
    armed = kind == "begun"
    return done
Ledger.append = armed_append
for name in ("pwrite", "fsync", "unlink", "syncfs"):
    dying(LocalStore, name)
main()
"""


def test_killed_at_every_step(volume: Made, tmp_path: Path) -> None:
    """The same command finishes it, whatever was left, with the certificate that was to be given at first."""
    number, out = 0, tmp_path / "certificate.json"
    while True:
        path = tmp_path / f"at-{number}"
        copied = Made(path / "volume", volume.passphrase_file, volume.recovery_file)
        path.mkdir()
        assert os.spawnlp(os.P_WAIT, "cp", "cp", "-a", str(volume.path), str(copied.path)) == 0
        died = run("destroy", copied.path, *CONFIRMED, "--reason", "first", program=("-c", _DYING, str(number)))
        if died.code == 0:
            break
        assert died.code == 77
        again = run("destroy", copied.path, *CONFIRMED, "--reason", "second", "--certificate", out)
        assert again.code == 0, again.err
        assert configs(copied) == []
        body = certificate_in(out).body
        out.unlink()
        assert body["people"]["reason"] == "first"
        assert [slot["kind"] for slot in body["volume"]["slots"]] == ["passphrase", "recovery"]
        mine = [one for one in destructions.register().entries() if one.data["volume"]["path"] == str(copied.path)]
        assert [one.kind for one in mine] == ["begun", "done"]
        number += 1
    assert number >= 9


_FULL = """
from errno import ENOSPC
from encfs.registers.ledger import Ledger
from encfs.cli.main import main
append = Ledger.append
def full(self, kind, *arguments, **more):
    if kind == "done":
        raise OSError(ENOSPC, "No space left on device")
    return append(self, kind, *arguments, **more)
Ledger.append = full
main()
"""


def test_the_disk_of_the_system_is_full(volume: Made) -> None:
    """The keys are gone, which is said; the same command gives the certificate when there is room."""
    full = run("destroy", volume.path, *CONFIRMED, program=("-c", _FULL))
    assert (full.code, "the keys are destroyed, but" in full.err) == (ExitCode.AUDIT, True)
    assert configs(volume) == []
    again = run("destroy", volume.path, *CONFIRMED, "--json")
    assert (again.code, again.json["body"]["verification"]["resumed"]) == (0, True)


def test_deleting_is_gone_on_with(volume: Made) -> None:
    """Broken off when the root record was gone already: known by its path."""
    run("destroy", volume.path, *CONFIRMED)
    (volume.path / "cloakfs.d").unlink()
    assert run("destroy", volume.path, "--remove-data").code == 0
    assert not volume.path.exists()


def test_given_up_and_used_again(volume: Made) -> None:
    """Begun, killed, used for a while with other keys: the certificate has those, and the reason of now."""
    assert run("destroy", volume.path, *CONFIRMED, "--reason", "first", program=("-c", _DYING, "0")).code == 77
    fast = ("--recovery-file", str(volume.recovery_file))
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == 0
    body = run("destroy", volume.path, *CONFIRMED, "--reason", "second", "--json").json["body"]
    assert body["people"]["reason"] == "second"
    assert [slot["label"] for slot in body["volume"]["slots"]] == ["Anna", "recovery key"]
    assert (body["volume"]["config_written"], body["verification"]["resumed"]) == (2, False)


def test_the_certificate_again(volume: Made, tmp_path: Path) -> None:
    """From the register, as often as wanted, also where the directory was moved or is gone."""
    first = run("destroy", volume.path, *CONFIRMED, "--json").json["body"]
    moved = tmp_path / "moved"
    volume.path.rename(moved)
    again = run("destroy", moved, "--json")
    assert (again.code, again.json["body"]) == (0, first)
    assert "was destroyed on" in again.err
    run("destroy", moved, "--remove-data")
    assert not moved.exists()
    out = tmp_path / "again.json"
    assert run("destroy", volume.path, "--certificate", out).code == 0
    certified = dict(certificate_in(out).body)
    # By which clock and with what its pages are made is of now; the rest is of then.
    assert {name: certified.pop(name) for name in ("zone", "pages")} == made.fields()
    assert certified == first
    assert run("destroy", tmp_path / "never", "--json").code == ExitCode.NOT_A_VOLUME


def test_a_new_volume_in_the_same_place_is_another_one(volume: Made, tmp_path: Path) -> None:
    """What was destroyed there before does not stand for it."""
    run("destroy", volume.path, *CONFIRMED, "--remove-data")
    Volume.create(os.fsencode(volume.path), secret=PASSPHRASE.encode())
    assert run("destroy", volume.path).code == ExitCode.USAGE
    done = run("destroy", volume.path, *CONFIRMED, "--json")
    assert done.code == 0
    assert [slot["kind"] for slot in done.json["body"]["volume"]["slots"]] == ["passphrase"]
    assert [one.kind for one in destructions.register().entries()] == ["begun", "done"] * 2


def test_what_is_left_is_deleted_and_nothing_else(volume: Made) -> None:
    """Sealed files and folders go; a file that somebody has put there stays, and is told."""
    (volume.path / "a note that somebody put here, with a long name.txt").write_text("mine")
    folder = next(path for path in volume.path.iterdir() if path.is_dir() and not path.name.startswith("cloakfs"))
    (folder / "mine too").write_text("mine")
    done = run("destroy", volume.path, *CONFIRMED, "--remove-data", "--json")
    assert (done.code, done.json["other_files"]) == (0, 2)
    assert sorted(path.name for path in volume.path.rglob("*") if path.is_file()) == sorted(
        ["a note that somebody put here, with a long name.txt", "mine too"]
    )
    codes = {one["code"]: one["holds"] for one in done.json["body"]["conditions"]}
    assert codes["nothing-in-clear"] is False
    assert done.json["body"]["sanitization"]["method"] == "not claimed"


def test_the_name_is_typed(volume: Made) -> None:
    """On a terminal it is asked for, after all that will go was shown; another name changes nothing."""
    before = configs(volume)
    with PtySession("destroy", str(volume.path)) as session:
        shown = session.expect("Type the name of the volume, volume: ")
        assert "DESTROYED" in shown
        assert "cloakfs.volume.bak" in shown
        session.send("yes\n")
        assert session.end() == ExitCode.USAGE
    assert configs(volume) == before
    with PtySession("destroy", str(volume.path)) as session:
        session.answer("Type the name of the volume, volume: ", "volume")
        session.expect("are destroyed")
        assert session.end() == 0
    assert configs(volume) == []


def test_a_stick(volume: Made, tmp_path: Path) -> None:
    """The directory of a stick stands for the volume on it, and its name is what has to be typed."""
    stick = tmp_path / "STICK"
    stick.mkdir()
    volume.path.rename(stick / layout.VOLUME_NAME)
    assert run("destroy", stick, "--confirm", layout.VOLUME_NAME).code == ExitCode.USAGE
    assert run("destroy", stick, "--confirm", "STICK").code == 0
    assert not any((stick / layout.VOLUME_NAME / name).exists() for name in NAMES)
    assert run("destroy", stick, "--json").code == 0


def test_the_register_knows_the_medium(volume: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The medium on which the volume lies is no copy elsewhere; it is found by its filesystem, or named."""
    volume_id = read_config(os.fsencode(volume.path)).volume_id.hex()
    media.add("Blue 1", filesystem="12AB-34CD", volumes=[volume_id])
    media.add("Red 1", filesystem="99AB-34CD", volumes=[volume_id])
    for filesystem, label in (("12AB-34CD", "Blue 1"), ("0000-0000", ""), ("", "")):
        monkeypatch.setattr(medium_facts, "of_volume", lambda _, here=filesystem: Facts("", here))
        assert medium_facts.label_of(str(volume.path)) == label
    done = run("destroy", volume.path, *CONFIRMED, "--label", "blue 1", "--json")
    assert done.code == 0, done.err
    told = [one["what"] for one in done.json["body"]["holders"] if "the register has" in one["what"]]
    assert told == ["the medium Red 1, which the register has as in"]
    assert [one.label for one in media.media_of(volume_id)] == ["Red 1"]


def test_a_damaged_config(volume: Made) -> None:
    """What nobody can open any more can be destroyed all the same; what is not known is not claimed."""
    for name in NAMES:
        (volume.path / name).write_bytes(b"damage" * 1000)
    done = run("destroy", volume.path, *CONFIRMED, "--json")
    assert done.code == 0
    body = done.json["body"]
    assert (body["volume"]["id"], body["volume"]["suite"], body["sanitization"]["method"]) == (
        None,
        None,
        "not claimed",
    )
    assert configs(volume) == []
