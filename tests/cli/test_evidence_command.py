"""``cloakfs evidence`` (docs/evidence.md): what is in a pack, who vouches for it, and how it is checked elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from encfs.audit.home import host_signer
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import AuthenticationError, ExitCode, FormatError, NewerFormatError
from encfs.evidence import checking, pack
from encfs.evidence.checking import Pages
from encfs.registers import exceptions, media
from encfs.volume import read_config
from tests.cli.test_audit_command import recorded
from tests.support.command import CHEAP, Made, Result, run
from tests.support.mounting import MountedVolume

CANARY = "Quillfeather"
MADE: tuple[str, ...] = ("--json", "-")


def body_of(done: Result) -> dict[str, Any]:
    """What a pack that was printed says; it is signed by this computer."""
    assert done.code == 0, done.err
    document = open_document(done.out.encode(), pack.KIND)
    assert document.signer == host_signer().public
    return dict(document.body)


def fast(volume: Made) -> tuple[str, str]:
    """Opens it without a slow derivation."""
    return ("--recovery-file", str(volume.recovery_file))


@pytest.fixture
def pdf(volume: Made, tmp_path: Path) -> bytes:
    """A pack of a volume."""
    out = tmp_path / "pack.pdf"
    assert run("evidence", volume.path, *fast(volume), "--pdf", out).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    return out.read_bytes()


@pytest.fixture
def signed(volume: Made) -> bytes:
    """The document alone."""
    return run("evidence", volume.path, *fast(volume), *MADE).out.encode()


# -- what is in it -------------------------------------------------------------------------------------------------


def test_a_volume_that_its_keys_vouch_for(volume: Made) -> None:
    """With what it is encrypted, since when, who opens it and at which cost; no secret, and the log has its digest."""
    made = run("evidence", volume.path, *fast(volume), *MADE)
    body = body_of(made)
    config = read_config(os.fsencode(volume.path))
    (one,) = body["volumes"]
    assert (one["volume_id"], one["vouched"], one["mounted"]) == (config.volume_id.hex(), "opened", False)
    assert one["encrypted_since"] == config.created
    assert (one["config"]["suite"], one["config"]["cell_size"]) == ("cloakfs-1", config.cell_size)
    assert [(slot["kind"], slot["label"]) for slot in one["config"]["slots"]] == [
        ("passphrase", "passphrase"),
        ("recovery", "recovery key"),
    ]
    assert one["config"]["slots"][0]["cost"] == "Argon2id, 64 MiB, 3 passes"
    assert not body["everything"]
    assert body["advice"] == "This is not legal advice."
    for slot in config.slots:
        assert slot.esk.hex() not in made.out
    assert volume.recovery_file.read_text().splitlines()[-1] not in made.out
    (record,) = [one for one in recorded() if one["action"] == "evidence.made"]
    assert record["detail"] == {"digest": hashlib.sha256(made.out.encode()).hexdigest()}


def test_every_rule_points_at_what_answers_it(volume: Made) -> None:
    """The index: each rule once, its light is the worst of its checks, and the checks are there."""
    body = body_of(run("evidence", volume.path, *fast(volume), *MADE))
    rules = [one["rule"] for one in body["citations"]]
    assert len(rules) == len(set(rules))
    for wanted in ("45 CFR 164.312(a)(2)(iv)", "45 CFR 164.312(b)", "45 CFR 164.402, 164.414(b)"):
        assert wanted in rules
    order = ["green", "amber", "red"]
    for one in body["citations"]:
        lights = [body["checks"][number]["light"] for number in one["checks"]]
        assert one["light"] == (max(lights, key=order.index) if lights else None)
    assert body["light"] == max((check["light"] for check in body["checks"]), key=order.index)


def test_nobody_vouches_for_what_is_read_without_a_key(volume: Made) -> None:
    """Said on page one; with a mount its daemon vouches, see below."""
    body = body_of(run("evidence", volume.path, *MADE))
    assert body["volumes"][0]["vouched"] == "as-it-lies"
    (check,) = [one for one in body["checks"] if one["code"] == "encrypted"]
    assert check["light"] == "amber"
    assert "Nothing vouches for that while locked" in body["verdict"]


def test_a_volume_that_is_elsewhere(volume: Made, tmp_path: Path) -> None:
    """As it was when it was opened here, and so it says; one that was never opened here is not known."""
    assert run("cat", volume.path, "empty", *fast(volume)).code == 0
    shutil.move(volume.path, tmp_path / "elsewhere")
    body = body_of(run("evidence", "--all", *MADE))
    config = read_config(os.fsencode(tmp_path / "elsewhere"))
    (one,) = [each for each in body["volumes"] if each["volume_id"] == config.volume_id.hex()]
    assert (one["vouched"], one["path"]) == ("remembered", str(volume.path))
    assert [slot["id"] for slot in one["config"]["slots"]] == [slot.id.hex() for slot in config.slots]
    assert one["noted"] >= config.created
    assert body["everything"]


def test_the_registers_are_in_it(volume: Made) -> None:
    """Media, exceptions, and what is overdue of them; no backup is claimed."""
    media.add("Blue 1", volumes=[read_config(os.fsencode(volume.path)).volume_id.hex()], holder="Anna")
    media.check_out("Blue 1", holder="Bert", due=1)
    exceptions.add(dataset="X-ray archive", reason="too large", controls="locked room", approver="Dr. Weber", review=1)
    body = body_of(run("evidence", volume.path, *fast(volume), *MADE))
    assert [(one["label"], one["state"], one["holder"]) for one in body["media"]] == [("Blue 1", "out", "Bert")]
    assert [one["dataset"] for one in body["exceptions"]] == ["X-ray archive"]
    codes = {one["code"]: one["light"] for one in body["checks"]}
    assert (codes["medium-overdue"], codes["exception-overdue"], codes["backup"]) == ("red", "red", "amber")
    assert body["registers"]["backups"] == []
    assert body["volumes"][0]["media"] == ["Blue 1"]


def test_the_log_with_and_without_its_key(volume: Made, tmp_path: Path) -> None:
    """Without the auditor's key nothing of its records is told, and nothing of them is claimed."""
    key = tmp_path / "auditor.key"
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast(volume)).code == 0
    assert run("audit", "key", "--out", key).code == 0
    without = body_of(run("evidence", volume.path, *fast(volume), *MADE))["log"]
    assert (without["sealed"], without["events"], without["counts"]) == (None, None, None)
    with_it = body_of(run("evidence", volume.path, *fast(volume), *MADE, "--auditor-key", key))["log"]
    assert with_it["sealed"] == [[0, with_it["seq"]]] == with_it["intact"]
    assert "key.rename" in {event["action"] for event in with_it["events"]}
    assert run("audit", "key", "--out", tmp_path / "none").code == ExitCode.USAGE


