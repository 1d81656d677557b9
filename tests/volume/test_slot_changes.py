"""encfs/volume/keys.py: slots change whole or not at all, and are proved before (FORMAT.md sections 3, 4)."""

from __future__ import annotations

import os
from errno import EIO, ENOSPC

import pytest

from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot
from encfs.errors import LowerIOError, UsageError, VolumeInUseError, WrongSecretError
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.store.local import LocalStore
from encfs.volume import Volume
from encfs.volume.keys import Keys
from encfs.volume.skeleton import open_root
from tests.support.stores import FailingStore
from tests.support.volumes import RECOVERY_KEY, LowerVolume

KEY, OTHER = b"k" * 32, b"o" * 32
RECOVERY = KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)


def key_file(label: str = "stick", key: bytes = KEY) -> NewSlot:
    """A slot that needs no slow derivation."""
    return NewSlot(kind=SlotKind.KEY_FILE, label=label, kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=key))


def opens(lower: LowerVolume, key: bytes, kind: SlotKind = SlotKind.KEY_FILE) -> bool:
    """Whether a key opens the volume, as it lies there."""
    try:
        with Volume.unlock(os.fsencode(lower.path), key, kind, read_only=True):
            return True
    except WrongSecretError:
        return False


def copies(lower: LowerVolume) -> list[bytes]:
    """Both copies of the config."""
    return [(lower.path / name).read_bytes() for name in ("cloakfs.volume", "cloakfs.volume.bak")]


def test_a_slot_is_added_changed_renamed_and_removed(lower: LowerVolume) -> None:
    """Each change is in both copies, seq rises by one, and what it takes away opens neither copy."""
    path = os.fsencode(lower.path)
    with Keys(path, RECOVERY) as keys:
        before = keys.config
        slot = keys.add(key_file(), KnownSecret.of(SlotKind.KEY_FILE, KEY))
        assert (slot.label, slot.kind, keys.config.seq) == ("stick", SlotKind.KEY_FILE, before.seq + 1)
        assert keys.config.slots[:-1] == before.slots
    assert opens(lower, KEY)
    assert len(set(copies(lower))) == 1
    with Keys(path, KnownSecret.of(SlotKind.KEY_FILE, KEY)) as keys:
        assert keys.opened_with.label == "stick"
        keys.change(keys.opened_with, key_file(key=OTHER), KnownSecret.of(SlotKind.KEY_FILE, OTHER))
    assert (opens(lower, KEY), opens(lower, OTHER)) == (False, True)
    with Keys(path, RECOVERY) as keys:
        keys.rename(keys.config.slots[-1], "Anna")
        assert keys.config.slots[-1].label == "Anna"
    assert opens(lower, OTHER)
    with Keys(path, RECOVERY) as keys:
        keys.remove(keys.config.slots[-1])
    assert not opens(lower, OTHER)
    assert len(set(copies(lower))) == 1
    assert opens(lower, RECOVERY_KEY, SlotKind.RECOVERY)
    assert lower.findings() == []


def test_a_slot_that_its_proof_does_not_open_is_not_written(lower: LowerVolume) -> None:
    """Nothing is changed, and the old slot of a change still opens."""
    before = copies(lower)
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        for attempt in (
            lambda: keys.add(key_file(), KnownSecret.of(SlotKind.KEY_FILE, OTHER)),
            lambda: keys.change(keys.opened_with, key_file("recovery key"), KnownSecret.of(SlotKind.KEY_FILE, OTHER)),
        ):
            with pytest.raises(WrongSecretError):
                attempt()
    assert copies(lower) == before
    assert opens(lower, RECOVERY_KEY, SlotKind.RECOVERY)


def test_labels_are_one_persons(lower: LowerVolume) -> None:
    """Two slots with one label could not be told apart."""
    before = copies(lower)
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        label = keys.config.slots[0].label
        with pytest.raises(UsageError, match=label):
            keys.add(key_file(label), KnownSecret.of(SlotKind.KEY_FILE, KEY))
        with pytest.raises(UsageError, match=label):
            keys.rename(keys.opened_with, label)
    assert copies(lower) == before


def test_two_changes_at_once(lower: LowerVolume) -> None:
    """The second is refused and told so; a mounted volume forbids none."""
    path = os.fsencode(lower.path)
    with lower.unlock(), Keys(path, RECOVERY) as keys:
        with pytest.raises(VolumeInUseError, match="being changed"):
            Keys(path, RECOVERY)
        keys.add(key_file(), KnownSecret.of(SlotKind.KEY_FILE, KEY))
    with Keys(path, RECOVERY) as keys:
        assert len(keys.config.slots) == 3


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename"])
@pytest.mark.parametrize("code", [ENOSPC, EIO])
def test_a_disk_that_fails_leaves_a_config_that_opens(lower: LowerVolume, call: str, code: int) -> None:
    """Section 3: old or new, never neither; and what opened before opens still."""
    path = os.fsencode(lower.path)
    _, root = open_root(path)
    store = FailingStore(root)
    with Keys(path, RECOVERY, store=store) as keys:
        store.broken = {call: code}
        with pytest.raises(OSError, match=os.strerror(code)):
            keys.add(key_file(), KnownSecret.of(SlotKind.KEY_FILE, KEY))
        store.broken = {}
    os.close(root)
    assert opens(lower, RECOVERY_KEY, SlotKind.RECOVERY)
    assert lower.findings() == []


class ForgetfulStore(LocalStore):
    """A medium that gives back something else than was written to it."""

    def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
        return super().read_uncached(dirfd, name, size)[:-1]


def test_what_the_medium_gives_back_is_looked_at(lower: LowerVolume) -> None:
    """A change is not told as done before the medium has it."""
    path = os.fsencode(lower.path)
    _, root = open_root(path)
    with Keys(path, RECOVERY, store=ForgetfulStore(root)) as keys, pytest.raises(LowerIOError, match="gives back"):
        keys.add(key_file(), KnownSecret.of(SlotKind.KEY_FILE, KEY))
    os.close(root)
    assert opens(lower, RECOVERY_KEY, SlotKind.RECOVERY)


def test_nothing_but_the_config_is_touched(lower: LowerVolume) -> None:
    """Files, sessions and the lock file are as before, also after 64 slots."""
    with lower.unlock() as volume:
        volume.write_file(b"letter", b"Dear colleague")
    others = {
        path: path.read_bytes()
        for path in lower.path.rglob("*")
        if path.is_file() and not path.name.startswith("cloakfs.volume")
    }
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        for number in range(64 - len(keys.config.slots)):
            keys.add(
                key_file(f"stick {number}", bytes([number]) * 32),
                KnownSecret.of(SlotKind.KEY_FILE, bytes([number]) * 32),
            )
        with pytest.raises(UsageError, match="64"):
            keys.add(key_file("one too many", OTHER), KnownSecret.of(SlotKind.KEY_FILE, OTHER))
    assert opens(lower, bytes([61]) * 32)
    assert {path: path.read_bytes() for path in others} == others
    assert lower.findings() == []
