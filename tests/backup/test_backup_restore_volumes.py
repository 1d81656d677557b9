"""``cloakfs restore --new-volume``: after a fire, on a computer that has nothing else (FORMAT.md 18)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.backup import putting_back, unfinished
from encfs.errors import BackupError, ExitCode, NotEmptyError, UsageError
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume, read_config
from encfs.volume.source import VolumeSource
from tests.cli.test_audit_command import recorded
from tests.support import rich_trees
from tests.support.command import CHEAP, run
from tests.support.mounting import SECRET, is_mounted
from tests.support.restores import Keeper
from tests.support.rich_trees import walked
from tests.support.tree_backups import KEY
from tests.support.volumes import RECOVERY_KEY, pattern

PASSPHRASE = "four unrelated words here"


@pytest.fixture
def new_secret(tmp_path: Path) -> Path:
    """A file with the passphrase of the new volume."""
    path = tmp_path / "new-passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """A run as restic has one."""
    made = Keeper(tmp_path / "backup")
    rich_trees.make(made.backup.tree)
    made.backup.take()
    return made


def _new(path: Path, secret: Path) -> tuple[str | Path, ...]:
    return ("--new-volume", path, "--new-passphrase-file", secret, "--no-recovery", *CHEAP)


@contextmanager
def _mounted(volume: Path, secret: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    assert run("mount", volume, at, "--passphrase-file", secret, "--log", f"{at}.log").code == 0
    try:
        yield at
    finally:
        assert run("lock", at).code == 0
        assert not is_mounted(at)


def _is_off(volume: Path) -> None:
    """No mount, no directory for one, and the volume was closed cleanly."""
    volume_id = read_config(os.fsencode(volume)).volume_id.hex()
    text = Path("/proc/self/mountinfo").read_text()
    assert volume_id not in text
    assert str(volume) not in text
    for base in (Path("/run/cloakfs"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"))):
        assert not list(base.glob(f"restore-{volume_id}"))


# -- with keys of its own ----------------------------------------------------------------------------------------------


@pytest.mark.mount
def test_a_new_volume_with_nothing_but_the_sheet(
    keeper: Keeper, tmp_path: Path, new_secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that was backed up is in it, with all that it has; nothing is mounted afterwards, and nothing was plain."""
    sheet, made = tmp_path / "sheet", tmp_path / "new.vault"
    sheet.touch(0o600)
    sheet.write_text(encode_recovery_key(KEY))
    assert keeper.run("--from", "/media/x", "--sheet", "--recovery-file", sheet, *_new(made, new_secret)) is ExitCode.OK
    said = capsys.readouterr()
    assert f"Next: cloakfs mount {made} MOUNTPOINT" in said.out
    assert "not kept there" not in said.out
    _is_off(made)
    with _mounted(made, new_secret, tmp_path / "mnt") as there:
        assert walked(there) == walked(keeper.backup.tree)
    assert run("verify", made, "--passphrase-file", new_secret).code == 0
    assert unfinished.begun(unfinished.of_volume(read_config(os.fsencode(made)).volume_id)) is None
    ends = [one for one in recorded() if one["action"] == "backup.restore"]
    assert [(one["outcome"], one["detail"]["into"]) for one in ends] == [
        ("begun", "new-volume"),
        ("done", "new-volume"),
    ]


@pytest.mark.slow
@pytest.mark.mount
def test_a_restore_that_was_broken_off_goes_on(keeper: Keeper, tmp_path: Path, new_secret: Path) -> None:
    """Ctrl-C, then kill -9 in a file: the same command takes the mount off that was left, and finishes."""
    made = tmp_path / "new.vault"
    arguments = ("v", *_new(made, new_secret))
    stopped = keeper.process(*arguments, STOP_AT="1000000")
    assert stopped.code == ExitCode.INTERRUPTED, stopped.err
    assert "the same command goes on with it" in stopped.err
    _is_off(made)
    assert keeper.process(*arguments, DIE_AT="1000000").code == -signal.SIGKILL
    run_id = keeper.backup.runs()[-1].run
    begun = unfinished.begun(unfinished.of_volume(read_config(os.fsencode(made)).volume_id))
    assert begun is not None
    assert begun.run == run_id
    # A backup that was made meanwhile is not mixed into it.
    (keeper.backup.tree / "later").write_bytes(b"later")
    keeper.backup.take()
    done = keeper.process(*arguments, "--json")
    assert done.code == ExitCode.OK, done.err
    assert "Going on with the restore" in done.err
    assert (done.json["run"], done.json["whole"]) == (run_id, True)
    _is_off(made)
    (keeper.backup.tree / "later").unlink()
    with _mounted(made, new_secret, tmp_path / "mnt") as there:
        found, wanted = walked(there), walked(keeper.backup.tree)
        del found[b""], wanted[b""]  # Its time is that of the file that came and went.
        assert found == wanted
    # Now it is a volume as any other, and nothing is restored over it.
    assert keeper.process(*arguments).code == ExitCode.NOT_EMPTY


