"""``cloakfs scan`` (docs/inventory.md): what it tells, and what is left of it on this computer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from encfs.audit.home import home
from encfs.audit.reading import read_log
from encfs.core.audit_verify import LogVerifier
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ExitCode, RegisterError, UsageError
from encfs.registers import scans
from encfs.registers.ledger import Ledger
from encfs.registers.scans import ScanCounts
from tests.support.command import Made, run
from tests.support.mounting import MountedVolume

PDF = b"%PDF-1.7\n"
SECRET = "Smith-John"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two likely files, one of them clinical, in a folder with the name of a patient; and one that is not."""
    place = tmp_path / "data" / SECRET
    place.mkdir(parents=True)
    (place / "letter.pdf").write_bytes(PDF)
    (place / "result").write_bytes(b"MSH|^~\\&|LAB|\r")
    (place / "notes.txt").write_bytes(b"things to buy")
    return tmp_path / "data"


def test_what_is_found(folder: Path) -> None:
    """Counts by kind, the folders, and 3; nothing found is 0."""
    result = run("scan", folder, "--json")
    assert result.code == ExitCode.FINDINGS
    (root,) = result.json["roots"]
    assert (root["path"], root["watched"], root["inside"]) == (str(folder), False, None)
    assert root["outside"]["kinds"] == {"document": 1, "hl7": 1}
    assert (root["outside"]["files"], root["outside"]["clinical"], root["looked_at"]) == (2, 1, 3)
    assert [one["path"] for one in root["top"]] == [str(folder / SECRET)]
    (folder / "empty").mkdir()
    nothing = run("scan", folder / "empty")
    assert (nothing.code, "nothing likely was found" in nothing.out) == (ExitCode.OK, True)
    assert run("scan", folder, "--exclude", SECRET).code == ExitCode.OK
    text = run("scan", folder).out
    assert all(words in text for words in ("2 likely files", "1 say so themselves", str(folder / SECRET)))


def test_nothing_is_kept_but_counts(folder: Path, host_memory: Path) -> None:
    """No file of this computer has the name of what was scanned, not even the sealed log when it is opened."""
    assert run("scan", folder / SECRET).code == ExitCode.FINDINGS
    kept = [path.read_bytes() for path in host_memory.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in content or b"letter" in content for content in kept)
    last = scans.scans().elsewhere
    assert last is not None
    assert (last.counts.files, last.counts.clinical, last.counts.kinds) == (2, 1, {"document": 1, "hl7": 1})
    with home() as here:
        bodies = [taken.body for taken in read_log(here, LogVerifier(CLOAKFS_1, here.auditor_key()))]
    (record,) = [body for body in bodies if body is not None and body.action == "scan"]
    assert (record.detail["files"], record.detail["clinical"]) == (2, 1)
    assert SECRET not in repr(bodies)


def test_the_scanned_files_are_as_they_were(folder: Path) -> None:
    """Neither what they hold nor any of their times is changed."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in paths:
        os.utime(path, (5, 6))
    before = [(path.read_bytes(), os.utime(path, (5, 6))) for path in paths]
    stats = [path.stat() for path in paths]
    run("scan", folder)
    assert [(one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns) for one in map(Path.stat, paths)] == [
        (one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns) for one in stats
    ]
    assert [path.read_bytes() for path in paths] == [content for content, _ in before]


def test_watched_directories(folder: Path) -> None:
    """Named once, they are scanned where none is named, and are in the inventory, until they are forgotten."""
    assert run("scan").code == ExitCode.USAGE
    assert run("scan", "--watch", folder).code == ExitCode.FINDINGS
    assert [(one["path"], one["watched"]) for one in run("scan", "--json").json["roots"]] == [(str(folder), True)]
    (watched,) = run("inventory", "--json").json["watched"]
    assert (watched["path"], watched["covered"], watched["scan"]["outside"]) == (str(folder), 0, 2)
    assert run("scan", "--watch", folder).code == ExitCode.FINDINGS
    assert [entry.kind for entry in Ledger("scans").entries()] == ["watch", "scan", "scan", "scan"]
    assert run("scan", "--forget", folder, "--json").json == {"forgotten": [str(folder)]}
    assert run("scan", "--forget", folder).code == ExitCode.USAGE
    assert run("inventory", "--json").json["watched"] == []


def test_a_call_that_makes_no_sense(folder: Path) -> None:
    """A file, nothing, both options: said, and nothing is written down."""
    for arguments in (["--watch"], ["--watch", "--forget", folder], [folder / SECRET / "notes.txt"], [folder / "no"]):
        result = run("scan", *arguments)
        assert (result.code, result.err.startswith("cloakfs: ")) == (ExitCode.USAGE, True)
    assert Ledger("scans").entries() == []


@pytest.mark.mount
def test_inside_and_outside(mounted: MountedVolume) -> None:
    """Of a watched directory: what lies in an open volume is covered, its sealed files are not looked at."""
    (mounted.path / "letter.pdf").write_bytes(PDF)
    (mounted.path.parent / "copy.pdf").write_bytes(PDF)
    root = mounted.path.parent
    (found,) = run("scan", "--watch", root, "--json").json["roots"]
    assert (found["outside"]["kinds"], found["inside"]["kinds"]) == ({"document": 1}, {"document": 1})
    assert found["left_out"]["volume"] == 1
    assert run("inventory", "--json").json["watched"][0]["covered"] == 50
    run("scan", "--forget", root)
    (other,) = run("scan", root, "--json", "--across").json["roots"]
    assert (other["inside"], other["left_out"]) == (None, {"mount": 1, "volume": 1})


def test_a_locked_volume_is_left_out(volume: Made) -> None:
    """Sealed files are no likely files."""
    (root,) = run("scan", volume.path, "--json").json["roots"]
    assert (root["outside"]["files"], root["left_out"]) == (0, {"volume": 1})


def test_a_damaged_register(folder: Path, host_memory: Path) -> None:
    """It is said before anything is scanned, with what to do, also by doctor; it stays as it is."""
    run("scan", "--watch", folder)
    register = host_memory / "registers/scans"
    damaged = register.read_bytes().replace(b'"files":2', b'"files":1')
    assert damaged != register.read_bytes()
    register.write_bytes(damaged)
    result = run("scan", folder)
    assert (result.code, "Restore registers/scans" in result.err) == (ExitCode.AUDIT, True)
    assert run("inventory").code == ExitCode.AUDIT
    assert register.read_bytes() == damaged
    assert "register" in {check["code"] for check in json.loads(run("doctor", "--json").out)["checks"]}


def test_the_register(tmp_path: Path) -> None:
    """What was counted comes back; a path that is no UTF-8 too; what does not fit is damage."""
    counts = ScanCounts(
        files=1,
        clinical=1,
        bytes=5,
        inside=0,
        kinds={"hl7": 1},
        ages={"year": 1},
        looked_at=3,
        folders=2,
        unreadable=0,
        left_out=0,
        disk="plain",
    )
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff%")
    scans.watch(path)
    scans.note(path, counts)
    scans.note("", counts)
    found = scans.scans()
    assert found.watched[path].last is not None
    assert found.watched[path].last.counts == counts
    assert found.elsewhere is not None
    with pytest.raises(UsageError):
        scans.forget("/nowhere")
    scans.note("/srv/not-watched", counts)
    assert list(scans.scans().watched) == [path]
    Ledger("scans").append("forget", {"path": "/nowhere"})
    with pytest.raises(RegisterError):
        scans.scans()
