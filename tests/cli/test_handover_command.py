"""``cloakfs handover`` (docs/handover.md): a verified copy for somebody else, and its receipt."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pypdfium2
import pytest

from encfs.audit.home import host_signer
from encfs.core.documents import open_document
from encfs.errors import ExitCode
from encfs.registers import volumes
from encfs.volume import Volume
from tests.cli.test_audit_command import recorded
from tests.support.command import CHEAP, PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession

THEIRS = "another lot of odd words"


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[str, str]:
    """What gives the copy the receiver's passphrase."""
    path = tmp_path / "theirs"
    path.write_text(THEIRS + "\n")
    path.chmod(0o600)
    return ("--new-passphrase-file", str(path))


@pytest.fixture
def fast(volume: Made) -> tuple[str, str]:
    """What opens the volume without a slow derivation."""
    return ("--recovery-file", str(volume.recovery_file))


def opens_with(theirs: tuple[str, str]) -> tuple[str, str]:
    """The options that open the copy."""
    return ("--passphrase-file", theirs[1])


def test_a_volume_is_handed_over(
    volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path, host_memory: Path
) -> None:
    """Copied, proved, registered, with a receipt that tells no name of a file, no content and no secret."""
    to, receipt = tmp_path / "copy", tmp_path / "receipt.json"
    options = ("--to", "Clinic Nord", "--by", "Dr. Weber", "--reason", "end of the contract", *CHEAP)
    before = sorted((path, path.read_bytes()) for path in volume.path.rglob("*") if path.is_file())
    done = run("handover", volume.path, to, *fast, *theirs, *options, "--receipt", receipt)
    assert (done.code, done.err) == (0, "")
    assert run("cat", to, "letters/a.txt", *opens_with(theirs)).out == "Dear colleague\n"
    assert run("cat", to, "letters/a.txt", *volume.secret).code == ExitCode.WRONG_SECRET
    assert run("cat", volume.path, "letters/a.txt", *opens_with(theirs)).code == ExitCode.WRONG_SECRET
    assert run("verify", to, *opens_with(theirs)).code == 0
    assert sorted((path, path.read_bytes()) for path in volume.path.rglob("*") if path.is_file()) == before
    document = open_document(receipt.read_bytes(), "handover")
    assert document.signer == host_signer().public
    body = document.body
    assert body["counts"] == {"directories": 1, "files": 3, "symlinks": 1, "others": 0, "bytes": 10255}
    assert [slot["label"] for slot in body["copy"]["slots"]] == ["Clinic Nord"]
    assert (body["parties"]["by"], body["parties"]["to"]) == ("Dr. Weber", "Clinic Nord")
    known = volumes.known_volume(body["copy"]["volume_id"])
    assert known is not None
    assert known.path == str(to)
    written = receipt.read_text() + done.out + json.dumps(recorded())
    written += (host_memory / "registers" / "handovers").read_text()
    for secret in ("letters", "a.txt", "Dear", PASSPHRASE, THEIRS, volume.recovery_file.read_text().splitlines()[1]):
        assert secret not in written
    records = [one for one in recorded() if one["action"] in {"volume.handover", "register.handovers"}]
    assert [(one["action"], one["outcome"]) for one in records] == [
        ("volume.handover", "begun"),
        ("register.handovers", "done"),
        ("volume.handover", "done"),
    ]
    assert records[0]["detail"] == {"handover": body["id"], "to": "Clinic Nord"}
    assert records[0]["slot"]


