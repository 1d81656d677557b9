"""encfs/core/slots.py: secrets, slots, and what each kind of damage is called."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.core import slots
from encfs.core.slots import (
    OpenedSlot,
    SlotSecret,
    check_authenticator,
    make_slot,
    open_authenticator,
    open_slot,
    passphrase_bytes,
    passphrase_from_raw,
    seal_authenticator,
    seal_root_key,
)
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ExitCode, FormatError, MemoryShortError, SlotDamagedError, UsageError, WrongSecretError
from encfs.format.slots import Kdf, KdfAlg, SlotKind, slot_binding

VOLUME = b"v" * 16
RK_ID = b"rk-id-08"
ROOT_KEY = bytes(range(32))
KEY = b"s" * 32
SECRET = SlotSecret(key=KEY)
PASSPHRASE = SlotSecret(passphrase=b"passphrase")
FLOOR = Kdf(KdfAlg.ARGON2ID, 65536, 3, 1, b"0123456789abcdef")
# Argon2id is tested in test_kdf; here only that its answer is what is used.
QUICK = replace(
    CLOAKFS_1, argon2id=lambda secret, **parameters: hashlib.sha256(secret + repr(parameters).encode()).digest()
)


def new_slot(kind: SlotKind = SlotKind.RECOVERY, secret: SlotSecret = SECRET, root_key: bytes = ROOT_KEY):
    """Make a slot with the quick suite."""
    return make_slot(
        QUICK,
        volume_id=VOLUME,
        rk_id=RK_ID,
        root_key=root_key,
        kind=kind,
        label="label",
        created=7,
        kdf=FLOOR if kind is SlotKind.PASSPHRASE else Kdf(KdfAlg.NONE),
        secret=secret,
    )


SLOT = new_slot()
PASSPHRASE_SLOT = new_slot(SlotKind.PASSPHRASE, PASSPHRASE)
AUTHENTICATOR = open_authenticator(QUICK, VOLUME, SLOT, ROOT_KEY)
OF_SLOT = {"volume_id": VOLUME, "slot_id": SLOT.id, "authenticator": AUTHENTICATOR}


def test_round_trip():
    """Section 4: a slot opens to the root key with its secret."""
    assert open_slot(QUICK, VOLUME, RK_ID, SLOT, SECRET) == OpenedSlot(ROOT_KEY, AUTHENTICATOR)
    assert open_slot(QUICK, VOLUME, RK_ID, PASSPHRASE_SLOT, PASSPHRASE).root_key == ROOT_KEY
    assert (SLOT.label, SLOT.created, len(SLOT.id)) == ("label", 7, 8)
    assert new_slot().id != SLOT.id
    assert new_slot().pub != SLOT.pub


def test_with_the_real_derivation():
    """Section 4: the same with Argon2id at its floor."""
    slot = make_slot(
        CLOAKFS_1,
        volume_id=VOLUME,
        rk_id=RK_ID,
        root_key=ROOT_KEY,
        kind=SlotKind.PASSPHRASE,
        label="",
        created=0,
        kdf=slots.new_argon2id(memory_kib=65536, passes=3, lanes=4),
        secret=PASSPHRASE,
    )
    assert open_slot(CLOAKFS_1, VOLUME, RK_ID, slot, PASSPHRASE).root_key == ROOT_KEY
    with pytest.raises(WrongSecretError):
        open_slot(CLOAKFS_1, VOLUME, RK_ID, slot, SlotSecret(passphrase=b"passphrasf"))


def test_by_the_formulas():
    """Section 4: KEK, commit, esk, erk and auth as the section writes them, with HKDF written out."""
    prk = hmac.digest(VOLUME + SLOT.id, KEY, "sha256")
    kek = hmac.digest(prk, b"cloakfs/1 slot\1", "sha256")
    commit = hmac.digest(prk, kek + b"cloakfs/1 slot\2", "sha256")
    assert SLOT.commit == commit
    binding = slot_binding(SLOT.kdf, SLOT.kind, SLOT.pub)
    aad = b"cloakfs/1 esk" + VOLUME + SLOT.id + hashlib.sha256(binding).digest()
    opened = CLOAKFS_1.unseal(kek, aad, SLOT.esk)
    private, authenticator = opened[:96], opened[96:]
    assert len(authenticator) == 32
    info = b"cloakfs/1 erk" + VOLUME + SLOT.id + RK_ID + authenticator
    assert CLOAKFS_1.kem_unseal(private, info, SLOT.erk) == ROOT_KEY
    key = hmac.digest(ROOT_KEY, b"cloakfs/1 auth\1", "sha256")
    assert CLOAKFS_1.unseal(key, b"cloakfs/1 auth" + VOLUME + SLOT.id, SLOT.auth) == authenticator
    assert (len(SLOT.esk), len(SLOT.erk), len(SLOT.auth)) == (156, 1168, 60)


@pytest.mark.parametrize("key", [b"", b"s" * 31, b"s" * 33, b"S" + b"s" * 31])
def test_wrong_secret(key):
    """Section 4: a commitment that differs means that the secret is not this slot's."""
    with pytest.raises(WrongSecretError) as caught:
        open_slot(QUICK, VOLUME, RK_ID, SLOT, SlotSecret(key=key))
    assert caught.value.exit_code == ExitCode.WRONG_SECRET


