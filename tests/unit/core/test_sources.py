"""encfs/core/sources.py: the contract of what opens a volume. Every kind of secret passes these (FORMAT.md section 4).

A new kind adds one line to ``KINDS``: how a slot of it is made, what opens it, and what does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from encfs.core import config as core_config
from encfs.core.key_changes import add_slot, change_slot, remove_slot, rename_slot
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, UnlockSource
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import SlotDamagedError, UsageError, WrongSecretError
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind

FLOOR = Kdf(KdfAlg.ARGON2ID, 65536, 3, 1, b"0123456789abcdef")
NONE = Kdf(KdfAlg.NONE)
# Argon2id is tested in test_kdf; here only that its answer is what is used.
QUICK = replace(
    CLOAKFS_1, argon2id=lambda secret, **parameters: hashlib.sha256(secret + repr(parameters).encode()).digest()
)
KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slow derivation."""
    monkeypatch.setattr(core_config, "suite_named", lambda _: QUICK)


@dataclass(frozen=True)
class Token:
    """A kind as a plug-in has it: the secret is with somebody who knows it by the slot's data."""

    secrets: dict[bytes, bytes]
    kind: str = "test-token"
    noun: str = "test token"

    def secret_for(self, slot: Slot) -> SlotSecret | None:
        """By what the slot says."""
        found = self.secrets.get(slot.data)
        return None if found is None else SlotSecret(key=found)


def new(kind: str, kdf: Kdf, secret: SlotSecret, data: bytes = b"") -> NewSlot:
    """A slot called after its kind."""
    return NewSlot(kind=kind, label=kind, kdf=kdf, secret=secret, data=data)


KINDS: dict[str, tuple[NewSlot, UnlockSource, list[UnlockSource]]] = {
    "passphrase": (
        new(SlotKind.PASSPHRASE, FLOOR, SlotSecret(b"words")),
        KnownSecret(SlotKind.PASSPHRASE, b"words"),
        [KnownSecret(SlotKind.PASSPHRASE, b"wordz"), KnownSecret(SlotKind.PASSPHRASE, b"words", KEY)],
    ),
    "key file": (
        new(SlotKind.KEY_FILE, NONE, SlotSecret(key=KEY)),
        KnownSecret.of(SlotKind.KEY_FILE, KEY),
        [KnownSecret.of(SlotKind.KEY_FILE, OTHER), KnownSecret.of(SlotKind.RECOVERY, KEY)],
    ),
    "passphrase and key file": (
        new(SlotKind.PASSPHRASE_AND_KEY_FILE, FLOOR, SlotSecret(b"words", KEY)),
        KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, b"words", KEY),
        [
            KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, b"words", OTHER),
            KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, b"wordz", KEY),
            KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, b"words"),
            KnownSecret(SlotKind.PASSPHRASE, b"words"),
            KnownSecret.of(SlotKind.KEY_FILE, KEY),
        ],
    ),
    "recovery key": (
        new(SlotKind.RECOVERY, NONE, SlotSecret(key=KEY)),
        KnownSecret.of(SlotKind.RECOVERY, KEY),
        [KnownSecret.of(SlotKind.RECOVERY, OTHER), KnownSecret.of(SlotKind.KEY_FILE, KEY)],
    ),
    "a kind that is plugged in": (
        new("test-token", NONE, SlotSecret(key=KEY), b"slot 9a"),
        Token({b"slot 9a": KEY}),
        [Token({b"slot 9a": OTHER}), Token({}), KnownSecret.of(SlotKind.KEY_FILE, KEY)],
    ),
}
kinds = pytest.mark.parametrize(("slot", "source", "others"), KINDS.values(), ids=KINDS)
Change = Callable[[core_config.UnlockedConfig], core_config.UnlockedConfig]


def fresh() -> core_config.UnlockedConfig:
    """A config with the slots of all kinds, opened with none of them."""
    made = core_config.new_config(QUICK, created=1)
    for slot, _, _ in KINDS.values():
        made = add_slot(made, slot, created=2)
    return made


