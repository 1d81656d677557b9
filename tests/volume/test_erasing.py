"""encfs/volume/erasing.py: a volume whose keys are destroyed is opened by nothing (THREAT_MODEL.md section 3)."""

from __future__ import annotations

import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from errno import EIO, EROFS
from pathlib import Path

import pytest

from encfs.core.config import read_copy
from encfs.core.sources import KnownSecret
from encfs.errors import ConfigError, LowerIOError, NotAVolumeError, ReadOnlyError, VolumeInUseError, WrongSecretError
from encfs.format.canonical import b64
from encfs.format.slots import SlotKind
from encfs.store.base import Store
from encfs.store.local import LocalStore
from encfs.units import VolumeId
from encfs.volume import Volume
from encfs.volume.erasing import Erased, Eraser, identity_of
from encfs.volume.key_copies import SEARCHED_MAX
from encfs.volume.keys import Keys
from tests.support import evidence
from tests.support.model_disk import Disk
from tests.support.model_store import ModelStore, disk_of
from tests.support.stores import DyingStore, FailingStore
from tests.support.volumes import RECOVERY_KEY, SECRET, LowerVolume, pattern

RECOVERY = KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)
NAMES = ("cloakfs.volume", "cloakfs.volume.bak")


def secrets_of(lower: LowerVolume) -> list[bytes]:
    """Each piece of the config, of 24 characters, that holds something of a key."""
    config = read_copy((lower.path / NAMES[0]).read_bytes())
    found = [config.metadata, *(epoch.wrap for epoch in config.epochs)]
    for slot in config.slots:
        found += [slot.esk, slot.erk, slot.auth]
    texts = [b64(one).encode() for one in found]
    return [text[at : at + 24] for text in texts for at in range(0, len(text) - 23, 24)]


def holds(content: bytes, secrets: list[bytes]) -> bool:
    """Whether any piece is there."""
    return any(one in content for one in secrets)


