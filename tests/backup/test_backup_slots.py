"""A sealed copy that opens with the backup key alone (FORMAT.md 18, "Backup key", "What a host keeps")."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs import runtime
from encfs.backup import slots
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot
from encfs.errors import BackupError, ExitCode, WrongSecretError
from encfs.format.epochs import RotationReason
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.volume import Volume, read_config
from encfs.volume.keys import Keys
from encfs.volume.rotation import Rotator
from encfs.volume.steps import carry_out
from tests.support.mounting import SECRET, _argon2id_once
from tests.support.volumes import RECOVERY_KEY, LowerVolume, pattern, read, verify

PLAN = "0a" * 16
KEY = bytes(range(50, 82))
BACKUP = KnownSecret.of(SlotKind.RECOVERY, KEY)
CONFIGS = ("cloakfs.volume", "cloakfs.volume.bak")


@pytest.fixture
def lower(tmp_path: Path) -> Iterator[LowerVolume]:
    """A volume with a file in it, and the slot of a backup."""
    with _argon2id_once():
        volume = LowerVolume(tmp_path / "volume")
        with volume.unlock() as opened:
            opened.write_file(b"file", pattern(9000))
        with keys_of(volume) as keys:
            slots.make(PLAN, keys, KEY)
        yield volume


def keys_of(volume: LowerVolume) -> Keys:
    """Its slots, open."""
    return Keys(os.fsencode(volume.path), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY))


def place() -> Path:
    """Where the config is kept."""
    return runtime.state_directory() / "backup-slots" / PLAN


def current(volume: LowerVolume) -> bytes:
    """What a run takes."""
    return slots.current(PLAN, os.fsencode(volume.path))


def copy_of(volume: LowerVolume, to: Path) -> bytes:
    """The sealed tree as a run leaves it on its target."""
    shutil.copytree(volume.path, to)
    for name in CONFIGS:
        (to / name).write_bytes(current(volume))
    return os.fsencode(to)


def test_the_copy_opens_with_the_backup_key_alone(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: not with passphrase or recovery key of the volume; and the volume not with the backup key."""
    copy = copy_of(lower, tmp_path / "copy")
    with Volume.unlock(copy, BACKUP) as opened:
        assert read(opened, b"file") == pattern(9000)
        assert verify(opened)[1].clean
    for secret in (KnownSecret.of(SlotKind.PASSPHRASE, SECRET), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)):
        with pytest.raises(WrongSecretError):
            Volume.unlock(copy, secret)
        Volume.unlock(os.fsencode(lower.path), secret, read_only=True).close()
    with pytest.raises(WrongSecretError):
        Volume.unlock(os.fsencode(lower.path), BACKUP)


def test_the_config_has_one_slot_and_all_else_of_the_volume(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: one slot of kind recovery, the ids and keys of the volume; it lies in a file for its owner only."""
    config = read_config(copy_of(lower, tmp_path / "copy"))
    production = read_config(os.fsencode(lower.path))
    assert [(one.kind, one.label) for one in config.slots] == [("recovery", "backup key")]
    assert {one.id for one in config.slots}.isdisjoint(one.id for one in production.slots)
    for name in ("volume_id", "root_dir_id", "rk_id", "epochs", "metadata", "cell_size", "seq", "policy", "created"):
        assert getattr(config, name) == getattr(production, name)
    assert stat.S_IMODE(place().stat().st_mode) == 0o600
    assert stat.S_IMODE(place().parent.stat().st_mode) == 0o700
    assert KEY not in place().read_bytes()


def test_other_slots_do_not_matter(lower: LowerVolume) -> None:
    """FORMAT.md 18: whoever gets or loses a key of the volume changes nothing of the copies."""
    before = current(lower)
    new = NewSlot(kind=SlotKind.KEY_FILE, label="more", kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=bytes(32)))
    with keys_of(lower) as keys:
        keys.remove(keys.add(new, KnownSecret.of(SlotKind.KEY_FILE, bytes(32))))
    assert current(lower) == before


def test_other_keys_of_the_volume_are_noticed(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: after a rotation a run stops and says what to do; then the same backup key opens new copies."""
    old = copy_of(lower, tmp_path / "old")
    with keys_of(lower) as keys:
        keys.rotate(RotationReason.SCHEDULE)
    with pytest.raises(BackupError, match="keys of the volume were changed") as caught:
        current(lower)
    assert caught.value.exit_code == ExitCode.BACKUP
    assert "cloakfs backup key VOLUME --refresh" in caught.value.hint
    with keys_of(lower) as keys:
        assert slots.refresh(PLAN, keys)
        assert not slots.refresh(PLAN, keys)
    with lower.unlock() as opened:
        opened.write_file(b"new", pattern(100))
    for copy, names in ((old, [b"file"]), (copy_of(lower, tmp_path / "new"), [b"file", b"new"])):
        with Volume.unlock(copy, BACKUP, read_only=True) as opened:
            assert [entry.name for entry in opened.list_directory(b"")] == names
            assert read(opened, b"file") == pattern(9000)
    with pytest.raises(WrongSecretError):
        Volume.unlock(tmp_path.joinpath("new").as_posix().encode(), KnownSecret.of(SlotKind.PASSPHRASE, SECRET))


def test_it_goes_on_when_a_rotation_has_ended(lower: LowerVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: a config that has an epoch more than the volume opens everything in it, and is taken."""
    with keys_of(lower) as keys:
        keys.rotate(RotationReason.SCHEDULE)
        slots.refresh(PLAN, keys)
    before = current(lower)
    with lower.unlock() as opened:
        for step in Rotator(opened).run():
            carry_out(step)
    assert len(read_config(os.fsencode(lower.path)).epochs) == 1
    assert current(lower) == before
    with Volume.unlock(copy_of(lower, tmp_path / "copy"), BACKUP) as opened:
        assert read(opened, b"file") == pattern(9000)


@pytest.mark.parametrize(
    "damage", ["another public key", "another seal", "cut", "no line", "none", "of another volume"]
)
def test_what_is_kept_is_damaged(lower: LowerVolume, tmp_path: Path, damage: str) -> None:
    """FORMAT.md 18: a root key is sealed to no slot but the one that was made; it is told, with a way on."""
    content = place().read_bytes()
    other = LowerVolume(tmp_path / "other") if damage != "of another volume" else _stranger(tmp_path / "other")
    with keys_of(other) as keys:
        if damage == "of another volume":
            slots.make(PLAN, keys, KEY)
        elif damage.startswith("another"):
            slots.make("0b" * 16, keys, bytes(32))
            (lines, more) = (one.read_bytes().splitlines(True) for one in (place(), place().with_name("0b" * 16)))
            mixed = [*more[:3], lines[3]] if "public" in damage else [*lines[:3], more[3]]
            place().write_bytes(b"".join(mixed))
        elif damage == "none":
            slots.remove(PLAN)
            slots.remove(PLAN)
        else:
            place().write_bytes(
                content[: len(content) // 2] if damage == "cut" else content[: content.index(b"slot ", 1)]
            )
    with keys_of(lower) as keys, pytest.raises(BackupError) as caught:
        slots.refresh(PLAN, keys)
    assert "--import" in caught.value.hint


def _stranger(path: Path) -> LowerVolume:
    volume = LowerVolume(path)
    shutil.rmtree(path)
    Volume.create(os.fsencode(path), secret=SECRET, recovery_key=RECOVERY_KEY)
    return volume