def sealed(unlocked: core_config.UnlockedConfig) -> bytes:
    """As it lies on the disk."""
    return core_config.seal_config(QUICK, unlocked.config, unlocked.root_key)


@kinds
def test_opens_its_own_slot_and_no_other(slot, source, others):
    """The right secret opens it, says which slot it was, and gives the same root key as every other."""
    made = fresh()
    opened = core_config.unlock([sealed(made)], source)
    assert opened.slot is not None
    assert (opened.slot.label, opened.slot.kind) == (slot.label, slot.kind)
    assert opened.root_key == made.root_key
    alone = replace(made, config=replace(made.config, slots=(opened.slot,)))
    for other in others:
        with pytest.raises(WrongSecretError):
            core_config.unlock([sealed(alone)], other)


@kinds
def test_a_message_names_what_is_wrong(slot, source, others):
    """The noun of the kind is in the message, and no byte of a secret."""
    del slot
    made = core_config.new_config(QUICK, created=1)
    with pytest.raises(WrongSecretError, match=f"this volume has no {source.noun}"):
        core_config.unlock([sealed(add_slot(made, KINDS["passphrase"][0], created=2))], Token({}, noun=source.noun))
    for one in (source, *others):
        assert "words" not in repr(one) or isinstance(one, Token)
        assert "kkkk" not in repr(one) or isinstance(one, Token)


@kinds
def test_a_damaged_slot_is_not_a_wrong_secret(slot, source, others):
    """Section 4: the commitment is right, and what it seals does not open."""
    del slot, others
    made = fresh()
    damaged = tuple(replace(one, erk=bytes(len(one.erk))) for one in made.config.slots)
    with pytest.raises(SlotDamagedError):
        core_config.unlock([sealed(replace(made, config=replace(made.config, slots=damaged)))], source)


def test_kind_and_data_are_bound():
    """Section 4: somebody who rewrites them below gains nothing; the slot is damaged."""
    made = fresh()
    token, key_file = slot_of(made, "test-token"), slot_of(made, "key-file")
    for changed, source in (
        (replace(token, data=b"slot 9b"), Token({b"slot 9b": KEY})),
        (replace(key_file, kind=SlotKind.RECOVERY), KnownSecret.of(SlotKind.RECOVERY, KEY)),
    ):
        config = replace(made.config, slots=(changed,))
        with pytest.raises(SlotDamagedError):
            core_config.unlock([sealed(replace(made, config=config))], source)


def slot_of(made: core_config.UnlockedConfig, label: str) -> Slot:
    """By its label."""
    return next(slot for slot in made.config.slots if slot.label == label)


@kinds
@pytest.mark.parametrize("what", ["remove", "rename", "change"])
def test_changes_touch_one_slot(slot, source, others, what):
    """Section 4: the others open as before, byte for byte; the changed one as the change says."""
    del others
    made = fresh()
    target = slot_of(made, slot.label)
    other = SlotSecret(slot.secret.passphrase and b"new words", slot.secret.key and b"n" * 32)
    changes: dict[str, Change] = {
        "remove": lambda one: remove_slot(one, target),
        "rename": lambda one: rename_slot(one, target, "another label"),
        "change": lambda one: change_slot(one, target, replace(slot, secret=other), created=9),
    }
    changed = changes[what](made)
    assert changed.config.seq == made.config.seq + 1
    rest = [one for one in made.config.slots if one.id != target.id]
    assert [one for one in changed.config.slots if one in rest] == rest
    if what == "rename":
        opened = core_config.unlock([sealed(changed)], source).slot
        assert opened == replace(target, label="another label")
        return
    with pytest.raises(WrongSecretError):
        core_config.unlock([sealed(changed)], source)


def test_a_full_config_takes_no_more():
    """Section 4: at most 64 slots."""
    made = core_config.new_config(QUICK, created=1)
    slot = KINDS["recovery key"][0]
    for number in range(64):
        made = add_slot(made, replace(slot, label=str(number)), created=2)
    with pytest.raises(UsageError, match="64"):
        add_slot(made, slot, created=2)
    assert len(sealed(made)) < 1 << 20