def contents(path: Path) -> Iterator[bytes]:
    """Of every file below."""
    return (each.read_bytes() for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def destroy(lower: LowerVolume, *, known: VolumeId | None = None, store: Store | None = None) -> Erased:
    """The whole of it, as the command does it."""
    with Eraser(os.fsencode(lower.path), known=known, store=store) as eraser:
        return eraser.erase(eraser.survey().copies)


def furnished(path: Path) -> LowerVolume:
    """A volume with files in folders, a symlink, and a proper end."""
    lower = LowerVolume(path)
    with lower.unlock() as volume:
        volume.make_directory(b"letters")
        volume.write_file(b"letters/a", pattern(9000))
        volume.write_file(b"b", b"x")
        volume.make_symlink(b"l", b"letters/a")
    return lower


def test_nothing_opens_it_afterwards(tmp_path: Path) -> None:
    """No secret, no copy of a config, no byte of a key is left; the sealed files are there, as they were."""
    lower = furnished(tmp_path / "volume")
    secrets, kept = secrets_of(lower), {}
    for each in lower.path.rglob("*"):
        if each.is_file() and not each.is_symlink() and each.name not in NAMES:
            kept[each] = each.read_bytes()
    assert sum(holds(content, secrets) for content in contents(lower.path)) == 2
    done = destroy(lower)
    assert (done.copies, done.left.copies, done.left.foreign, done.left.unsearched) == (2, [], 0, 0)
    assert done.left.sealed == sum(content[:3] == b"CLK" for content in kept.values())
    assert {each: each.read_bytes() for each in kept} == kept
    assert not any(holds(content, secrets) for content in contents(lower.path))
    for secret, kind in ((SECRET, SlotKind.PASSPHRASE), (RECOVERY_KEY, SlotKind.RECOVERY)):
        with pytest.raises(NotAVolumeError):
            Volume.unlock(os.fsencode(lower.path), secret, kind)
    with pytest.raises(NotAVolumeError):
        destroy(lower)


def test_the_bytes_are_overwritten_before_the_names_go(tmp_path: Path) -> None:
    """Whoever holds an old file open, or finds its blocks, reads noise: it is the same file that was overwritten."""
    lower = furnished(tmp_path / "volume")
    secrets = secrets_of(lower)
    opened = [(lower.path / name).open("rb") for name in NAMES]
    destroy(lower)
    for file in opened:
        with file:
            content = file.read()
        assert len(content) > 4000
        assert not holds(content, secrets)
        assert content.count(0) < len(content) // 50


def copies_elsewhere(lower: LowerVolume) -> list[str]:
    """Copies that people and crashes leave in a volume's directory; their paths in it."""
    whole = (lower.path / NAMES[0]).read_bytes()
    folder = lower.path / "my backups"
    folder.mkdir()
    (folder / "cloakfs.volume (1)").write_bytes(whole)
    (lower.path / "cloakfs.t.0123456789abcdef").write_bytes(whole[:5000])
    at = whole.index(b'"erk":"') + 300
    (lower.path / "page").write_bytes(bytes(4096) + whole[at : at + 500])
    os.link(folder / "cloakfs.volume (1)", lower.path / "linked")
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:  # The copies above are of an older config now.
        keys.rename(keys.config.slots[0], "Anna")
    return ["cloakfs.t.0123456789abcdef", "linked", "my backups/cloakfs.volume (1)", "page"]


def test_copies_in_the_directory_are_found(tmp_path: Path) -> None:
    """Renamed, older, unfinished, a page of one; not another volume's, nor other files."""
    lower = furnished(tmp_path / "volume")
    secrets = secrets_of(lower)
    expected = copies_elsewhere(lower)
    (lower.path / "notes.txt").write_text("nothing of a key")
    Volume.create(os.fsencode(tmp_path / "other"), secret=SECRET)
    foreign = (tmp_path / "other" / NAMES[0]).read_bytes()
    (lower.path / "of another").write_bytes(foreign)
    with Eraser(os.fsencode(lower.path)) as eraser:
        found = eraser.survey()
        assert [os.fsdecode(copy.path) for copy in found.copies] == [*expected, NAMES[1], NAMES[0]]
        assert [copy.config for copy in found.copies] == [True, True, True, False, True, True]
        assert [copy.links for copy in found.copies] == [1, 2, 2, 1, 1, 1]
        assert found.foreign == 2
        eraser.require_writable(found.copies)
        done = eraser.erase(found.copies)
    assert done.copies == 6
    assert not any(holds(content, secrets) for content in contents(lower.path))
    assert (lower.path / "of another").read_bytes() == foreign


def secrets_raw(lower: LowerVolume) -> bytes:
    """The first copy."""
    return (lower.path / NAMES[0]).read_bytes()


def test_what_cannot_be_searched_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign file that is too long, and one that cannot be read."""
    lower = furnished(tmp_path / "volume")
    with (lower.path / "long").open("wb") as file:
        file.truncate(SEARCHED_MAX + 1)
    (lower.path / "bad").write_bytes(b"x")
    real = LocalStore.open

    def fails(self: LocalStore, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        if name == b"bad":
            raise OSError(EIO, "bad sector")
        return real(self, dirfd, name, flags, mode)

    monkeypatch.setattr(LocalStore, "open", fails)
    with Eraser(os.fsencode(lower.path)) as eraser:
        assert eraser.survey().unsearched == 2


def test_who_has_it_open_is_not_disturbed(tmp_path: Path) -> None:
    """A writer, a reader, somebody who changes keys: refused, and every byte stays."""
    lower = furnished(tmp_path / "volume")
    before = [(lower.path / name).read_bytes() for name in NAMES]
    for opens in (
        lower.unlock,
        lambda: lower.unlock(read_only=True),
        lambda: Keys(os.fsencode(lower.path), RECOVERY),
    ):
        with opens(), pytest.raises(VolumeInUseError):
            Eraser(os.fsencode(lower.path))
    assert [(lower.path / name).read_bytes() for name in NAMES] == before
    with Eraser(os.fsencode(lower.path)), pytest.raises(VolumeInUseError):
        lower.unlock()


@pytest.mark.parametrize("damage", ["one", "both", "one-gone", "unreadable"])
def test_a_damaged_config_is_destroyed_too(tmp_path: Path, damage: str) -> None:
    """It may be mended by somebody else: what is left of it goes, with the id as far as it can be read."""
    lower = furnished(tmp_path / "volume")
    secrets, volume_id = secrets_of(lower), read_copy(secrets_raw(lower)).volume_id
    for name in NAMES[: 1 if damage == "one" else 2]:
        content = bytearray((lower.path / name).read_bytes())
        content[-200] ^= 1
        (lower.path / name).write_bytes(content)
    if damage == "one-gone":
        (lower.path / NAMES[1]).unlink()
    if damage == "unreadable":
        for name in NAMES:
            (lower.path / name).write_bytes(b"\xff" * 4096)
    with Eraser(os.fsencode(lower.path)) as eraser:
        assert eraser.volume_id == (None if damage == "unreadable" else volume_id)
        assert (eraser.config is None) == (damage != "one")
        eraser.erase(eraser.survey().copies)
    assert not any(holds(content, secrets) for content in contents(lower.path))
    assert not any((lower.path / name).exists() for name in NAMES)


def test_a_medium_that_lies_or_fails(tmp_path: Path) -> None:
    """It is not called destroyed where the medium gives back something else, refuses, or is read-only."""
    lower = furnished(tmp_path / "volume")

    class Forgetful(LocalStore):
        def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
            return super().read_uncached(dirfd, name, size)[:-1] + b"\0\0"

    with pytest.raises(LowerIOError, match="gives back"):
        destroy(lower, store=lower.make_store(Forgetful))
    for call in ("pwrite", "fsync", "unlink", "syncfs"):
        volume = furnished(tmp_path / call)
        store = volume.make_store(FailingStore)
        store.broken = {call: EIO}
        with pytest.raises(OSError, match="Input/output"):
            destroy(volume, store=store)

    class ReadOnly(LocalStore):
        def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                raise OSError(EROFS, "read-only")
            return super().open(dirfd, name, flags, mode)

    volume = furnished(tmp_path / "read-only")
    with pytest.raises(ReadOnlyError):
        destroy(volume, store=volume.make_store(ReadOnly))
    assert volume.findings() == []


def test_a_writer_who_puts_a_copy_back_is_noticed(tmp_path: Path) -> None:
    """What is there afterwards is looked at, and not what was there before."""
    lower = furnished(tmp_path / "volume")
    raw = secrets_raw(lower)
    with Eraser(os.fsencode(lower.path)) as eraser:
        copies = eraser.survey().copies
        (lower.path / "new copy").write_bytes(raw)
        with pytest.raises(LowerIOError, match="still"):
            eraser.erase(copies)


def test_the_directory_is_known_again(tmp_path: Path) -> None:
    """By its root record, wherever it is mounted, also when its config is gone."""
    lower, moved = furnished(tmp_path / "volume"), tmp_path / "moved"
    before = identity_of(os.fsencode(lower.path))
    Volume.create(os.fsencode(tmp_path / "other"), secret=SECRET)
    destroy(lower)
    lower.path.rename(moved)
    assert identity_of(os.fsencode(moved)) == before != identity_of(os.fsencode(tmp_path / "other"))
    (moved / "cloakfs.d").unlink()
    assert identity_of(os.fsencode(moved)) == b""


# -- broken off ---------------------------------------------------------------------------------------------------


def die(lower: LowerVolume, number: int, *, torn: bool) -> bool:
    """Destroy it in a process that dies at change ``number``; whether that was reached."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store = lower.make_store(DyingStore)
            store.torn = torn
            store.dies_at = number
            destroy(lower, store=store)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 77)
    return status == 77


