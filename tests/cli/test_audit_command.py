"""``cloakfs audit``, and what commands tell the log (docs/audit.md, FORMAT.md section 16)."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from tests.support import audit_actions
from tests.support.command import Made, run
from tests.support.mounting import MountedVolume


def recorded(*options: str) -> list[dict[str, Any]]:
    """All records, as a script gets them."""
    records: list[dict[str, Any]] = run("audit", "show", "--json", *options).json["records"]
    audit_actions.check(records)
    return records


def in_short(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Action and outcome of each."""
    return [(each["action"], each["outcome"]) for each in records]


def test_a_volume_s_life(volume: Made, tmp_path: Path) -> None:
    """Opened, refused, checked, its keys changed: who, which slot, how it ended; no name of a file, no secret."""
    fast = ("--recovery-file", str(volume.recovery_file))
    wrong = tmp_path / "wrong"
    wrong.write_text("no such words at all here")
    wrong.chmod(0o600)
    assert run("cat", volume.path, "letters/a.txt", *fast).code == 0
    assert run("verify", volume.path, "--passphrase-file", wrong).code == ExitCode.WRONG_SECRET
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == 0
    assert run("export", volume.path, "nothing-there", tmp_path / "out", *fast).code == ExitCode.NOT_FOUND
    everything = recorded()
    registered = [each["action"] for each in everything if each["action"].startswith("register.")]
    assert registered == ["register.volumes", "register.configs", "register.configs"]
    records = [each for each in everything if not each["action"].startswith("register.")]
    assert in_short(records) == [
        ("volume.unlock", "done"),
        ("key.break-glass", "done"),
        ("volume.cat", "done"),
        ("volume.unlock", "refused"),
        ("volume.verify", "refused"),
        ("key.break-glass", "done"),
        ("key.rename", "begun"),
        ("key.rename", "done"),
        ("volume.unlock", "done"),
        ("key.break-glass", "done"),
        ("volume.export", "failed"),
    ]
    unlocked, renamed = records[0], records[7]
    pid = unlocked["detail"].pop("pid")
    assert records[1]["detail"] == {"kind": "recovery", "label": "recovery key"}
    assert unlocked["detail"] == {"kind": "recovery", "label": "recovery key", "read_only": 1}
    assert records[2]["detail"]["pid"] == pid
    assert unlocked["slot"] == renamed["slot"] != renamed["object"]
    assert renamed["detail"] == {"label": "passphrase"}
    assert {each["uid"] for each in records} == {os.getuid()}
    assert len({each["volume_id"] for each in records}) == 1
    exported = run("audit", "export").out
    assert in_short([json.loads(line) for line in exported.splitlines()])[: len(everything)] == in_short(everything)
    for secret in ("letters", "nothing-there", volume.recovery_file.read_text().splitlines()[1]):
        assert secret not in exported


def test_a_mount_s_life(mounted: MountedVolume) -> None:
    """By its own daemon: mounted, and locked with the reason, which a signed checkpoint follows."""
    mounted.lock()
    records = [each for each in recorded() if each["action"] in {"volume.mounted", "volume.locked"}]
    assert in_short(records) == [("volume.mounted", "done"), ("volume.locked", "done")]
    assert records[1]["detail"]["reason"] == "asked"
    report = run("audit", "verify", "--json").json
    assert report["problems"] == []
    assert report["intact"][0][1] > records[1]["seq"]
    mounted.mount()