def test_a_log_that_was_changed(volume: Made, host_memory: Path) -> None:
    """Red, on page one."""
    assert run("cat", volume.path, "empty", *fast(volume)).code == 0
    log = host_memory / "audit" / "log-00000001"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    body = body_of(run("evidence", volume.path, *fast(volume), *MADE))
    assert body["log"]["problems"]
    assert next(one["light"] for one in body["checks"] if one["code"] == "log-problem") == "red"


@pytest.mark.mount
def test_no_name_of_a_patient_is_in_it(mounted: MountedVolume, tmp_path: Path) -> None:
    """Neither in the document nor on a page, whatever is in the volume; and the daemon vouches for its config."""
    folder = mounted.path / f"{CANARY}, Anna"
    folder.mkdir()
    (folder / f"{CANARY}.txt").write_text(f"Mrs. {CANARY} was seen today")
    os.symlink(CANARY, mounted.path / "link")
    out, document = tmp_path / "pack.pdf", tmp_path / "pack.json"
    assert run("evidence", "--all", "--pdf", out, "--json", document).code == 0
    found = pypdfium2.PdfDocument(out.read_bytes())
    words = " ".join(page.get_textpage().get_text_bounded() for page in found)
    found.close()
    assert CANARY not in words
    assert CANARY.encode() not in document.read_bytes()
    body = json.loads(document.read_bytes())["body"]
    (one,) = [each for each in body["volumes"] if each["path"] == str(mounted.lower)]
    assert (one["vouched"], one["mounted"]) == ("opened", True)


def test_a_place_where_no_volume_is(volume: Made, tmp_path: Path) -> None:
    """A slip of the fingers makes no pack that says there is none; one that was here before is remembered."""
    for place in (tmp_path / "missing", tmp_path):
        assert run("evidence", place, *MADE).code == ExitCode.NOT_A_VOLUME
    assert run("cat", volume.path, "empty", *fast(volume)).code == 0
    shutil.move(volume.path, tmp_path / "elsewhere")
    body = body_of(run("evidence", volume.path, *MADE))
    assert [one["vouched"] for one in body["volumes"]] == ["remembered"]


