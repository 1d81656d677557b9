"""``cloakfs incident`` (docs/incident.md): what is asked, written down, signed, and said."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from encfs.audit.home import AUDITOR_KEY
from encfs.checks import Light
from encfs.cli.incident_view import checks
from encfs.core.documents import Document, open_document
from encfs.crypto import kem
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ExitCode
from encfs.evidence import log_read
from encfs.evidence.facts import snapshot
from encfs.evidence.timeline import timeline
from encfs.host import last_seen
from encfs.host.last_seen import Look
from encfs.registers import configs, incidents, media, volumes
from encfs.registers.media import MediumState
from encfs.units import VolumeId
from encfs.volume import read_config
from tests.support.command import CHEAP, Made, Result, run
from tests.support.mounting import MountedVolume
from tests.support.timelines import Life

HOUR = 60


def ago(minutes: float) -> int:
    """Seconds since 1970."""
    return int(time.time() - minutes * 60)


def text(seconds: float) -> str:
    """A time as people give it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def remember(volume: Made, life: Life, *, kinds: tuple[str, ...] = (), complete: bool = True) -> None:
    """A host with this life as its log, the last frame two hours ago. The volume and its keys are of yesterday.

    Args:
        volume: which.
        life: what happened on the host.
        complete: all of the medium was searched.
        kinds: what lay on the medium five hours ago.
    """
    life.write(ago(2 * HOUR) * 1000)
    config = read_config(os.fsencode(volume.path))
    told = snapshot(config)
    told["created"] = ago(24 * HOUR)
    for slot in told["slots"]:
        slot["created"] = ago(24 * HOUR)
    configs.note(config.volume_id.hex(), told)
    last_seen.remember_look(config.volume_id, Look(ago(5 * HOUR), complete, 12, kinds))


def evening(volume: Made, *, reason: str = "asked") -> Life:
    """Mounted nine hours ago, locked eight hours ago, and the log goes on until two hours ago."""
    life = Life(volume=read_config(os.fsencode(volume.path)).volume_id)
    life.mount(HOUR)
    life.lock(2 * HOUR, reason)
    life.tick(8 * HOUR)
    return life


def new(volume: Made, *more: str | Path, hours: float = 4) -> Result:
    """An incident of so many hours ago."""
    return run("incident", "new", "--volume", volume.path, "--lost-at", text(ago(hours * HOUR)), *more)


def document(path: Path) -> Document:
    """As it was written, with a right signature."""
    return open_document(path.read_bytes(), "incident")


def printed(path: Path) -> str:
    """All words of a PDF, with one space between them."""
    pdf = pypdfium2.PdfDocument(path.read_bytes())
    try:
        return " ".join(" ".join(page.get_textpage().get_text_bounded().split()) for page in pdf)
    finally:
        pdf.close()


def audit(action: str) -> list[dict[str, Any]]:
    """Records of this action."""
    return [one for one in run("audit", "show", "--json").json["records"] if one["action"] == action]


def listed() -> list[dict[str, Any]]:
    """All incidents, as a script gets them."""
    rows: list[dict[str, Any]] = run("incident", "list", "--json").json["incidents"]
    return rows