@pytest.mark.mount
def test_some_of_a_sealed_copy(sealed: Keeper, tmp_path: Path, new_secret: Path) -> None:
    """A part of it, or --new-keys: a new volume; what opened the old one does not open it."""
    made = tmp_path / "new.vault"
    assert sealed.run("v", "letters", *_new(made, new_secret)) is ExitCode.OK
    with Volume.unlock(os.fsencode(made), PASSPHRASE.encode(), read_only=True) as volume:
        assert [entry.name for entry in volume.list_directory()] == [b"letters"]
        assert b"".join(volume.read_file(b"letters/a.txt")) == b"first letter" + pattern(9000, 3)
    assert run("cat", made, "letters/a.txt", "--passphrase-file", _old_secret(tmp_path)).code == ExitCode.WRONG_SECRET


def test_before_anything_is_made(keeper: Keeper, tmp_path: Path, new_secret: Path) -> None:
    """Nobody to ask, something in the way, no place for the recovery key: refused, and nothing is there."""
    made = tmp_path / "new.vault"
    with pytest.raises(UsageError, match="a passphrase for the new volume"):
        keeper.run("v", "--new-volume", made)
    with pytest.raises(UsageError, match="recovery key"):
        keeper.run("v", "--new-volume", made, "--new-passphrase-file", new_secret)
    made.mkdir()
    (made / "mine").write_bytes(b"mine")
    with pytest.raises(NotEmptyError):
        keeper.run("v", *_new(made, new_secret))
    assert os.listdir(made) == ["mine"]


# -- the very same volume ----------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Keeper:
    """A run of ``copy``: two letters in a volume that this computer has used."""
    made = Keeper(tmp_path / "sealed", sealed=True)
    made.backup.base.mkdir()
    tree = os.fsencode(made.backup.tree)
    config = Volume.create(tree, secret=SECRET, recovery_key=RECOVERY_KEY)
    made.backup.volume = config.volume_id.hex()
    with Volume.unlock(tree, SECRET) as volume:
        volume.make_directory(b"letters", 0o750)
        for name in (b"letters/a.txt", b"letters/b.txt"):
            volume.write_file(name, b"first letter" + pattern(9000, 3))
        volume.write_file(b"picture.bin", pattern(300_000))
    made.backup.take()
    return made


def _old_secret(tmp_path: Path) -> Path:
    path = tmp_path / "old-passphrase"
    path.touch(0o600)
    path.write_bytes(SECRET)
    return path


