"""encfs/core/sources.py: the contract of what opens a volume. Every kind of secret passes these (FORMAT.md section 4).

A new kind adds one line to ``CASES``: how a slot of it is made, what opens it, and what does not. Whatever is in
``encfs.kinds.KINDS`` has to be there.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyrage
import pytest

from encfs.core import config as core_config
from encfs.core.key_changes import add_slot, change_slot, remove_slot, rename_slot
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, SharedSecret, UnlockSource
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import SlotDamagedError, UsageError, WrongSecretError
from encfs.format.slots import Kdf, KdfAlg, ShareSet, Slot, SlotKind, encode_share_set
from encfs.kinds import KINDS, Given
from tests.support import tokens

FLOOR = Kdf(KdfAlg.ARGON2ID, 65536, 3, 1, b"0123456789abcdef")
NONE = Kdf(KdfAlg.NONE)
# Argon2id is tested in test_kdf; here only that its answer is what is used.
QUICK = replace(
    CLOAKFS_1, argon2id=lambda secret, **parameters: hashlib.sha256(secret + repr(parameters).encode()).digest()
)
KEY, OTHER = b"k" * 32, b"o" * 32
PLACES: list[Path] = []
"""Where the kinds that take a file or a token have it: of this run, by the fixture below."""


@pytest.fixture(autouse=True, scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files and tokens for the kinds that take them."""
    PLACES[:] = [tmp_path_factory.mktemp("sources")]
    with tokens.soft_tokens(PLACES[0]):
        yield
    case_named.cache_clear()


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


Case = tuple[NewSlot, UnlockSource, list[UnlockSource]]
HERE: dict[str, Case] = {
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
    "shares": (
        new(SlotKind.SHARES, NONE, SlotSecret(key=KEY), encode_share_set(ShareSet(7, 2, 3))),
        SharedSecret(7, KEY),
        [SharedSecret(7, OTHER), SharedSecret(8, KEY), KnownSecret.of(SlotKind.RECOVERY, KEY)],
    ),
    "a kind that is plugged in": (
        new("test-token", NONE, SlotSecret(key=KEY), b"slot 9a"),
        Token({b"slot 9a": KEY}),
        [Token({b"slot 9a": OTHER}), Token({}), KnownSecret.of(SlotKind.KEY_FILE, KEY)],
    ),
}


def nobody_asked(prompt: str, *, hint: str) -> str:
    """No test here is asked anything."""
    raise AssertionError(prompt + hint)


def given(**values: str) -> Given:
    """Options, as a command gives them."""
    return Given({name.replace("_", "-"): value for name, value in values.items()}, tokens.read, nobody_asked)


def elsewhere(kind: str, label: str, making: Given, opening: Given, others: list[Given]) -> Case:
    """A slot whose secret lies elsewhere, made and opened as the command does it."""
    made = KINDS[kind].make(making)
    slot = NewSlot(kind=kind, label=label, kdf=NONE, secret=made.secret, data=made.data)
    at = core_config.new_config(QUICK, created=1)
    slots = [add_slot(at, slot, created=2).config.slots[-1]]
    wrong = [KINDS[kind].source(one, slots) for one in others]
    return slot, KINDS[kind].source(opening, slots), [*wrong, KnownSecret.of(SlotKind.KEY_FILE, made.secret.key)]


def age_case() -> Case:
    """An age key, and somebody else's."""
    files = [PLACES[0] / "age", PLACES[0] / "other-age"]
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    for file, identity in zip(files, (mine, other), strict=True):
        file.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    making = given(recipient=str(mine.to_public()))
    return elsewhere("age", "age", making, given(identity=str(files[0])), [given(identity=str(files[1]))])


def ssh_case() -> Case:
    """An SSH key, and somebody else's."""
    files = [PLACES[0] / "ssh", PLACES[0] / "other-ssh"]
    for file in files:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    making = given(recipient=f"{files[0]}.pub")
    return elsewhere("age", "ssh", making, given(identity=str(files[0])), [given(identity=str(files[1]))])