def test_locked_key_elsewhere(volume: Made, tmp_path: Path) -> None:
    """Proved by the sealed log; signed, in the register and in the log, on paper with the form and the dates."""
    remember(volume, evening(volume))
    pdf, signed = tmp_path / "incident.pdf", tmp_path / "incident.json"
    made = new(volume, "--pdf", pdf, "--json", signed)
    assert made.code == 0, made.err
    assert "Locked, key elsewhere: proved by the log, sealed, not anchored." in made.out
    told = document(signed)
    record = told.body["record"]
    assert (record["verdict"], record["proof"]) == ("locked, key elsewhere", "sealed")
    (one,) = record["volumes"]
    assert [reason["why"] for reason in one["reasons"]] == ["locked"]
    assert {slot["where"] for slot in one["keys"]["slots"] if slot["kind"] == "recovery"} == {"not-on-the-medium"}
    assert {slot["where"] for slot in one["keys"]["slots"] if slot["kind"] == "passphrase"} == {"unknown"}
    assert [event["action"] for event in one["events"]["rows"]][:3] == [
        "volume.unlock", "volume.mounted", "volume.mount",
    ]  # fmt: skip
    assert told.body["not_legal_advice"] == "This is not legal advice."
    words = printed(pdf)
    for said in (
        "Locked, key elsewhere: proved by the log, sealed, not anchored.",
        "74 FR 19006",
        "The four factors",
        "45 CFR 164.408(c)",
        "State law may give less time",
        "cloakfs and its cryptography are not FIPS-validated.",
        "This is not legal advice.",
    ):
        assert said in words, said
    (noted,) = audit("incident.new")
    assert noted["detail"]["digest"] == CLOAKFS_1.digest(signed.read_bytes()).hex()
    (registered,) = audit("register.incidents")
    assert (registered["object"], noted["object"]) == ("new", "2026-001".replace("2026", str(datetime.now().year)))  # noqa: DTZ005
    assert stat.S_IMODE(pdf.stat().st_mode) == stat.S_IMODE(signed.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("kinds", "complete", "why"),
    [(("key file",), True, None), (("recovery key",), True, "key-beside"), ((), False, "key-not-looked")],
)
def test_where_the_key_was(volume: Made, kinds: tuple[str, ...], complete: bool, why: str | None) -> None:
    """A key on the medium, and a medium that nobody has searched to its end, are no "key elsewhere"."""
    remember(volume, evening(volume), kinds=kinds, complete=complete)
    made = new(volume)
    (row,) = listed()
    if why is None:  # A file that opens no slot of this volume.
        assert row["verdict"] == "locked, key elsewhere"
    else:
        assert row["verdict"] == "cannot be told"
        assert "It was locked at the time of the loss, but it cannot be shown" in made.out


def test_pulled_while_it_was_open(volume: Made, tmp_path: Path) -> None:
    """It says so, on the screen, on paper and to scripts; also where it was missed only later."""
    remember(volume, evening(volume, reason="medium-gone"))
    made = new(volume, "--pdf", tmp_path / "incident.pdf")
    assert made.code == 0
    assert "Open at the time." in made.out
    assert "It was open when its medium was taken away." in made.out
    assert listed()[0]["verdict"] == "open at the time"
    assert "Open at the time." in printed(tmp_path / "incident.pdf")
    assert "Locked, key elsewhere" not in printed(tmp_path / "incident.pdf")


def test_anchored(volume: Made, elsewhere: Path) -> None:
    """With what was kept elsewhere it is proved twice; with an anchor of a longer log it is not proved at all."""
    remember(volume, evening(volume))
    anchors = elsewhere / "anchors"
    assert run("audit", "anchor", anchors).code == 0
    assert "proved by the log, sealed and anchored." in new(volume, "--anchors", anchors).out
    kept = json.loads(anchors.read_text())
    anchors.write_text(json.dumps({**kept, "seq": kept["seq"] + 1000}) + "\n")
    assert new(volume, "--anchors", anchors).code == 0
    assert listed()[1]["verdict"] == "cannot be told"