@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
def test_killed_at_every_change(fast_path: Path, torn: bool) -> None:
    """The next run finishes it, with nothing but the id that the first one noted; no piece of a key is left."""
    whole = furnished(fast_path / "whole")
    volume_id = read_copy(secrets_raw(whole)).volume_id
    copies_elsewhere(whole)
    secrets, number = secrets_of(whole), 0
    while True:
        lower = whole.copy(fast_path / f"volume-{number}")
        if not die(lower, number, torn=torn):
            break
        done = destroy(lower, known=volume_id)
        assert done.left.copies == [], f"change {number}"
        assert not any(holds(content, secrets) for content in contents(lower.path)), f"change {number}"
        shutil.rmtree(lower.path)
        number += 1
    assert number >= 12, "the store did not count"
    evidence.record("crashes", "killed while it destroys the keys", cases=number, note="the next run finishes")


def _cut(disk: Disk, act: Callable[[ModelStore], object]) -> tuple[list[Disk], list[Disk]]:
    """Disks that a power cut leaves before ``act`` returns, and after that."""
    store, chance, during = ModelStore(disk), random.Random(7), {}

    def collect() -> None:
        for one in store.medium.crashes(256, chance):
            during.setdefault(one.identity(), one)

    store.before_sync = collect
    act(store)
    store.before_sync = lambda: None
    assert store.open_descriptors == 0
    return list(during.values()), list(store.medium.crashes(256, chance))