def test_after_a_fire(sealed: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On another computer: the volume is back as it was, with no key at all, and opens with what opened it."""
    made = tmp_path / "back.vault"
    assert sealed.run("--from", "/media/x", "--new-volume", made) is ExitCode.OK
    said = capsys.readouterr().out
    assert "It opens with: passphrase, recovery key.\n" in said
    assert f"Next: cloakfs mount {made} MOUNTPOINT" in said
    assert walked(made) == walked(sealed.backup.tree)
    assert not Path(f"{made}.restoring").exists()
    done = run("cat", made, "letters/a.txt", "--passphrase-file", _old_secret(tmp_path))
    assert (done.code, done.out[:12]) == (0, "first letter")
    ends = [one for one in recorded() if one["action"] == "backup.restore"]
    assert [(one["outcome"], one["detail"]["into"]) for one in ends] == [
        ("begun", "same-volume"),
        ("done", "same-volume"),
    ]


@pytest.mark.mount
def test_where_newer_state_was_seen(sealed: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the computer that used it: it is told that ``cloakfs accept`` is next, which is needed, and is enough."""
    live, secret = tmp_path / "live.vault", ("--passphrase-file", _old_secret(tmp_path))
    shutil.copytree(sealed.backup.tree, live)
    assert run("cat", live, "letters/a.txt", *secret).code == 0
    at = tmp_path / "mnt"
    with _mounted(live, secret[1], at) as there:
        (there / "letters/a.txt").write_bytes(b"second letter")
    at.rmdir()
    made = tmp_path / "back.vault"
    assert sealed.run("v", "--new-volume", made) is ExitCode.OK
    said = capsys.readouterr().out
    assert "This computer has seen newer state of it" in said
    assert f"Next: cloakfs accept {made}\n" in said
    at.mkdir()
    assert run("mount", made, at, *secret).code == ExitCode.ROLLBACK
    at.rmdir()
    assert run("accept", made, "--reason", "after the fire", "--yes", *secret).code == 0
    with _mounted(made, secret[1], at) as there:
        assert (there / "letters/a.txt").read_bytes().startswith(b"first letter")


def test_a_killed_one_goes_on_and_is_no_mixture(sealed: Keeper, tmp_path: Path) -> None:
    """kill -9: nothing is at its place; the next try, of another run, has nothing of the first."""
    made = tmp_path / "back.vault"
    done = sealed.process("v", "--new-volume", made, DIE_AT="200000")
    assert done.code == -signal.SIGKILL, done.err
    work = Path(f"{made}.restoring")
    assert not made.exists()
    assert work.is_dir()
    left = _first_file(work)
    tree = sealed.backup.tree
    with Volume.unlock(os.fsencode(tree), SECRET) as volume:
        gone = os.fsdecode(VolumeSource(volume).sealed_path(b"letters/b.txt"))
        volume.remove(b"letters/b.txt")
        volume.write_file(b"letters/new.txt", b"new")
    sealed.backup.take()
    (work / gone).parent.mkdir(exist_ok=True, parents=True)
    (work / gone).write_bytes(b"of the run before")
    assert left.exists()
    assert sealed.run("v", "--new-volume", made) is ExitCode.OK
    assert walked(made) == walked(tree)
    assert not work.exists()


def test_a_directory_of_somebody_else_is_no_leftover(sealed: Keeper, tmp_path: Path) -> None:
    """By the name that an unfinished volume would have: nothing is taken away there."""
    other = tmp_path / "back.vault.restoring"
    other.mkdir()
    (other / "mine").write_bytes(b"mine")
    with pytest.raises(NotEmptyError, match="no restore here has begun"):
        sealed.run("v", "--new-volume", tmp_path / "back.vault")
    assert (other / "mine").read_bytes() == b"mine"


def _first_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_copy_with_a_key_of_its_own(sealed: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the backup's key opens it; it is said how it gets a passphrase again, and that works."""
    tree, secret = sealed.backup.tree, ("--passphrase-file", _old_secret(tmp_path))
    key = tmp_path / "sheet"
    key.touch(0o600)
    key.write_text(encode_recovery_key(RECOVERY_KEY))
    assert run("key", "remove", tree, "passphrase", "--yes", "--recovery-file", key).code == 0
    sealed.backup.take()
    made = tmp_path / "back.vault"
    assert sealed.run("v", "--new-volume", made) is ExitCode.OK
    assert f"Then give it a passphrase: cloakfs key add {made} --recovery\n" in capsys.readouterr().out
    new = ("--label", "passphrase", "--new-passphrase-file", secret[1], "--allow-weak", *CHEAP)
    assert run("key", "add", made, "--recovery-file", key, *new).code == 0
    assert run("cat", made, "letters/a.txt", *secret).code == 0


def test_damage_in_the_sealed_files(sealed: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is there; exit status 3, and verify is what comes next, which names it."""
    tree, made = sealed.backup.tree, tmp_path / "back.vault"
    with Volume.unlock(os.fsencode(tree), SECRET, read_only=True) as volume:
        lower = tree / os.fsdecode(VolumeSource(volume).sealed_path(b"letters/a.txt"))
    content = bytearray(lower.read_bytes())
    content[3000] ^= 1
    lower.write_bytes(content)
    assert sealed.run("v", "--new-volume", made) is ExitCode.FINDINGS
    said = capsys.readouterr()
    assert "1 entry was not restored" in said.err
    assert f"Next: cloakfs verify {made}" in said.out
    with Volume.unlock(os.fsencode(made), SECRET, read_only=True) as volume:
        assert [entry.name for entry in volume.list_directory(b"letters")] == [b"b.txt"]
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        (tree / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(BackupError, match="config of the volume is damaged"):
        sealed.run("v", "--new-volume", tmp_path / "other.vault")
    assert not (tmp_path / "other.vault").exists()


def test_nothing_is_overwritten(sealed: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is at its place, or comes there meanwhile, stays; an empty directory is taken."""
    made = tmp_path / "back.vault"
    made.mkdir()
    (made / "mine").write_bytes(b"mine")
    with pytest.raises(NotEmptyError):
        sealed.run("v", "--new-volume", made)
    with pytest.raises(UsageError, match="no directory above"):
        sealed.run("v", "--new-volume", tmp_path / "no/such")
    assert os.listdir(made) == ["mine"]
    other = tmp_path / "other.vault"
    with monkeypatch.context() as patch:
        patch.setattr(putting_back, "check_place", lambda _: other.mkdir() or (other / "x").write_bytes(b"x"))
        with pytest.raises(NotEmptyError, match="not there before"):
            sealed.run("v", "--new-volume", other)
    assert os.listdir(other) == ["x"]
    (other / "x").unlink()
    assert sealed.run("v", "--new-volume", other, "--json") is ExitCode.OK
    assert stat.S_ISDIR(other.stat().st_mode)
    assert json.dumps(sorted(os.listdir(other))) == json.dumps(sorted(os.listdir(sealed.backup.tree)))