def test_an_edited_log(volume: Made, host_memory: Path) -> None:
    """One bit in the record of the lock: nothing is claimed."""
    remember(volume, evening(volume))
    log = host_memory / "audit" / "log-00000001"
    content = bytearray(log.read_bytes())
    where = content.index(read_config(os.fsencode(volume.path)).volume_id, len(content) // 4)
    content[where + 40] ^= 1
    log.write_bytes(content)
    assert new(volume).code == 0
    assert listed()[0]["verdict"] == "cannot be told"


def test_without_the_auditor_s_key(volume: Made, elsewhere: Path) -> None:
    """The log cannot be read, and nothing is made up; with the key it can, and a wrong key writes nothing."""
    remember(volume, evening(volume))
    key = elsewhere / "auditor.key"
    assert run("audit", "key", "--out", key).code == 0
    assert new(volume).code == 0
    assert (listed()[0]["verdict"], listed()[0]["proof"]) == ("cannot be told", "nothing")
    assert new(volume, "--auditor-key", key).code == 0
    assert listed()[1]["verdict"] == "locked, key elsewhere"
    other = elsewhere / "other.key"
    private, _ = kem.generate()
    other.write_bytes(AUDITOR_KEY.encode(private))
    other.chmod(0o600)
    refused = new(volume, "--auditor-key", other)
    assert (refused.code, len(listed())) == (ExitCode.WRONG_SECRET, 2)


def test_a_medium_of_the_register(volume: Made) -> None:
    """It is named by its label, and lost from then on; its time is taken where none is given."""
    remember(volume, evening(volume))
    media.add("Blue 1", volumes=[read_config(os.fsencode(volume.path)).volume_id.hex()], holder="Anna")
    lost = ago(4 * HOUR)
    assert run("incident", "new", "--medium", "Blue 1").code == ExitCode.USAGE
    made = run("incident", "new", "--medium", "blue 1", "--lost-at", text(lost))
    assert made.code == 0, made.err
    assert (media.medium("Blue 1").state, media.medium("Blue 1").lost_at) == (MediumState.LOST, lost)
    assert run("incident", "new", "--medium", "Blue 1").code == 0
    assert [(row["medium"], row["verdict"]) for row in listed()] == [("Blue 1", "locked, key elsewhere")] * 2


def test_a_medium_without_volumes(volume: Made) -> None:
    """Nothing shows that anything on it was encrypted."""
    media.add("Grey 7")
    made = run("incident", "new", "--medium", "Grey 7", "--lost-at", text(ago(HOUR)))
    assert made.code == 0
    assert "Nothing here shows that anything on it was encrypted." in made.out
    assert listed()[0]["verdict"] == "cannot be told"


def test_a_volume_that_is_gone(volume: Made, tmp_path: Path) -> None:
    """It is found by where it was, or by its id; what was never here is refused, and nothing is written."""
    remember(volume, evening(volume))
    volume_id = read_config(os.fsencode(volume.path)).volume_id.hex()
    volumes.note_opened(volume_id, os.path.realpath(volume.path), ago(24 * HOUR))
    volume.path.rename(tmp_path / "elsewhere")
    assert new(volume).code == 0
    assert run("incident", "new", "--volume", volume_id, "--lost-at", text(ago(4 * HOUR))).code == 0
    assert [row["verdict"] for row in listed()] == ["locked, key elsewhere"] * 2
    for unknown in (tmp_path / "never", "0" * 32):
        assert run("incident", "new", "--volume", unknown, "--lost-at", text(ago(HOUR))).code == ExitCode.USAGE
    assert len(listed()) == 2


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--lost-at", "yesterday"),
        ("--lost-at", text(time.time() + 86400)),
        ("--lost-at", text(ago(HOUR)), "--discovered", text(ago(72 * HOUR))),
        ("--lost-at", text(ago(HOUR)), "--discovered", text(time.time() + 2 * 86400)),
    ],
)
def test_what_makes_no_sense(volume: Made, options: tuple[str, ...]) -> None:
    """Refused, and nothing is written down."""
    assert run("incident", "new", "--volume", volume.path, *options).code == ExitCode.USAGE
    assert listed() == []


def test_nothing_is_overwritten(volume: Made, tmp_path: Path) -> None:
    """Refused before anything is written down."""
    there = tmp_path / "there"
    there.write_text("a letter")
    for option in ("--pdf", "--json"):
        assert new(volume, option, there).code == ExitCode.NOT_EMPTY
    assert (there.read_text(), listed()) == ("a letter", [])