def test_damage_that_a_mount_meets(mounted: MountedVolume) -> None:
    """Recorded by its daemon: what, and where below; EIO for the program, and no name of the file."""
    (mounted.path / "scan").write_bytes(b"x" * 9000)
    mounted.lock()
    lower = max((file for file in mounted.lower.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)
    inode, good = lower.stat().st_ino, lower.read_bytes()
    with lower.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    mounted.mount()
    with pytest.raises(OSError, match="Input/output error"):
        (mounted.path / "scan").read_bytes()
    mounted.lock()
    (event,) = [each for each in recorded() if each["action"] == "volume.integrity"][:1]
    assert event["outcome"] == "failed"
    assert (event["detail"]["what"], event["detail"]["inode"]) == ("cell", inode)
    assert "scan" not in json.dumps(recorded())
    lower.write_bytes(good)
    mounted.log.unlink()


def test_keys_are_not_changed_where_it_cannot_be_recorded(volume: Made, host_memory: Path) -> None:
    """Exit status 30 and the config as it was; files can be read, with a warning."""
    host_memory.mkdir(mode=0o700)
    (host_memory / "audit").write_text("a file stands in the way")
    fast = ("--recovery-file", str(volume.recovery_file))
    before = (volume.path / "cloakfs.volume").read_bytes()
    refused = run("key", "rename", volume.path, "passphrase", "Anna", *fast)
    assert refused.code == ExitCode.AUDIT
    assert "cannot be recorded" in refused.err
    assert (volume.path / "cloakfs.volume").read_bytes() == before
    read = run("cat", volume.path, "letters/a.txt", *fast)
    assert (read.code, read.out) == (0, "Dear colleague\n")
    assert "cannot be recorded" in read.err


def test_the_auditor_s_key_goes_away(volume: Made, host_memory: Path, tmp_path: Path) -> None:
    """Then the log is written and not read here; with the file it is; it goes nowhere twice, and over nothing."""
    fast = ("--recovery-file", str(volume.recovery_file))
    key = tmp_path / "auditor.key"
    run("cat", volume.path, "empty", *fast)
    key.write_text("something else")
    assert run("audit", "key", "--out", key).code == ExitCode.NOT_EMPTY
    key.unlink()
    assert light() == "amber"
    taken = run("audit", "key", "--out", key)
    assert (taken.code, "on the same disk" in taken.err) == (0, True)
    assert light() == "green"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().startswith("cloakfs-auditor-key 1 ")
    assert not (host_memory / "audit" / "auditor.key").exists()
    run("cat", volume.path, "empty", *fast)
    sealed = run("audit", "show")
    assert (sealed.code, sealed.out) == (ExitCode.USAGE, "")
    assert "--auditor-key" in sealed.err
    again = run("audit", "key", "--out", tmp_path / "another")
    assert again.code == ExitCode.USAGE
    assert [each["action"] for each in recorded("--auditor-key", str(key))].count("volume.cat") == 2
    without = run("audit", "verify", "--json").json
    assert (without["sealed"], without["problems"]) == ([], [])
    assert run("audit", "verify", "--auditor-key", volume.passphrase_file).code == ExitCode.USAGE


def test_an_edited_and_a_cut_log_are_told(volume: Made, host_memory: Path, elsewhere: Path) -> None:
    """Exit status 3 and where it is; what was anchored elsewhere shows that the end is missing."""
    fast = ("--recovery-file", str(volume.recovery_file))
    anchors = elsewhere / "anchors"
    for _ in range(3):
        run("cat", volume.path, "empty", *fast)
    log = host_memory / "audit" / "log-00000001"
    state = host_memory / "audit" / "state"
    early = (log.read_bytes(), state.read_bytes())
    run("cat", volume.path, "empty", *fast)
    assert run("audit", "anchor", anchors).err == ""
    good = run("audit", "verify", "--anchors", anchors)
    assert (good.code, good.out.splitlines()[-1]) == (0, "Nothing is wrong.")
    whole = (log.read_bytes(), state.read_bytes())
    log.write_bytes(early[0])
    state.write_bytes(early[1])
    assert run("audit", "verify").code == 0
    cut = run("audit", "verify", "--anchors", anchors, "--json")
    assert cut.code == ExitCode.FINDINGS
    assert [each["trouble"] for each in cut.json["problems"]] == ["forked"]
    log.write_bytes(whole[0][:4000] + bytes([whole[0][4000] ^ 1]) + whole[0][4001:])
    state.write_bytes(whole[1])
    edited = run("audit", "verify")
    assert edited.code == ExitCode.FINDINGS
    assert "WRONG at" in edited.out
    (elsewhere / "bad").write_text("no anchor\n")
    assert run("audit", "verify", "--anchors", elsewhere / "bad").code == ExitCode.USAGE


def test_an_anchor_beside_the_log_is_told(volume: Made, host_memory: Path, tmp_path: Path) -> None:
    """It is made, with a word about what it is worth."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    assert "same disk" in run("audit", "anchor", tmp_path / "anchors").err


def test_csv_is_safe_for_spreadsheets(volume: Made) -> None:
    """A label that looks like a formula is text in the table."""
    fast = ("--recovery-file", str(volume.recovery_file))
    run("key", "rename", volume.path, "passphrase", "=1+1", *fast)
    run("key", "rename", volume.path, "=1+1", "Anna", *fast)
    rows = list(csv.DictReader(io.StringIO(run("audit", "export", "--format", "csv").out)))
    rows = [row for row in rows if row["action"] == "key.rename"]
    assert not any(value[:1] in "=+@" for row in rows for value in row.values() if value)


def light() -> str | None:
    """Of the log, as doctor sees it; None where it says nothing of it."""
    lines = {check["code"]: check["light"] for check in run("doctor", "--json").json["checks"]}
    return lines.get("audit-log")


def test_before_anything_was_done() -> None:
    """There is no log, which is said; nothing is made by looking."""
    assert light() is None
    for command in ("show", "verify", "export"):
        assert run("audit", command).code == ExitCode.AUDIT


@pytest.mark.parametrize("lost", ["auditor.pub", "signing.key", "state"])
def test_a_log_that_cannot_go_on(volume: Made, host_memory: Path, lost: str) -> None:
    """No key is made in the place of a lost one. Another log can be begun, for the same auditor; this one is kept."""
    fast = ("--recovery-file", str(volume.recovery_file))
    run("cat", volume.path, "empty", *fast)
    old = host_memory / "audit"
    assert run("audit", "begin").code == ExitCode.USAGE
    records, state = (old / "log-00000001").read_bytes(), (old / "state").read_bytes()
    if lost == "state":
        (old / lost).write_bytes(state[:-1] + bytes([state[-1] ^ 1]))
    else:
        (old / lost).unlink()
    refused = run("key", "rename", volume.path, "passphrase", "Anna", *fast)
    assert refused.code == ExitCode.AUDIT
    assert "cloakfs audit begin" in refused.err
    assert light() == "red"
    assert run("audit", "begin").code == 0
    (kept,) = host_memory.glob("audit-*")
    assert (kept / "log-00000001").read_bytes() == records
    assert run("key", "rename", volume.path, "passphrase", "Anna", *fast).code == 0
    found = [each for each in recorded() if each["action"] != "register.configs"]
    assert [action for action, _ in in_short(found)] == [
        "log.begun-anew",
        "key.break-glass",
        "key.rename",
        "key.rename",
    ]
    assert found[0]["detail"] == {"before": kept.name}
    assert (kept / "auditor.key").read_bytes() == (old / "auditor.key").read_bytes()
