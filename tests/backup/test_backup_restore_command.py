"""``cloakfs restore`` into a directory: where it goes, what it asks, what it says (FORMAT.md 18)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.backup.manifest import Manifest
from encfs.errors import ExitCode, NotEmptyError, NotFoundError, UsageError
from encfs.format.backup import Taken
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume
from encfs.volume.source import VolumeSource
from tests.cli.test_audit_command import recorded
from tests.support import rich_trees
from tests.support.mounting import SECRET, MountedVolume, is_mounted
from tests.support.pty_session import PtySession
from tests.support.restores import HERE, PROGRAM, Keeper
from tests.support.rich_trees import walked
from tests.support.tree_backups import KEY, PLAN
from tests.support.volumes import RECOVERY_KEY, pattern

LETTER = "letters/2026/a.txt"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """A run as restic has one."""
    made = Keeper(tmp_path / "backup")
    rich_trees.make(made.backup.tree)
    made.backup.take()
    return made


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedVolume]:
    """A mounted, empty volume; afterwards neither mount nor process nor finding is left."""
    base = tmp_path / "base"
    base.mkdir()
    made = MountedVolume(base)
    made.mount()
    try:
        yield made
    finally:
        made.finish()


# -- into a mounted volume ---------------------------------------------------------------------------------------------


@pytest.mark.mount
def test_a_file_goes_back_where_it_was(
    keeper: Keeper, mounted: MountedVolume, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --to it goes into the volume, at its place; the log says so without its name."""
    assert keeper.run(mounted.lower, LETTER) is ExitCode.OK
    there = mounted.path / LETTER
    assert there.read_bytes() == b"Dear colleague\n"
    wanted = (keeper.backup.tree / LETTER).stat()
    assert (there.stat().st_mtime_ns, there.stat().st_mode) == (wanted.st_mtime_ns, wanted.st_mode)
    assert not (mounted.path / "sparse.img").exists()
    said = capsys.readouterr().out
    assert f"Restored 1 file, 2 folders (15 B) to {mounted.path}." in said
    # The path as a file manager has it means the same.
    assert keeper.run(mounted.path, mounted.path / LETTER, "--keep", "--json") is ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["already"], told["into"], told["whole"]) == (1, 1, "volume", True)
    records = [one for one in recorded() if one["action"] == "backup.restore"]
    assert [one["outcome"] for one in records] == ["begun", "done"] * 2
    assert records[1]["detail"] == {
        "plan": PLAN,
        "run": keeper.backup.runs()[-1].run,
        "into": "volume",
        "whole": 0,
        "files": 1,
        "bytes": 15,
        "failed": 0,
    }
    assert "letters" not in json.dumps(records)


@pytest.mark.mount
def test_everything_into_a_folder_of_the_volume(keeper: Keeper, mounted: MountedVolume) -> None:
    """--to with a directory that is not there yet: all of it, with all that it has."""
    assert keeper.run(mounted.lower, "--to", mounted.path / "restored") is ExitCode.OK
    assert walked(mounted.path / "restored") == walked(keeper.backup.tree)


@pytest.mark.mount
def test_a_volume_that_is_locked_meanwhile(keeper: Keeper, mounted: MountedVolume) -> None:
    """With force, before a file of its top: nothing goes in plain text to the directory below; it goes on later."""
    arguments = (mounted.lower, "--keep")
    done = keeper.process(*arguments, LOCK_AT="5", LOCK=str(mounted.path))
    assert done.code not in (ExitCode.OK, ExitCode.FINDINGS), done.err
    assert f"{mounted.path}: transport endpoint is not connected" in done.err
    assert "the same command goes on with it" in done.err
    assert "/proc/" not in done.err
    assert not is_mounted(mounted.path)
    assert os.listdir(mounted.path) == []
    mounted.mount()
    assert keeper.run(*arguments) is ExitCode.OK
    assert (mounted.path / "letters/2026/long.bin").read_bytes() == pattern(2_500_001)