def flipped(data: bytes, position: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damaged",
    [
        *(replace(SLOT, esk=flipped(SLOT.esk, position)) for position in (0, 12, 107, 108, 139, 140, 155)),
        *(replace(SLOT, erk=flipped(SLOT.erk, position)) for position in (0, 1087, 1088, 1119, 1120, 1151, 1167)),
        *(replace(SLOT, pub=flipped(SLOT.pub, position)) for position in (0, 1183, 1184, 1215)),
        replace(SLOT, erk=new_slot().erk),
        replace(SLOT, esk=new_slot().esk),
    ],
)
def test_damaged_slot(damaged):
    """Section 4: the commitment is right but esk, erk or what they are bound to is not: the slot is damaged."""
    with pytest.raises(SlotDamagedError) as caught:
        open_slot(QUICK, VOLUME, RK_ID, damaged, SECRET)
    assert caught.value.exit_code == ExitCode.SLOT_DAMAGED


def test_another_root_key_id():
    """Section 4: an erk of another root key is damage, not an old root key."""
    with pytest.raises(SlotDamagedError):
        open_slot(QUICK, VOLUME, b"rk-id-09", SLOT, SECRET)


def test_a_root_key_has_32_bytes():
    """Section 5: something else in erk is no root key."""
    erk = seal_root_key(QUICK, **OF_SLOT, rk_id=RK_ID, pub=SLOT.pub, root_key=b"k" * 31)
    assert len(erk) == len(SLOT.erk) - 1
    with pytest.raises(FormatError):
        replace(SLOT, erk=erk)
    cut = replace(QUICK, kem_unseal=lambda *_: b"k" * 31)
    with pytest.raises(SlotDamagedError):
        open_slot(cut, VOLUME, RK_ID, SLOT, SECRET)


def test_moved_slots_do_not_open():
    """Section 4: volume id and slot id are the salt, so a slot of another volume or id has another secret."""
    with pytest.raises(WrongSecretError):
        open_slot(QUICK, b"w" * 16, RK_ID, SLOT, SECRET)
    with pytest.raises(WrongSecretError):
        open_slot(QUICK, VOLUME, RK_ID, replace(SLOT, id=b"slot-no9"), SECRET)


def test_changed_derivation():
    """Section 4: other Argon2 parameters give another secret; they are bound by esk too."""
    for change in ({"memory_kib": 65537}, {"passes": 4}, {"lanes": 2}, {"salt": b"1123456789abcdef"}):
        with pytest.raises(WrongSecretError):
            open_slot(QUICK, VOLUME, RK_ID, replace(PASSPHRASE_SLOT, kdf=replace(FLOOR, **change)), PASSPHRASE)


def test_the_commitment_comes_first():
    """Section 4: nothing is decrypted before the commitment is right."""
    watched = replace(QUICK, unseal=lambda *_: pytest.fail("esk was tried"), kem_unseal=lambda *_: pytest.fail("erk"))
    with pytest.raises(WrongSecretError):
        open_slot(watched, VOLUME, RK_ID, SLOT, SlotSecret(key=b"x" * 32))


def test_a_new_root_key_needs_no_secret():
    """Section 4: a new root key is sealed to a slot with its public key and the authenticator in auth."""
    erk = seal_root_key(QUICK, **OF_SLOT, rk_id=b"rk-id-09", pub=SLOT.pub, root_key=b"n" * 32)
    auth = seal_authenticator(QUICK, **OF_SLOT, root_key=b"n" * 32)
    renewed = replace(SLOT, erk=erk, auth=auth)
    opened = open_slot(QUICK, VOLUME, b"rk-id-09", renewed, SECRET)
    assert opened == OpenedSlot(b"n" * 32, AUTHENTICATOR)
    check_authenticator(QUICK, VOLUME, renewed, opened)
    with pytest.raises(FormatError):
        seal_root_key(QUICK, **OF_SLOT, rk_id=RK_ID, pub=b"short", root_key=ROOT_KEY)


@pytest.mark.parametrize(
    "authenticator",
    [b"", bytes(32), flipped(AUTHENTICATOR, 31), AUTHENTICATOR[:31]],
    ids=["empty", "zeros", "flipped", "short"],
)
def test_the_public_key_is_not_enough(authenticator):
    """Section 4: a root key that was sealed without the slot's authenticator does not open."""
    erk = seal_root_key(
        QUICK, **OF_SLOT | {"authenticator": authenticator}, rk_id=RK_ID, pub=SLOT.pub, root_key=b"E" * 32
    )
    with pytest.raises(SlotDamagedError):
        open_slot(QUICK, VOLUME, RK_ID, replace(SLOT, erk=erk), SECRET)


