"""Backup keys as a computer keeps them, and that none of them opens the volume (FORMAT.md 18)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encfs import runtime
from encfs.backup import keys
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot
from encfs.errors import BackupError, ExitCode, UsageError
from encfs.format.key_file import encode_key_file
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.volume.keys import Keys
from encfs.volume.skeleton import minimal_kdf
from tests.support.mounting import _argon2id_once
from tests.support.volumes import RECOVERY_KEY, LowerVolume

PLAN, OTHER = "0a" * 16, "0b" * 16


def place(plan: str = PLAN) -> Path:
    """Where the key is."""
    return runtime.state_directory() / "backup-keys" / plan


def test_a_key_is_made_kept_and_removed() -> None:
    """FORMAT.md 18: 32 random bytes in a file of mode 0600, directory 0700; each plan has its own."""
    key, other = keys.make(PLAN), keys.make(OTHER)
    assert (len(key), key != other) == (32, True)
    assert (keys.read(PLAN), keys.read(OTHER)) == (key, other)
    assert stat.S_IMODE(place().stat().st_mode) == 0o600
    assert stat.S_IMODE(place().parent.stat().st_mode) == 0o700
    assert place().read_bytes().startswith(b"cloakfs-backup-key 1 ")
    assert sorted(os.listdir(place().parent)) == [PLAN, OTHER]
    keys.remove(PLAN)
    assert not keys.is_kept(PLAN)
    assert keys.read(OTHER) == other
    keys.remove(PLAN)


def test_a_key_that_is_there_is_never_replaced() -> None:
    """FORMAT.md 18: neither by a new one nor by one that is typed; the same one is no trouble."""
    key = keys.make(PLAN)
    with pytest.raises(UsageError):
        keys.make(PLAN)
    with pytest.raises(UsageError):
        keys.keep(PLAN, bytes(32))
    keys.keep(PLAN, key)
    assert keys.read(PLAN) == key


def test_a_key_is_overwritten_before_it_is_removed(tmp_path: Path) -> None:
    """FORMAT.md 18: what another name of the file still shows is zeros; what a broken-off write left goes too."""
    keys.make(PLAN)
    left = place().with_name(f".{PLAN}.0badc0de")
    left.write_bytes(b"half a key")
    for file in (place(), left):
        os.link(file, tmp_path / file.name)
    keys.remove(PLAN)
    assert os.listdir(place().parent) == []
    assert [(tmp_path / name).read_bytes().strip(b"\0") for name in (PLAN, left.name)] == [b"", b""]


def test_a_key_that_is_gone_is_told() -> None:
    """Exit status 31, and where the key is still: on the sheet."""
    with pytest.raises(BackupError, match="not on this computer") as caught:
        keys.read(PLAN)
    assert caught.value.exit_code == ExitCode.BACKUP
    assert "sheet" in caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(mode: int) -> None:
    """FORMAT.md 18: a key that group or world can touch is not used, and stays as it is."""
    keys.make(PLAN)
    before = place().read_bytes()
    place().chmod(mode)
    with pytest.raises(BackupError, match="other users") as caught:
        keys.read(PLAN)
    assert "chmod 600" in caught.value.hint
    assert place().read_bytes() == before


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit": lambda path: path.write_bytes(path.read_bytes().replace(b"cloakfs", b"bloakfs")),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "a key file": lambda path: path.write_bytes(encode_key_file(bytes(32))),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_key_is_told(name: str) -> None:
    """What is kept and is no key is never used as one; no byte of it is in the message."""
    keys.make(PLAN)
    DAMAGES[name](place())
    content = place().read_bytes()
    with pytest.raises(BackupError, match="damaged") as caught:
        keys.read(PLAN)
    assert content.decode()[19:30] not in str(caught.value) + caught.value.hint or not content


def test_a_link_or_a_stranger_in_its_place(tmp_path: Path) -> None:
    """Only a file of this user is read: no symlink, no FIFO that would be waited for, no other user's file."""
    key = keys.make(PLAN)
    place().rename(tmp_path / "key")
    place().symlink_to(tmp_path / "key")
    with pytest.raises(OSError, match="symbolic links"):
        keys.read(PLAN)
    place().unlink()
    os.mkfifo(place(), 0o600)
    with pytest.raises(BackupError, match="not a file of this user"):
        keys.read(PLAN)
    place().unlink()
    (tmp_path / "key").rename(place())
    assert keys.read(PLAN) == key
    if os.geteuid() == 0:
        os.chown(place(), 65534, 65534)
        with pytest.raises(BackupError, match="not a file of this user"):
            keys.read(PLAN)