def _named(disk: Disk) -> set[int]:
    return {number for inside in disk.names.entries.values() for number in inside.values()}


def test_power_cuts(tmp_path: Path) -> None:
    """Wherever it is cut: no block that has lost its name holds a key still, and the next run finishes.

    After the last call has returned no disk that a cut can leave holds a piece of a key, named or not.
    """
    lower = furnished(tmp_path / "volume")
    secrets, volume_id = secrets_of(lower), read_copy(secrets_raw(lower)).volume_id
    copies_elsewhere(lower)
    for link in [each for each in lower.path.rglob("*") if each.is_symlink()]:
        link.unlink()  # The model disk is filled with files only.
    empty = tmp_path / "root"
    empty.mkdir()

    def erase(store: ModelStore) -> None:
        with Eraser(os.fsencode(empty), known=volume_id, store=store) as eraser:
            eraser.erase(eraser.survey().copies)

    during, after = _cut(disk_of(lower.path), erase)
    assert len(during) > 20
    for disk in during:
        for number in disk.files.keys() - _named(disk):
            content = disk.files[number]
            assert not holds(content.read(0, content.size), secrets), "a name went before the bytes"
        rest = ModelStore(disk)
        erase(rest)
        for number in _named(rest.medium.at_rest()) & disk.files.keys():
            now = rest.medium.at_rest().files[number]
            assert not holds(now.read(0, now.size), secrets)
    for disk in after:
        assert not any(holds(each.read(0, each.size), secrets) for each in disk.files.values())
    evidence.record("crashes", "power cuts while it destroys the keys", cases=len(during) + len(after))


def test_until_the_last_copy_is_overwritten_it_opens(fast_path: Path) -> None:
    """Broken off early, a volume is as it was: whoever changes their mind opens it."""
    whole, number, opened = furnished(fast_path / "whole"), 0, 0
    while True:
        lower = whole.copy(fast_path / f"volume-{number}")
        if not die(lower, number, torn=False):
            break
        try:
            with lower.unlock(read_only=True) as volume:
                assert b"".join(volume.read_file(b"letters/a")) == pattern(9000)
            opened += 1
        except (ConfigError, WrongSecretError):
            pass
        number += 1
    assert opened >= 2