def token_case() -> Case:
    """A key on a token. That of another token is no source for this slot at all, so it is tried further below."""
    (PLACES[0] / "pin").write_text(f"{tokens.PIN}\n")
    uri, pin, module = tokens.add(PLACES[0], "contract"), str(PLACES[0] / "pin"), tokens.module()
    making = given(new_token=uri, new_module=module, new_pin_file=pin)
    return elsewhere("pkcs11", "pkcs11", making, given(token=uri, module=module, pin_file=pin), [])


ELSEWHERE = {"age key": age_case, "SSH key": ssh_case, "PKCS#11 token": token_case}
CASES = [*HERE, *ELSEWHERE]


@functools.cache
def case_named(name: str) -> Case:
    """Made when it is first wanted: some take a file or a token."""
    return HERE[name] if name in HERE else ELSEWHERE[name]()


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One kind."""
    return case_named(request.param)


@pytest.fixture
def slot(case: Case) -> NewSlot:
    """How a slot of it is made."""
    return case[0]


@pytest.fixture
def source(case: Case) -> UnlockSource:
    """What opens it."""
    return case[1]


@pytest.fixture
def others(case: Case) -> list[UnlockSource]:
    """What does not."""
    return case[2]


kinds = pytest.mark.parametrize("case", CASES, indirect=True)
Change = Callable[[core_config.UnlockedConfig], core_config.UnlockedConfig]


def fresh() -> core_config.UnlockedConfig:
    """A config with the slots of all kinds, opened with none of them."""
    made = core_config.new_config(QUICK, created=1)
    for name in CASES:
        made = add_slot(made, case_named(name)[0], created=2)
    return made


def test_every_kind_of_the_table_is_here():
    """A kind that is added to ``encfs.kinds`` passes the contract, or this fails."""
    assert set(KINDS) | set(SlotKind) <= {case_named(name)[0].kind for name in CASES}


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
        core_config.unlock([sealed(add_slot(made, HERE["passphrase"][0], created=2))], Token({}, noun=source.noun))
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
    token, key_file, shares = (slot_of(made, kind) for kind in ("test-token", "key-file", "shares"))
    for changed, source in (
        (replace(token, data=b"slot 9b"), Token({b"slot 9b": KEY})),
        (replace(key_file, kind=SlotKind.RECOVERY), KnownSecret.of(SlotKind.RECOVERY, KEY)),
        (replace(shares, data=encode_share_set(ShareSet(8, 2, 3))), SharedSecret(8, KEY)),
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


@pytest.mark.parametrize("case", ELSEWHERE, indirect=True)
def test_damaged_data_is_told_and_stops_nothing_else(slot, source, others):
    """Section 4.1: data of another shape is a damaged slot, whatever was changed; a good slot beside it opens."""
    del others
    fresh_one = core_config.new_config(QUICK, created=1)
    middle = len(slot.data) // 2
    for data in (slot.data[:-1], slot.data + b"x", b"\0", b"{}", slot.data[:middle] + b"\0" + slot.data[middle + 1 :]):
        damaged = add_slot(fresh_one, replace(slot, data=data), created=2)
        with pytest.raises(SlotDamagedError):
            core_config.unlock([sealed(damaged)], source)
        beside = add_slot(damaged, replace(slot, label="good"), created=2)
        opened = core_config.unlock([sealed(beside)], source).slot
        assert opened is not None
        assert opened.label == "good"


def test_a_full_config_takes_no_more():
    """Section 4: at most 64 slots."""
    made = core_config.new_config(QUICK, created=1)
    slot = HERE["recovery key"][0]
    for number in range(64):
        made = add_slot(made, replace(slot, label=str(number)), created=2)
    with pytest.raises(UsageError, match="64"):
        add_slot(made, slot, created=2)
    assert len(sealed(made)) < 1 << 20
