"""What the audit log says of files, as the policy of a volume wants it (FORMAT.md sections 3 and 16)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from tests.support import audit_actions
from tests.support.command import run
from tests.support.linux import renameat2
from tests.support.mounting import MountedVolume

_EXCHANGE = 2


def with_events(mounted: MountedVolume, rule: str) -> MountedVolume:
    """The volume, mounted again under another rule."""
    secret = ("--passphrase-file", mounted.secret_file)
    assert run("policy", mounted.path, "--file-events", rule, *secret).code == 0
    mounted.remount()
    return mounted


def of_files(*options: str) -> list[dict[str, Any]]:
    """All records of files."""
    records = run("audit", "show", "--json", *options).json["records"]
    audit_actions.check(records)
    return [each for each in records if each["action"].startswith("file.") and each["action"] != "file.names"]


def named(path: str, *options: str) -> list[str]:
    """What was done with a file, in short."""
    return [each["action"] for each in of_files("--name", path, *options)]


def test_nothing_is_said_of_files_by_default(mounted: MountedVolume) -> None:
    """Off: no event, and no key for names."""
    (mounted.path / "b.txt").write_text("x")
    mounted.lock()
    assert not any(each["action"].startswith("file.") for each in run("audit", "show", "--json").json["records"])


def test_metadata(mounted: MountedVolume) -> None:
    """Opened for writing, made, renamed, deleted, each once; who, which file; found again by its name; no read."""
    path = with_events(mounted, "metadata").path
    (path / "letters").mkdir()
    (path / "letters" / "mueller.odt").write_text("secret words")
    (path / "letters" / "mueller.odt").read_text()
    with (path / "letters" / "mueller.odt").open("a") as file:
        file.write("more")
    os.truncate(path / "letters" / "mueller.odt", 3)
    inode = (path / "letters" / "mueller.odt").stat().st_ino
    (path / "a.txt").rename(path / "letters" / "mueller.odt")
    os.symlink("letters", path / "link")
    os.link(path / "letters" / "mueller.odt", path / "second")
    (path / "letters").rename(path / "old")
    (path / "old" / "mueller.odt").unlink()
    mounted.lock()
    records = of_files()
    assert [(each["action"], each["detail"].get("kind")) for each in records] == [
        ("file.create", "directory"),
        ("file.create", None),
        ("file.write", None),
        ("file.write", None),
        ("file.rename", None),
        ("file.create", "symlink"),
        ("file.create", "link"),
        ("file.rename", "directory"),
        ("file.delete", None),
    ]
    made, renamed = records[1], records[4]
    assert (made["uid"], made["detail"]["pid"], made["detail"]["inode"]) == (os.getuid(), os.getpid(), inode)
    assert len({each["detail"]["file"] for each in records[1:4]}) == 1
    assert renamed["detail"]["replaced"] == inode
    assert renamed["detail"]["file"] == records[8]["detail"]["file"] != made["detail"]["file"]
    assert all(each["detail"]["ago_ms"] >= 0 for each in records)
    assert named("letters/mueller.odt") == ["file.create", "file.write", "file.write", "file.rename"]
    assert named("/a.txt") == ["file.rename"]
    assert named("old/mueller.odt/") == ["file.delete"]
    assert named("mueller.odt") == []


def test_full_tells_who_reads_once(mounted: MountedVolume) -> None:
    """The first time that a user opens a file for reading; another user is another first time."""
    path = with_events(mounted, "full").path
    for _ in range(3):
        (path / "a.txt").read_text()
    mounted.lock()
    assert [each["action"] for each in of_files()] == ["file.read"]
    assert named("a.txt") == ["file.read"]


def test_exchange_and_what_fails(mounted: MountedVolume) -> None:
    """Two names that swap are one event with both; what the filesystem refuses is none."""
    path = with_events(mounted, "metadata").path
    (path / "b.txt").write_text("b")
    renameat2(path / "a.txt", path / "b.txt", _EXCHANGE)
    with pytest.raises(FileNotFoundError):
        (path / "nothing").rename(path / "c")
    with pytest.raises(FileExistsError):
        (path / "a.txt").touch(exist_ok=False)
    (path / "full").mkdir()
    (path / "full" / "x").touch()
    with pytest.raises(OSError, match="not empty"):
        (path / "full").rmdir()
    mounted.lock()
    records = of_files()
    assert [each["action"] for each in records] == ["file.create", "file.rename", "file.create", "file.create"]
    assert records[1]["detail"]["exchange"] == 1
    assert named("a.txt") == ["file.rename"]
    assert named("b.txt") == ["file.create", "file.rename"]


def test_names_are_kept_from_those_without_the_key(mounted: MountedVolume, host_memory: Path, tmp_path: Path) -> None:
    """No name and no key of names in the log, the state directory, what is shown and what is exported."""
    path = with_events(mounted, "full").path
    (path / "Mueller, Anna").mkdir()
    (path / "Mueller, Anna" / "Befund.odt").write_text("x")
    mounted.lock()
    exported = run("audit", "export").out
    shown = run("audit", "show").out
    raw = b"".join(file.read_bytes() for file in host_memory.rglob("*") if file.is_file()) + mounted.log.read_bytes()
    for name in ("Mueller", "Befund"):
        assert name not in exported + shown
        assert name.encode() not in raw
    (keys,) = [row for line in exported.splitlines() if (row := json.loads(line))["action"] == "file.names"]
    assert keys["detail"] == {"key": "kept back"}
    assert run("audit", "key", "--out", tmp_path / "auditor.key").code == 0
    assert run("audit", "show", "--name", "Mueller, Anna/Befund.odt").code == ExitCode.USAGE
    assert named("Mueller, Anna/Befund.odt", "--auditor-key", str(tmp_path / "auditor.key")) == ["file.create"]


def test_mounts_of_two_times(mounted: MountedVolume) -> None:
    """Each mount has a key of its own for names; a name is found in both."""
    with_events(mounted, "metadata")
    (mounted.path / "b.txt").write_text("1")
    mounted.remount()
    (mounted.path / "b.txt").write_text("2")
    mounted.lock()
    assert named("b.txt") == ["file.create", "file.write"]
    assert len({each["object"] for each in of_files()}) == 2
    report = run("audit", "verify", "--json").json
    assert (report["problems"], report["clock_steps"]) == ([], [])


def test_many_events(mounted: MountedVolume) -> None:
    """Thousands of files, more than one write takes: each is in the log, in the order in which they were made."""
    path = with_events(mounted, "metadata").path
    for number in range(2_000):
        (path / f"{number:05}").touch()
    mounted.lock()
    inodes = [each["detail"]["inode"] for each in of_files() if each["action"] == "file.create"]
    assert len(inodes) == len(set(inodes)) == 2_000
    mounted.mount()
    assert inodes == [(path / f"{number:05}").stat().st_ino for number in range(2_000)]


def test_programs_go_on_where_nothing_can_be_written(mounted: MountedVolume, host_memory: Path) -> None:
    """The log is gone; files are made all the same; the mount locks with a warning in its own log."""
    path = with_events(mounted, "metadata").path
    audit = host_memory / "audit"
    audit.rename(host_memory / "away")
    audit.write_text("in the way")
    (path / "b.txt").write_text("x")
    assert (path / "b.txt").read_text() == "x"
    mounted.lock()
    assert "not recorded" in mounted.log.read_text()
    audit.unlink()
    (host_memory / "away").rename(audit)
    mounted.mount()
    assert (path / "b.txt").read_text() == "x"


def test_policy_words(mounted: MountedVolume) -> None:
    """``off`` takes the rule away, ``--recommended`` leaves it, and it is shown in words."""
    secret = ("--passphrase-file", mounted.secret_file)

    def rules(*options: str) -> dict[str, int]:
        found: dict[str, int] = run("policy", mounted.path, *options, *secret, "--json").json["policy"]["rules"]
        return found

    assert rules("--file-events", "full") == {"file_events": 2}
    assert rules("--recommended")["file_events"] == 2
    assert "who opens files, makes" in run("policy", mounted.path, *secret).out
    assert "file_events" not in rules("--file-events", "off")
    assert rules("--file-events", "metadata")["file_events"] == 1
    assert run("policy", mounted.path, "--file-events", "some", *secret).code == ExitCode.USAGE