def test_a_config_that_cannot_be_read(volume: Made) -> None:
    """What is not known is not called encrypted, nor absent; red, and remembered where it was opened before."""
    config = [path for path in volume.path.iterdir() if path.name.startswith("cloakfs.volume")]
    good = {path: path.read_bytes() for path in config}
    for path in config:
        path.write_bytes(b"damaged")
    body = body_of(run("evidence", volume.path, *MADE))
    assert body["verdict"].startswith("Of 1 volume nothing could be read here.")
    assert next(one["light"] for one in body["checks"] if one["code"] == "config") == "red"
    for path, content in good.items():
        path.write_bytes(content)
    assert run("cat", volume.path, "empty", *fast(volume)).code == 0
    for path in config:
        path.write_bytes(b"damaged")
    (one,) = body_of(run("evidence", volume.path, *MADE))["volumes"]
    assert one["vouched"] == "remembered"


def test_a_volume_that_is_named_twice(volume: Made, tmp_path: Path) -> None:
    """It is one; a copy at another place is another."""
    (tmp_path / "link").symlink_to(volume.path)
    body = body_of(run("evidence", volume.path, tmp_path / "link", *fast(volume), *MADE))
    assert body["verdict"].startswith("1 volume is encrypted")
    shutil.copytree(volume.path, tmp_path / "copy", symlinks=True)
    assert len(body_of(run("evidence", volume.path, tmp_path / "copy", *fast(volume), *MADE))["volumes"]) == 2


def test_how_it_was_seen_before(volume: Made) -> None:
    """That this command opened it to look is not what a pack tells of it."""
    assert body_of(run("evidence", volume.path, *fast(volume), *MADE))["volumes"][0]["last_seen"] is None
    assert run("cat", volume.path, "empty", *fast(volume)).code == 0
    seen = body_of(run("evidence", volume.path, *fast(volume), *MADE))["volumes"][0]["last_seen"]
    assert (seen["state"], seen["reason"]) == ("locked", "done")