def test_a_place_that_cannot_be_written(volume: Made, tmp_path: Path) -> None:
    """The incident is written down all the same, and it is said how to go on."""
    failed = new(volume, "--pdf", tmp_path / "no" / "such" / "place.pdf")
    assert failed.code == ExitCode.FAILURE
    assert "cloakfs incident show" in failed.err
    (row,) = listed()
    assert run("incident", "show", row["id"], "--pdf", tmp_path / "incident.pdf").code == 0
    assert row["id"] in printed(tmp_path / "incident.pdf")


def test_notes_and_the_decision(volume: Made, tmp_path: Path) -> None:
    """They stand beside the record, which never changes; the number of people changes the dates; closed is closed."""
    remember(volume, evening(volume))
    assert new(volume, "--json", tmp_path / "before.json").code == 0
    (row,) = listed()
    name = row["id"]
    noted = run("incident", "note", name, "--factor", "1", "Letters and findings")
    assert (noted.code, "no name of a patient" in noted.err + noted.out) == (0, True)
    assert run("incident", "note", name, "--people", "612", "Counted").code == 0
    assert run("incident", "note", name, "Told the insurer").code == 0
    assert run("incident", "close", name, "--decision", "No breach: locked, key elsewhere").code == 0
    assert run("incident", "close", name, "--decision", "Another").code == ExitCode.USAGE
    assert run("incident", "note", name, "Afterwards").code == 0
    assert run("incident", "show", name, "--json", tmp_path / "after.json", "--pdf", tmp_path / "after.pdf").code == 0
    before, after = document(tmp_path / "before.json").body, document(tmp_path / "after.json").body
    assert before["record"] == after["record"]
    assert [len(factor["answers"]) for factor in after["factors"]] == [1, 0, 0, 0]
    assert [note["text"] for note in after["notes"]] == ["Counted", "Told the insurer", "Afterwards"]
    assert after["decision"]["text"] == "No breach: locked, key elsewhere"
    assert (before["decision"], before["people"], after["people"]) == (None, None, 612)
    assert {one["code"] for one in after["deadlines"]["rows"]} == {"individuals", "covered-entity", "media", "hhs"}
    words = printed(tmp_path / "after.pdf")
    assert "Letters and findings" in words
    assert "No breach: locked, key elsewhere" in words
    assert [one["object"] for one in audit("register.incidents")] == ["new", "note", "note", "note", "close", "note"]
    shown = run("incident", "show", name)
    assert (shown.code, "Told the insurer" in shown.out) == (0, True)
    assert run("incident", "show", "2001-001").code == ExitCode.USAGE
    for bad in (("note", name), ("note", "2001-001", "x"), ("note", name, "a\x07"), ("note", name, "x" * 5000)):
        assert run("incident", *bad).code == ExitCode.USAGE


def test_to_standard_output(volume: Made) -> None:
    """A script gets the signed document and nothing else."""
    made = new(volume, "--json", "-")
    assert open_document(made.out.encode(), "incident").body["record"]["verdict"] == "cannot be told"


def test_a_real_mount(mounted: MountedVolume, tmp_path: Path) -> None:
    """Open now is open; no name of a file is in the document or in the register."""
    (mounted.path / "Mueller, Anna.txt").write_text("findings")
    made = run("incident", "new", "--volume", mounted.path, "--lost-at", text(time.time())[:10],
               "--json", tmp_path / "incident.json")  # fmt: skip
    assert made.code == 0, made.err
    told = document(tmp_path / "incident.json")
    assert told.body["record"]["verdict"] == "open at the time"
    (one,) = told.body["record"]["volumes"]
    assert one["reasons"][0]["why"] == "mounted"
    assert one["path"] == os.path.realpath(mounted.lower) or one["path"] is None
    assert [session["ours"] for session in one["sessions"]] == [True]
    assert b"Mueller" not in (tmp_path / "incident.json").read_bytes()
    mounted.lock()
    assert incidents.incident(told.body["id"]).record == told.body["record"]
    mounted.mount()


def openings(volume_id: VolumeId) -> list[str]:
    """How each time ended in which the volume was open, as the log has it."""
    return [str(one.end) for one in timeline(log_read.read(None, None).frames, volume_id).openings]


