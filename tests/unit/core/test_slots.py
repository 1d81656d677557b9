"""encfs/core/slots.py: secrets, slots, and what each kind of damage is called."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.core import slots
from encfs.core.slots import make_slot, open_slot, passphrase_bytes, passphrase_from_raw, seal_root_key
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ExitCode, FormatError, MemoryShortError, SlotDamagedError, UsageError, WrongSecretError
from encfs.format.config import Kdf, KdfAlg, SlotKind, slot_binding

VOLUME = b"v" * 16
RK_ID = b"rk-id-08"
ROOT_KEY = bytes(range(32))
SECRET = b"s" * 32
FLOOR = Kdf(KdfAlg.ARGON2ID, 65536, 3, 1, b"0123456789abcdef")
# Argon2id is tested in test_kdf; here only that its answer is what is used.
QUICK = replace(
    CLOAKFS_1, argon2id=lambda secret, **parameters: hashlib.sha256(secret + repr(parameters).encode()).digest()
)


def new_slot(kind: SlotKind = SlotKind.RECOVERY, secret: bytes = SECRET, root_key: bytes = ROOT_KEY):
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
PASSPHRASE_SLOT = new_slot(SlotKind.PASSPHRASE, b"passphrase")


def test_round_trip():
    """Section 4: a slot opens to the root key with its secret."""
    assert open_slot(QUICK, VOLUME, RK_ID, SLOT, SECRET) == ROOT_KEY
    assert open_slot(QUICK, VOLUME, RK_ID, PASSPHRASE_SLOT, b"passphrase") == ROOT_KEY
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
        secret=b"passphrase",
    )
    assert open_slot(CLOAKFS_1, VOLUME, RK_ID, slot, b"passphrase") == ROOT_KEY
    with pytest.raises(WrongSecretError):
        open_slot(CLOAKFS_1, VOLUME, RK_ID, slot, b"passphrasf")


def test_by_the_formulas():
    """Section 4: KEK, commit, esk and erk as the section writes them, with HKDF written out."""
    prk = hmac.digest(VOLUME + SLOT.id, SECRET, "sha256")
    kek = hmac.digest(prk, b"cloakfs/1 slot\1", "sha256")
    commit = hmac.digest(prk, kek + b"cloakfs/1 slot\2", "sha256")
    assert SLOT.commit == commit
    binding = slot_binding(SLOT.kdf, SLOT.kind, SLOT.pub)
    aad = b"cloakfs/1 esk" + VOLUME + SLOT.id + hashlib.sha256(binding).digest()
    private = CLOAKFS_1.unseal(kek, aad, SLOT.esk)
    assert CLOAKFS_1.kem_unseal(private, b"cloakfs/1 erk" + VOLUME + SLOT.id + RK_ID, SLOT.erk) == ROOT_KEY


@pytest.mark.parametrize("secret", [b"", b"s" * 31, b"s" * 33, b"S" + b"s" * 31])
def test_wrong_secret(secret):
    """Section 4: a commitment that differs means that the secret is not this slot's."""
    with pytest.raises(WrongSecretError) as caught:
        open_slot(QUICK, VOLUME, RK_ID, SLOT, secret)
    assert caught.value.exit_code == ExitCode.WRONG_SECRET


def flipped(data: bytes, position: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damaged",
    [
        *(replace(SLOT, esk=flipped(SLOT.esk, position)) for position in (0, 12, 107, 108, 123)),
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
    erk = seal_root_key(QUICK, volume_id=VOLUME, slot_id=SLOT.id, rk_id=RK_ID, pub=SLOT.pub, root_key=b"k" * 31)
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
            open_slot(QUICK, VOLUME, RK_ID, replace(PASSPHRASE_SLOT, kdf=replace(FLOOR, **change)), b"passphrase")


def test_the_commitment_comes_first():
    """Section 4: nothing is decrypted before the commitment is right."""
    watched = replace(QUICK, unseal=lambda *_: pytest.fail("esk was tried"), kem_unseal=lambda *_: pytest.fail("erk"))
    with pytest.raises(WrongSecretError):
        open_slot(watched, VOLUME, RK_ID, SLOT, b"x" * 32)


def test_a_new_root_key_needs_no_secret():
    """Section 4: a new root key is sealed to a slot with nothing but its public key."""
    erk = seal_root_key(QUICK, volume_id=VOLUME, slot_id=SLOT.id, rk_id=b"rk-id-09", pub=SLOT.pub, root_key=b"n" * 32)
    assert open_slot(QUICK, VOLUME, b"rk-id-09", replace(SLOT, erk=erk), SECRET) == b"n" * 32
    with pytest.raises(FormatError):
        seal_root_key(QUICK, volume_id=VOLUME, slot_id=SLOT.id, rk_id=RK_ID, pub=b"short", root_key=ROOT_KEY)


def test_memory_short():
    """Section 4: where the memory is missing, that is the error, not a wrong passphrase."""

    def short(*_, **__):
        raise MemoryShortError("too little")

    with pytest.raises(MemoryShortError):
        open_slot(replace(QUICK, argon2id=short), VOLUME, RK_ID, PASSPHRASE_SLOT, b"passphrase")


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