def test_a_credential_of_systemd_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT.md 18: where systemd gives the key it needs no file; a damaged one is not passed over."""
    key = keys.make(PLAN)
    credential = tmp_path / f"cloakfs-backup-{PLAN}"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert keys.read(PLAN) == key
    credential.write_bytes(place().read_bytes())
    credential.chmod(0o440)
    keys.remove(PLAN)
    assert keys.is_kept(PLAN)
    assert keys.read(PLAN) == key
    credential.write_bytes(b"something else")
    with pytest.raises(BackupError, match="damaged"):
        keys.read(PLAN)
    with pytest.raises(BackupError, match="not on this computer"):
        keys.read(OTHER)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("systemd-creds") is None, reason="no credentials of systemd")
def test_a_credential_that_systemd_encrypts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/backup.md: what systemd-creds made of the file is the key again, for the service it is given to."""
    key, name = keys.make(PLAN), f"cloakfs-backup-{PLAN}"
    sealed, given = tmp_path / "sealed", tmp_path / name
    for what in (["encrypt", place(), sealed, "--with-key=host"], ["decrypt", sealed, given]):
        subprocess.run(["systemd-creds", *what, f"--name={name}"], check=True, capture_output=True)
    assert place().read_bytes().split()[2] not in sealed.read_bytes()
    keys.remove(PLAN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert keys.read(PLAN) == key


# -- a key that opens the volume -----------------------------------------------------------------------------------


KEY = bytes(range(50, 82))
TEXT = encode_recovery_key(KEY)


@pytest.fixture
def lower(tmp_path: Path) -> Iterator[LowerVolume]:
    """A volume; no passphrase is put through its derivation twice."""
    with _argon2id_once():
        yield LowerVolume(tmp_path / "volume")


def add(volume: LowerVolume, kind: SlotKind, secret: SlotSecret) -> None:
    """One slot more."""
    has_kdf = kind in (SlotKind.PASSPHRASE, SlotKind.PASSPHRASE_AND_KEY_FILE)
    new = NewSlot(kind=kind, label="new", kdf=minimal_kdf() if has_kdf else Kdf(KdfAlg.NONE), secret=secret)
    with Keys(os.fsencode(volume.path), KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)) as open_keys:
        open_keys.add(new, KnownSecret(kind, secret.passphrase, secret.key))


def test_a_new_key_opens_nothing(lower: LowerVolume) -> None:
    """FORMAT.md 18: a key that was made is taken: no slot of the volume opens with it."""
    keys.refuse_if_it_opens(keys.make(PLAN), os.fsencode(lower.path))


SAME: dict[str, tuple[SlotKind, SlotSecret]] = {
    "recovery key": (SlotKind.RECOVERY, SlotSecret(key=KEY)),
    "key file": (SlotKind.KEY_FILE, SlotSecret(key=KEY)),
    "passphrase: the sheet": (SlotKind.PASSPHRASE, SlotSecret(TEXT.encode())),
    "passphrase: without dashes": (SlotKind.PASSPHRASE, SlotSecret(TEXT.replace("-", "").encode())),
    "passphrase: the bytes": (SlotKind.PASSPHRASE, SlotSecret(KEY)),
    "passphrase: digits": (SlotKind.PASSPHRASE, SlotSecret(KEY.hex().encode())),
    "both": (SlotKind.PASSPHRASE_AND_KEY_FILE, SlotSecret(TEXT.encode(), KEY)),
}


@pytest.mark.parametrize("name", SAME)
def test_a_key_that_opens_the_volume_is_refused(lower: LowerVolume, name: str) -> None:
    """FORMAT.md 18: in whatever form it would open a production slot, it is no key of a backup."""
    add(lower, *SAME[name])
    with pytest.raises(UsageError, match="opens the volume itself") as caught:
        keys.refuse_if_it_opens(KEY, os.fsencode(lower.path))
    assert TEXT[:5] not in str(caught.value) + caught.value.hint


def test_the_recovery_key_of_the_volume_is_refused(lower: LowerVolume) -> None:
    """FORMAT.md 18: also where one copy of the config is damaged."""
    (lower.path / "cloakfs.volume").write_bytes(b"cloakfs-volume 1\nnothing\n")
    with pytest.raises(UsageError, match="opens the volume itself"):
        keys.refuse_if_it_opens(RECOVERY_KEY, os.fsencode(lower.path))
