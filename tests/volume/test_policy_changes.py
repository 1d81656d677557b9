"""The policy in a volume: set through Keys, sealed, and kept to by every change of slots."""

from __future__ import annotations

import os

import pytest

from encfs.core.slots import SlotSecret, new_argon2id
from encfs.core.sources import KnownSecret, NewSlot
from encfs.errors import ConfigForgedError, PolicyError
from encfs.format.policy import NO_POLICY, Policy
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.volume.keys import Keys
from tests.support.corruption.config import fields_of, write_fields
from tests.support.volumes import RECOVERY_KEY, LowerVolume

RECOVERY = KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)
NEWER = Policy(slot_days=365, others=(("a_rule_to_come", 5),))
COPIES = ("cloakfs.volume", "cloakfs.volume.bak")


def test_set_and_taken_away(lower: LowerVolume) -> None:
    """In both copies, with seq one higher; without it the config has no trace of one. Files are as before."""
    first = fields_of(lower.path / COPIES[0])
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        keys.set_policy(NEWER)
        assert keys.config.policy == NEWER
    for name in COPIES:
        assert fields_of(lower.path / name)["policy"] == {"slot_days": 365, "a_rule_to_come": 5}
    assert lower.findings() == []
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        keys.rename(keys.opened_with, "paper")
        assert keys.config.policy == NEWER
        keys.set_policy(NO_POLICY)
    last = fields_of(lower.path / COPIES[0])
    assert last["seq"] == first["seq"] + 3
    assert set(last) == set(first)


@pytest.mark.parametrize("policy", [None, {"slot_days": 36_500}], ids=["dropped", "loosened"])
def test_a_policy_that_an_outsider_changed(lower: LowerVolume, policy: object) -> None:
    """It is under the MAC of the config, so the config is not used."""
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        keys.set_policy(NEWER)
    for name in COPIES:
        fields = fields_of(lower.path / name)
        del fields["policy"]
        write_fields(lower.path / name, fields | ({} if policy is None else {"policy": policy}))
    with pytest.raises(ConfigForgedError), lower.unlock():
        pass


def test_changes_keep_to_the_policy(lower: LowerVolume) -> None:
    """No cheaper slot, no recovery key less; nothing is written then."""
    secret = SlotSecret(b"a passphrase", b"k" * 32)
    cheap = NewSlot(
        kind=SlotKind.PASSPHRASE_AND_KEY_FILE,
        label="both",
        kdf=new_argon2id(memory_kib=65_536, passes=3, lanes=1),
        secret=secret,
    )
    stick = NewSlot(
        kind=SlotKind.KEY_FILE, label="recovery key", kdf=Kdf(KdfAlg.NONE), secret=SlotSecret(key=b"k" * 32)
    )
    with Keys(os.fsencode(lower.path), RECOVERY) as keys:
        keys.set_policy(Policy(kdf_passes=4, recovery_slots=1))
        before = (lower.path / COPIES[0]).read_bytes()
        paper = next(slot for slot in keys.config.slots if slot.kind == SlotKind.RECOVERY)
        proof = KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, secret.passphrase, secret.key)
        for attempt in (
            lambda: keys.add(cheap, proof),
            lambda: keys.change(paper, stick, KnownSecret.of(SlotKind.KEY_FILE, b"k" * 32)),
            lambda: keys.remove(paper),
        ):
            with pytest.raises(PolicyError):
                attempt()
        assert (lower.path / COPIES[0]).read_bytes() == before
        keys.remove(next(slot for slot in keys.config.slots if slot.kind == SlotKind.PASSPHRASE))