def test_the_receipt_is_checked(
    volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another computer, by whoever can open the copy: the same or not, of another volume, or changed itself."""
    to, receipt = tmp_path / "copy", tmp_path / "receipt.json"
    assert run("handover", volume.path, to, *fast, *theirs, *CHEAP, "--receipt", receipt).code == 0
    fingerprint = host_signer().public.fingerprint()
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "another computer"))
    same = run("handover", "--check", receipt, to, *opens_with(theirs), "--json")
    assert (same.code, same.json["same"], same.json["signer"]) == (0, True, fingerprint)
    assert same.json["counts"] == same.json["stated"]
    assert run("handover", "--check", receipt, volume.path, *fast).code == ExitCode.USAGE
    with Volume.unlock(os.fsencode(to), THEIRS.encode()) as copy:
        copy.write_file(b"letters/a.txt", b"Dear colleagues")
    other = run("handover", "--check", receipt, to, *opens_with(theirs))
    assert (other.code, "NOT the same" in other.out) == (ExitCode.FINDINGS, True)
    assert run("handover", "--check", receipt, to, to, *opens_with(theirs)).code == ExitCode.USAGE
    text = receipt.read_text()
    for changed in (
        text.replace('"files":3', '"files":4'),
        text[:-20],
        "nothing",
        text.replace("handover", "evidence"),
    ):
        receipt.write_text(changed)
        assert run("handover", "--check", receipt, to, *opens_with(theirs)).code == ExitCode.DAMAGED_DATA


def test_for_a_key_of_the_receiver(volume: Made, fast: tuple[str, str], elsewhere: Path, tmp_path: Path) -> None:
    """Nobody here ever knows what opens the copy."""
    identity = elsewhere / "id"
    assert os.spawnlp(os.P_WAIT, "ssh-keygen", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(identity)) == 0
    to = tmp_path / "copy"
    done = run("handover", volume.path, to, *fast, "--recipient", f"{identity}.pub", "--json")
    assert done.code == 0
    assert [slot["kind"] for slot in done.json["body"]["copy"]["slots"]] == ["age"]
    assert run("cat", to, "letters/a.txt", "--identity", identity).out == "Dear colleague\n"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("{volume}", "{volume}/copy"), ExitCode.USAGE),
        (("{volume}",), ExitCode.USAGE),
        (("{volume}", "{there}"), ExitCode.NOT_EMPTY),
        (("{volume}", "{there}.missing/copy"), ExitCode.USAGE),
        (("{volume}", "{new}", "--receipt", "{there}"), ExitCode.NOT_EMPTY),
        (("{volume}", "{new}", "--receipt", "{there}.missing/r"), ExitCode.USAGE),
        (("{volume}", "{new}", "--to", "x" * 65), ExitCode.USAGE),
        (("{volume}", "{new}", "--recipient", "age1nonsense"), ExitCode.USAGE),
    ],
)
def test_refused_before_anything_is_written(
    volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    """No place for the copy or the receipt, no name for the slot, two kinds of keys: nothing is made."""
    there = tmp_path / "there"
    there.write_text("mine")
    before = sorted(tmp_path.iterdir())
    given = [one.format(volume=volume.path, there=there, new=tmp_path / "new") for one in options]
    assert run("handover", *given, *fast, *theirs).code == code
    assert sorted(path for path in tmp_path.iterdir() if path.name != "host-state") == before
    assert there.read_text() == "mine"


def test_nobody_to_ask(volume: Made, fast: tuple[str, str], tmp_path: Path) -> None:
    """Without a terminal both secrets have to be given; a weak one of the receiver is refused."""
    assert run("handover", volume.path, tmp_path / "copy", *fast).code == ExitCode.USAGE
    weak = tmp_path / "weak"
    weak.write_text("password")
    weak.chmod(0o600)
    refused = run("handover", volume.path, tmp_path / "copy", *fast, "--new-passphrase-file", weak)
    assert refused.code == ExitCode.WEAK_PASSPHRASE
    assert not (tmp_path / "copy").exists()


def test_by_questions(volume: Made, fast: tuple[str, str], tmp_path: Path) -> None:
    """On a terminal the receiver's passphrase is asked for twice."""
    to = tmp_path / "copy"
    with PtySession("handover", str(volume.path), str(to), *fast, *CHEAP) as session:
        session.answer("New passphrase: ", THEIRS)
        session.answer("The same again: ", THEIRS)
        session.expect("it is the same")
        assert session.end() == 0
    Volume.unlock(os.fsencode(to), THEIRS.encode(), read_only=True).close()


def test_mounted(mounted: MountedVolume, tmp_path: Path, theirs: tuple[str, str]) -> None:
    """While people write to it there is no copy of it that is one moment's."""
    for place in (mounted.lower, mounted.path):
        refused = run("handover", place, tmp_path / "copy", "--passphrase-file", mounted.secret_file, *theirs)
        assert (refused.code, "cloakfs lock" in refused.err) == (ExitCode.VOLUME_IN_USE, True)
    assert not (tmp_path / "copy").exists()


def test_not_where_it_cannot_be_recorded(
    volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path, host_memory: Path
) -> None:
    """Exit status 30, and no copy."""
    host_memory.mkdir(mode=0o700)
    (host_memory / "audit").write_text("a file stands in the way")
    refused = run("handover", volume.path, tmp_path / "copy", *fast, *theirs, *CHEAP)
    assert refused.code == ExitCode.AUDIT
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == []


def test_damage_is_told_and_nothing_is_left(
    volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path
) -> None:
    """Exit status 25; the copy is whole or not there."""
    lower = volume.lower(b"letters/long.bin")
    content = bytearray(lower.read_bytes())
    content[6000] ^= 1
    lower.write_bytes(content)
    refused = run("handover", volume.path, tmp_path / "copy", *fast, *theirs, *CHEAP)
    assert refused.code == ExitCode.DAMAGED_DATA
    assert "letters/long.bin" in refused.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == []
    assert [each["outcome"] for each in recorded() if each["action"] == "volume.handover"][-1] == "failed"
    assert "long.bin" not in json.dumps(recorded())


def test_a_receipt_to_sign(volume: Made, fast: tuple[str, str], theirs: tuple[str, str], tmp_path: Path) -> None:
    """Both sides have lines; counts, digest and the signed receipt are in the pages."""
    pdf, receipt = tmp_path / "r.pdf", tmp_path / "r.json"
    options = ("--to", "Clinic Nord", "--pdf", pdf, "--receipt", receipt, *CHEAP)
    assert run("handover", volume.path, tmp_path / "copy", *fast, *theirs, *options).code == 0
    document = pypdfium2.PdfDocument(pdf)
    try:
        words = " ".join(" ".join(page.get_textpage().get_text_bounded() for page in document).split())
        assert bytes(document.get_attachment(0).get_data()) == receipt.read_bytes()
    finally:
        document.close()
    digest = open_document(receipt.read_bytes(), "handover").body["digest"]
    for wanted in ("Handed over by", "Received by", "Signature", "Clinic Nord", "Files 3, 10 KiB", "not legal advice"):
        assert wanted in words, wanted
    assert digest in words.replace(" ", "")