def test_each_slot_has_an_authenticator_of_its_own():
    """Section 4: what is known of one slot does not help with another."""
    others = [open_authenticator(QUICK, VOLUME, slot, ROOT_KEY) for slot in (PASSPHRASE_SLOT, new_slot())]
    assert len({AUTHENTICATOR, *others}) == 3


@pytest.mark.parametrize(
    "auth",
    [PASSPHRASE_SLOT.auth, bytes(60), *(flipped(SLOT.auth, position) for position in (0, 12, 43, 44, 59))],
    ids=["other slot", "zeros", "flip 0", "flip 12", "flip 43", "flip 44", "flip 59"],
)
def test_auth_that_does_not_open(auth):
    """Section 4: an auth of another slot, or a changed one, is damage."""
    damaged = replace(SLOT, auth=auth)
    for check in (
        lambda: open_authenticator(QUICK, VOLUME, damaged, ROOT_KEY),
        lambda: check_authenticator(QUICK, VOLUME, damaged, OpenedSlot(ROOT_KEY, AUTHENTICATOR)),
    ):
        with pytest.raises(SlotDamagedError):
            check()


def test_auth_opens_only_in_its_place():
    """Section 4: auth is bound to root key, volume and slot, and must agree with esk."""
    check_authenticator(QUICK, VOLUME, SLOT, OpenedSlot(ROOT_KEY, AUTHENTICATOR))
    for volume, slot, opened in (
        (b"w" * 16, SLOT, OpenedSlot(ROOT_KEY, AUTHENTICATOR)),
        (VOLUME, replace(SLOT, id=b"slot-no9"), OpenedSlot(ROOT_KEY, AUTHENTICATOR)),
        (VOLUME, SLOT, OpenedSlot(bytes(32), AUTHENTICATOR)),
        (VOLUME, SLOT, OpenedSlot(ROOT_KEY, bytes(32))),
    ):
        with pytest.raises(SlotDamagedError):
            check_authenticator(QUICK, volume, slot, opened)


def test_repr_of_an_opened_slot():
    """Section 5: no key is in a repr."""
    assert repr(OpenedSlot(ROOT_KEY, AUTHENTICATOR)) == "OpenedSlot()"


def test_memory_short():
    """Section 4: where the memory is missing, that is the error, not a wrong passphrase."""

    def short(*_, **__):
        raise MemoryShortError("too little")

    with pytest.raises(MemoryShortError):
        open_slot(replace(QUICK, argon2id=short), VOLUME, RK_ID, PASSPHRASE_SLOT, PASSPHRASE)


def test_limits_of_a_new_derivation():
    """Section 4: no slot is made that a reader would refuse; each has its own salt."""
    for parameters in ((65535, 3, 1), (65536, 2, 1), (65536, 3, 17)):
        with pytest.raises(FormatError):
            slots.new_argon2id(memory_kib=parameters[0], passes=parameters[1], lanes=parameters[2])
    a, b = (slots.new_argon2id(memory_kib=65536, passes=3, lanes=1) for _ in range(2))
    assert a.salt != b.salt
    with pytest.raises(FormatError):
        replace(SLOT, kdf=FLOOR)


def test_passphrase_text():
    """Section 4: text is NFC and UTF-8, so both ways to type an umlaut are the same passphrase."""
    assert passphrase_bytes("u\N{COMBINING DIAERESIS}x") == passphrase_bytes("üx") == "üx".encode()
    assert passphrase_bytes(" spaces count ") == b" spaces count "
    assert passphrase_bytes("\N{ANGSTROM SIGN}") == "å".upper().encode()


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b"secret\r", b"secret\r"),
        (b"secret\n\r\n", b"secret\n"),
        (b"two\nlines\n", b"two\nlines"),
        ("u\N{COMBINING DIAERESIS}\n".encode(), "ü".encode()),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"u\xcc\x88\xff", b"u\xcc\x88\xff"),
        (b"\0", b"\0"),
    ],
)
def test_passphrase_from_a_file(raw, wanted):
    """Section 4: one final newline does not count; what is not UTF-8 is taken as it is."""
    assert passphrase_from_raw(raw) == wanted


@pytest.mark.parametrize("raw", [b"", b"\n", b"\r\n"])
def test_empty_passphrases(raw):
    """Section 4: an empty passphrase is refused."""
    with pytest.raises(UsageError):
        passphrase_from_raw(raw)
    with pytest.raises(UsageError):
        passphrase_bytes("")


def test_a_passphrase_that_is_no_text():
    """Section 4: a lone surrogate cannot be encoded; the error does not carry the passphrase."""
    with pytest.raises(UsageError) as caught:
        passphrase_bytes("secret\udcff")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(min_size=1).filter(lambda text: not text.endswith("\n")))
def test_file_and_prompt_agree(text):
    """Section 4: the same passphrase opens the volume whether it is typed or read from a file."""
    try:
        typed = passphrase_bytes(text)
    except UsageError:
        return
    for end in (b"", b"\n", b"\r\n"):
        if not (end == b"\n" and text.endswith("\r")):
            assert passphrase_from_raw(text.encode() + end) == typed