def test_a_volume_that_is_not_mounted(keeper: Keeper, tmp_path: Path) -> None:
    """There is no place by itself then; nor with a bare target."""
    with pytest.raises(UsageError, match="not mounted"):
        keeper.run(tmp_path / "p.vault", LETTER)
    with pytest.raises(UsageError, match="say where"):
        keeper.run("--from", "/media/x", LETTER)
    assert keeper.asked == []


# -- what is there already ---------------------------------------------------------------------------------------------


def _there(to: Path) -> Path:
    path = to / LETTER
    path.parent.mkdir(parents=True)
    path.write_bytes(b"what Anna wrote since")
    return path


def test_what_is_there_stays_unless_somebody_says_yes(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal it is refused, with how many; --keep restores the rest; --yes replaces."""
    to = tmp_path / "to"
    there = _there(to)
    with pytest.raises(NotEmptyError, match="1 file is there already") as found:
        keeper.run("v", "--to", to, "--plain")
    assert found.value.exit_code == ExitCode.NOT_EMPTY
    assert (there.read_bytes(), sorted(os.listdir(to))) == (b"what Anna wrote since", ["letters"])
    assert keeper.run("v", "--to", to, "--plain", "--keep", "--json") is ExitCode.FINDINGS
    assert there.read_bytes() == b"what Anna wrote since"
    told = json.loads(capsys.readouterr().out)
    assert told["not_restored"] == [{"path": LETTER, "reason": "there is another one by that name, which stays"}]
    assert (to / "sparse.img").read_bytes() == (keeper.backup.tree / "sparse.img").read_bytes()
    assert keeper.run("v", "--to", to, "--plain", "--yes") is ExitCode.OK
    assert there.read_bytes() == b"Dear colleague\n"
    assert [one["outcome"] for one in recorded() if one["action"] == "backup.restore"] == [
        *("begun", "failed", "begun", "failed", "begun", "done")
    ]


@pytest.mark.parametrize(
    ("answer", "code", "content"),
    [
        ("yes", ExitCode.OK, b"Dear colleague\n"),
        ("keep", ExitCode.FINDINGS, b"what Anna wrote since"),
        ("y", ExitCode.INTERRUPTED, b"what Anna wrote since"),
    ],
)
def test_the_question(keeper: Keeper, tmp_path: Path, answer: str, code: ExitCode, content: bytes) -> None:
    """On a terminal it is typed out; anything but the two words ends it."""
    there = _there(tmp_path / "to")
    program = (sys.executable, *PROGRAM, *keeper.words, "v", LETTER, "--to", str(tmp_path / "to"), "--plain")
    with PtySession(program=program, cwd=HERE) as session:
        session.expect("1 file is there already")
        session.answer('Type "keep" or "yes": ', answer)
        assert session.end() == code
    assert there.read_bytes() == content


# -- plain text on a bare disk -----------------------------------------------------------------------------------------


def test_not_in_plain_text_on_a_disk(keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of a mounted volume it is refused before the backup is opened; --plain says that it is meant."""
    to = tmp_path / "to"
    with pytest.raises(UsageError, match="not in a mounted volume"):
        keeper.run("v", LETTER, "--to", to)
    assert (keeper.asked, to.exists()) == ([], False)
    assert keeper.run("v", LETTER, "--to", to, "--plain", "--json") is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["into"] == "plain"


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_plain_text_is_a_typed_yes(keeper: Keeper, tmp_path: Path, answer: str) -> None:
    """Somebody who types yes gets it, with a reminder to delete it."""
    to = tmp_path / "to"
    with PtySession(program=(sys.executable, *PROGRAM, *keeper.words, "v", LETTER, "--to", str(to)), cwd=HERE) as one:
        one.answer('unencrypted all the same? Type "yes": ', answer)
        assert one.end() == (ExitCode.OK if answer == "yes" else ExitCode.INTERRUPTED)
        assert ("in plain text. Delete it" in one.text) == (answer == "yes")
    assert (to / LETTER).exists() == (answer == "yes")


def test_never_into_the_sealed_directory(keeper: Keeper, tmp_path: Path) -> None:
    """Plain files among the sealed ones: refused whatever is said."""
    Volume.create(os.fsencode(tmp_path / "volume"), secret=SECRET)
    before = sorted(os.listdir(tmp_path / "volume"))
    for to in (tmp_path / "volume", tmp_path / "volume/new"):
        with pytest.raises(UsageError, match="only sealed files"):
            keeper.run("v", LETTER, "--to", to, "--plain", "--yes")
    assert sorted(os.listdir(tmp_path / "volume")) == before


# -- which run ---------------------------------------------------------------------------------------------------------


def test_as_of_a_time(keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest run that had begun by the end of that day; or the one with an id, or how it begins."""
    old = keeper.backup.take(at=1_790_000_000)  # 2026-09-21
    older = keeper.backup.take(at=1_780_000_000)  # 2026-05-28
    wanted = {
        ("--as-of", "2026-09-22"): old,
        ("--as-of", "2026-09-20"): older,
        ("--run", older[:13]): older,
        (): keeper.backup.runs()[-1].run,
    }
    for number, (which, run) in enumerate(wanted.items()):
        assert keeper.run("v", LETTER, "--to", tmp_path / f"{number}", "--plain", "--json", *which) is ExitCode.OK
        assert json.loads(capsys.readouterr().out)["run"] == run
    with pytest.raises(Exception, match=r"no backup that old.*2026-05-28") as found:
        keeper.run("v", "--to", tmp_path / "x", "--plain", "--as-of", "2026-05-01")
    assert getattr(found.value, "exit_code", None) == ExitCode.BACKUP
    for run in ("ffff", "0000"):
        with pytest.raises(UsageError, match="run that begins so"):
            keeper.run("v", "--to", tmp_path / "x", "--plain", "--run", run)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("v", "--run", "x", "--as-of", "30d", "--to", "/tmp"),
        ("v", "--as-of", "yesterday", "--to", "/tmp", "--plain"),
        ("v", "--to", "/tmp", "--new-volume", "/tmp/x"),
        ("v", "--to", "/tmp", "--plain", "--yes", "--keep"),
        ("v", "--to", "/tmp", "--plain", "--no-recovery"),
        ("--from", "/media/x", "--target", "y", "--to", "/tmp", "--plain"),
        ("--from", "/media/x", "--sheet", "--to", "/tmp", "--plain"),
    ],
)
def test_what_makes_no_sense(keeper: Keeper, arguments: Sequence[str]) -> None:
    """Refused before the backup is looked for; the last one because there is nobody to type."""
    with pytest.raises(UsageError):
        keeper.run(*arguments)
    assert keeper.asked == []


def test_with_nothing_but_the_sheet(keeper: Keeper, tmp_path: Path) -> None:
    """The key of the sheet opens it, and no other one does."""
    sheet, to = tmp_path / "sheet", tmp_path / "to"
    sheet.touch(0o600)
    arguments = ("--from", "/media/x", LETTER, "--sheet", "--recovery-file", sheet, "--to", to, "--plain")
    sheet.write_text(encode_recovery_key(bytes(32)))
    with pytest.raises(Exception, match="does not open"):
        keeper.run(*arguments)
    assert not to.exists()
    sheet.write_text(encode_recovery_key(KEY))
    assert keeper.run(*arguments) is ExitCode.OK
    assert (to / LETTER).read_bytes() == b"Dear colleague\n"


# -- what does not come back -------------------------------------------------------------------------------------------


def test_damage_is_listed_and_is_exit_status_3(keeper: Keeper, tmp_path: Path) -> None:
    """One bit in the backup: that file is named, and is not there; all others are."""
    with open(keeper.backup.tree / "sparse.img", "r+b") as file:
        file.write(b"H")
    done = keeper.process("v", "--to", tmp_path / "to", "--plain")
    assert done.code == ExitCode.FINDINGS
    assert "not restored: sparse.img: what is in the backup is not what was taken" in done.err
    assert "1 entry was not restored" in done.err
    assert not (tmp_path / "to/sparse.img").exists()
    assert (tmp_path / "to" / LETTER).read_bytes() == b"Dear colleague\n"


def test_a_path_that_is_not_in_the_backup(keeper: Keeper, tmp_path: Path) -> None:
    """Said by its name, before anything is made."""
    with pytest.raises(NotFoundError, match="letters/none"):
        keeper.run("v", "letters/none", "--to", tmp_path / "to", "--plain")
    assert not (tmp_path / "to").exists()


def test_what_the_run_lacks_is_said(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing: exit status 3. Older and live: restored, and told. Each only where it was asked for."""
    taken = {b"sparse.img": Taken.MISSING, LETTER.encode(): Taken.OLDER, b"letters/2026/long.bin": Taken.LIVE}
    whole = keeper.backup.manifest(keeper.backup.runs()[-1].run)
    monkeypatch.setattr(keeper.backup, "manifest", lambda _: _marked(whole, taken))
    assert keeper.run("v", "--to", tmp_path / "all", "--plain", "--json") is ExitCode.FINDINGS
    told = json.loads(capsys.readouterr().out)
    assert (told["missing"], told["older"], told["live"]) == (["sparse.img"], [LETTER], ["letters/2026/long.bin"])
    assert (told["whole"], told["not_restored"]) == (False, [])
    assert keeper.run("v", "letters", "--to", tmp_path / "some", "--plain") is ExitCode.OK
    said = capsys.readouterr().err
    assert f"{LETTER}: written to all the time" in said
    assert "letters/2026/long.bin: written to while the backup was made" in said


def _marked(manifest: Manifest, taken: Mapping[bytes, Taken]) -> Manifest:
    """The same, with files that were written to all the time."""
    items = []
    for one in manifest.items:
        how = taken.get(one.path, one.taken)
        digest, size = (b"", 0) if how is Taken.MISSING else (one.digest, one.size)
        items.append(replace(one, taken=how, digest=digest, size=size))
    return replace(manifest, items=tuple(items))


# -- broken off --------------------------------------------------------------------------------------------------------


def test_a_target_that_goes_away_and_comes_back(keeper: Keeper, tmp_path: Path) -> None:
    """It says so; what is there is whole; the same command goes on."""
    gone, to = tmp_path / "gone", tmp_path / "to"
    arguments = ("v", "--to", to, "--plain", "--keep")
    done = keeper.process(*arguments, GONE_AT="1000000", GONE_TO=str(gone))
    assert done.code == ExitCode.BACKUP, done.err
    assert "the target is gone" in done.err
    assert "What is restored by now is whole; the same command goes on with it." in done.err
    _is_whole_so_far(to, gone / "tree")
    gone.rename(keeper.backup.base)
    assert keeper.run(*arguments) is ExitCode.OK
    _is_all_there(to, keeper)


def test_ctrl_c_and_again(keeper: Keeper, tmp_path: Path) -> None:
    """As above; nothing temporary is left."""
    to = tmp_path / "to"
    arguments = ("v", "--to", to, "--plain", "--keep")
    done = keeper.process(*arguments, STOP_AT="1000000")
    assert done.code == ExitCode.INTERRUPTED
    assert "the same command goes on with it" in done.err
    _is_whole_so_far(to, keeper.backup.tree)
    assert [one["outcome"] for one in recorded() if one["action"] == "backup.restore"] == ["begun", "failed"]
    assert keeper.run(*arguments) is ExitCode.OK
    _is_all_there(to, keeper)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small filesystem")
def test_a_full_disk(keeper: Keeper, tmp_path: Path) -> None:
    """It is told before and when it happens; with more room the same command goes on."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        arguments = ("v", "--to", small / "to", "--plain", "--keep")
        done = keeper.process(*arguments)
        assert done.code == ExitCode.LOWER_IO
        assert "there is room for" in done.err
        assert "no space left on device" in done.err
        _is_whole_so_far(small / "to", keeper.backup.tree)
        subprocess.run(["mount", "-o", "remount,size=32m", str(small)], check=True)
        assert keeper.process(*arguments).code == ExitCode.OK
        _is_all_there(small / "to", keeper)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _is_whole_so_far(to: Path, tree: Path) -> None:
    for path in to.rglob("*"):
        assert not path.name.endswith(".part")
        if path.is_file() and not path.is_symlink():
            assert path.read_bytes() == (tree / path.relative_to(to)).read_bytes()


def _is_all_there(to: Path, keeper: Keeper) -> None:
    """All but the times of folders that were there before."""
    found, wanted = walked(to), walked(keeper.backup.tree)
    assert found.keys() == wanted.keys()
    for path, one in wanted.items():
        if path and found[path].content != b"":
            assert found[path] == one


# -- a sealed copy -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Keeper:
    """A run of ``copy``: three files in a volume."""
    made = Keeper(tmp_path / "sealed", sealed=True)
    made.backup.base.mkdir()
    Volume.create(os.fsencode(made.backup.tree), secret=SECRET, recovery_key=RECOVERY_KEY)
    _write(made, b"first")
    made.backup.take()
    return made


def _write(keeper: Keeper, word: bytes) -> None:
    with Volume.unlock(os.fsencode(keeper.backup.tree), SECRET) as volume:
        if not any(entry.name == b"letters" for entry in volume.list_directory()):
            volume.make_directory(b"letters", 0o750)
        for name in (b"letters/a.txt", b"letters/b.txt", b"c.bin"):
            volume.write_file(name, word + name + pattern(9000, 3))


def _lower(keeper: Keeper, path: bytes) -> Path:
    with Volume.unlock(os.fsencode(keeper.backup.tree), SECRET, read_only=True) as volume:
        return keeper.backup.tree / os.fsdecode(VolumeSource(volume).sealed_path(path))


def test_plain_files_out_of_a_sealed_copy(sealed: Keeper, tmp_path: Path) -> None:
    """It is opened, and each file is held against the manifest first."""
    assert sealed.run("v", "letters", "--to", tmp_path / "to", "--plain") is ExitCode.OK
    assert (tmp_path / "to/letters/a.txt").read_bytes() == b"firstletters/a.txt" + pattern(9000, 3)
    assert sorted(path.name for path in (tmp_path / "to").rglob("*")) == ["a.txt", "b.txt", "letters"]


def test_an_older_file_in_a_newer_backup_is_refused(
    sealed: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens, because it is of the same volume; but it is not what was taken."""
    lower = _lower(sealed, b"letters/a.txt")
    shutil.copy(lower, tmp_path / "older")
    _write(sealed, b"second")
    sealed.backup.take()
    shutil.copy(tmp_path / "older", lower)
    with Volume.unlock(os.fsencode(sealed.backup.tree), SECRET, read_only=True) as volume:
        assert b"".join(volume.read_file(b"letters/a.txt")).startswith(b"first")
    assert sealed.run("v", "--to", tmp_path / "to", "--plain", "--json") is ExitCode.FINDINGS
    told = json.loads(capsys.readouterr().out)
    assert told["not_restored"] == [{"path": "letters/a.txt", "reason": "what is in the backup is not what was taken"}]
    assert not (tmp_path / "to/letters/a.txt").exists()
    assert (tmp_path / "to/letters/b.txt").read_bytes().startswith(b"second")