def test_the_last_anchor(volume: Made, tmp_path: Path) -> None:
    """When, to which kind of place, up to where; not the path."""
    assert run("audit", "anchor", tmp_path / "anchors").code == 0
    made = run("evidence", volume.path, *fast(volume), *MADE)
    (anchor,) = body_of(made)["log"]["anchors"]
    assert (anchor["place"], anchor["host"]) == ("file", "")
    assert str(tmp_path / "anchors") not in made.out


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        ("V", "--all", "--json", "-"),
        ("V", "--json", "-", "--signer", "0000"),
        ("--check", "F", "--json", "x"),
        ("--check", "F", "V"),
        ("--check", "F", "--signer", "no fingerprint"),
    ],
)
def test_what_makes_no_sense(volume: Made, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is written."""
    (tmp_path / "F").write_bytes(b"")
    named = {"V": str(volume.path), "F": str(tmp_path / "F")}
    done = run("evidence", *(named.get(each, each) for each in arguments))
    assert done.code == ExitCode.USAGE
    assert not [one for one in recorded_or_none() if one["action"] == "evidence.made"]


def recorded_or_none() -> list[dict[str, Any]]:
    """The log, if there is one."""
    done = run("audit", "show", "--json")
    return done.json["records"] if done.code == 0 else []


def test_nothing_is_overwritten(volume: Made, tmp_path: Path) -> None:
    """Refused before anything is read."""
    there = tmp_path / "there"
    there.write_bytes(b"x")
    for option in ("--pdf", "--json"):
        assert run("evidence", volume.path, option, there).code != 0
    assert there.read_bytes() == b"x"


# -- checked on another computer -----------------------------------------------------------------------------------


def test_the_check_of_another_computer(pdf: bytes, signed: bytes, tmp_path: Path) -> None:
    """With nothing but the file: a computer of its own, without keys or volumes. Whose key it is can be demanded."""
    elsewhere = {"CLOAKFS_STATE_DIRECTORY": str(tmp_path / "other computer")}
    fingerprint = run("evidence", "--fingerprint").out.strip()
    assert re.fullmatch(r"([0-9a-f]{4}-){7}[0-9a-f]{4}", fingerprint)
    for name, content, pages in (("p.pdf", pdf, "same"), ("p.json", signed, "none")):
        file = tmp_path / name
        file.write_bytes(content)
        found = run("evidence", "--check", file, *MADE, "--signer", fingerprint.upper(), env=elsewhere)
        assert found.code == 0, found.err
        told = found.json
        assert (told["genuine"], told["kind"], told["pages"], told["signer"]) == (True, "evidence", pages, fingerprint)
        shown = run("evidence", "--check", file, env=elsewhere)
        assert shown.out.startswith("Genuine: this evidence pack is as it was signed.")
        assert fingerprint in shown.out
    other = run("evidence", "--check", tmp_path / "p.json", "--signer", "-".join(["0000"] * 8), env=elsewhere)
    assert (other.code, "another key" in other.out) == (ExitCode.FINDINGS, True)


@pytest.mark.parametrize(("step", "pages"), [(23, 12), pytest.param(11, 40, marks=pytest.mark.slow)])
def test_one_bit_anywhere(pdf: bytes, signed: bytes, step: int, pages: int) -> None:
    """Of the document none can be changed; of the pages none without being seen."""
    assert checking.check(pdf).pages is Pages.SAME
    for at in range(0, len(signed), step):
        with pytest.raises((FormatError, AuthenticationError, NewerFormatError)):
            checking.check(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    for at in range(0, len(pdf), len(pdf) // pages):
        wrong = pdf[:at] + bytes([pdf[at] ^ 1]) + pdf[at + 1 :]
        try:
            assert checking.check(wrong).pages is Pages.DIFFERENT
        except (FormatError, AuthenticationError):
            continue


def _other_pages(pdf: bytes) -> bytes:
    return pdf.replace(b"%PDF-1.", b"%PDF-1.", 1) + b"\n% more\n"


def _twice(pdf: bytes) -> bytes:
    return pdf + pdf


def _cut(pdf: bytes) -> bytes:
    return pdf[: pdf.index(b'{"body":') + 100]


def test_pages_that_somebody_made_anew(pdf: bytes, tmp_path: Path) -> None:
    """Not called genuine, for scripts too; the document inside is right, and gives its own pages."""
    file, anew = tmp_path / "changed.pdf", tmp_path / "anew.pdf"
    file.write_bytes(_other_pages(pdf))
    done = run("evidence", "--check", file)
    assert (done.code, done.out.startswith("NOT GENUINE")) == (ExitCode.FINDINGS, True)
    assert "The document inside is as it was signed" in done.out
    told = run("evidence", "--check", file, *MADE)
    assert (told.code, told.json["genuine"], told.json["pages"]) == (ExitCode.FINDINGS, False, "different")
    made = run("evidence", "--check", file, "--pdf", anew)
    assert (made.code, "NOT those of the document" in made.out) == (0, True)
    assert anew.read_bytes() == pdf
    assert run("evidence", "--check", file, "--pdf", anew).code == ExitCode.NOT_EMPTY
    told = run("evidence", "--check", file, "--pdf", tmp_path / "again.pdf", *MADE)
    assert (told.code, told.json["genuine"], told.json["pages"]) == (0, False, "different")


def test_pages_that_another_version_made(signed: bytes, tmp_path: Path) -> None:
    """It is not said that somebody changed them, nor that they are right: status 1, and a way to get right ones."""
    told = json.loads(signed)["body"]
    told["pages"]["fpdf2"] = "1.7"
    older = sign_document(Signer.generate(), kind=pack.KIND, made_at=1, host="h", body=told)
    ours = checking.pages_of(open_document(older), older)
    assert checking.check(ours).pages is Pages.SAME
    file = tmp_path / "older.pdf"
    file.write_bytes(_other_pages(ours))
    done = run("evidence", "--check", file)
    assert (done.code, done.out.startswith("Genuine inside:")) == (ExitCode.FAILURE, True)
    assert "NOT PROVED" in done.out
    assert "make them anew with --pdf FILE" in done.out
    told = run("evidence", "--check", file, *MADE).json
    assert (told["genuine"], told["pages"]) == (True, "unknown")
    assert run("evidence", "--check", file, "--pdf", tmp_path / "anew.pdf").code == 0
    assert (tmp_path / "anew.pdf").read_bytes() == ours


def test_pages_in_another_zone(volume: Made, tmp_path: Path) -> None:
    """Of every kind: made in Berlin, and the same, byte for byte, in New York; with summer and winter time."""
    berlin, new_york = {"TZ": "Europe/Berlin"}, {"TZ": "America/New_York"}
    made = [tmp_path / f"{name}.pdf" for name in ("evidence", "incident", "handover", "destruction")]
    to = tmp_path / "copy"
    key = tmp_path / "theirs"
    key.write_text("another four unrelated words")
    key.chmod(0o600)
    receiver = ("--new-passphrase-file", str(key), *CHEAP)
    for command in (
        ("evidence", volume.path, *fast(volume), "--pdf", made[0]),
        ("incident", "new", "--volume", volume.path, "--lost-at", "2026-07-01 10:00", "--pdf", made[1]),
        ("handover", volume.path, to, *fast(volume), *receiver, "--pdf", made[2]),
        ("destroy", volume.path, "--confirm", volume.path.name, "--pdf", made[3]),
    ):
        done = run(*command, env=berlin)
        assert done.code == 0, (command, done.err)
    for file in made:
        told = run("evidence", "--check", file, *MADE, env=new_york)
        assert (told.code, told.json["pages"]) == (0, "same"), file


def test_whose_key_from_a_file(signed: bytes, tmp_path: Path) -> None:
    """A note with the fingerprint, or an earlier document of that computer; nothing else is taken for one."""
    file, note = tmp_path / "pack.json", tmp_path / "note"
    file.write_bytes(signed)
    note.write_text(f"The key of our server: {host_signer().public.fingerprint()}\n")
    other, text = tmp_path / "other.json", tmp_path / "some text"
    other.write_bytes(sign_document(Signer.generate(), kind="review", made_at=1, host="h", body={}))
    text.write_text("dead-beef, and nothing more")
    for signer, code in ((note, 0), (file, 0), (other, 3), (tmp_path / "missing", 2), (text, 2)):
        assert run("evidence", "--check", file, "--signer", signer).code == code, signer


@pytest.mark.parametrize("field", ["zone", "volumes", "checks", "citations", "log", "pages", "light"])
def test_pages_of_what_no_version_makes(signed: bytes, field: str) -> None:
    """Whoever has a key can sign anything: refused as a whole, with no other error."""
    for value in (None, {}, [1], "x", [[0, 10**30]], {"steps": [[0, 10**30]], "name": "x"}):
        other = json.loads(signed)["body"] | {field: value}
        for made_at in (1, 10**18):
            line = sign_document(Signer.generate(), kind=pack.KIND, made_at=made_at, host="h", body=other)
            try:
                assert checking.pages_of(open_document(line), line).startswith(b"%PDF-")
            except FormatError:
                continue


@pytest.mark.parametrize("spoil", [_twice, _cut, lambda _: b"%PDF-1.7\n%%EOF\n", lambda _: b"", lambda _: b"{}\n"])
def test_no_document_in_it(pdf: bytes, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Two, half of one, none: told as that, with the status for scripts."""
    file = tmp_path / "file"
    file.write_bytes(spoil(pdf))
    done = run("evidence", "--check", file)
    assert (done.code, done.out.startswith("NOT GENUINE")) == (ExitCode.FINDINGS, True)
    assert run("evidence", "--check", file, *MADE).json["genuine"] is False


def test_a_newer_version_and_a_file_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not called forged; and no file is read that no document can be."""
    file = tmp_path / "file"
    file.write_bytes(b'{"cloakfs":2}\n')
    assert run("evidence", "--check", file).code == ExitCode.NEWER_FORMAT
    assert run("evidence", "--check", tmp_path / "missing").code != 0
    monkeypatch.setattr(checking, "FILE_MAX", 10)
    with pytest.raises(FormatError, match="longer"):
        checking.check(b"x" * 11)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_either_algorithm_and_any_kind(signed: bytes, algorithm: Algorithm) -> None:
    """The same check takes P-256, a review, and a kind that this version does not know."""
    signer = Signer.generate(algorithm)
    content = open_document(signed).body
    for kind in ("evidence", "review", "something later"):
        found = checking.check(sign_document(signer, kind=kind, made_at=1, host="h", body=content))
        assert (found.document.kind, found.document.signer, found.pages) == (kind, signer.public, Pages.NONE)


def test_a_pack_of_another_shape(tmp_path: Path) -> None:
    """Signed, and not as this version makes it: genuine, and nothing of it is guessed."""
    file = tmp_path / "file"
    for kind in ("evidence", "incident", "destruction", "handover"):
        file.write_bytes(sign_document(Signer.generate(), kind=kind, made_at=1, host="h", body={"other": 1}))
        done = run("evidence", "--check", file)
        assert (done.code, done.err) == (0, "")
        assert "Genuine" in done.out