RECEIVER = ("--to", "Clinic Nord", "--by", "Dr. Weber", "--new-passphrase-file", "NEW", *CHEAP)


@pytest.mark.parametrize(
    "command",
    [
        ("evidence", "VOLUME", "--recovery-file", "KEY", "--json", "-"),
        ("evidence", "VOLUME", "COPY", "--recovery-file", "KEY", "--json", "-"),
        ("handover", "VOLUME", "OUT", "--receipt", "RECEIPT", "--recovery-file", "KEY", *RECEIVER),
        ("destroy", "VOLUME", "--confirm", "volume", "--recovery-file", "KEY"),
        ("status", "VOLUME", "--recovery-file", "KEY"),
        ("cat", "VOLUME", "letters/a.txt", "--recovery-file", "KEY"),
        ("cat", "VOLUME", "nothing-there", "--recovery-file", "KEY"),
        ("export", "VOLUME", "letters", "OUT", "--recovery-file", "KEY"),
        ("verify", "VOLUME", "--recovery-file", "KEY"),
        ("checkpoint", "VOLUME", "--recovery-file", "KEY"),
        ("key", "rotate", "VOLUME", "--recovery-file", "KEY"),
        ("key", "rename", "VOLUME", "passphrase", "Anna", "--recovery-file", "KEY"),
    ],
    ids=lambda command: "-".join(word for word in command[:2] if word.islower()),
)
def test_every_command_ends(volume: Made, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Once it is over the log says that the volume is not open any more, however the command ended."""
    new = tmp_path / "new"
    new.write_text("quite other words than those\n")
    new.chmod(0o600)
    places = {"VOLUME": volume.path, "KEY": volume.recovery_file, "NEW": new}
    places |= {"OUT": tmp_path / "out", "RECEIPT": tmp_path / "receipt", "COPY": tmp_path / "copy"}
    if "COPY" in command:
        shutil.copytree(volume.path, places["COPY"], symlinks=True)
    volume_id = read_config(os.fsencode(volume.path)).volume_id
    run(*(places.get(word, word) for word in command))
    found = openings(volume_id)
    assert found
    assert set(found) == {"done"}


def test_a_mount_by_mount_8_ends(mounted: MountedVolume) -> None:
    """Of fstab and units too: the command that mounted it ends, and then the mount."""
    mounted.lock()
    volume_id = read_config(os.fsencode(mounted.lower)).volume_id
    before = len(openings(volume_id))
    helper = ("-c", "from encfs.cli.mount_helper import main; main()")
    options = f"passphrase-file={mounted.secret_file},log={mounted.log}"
    assert run(mounted.lower, mounted.path, "-o", options, program=helper).code == 0
    assert run("lock", mounted.path).code == 0
    assert openings(volume_id)[before:] == ["done", "locked"]
    mounted.mount()


def test_a_damaged_register(volume: Made, host_memory: Path) -> None:
    """Nothing is read from it and nothing added; it is said where it is."""
    assert new(volume).code == 0
    register = host_memory / "registers" / "incidents"
    content = register.read_bytes()
    register.write_bytes(content.replace(b"cannot be told", b"locked, key elsewhere"))
    assert run("incident", "list").code == ExitCode.AUDIT
    assert new(volume).code == ExitCode.AUDIT
    assert register.read_bytes() == content.replace(b"cannot be told", b"locked, key elsewhere")


def test_when_it_is_due(volume: Made) -> None:
    """Green, soon amber, past red; closed ones are not told."""
    assert new(volume).code == 0
    (row,) = listed()
    due = date.fromisoformat(row["next_due"])
    lights = {days: checks(due - timedelta(days=days))[0].light for days in (60, 15, 14, 0, -1)}
    assert lights == {60: Light.GREEN, 15: Light.GREEN, 14: Light.AMBER, 0: Light.AMBER, -1: Light.RED}
    run("incident", "close", row["id"], "--decision", "Nothing was lost")
    assert checks(due) == []
