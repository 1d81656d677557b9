"""encfs/core/config.py: sealing and unlocking, and which error each fault has."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from encfs import errors
from encfs.core import config, slots
from encfs.core.config import UnlockedConfig, new_config, read_copy, seal_config, unlock
from encfs.core.keys import wrap_epoch
from encfs.core.slots import make_slot, passphrase_bytes
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import (
    ConfigDamagedError,
    ConfigForgedError,
    ExitCode,
    NewerFormatError,
    NotAVolumeError,
    SlotDamagedError,
    WrongSecretError,
)
from encfs.format.config import Config, Epoch, Features, Kdf, KdfAlg, SlotKind, assemble, signed_bytes, split
from encfs.format.recovery_key import decode_recovery_key

SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32
RECOVERY = SlotKind.RECOVERY


def with_slots(made: UnlockedConfig, *secrets: bytes) -> Config:
    """Give a config one recovery slot for each secret; those need no slow derivation."""
    new = tuple(
        make_slot(
            CLOAKFS_1,
            volume_id=made.config.volume_id,
            rk_id=made.config.rk_id,
            root_key=made.root_key,
            kind=RECOVERY,
            label="",
            created=0,
            kdf=Kdf(KdfAlg.NONE),
            secret=secret,
        )
        for secret in secrets
    )
    return replace(made.config, slots=new)


MADE = new_config(CLOAKFS_1, created=1_760_000_000)
CONFIG = with_slots(MADE, OTHER_SECRET, SECRET)
RAW = seal_config(CLOAKFS_1, CONFIG, MADE.root_key)


def summed(signed: bytes, mac: bytes = bytes(32)) -> bytes:
    """Write a config whose checksum is right, by somebody who has no key."""
    return assemble(signed, mac, CLOAKFS_1.digest(signed)[:16])


def forged(raw: bytes, **changes: object) -> bytes:
    """Change fields as an attacker would: new checksum, old MAC."""
    signed, mac, _ = split(raw)
    return summed(signed_bytes(replace(config.parse_config(signed), **changes)), mac)


def damaged(raw: bytes) -> bytes:
    """Change one digit and nothing else."""
    assert b'"seq":' in raw
    return raw.replace(b'"cell_size":4096', b'"cell_size":4097')


def test_new_config():
    """Section 3: a new volume has seq 1, one active epoch 0, and ids and keys of its own."""
    made = MADE.config
    assert (made.seq, made.created, made.cell_size, made.suite) == (1, 1_760_000_000, 4096, "cloakfs-1")
    assert [(epoch.epoch, epoch.active) for epoch in made.epochs] == [(0, True)]
    other = new_config(CLOAKFS_1, created=0, cell_size=65536)
    assert other.config.cell_size == 65536
    for name in ("volume_id", "root_dir_id", "rk_id"):
        assert getattr(made, name) != getattr(other.config, name)
    assert made.volume_id != made.root_dir_id
    assert MADE.root_key != other.root_key
    with pytest.raises(errors.FormatError):
        new_config(CLOAKFS_1, created=0, cell_size=8192)


def test_unlock():
    """Section 3: a config unlocks to itself, its root key and the keys of its epochs."""
    opened = unlock([RAW, RAW], SECRET, RECOVERY)
    assert opened.config == CONFIG == read_copy(RAW)
    assert opened.root_key == MADE.root_key
    assert opened.ring.active.directory_key == MADE.ring.active.directory_key
    assert opened.ring.volume_id == CONFIG.volume_id


def test_mac_and_checksum():
    """Section 3: D has no key, M is HMAC under K_config over the same bytes."""
    signed, mac, checksum = split(RAW)
    assert checksum == CLOAKFS_1.digest(signed)[:16]
    assert mac == CLOAKFS_1.mac(CLOAKFS_1.expand(MADE.root_key, b"cloakfs/1 config"), signed)


def test_stored_config(vectors, ring):
    """Sections 3 to 5: the stored config unlocks with its passphrase and with its recovery key."""
    stored = vectors("config")
    raw = stored["good"].encode("ascii")
    recovery_key = decode_recovery_key(stored["recovery_key"])
    for secret, kind in ((passphrase_bytes(stored["passphrase"]), SlotKind.PASSPHRASE), (recovery_key, RECOVERY)):
        opened = unlock([raw], secret, kind)
        assert opened.root_key.hex() == stored["root_key"]
        assert opened.ring.active.epoch == stored["keys"]["active"]
        for epoch in (0, 7):
            assert opened.ring.of(epoch).directory_key == ring.of(epoch).directory_key
    assert seal_config(CLOAKFS_1, opened.config, opened.root_key) == raw


def test_stored_configs_that_are_bad(vectors):
    """Section 3: each stored broken config is refused with its recorded error."""
    for case in vectors("config")["bad"]:
        with pytest.raises(getattr(errors, case["error"])) as caught:
            read_copy(case["raw"].encode("latin-1"))
        assert type(caught.value).__name__ == case["error"], case["name"]


def test_every_flipped_bit_of_a_copy():
    """Section 3: a config with one wrong bit is damaged; it never unlocks and never is called forged."""
    step = 97  # a prime, so that all bits of the bytes and all fields have their turn
    for position in range(0, len(RAW) * 8, step):
        changed = bytearray(RAW)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((ConfigDamagedError, ConfigForgedError)) as caught:
            unlock([bytes(changed)], SECRET, RECOVERY)
        if isinstance(caught.value, ConfigForgedError):
            # Only the MAC itself is not under the checksum.
            assert bytes(changed).startswith(split(RAW)[0])


def test_damaged():
    """Section 3: without any copy whose checksum is right, the config is damaged."""
    for copies in ([damaged(RAW)], [damaged(RAW), RAW[:-100]], [b""], [b"junk", b""]):
        with pytest.raises(ConfigDamagedError) as caught:
            unlock(copies, SECRET, RECOVERY)
        assert caught.value.exit_code == ExitCode.CONFIG_DAMAGED


def test_one_good_copy_is_enough():
    """Section 3: two copies are kept so that one can be damaged."""
    for copies in ([RAW, damaged(RAW)], [damaged(RAW), RAW], [b"", RAW], [RAW]):
        assert unlock(copies, SECRET, RECOVERY).config == CONFIG


def test_no_copy():
    """Section 2: a directory without a config is not a volume."""
    with pytest.raises(NotAVolumeError):
        unlock([], SECRET, RECOVERY)


def test_wrong_secret():
    """Section 4: no slot of the kind belongs to the secret."""
    with pytest.raises(WrongSecretError, match="the recovery key is wrong") as caught:
        unlock([RAW, RAW], b"x" * 32, RECOVERY)
    assert caught.value.exit_code == ExitCode.WRONG_SECRET
    with pytest.raises(WrongSecretError, match="has no passphrase"):
        unlock([RAW], SECRET, SlotKind.PASSPHRASE)


def test_a_slow_derivation_is_done_once(monkeypatch):
    """Section 4: a slot that both copies have is tried once, and other kinds not at all."""
    tried: list[bytes] = []

    def watched(suite, volume_id, rk_id, slot, secret):
        tried.append(slot.id)
        return slots.open_slot(suite, volume_id, rk_id, slot, secret)

    monkeypatch.setattr(config, "open_slot", watched)
    with pytest.raises(WrongSecretError):
        unlock([RAW, RAW], b"x" * 32, RECOVERY)
    assert tried == [slot.id for slot in CONFIG.slots]


def test_damaged_slot():
    """Section 4: the secret is right but its slot does not open; another slot still opens the volume."""
    broken = replace(CONFIG, slots=(CONFIG.slots[0], replace(CONFIG.slots[1], esk=bytes(124))))
    raw = seal_config(CLOAKFS_1, broken, MADE.root_key)
    with pytest.raises(SlotDamagedError) as caught:
        unlock([raw, raw], SECRET, RECOVERY)
    assert caught.value.exit_code == ExitCode.SLOT_DAMAGED
    assert unlock([raw], OTHER_SECRET, RECOVERY).root_key == MADE.root_key
    with pytest.raises(WrongSecretError):
        unlock([raw], b"x" * 32, RECOVERY)
    # The other copy can still have the slot whole.
    older = seal_config(CLOAKFS_1, CONFIG, MADE.root_key)
    newer = seal_config(CLOAKFS_1, replace(broken, seq=2), MADE.root_key)
    assert unlock([newer, older], SECRET, RECOVERY).config.seq == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 9},
        {"cell_size": 65536},
        {"created": 0},
        {"root_dir_id": b"r" * 16},
        {"features": Features(ro_compat=("x",))},
        {"features": Features(compat=("x",))},
        {"slots": CONFIG.slots[1:]},
        {"epochs": (Epoch(epoch=0, active=True, wrap=bytes(60)),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_forged(changes):
    """Section 3: a config that was changed by somebody without the keys unlocks, and is then refused."""
    with pytest.raises(ConfigForgedError) as caught:
        unlock([forged(RAW, **changes)], SECRET, RECOVERY)
    assert caught.value.exit_code == ExitCode.CONFIG_FORGED


def test_forged_next_to_a_good_one():
    """Section 3: the first copy that unlocks with a right MAC is used, and the forged one is passed over."""
    assert unlock([forged(RAW, seq=9), RAW], SECRET, RECOVERY).config == CONFIG
    with pytest.raises(ConfigForgedError):
        unlock([forged(RAW, seq=9), damaged(RAW)], SECRET, RECOVERY)
    broken = seal_config(CLOAKFS_1, replace(CONFIG, slots=(replace(CONFIG.slots[1], esk=bytes(124)),)), MADE.root_key)
    forgery = forged(RAW, created=0)
    for copies in ([broken, forgery], [forgery, broken]):
        with pytest.raises(ConfigForgedError):
            unlock(copies, SECRET, RECOVERY)


def test_another_volume_with_the_same_id_fields():
    """Section 4: slots of one volume do not open another, even in a config that names its ids."""
    other = new_config(CLOAKFS_1, created=0)
    raw = seal_config(CLOAKFS_1, replace(other.config, slots=CONFIG.slots), other.root_key)
    with pytest.raises(WrongSecretError):
        unlock([raw], SECRET, RECOVERY)


def test_the_newest_copy_is_used():
    """Section 3: copies are taken in order of falling seq."""
    newer = seal_config(CLOAKFS_1, replace(CONFIG, seq=2), MADE.root_key)
    for copies in ([RAW, newer], [newer, RAW]):
        assert unlock(copies, SECRET, RECOVERY).config.seq == 2
    assert unlock([RAW, damaged(newer)], SECRET, RECOVERY).config.seq == 1


def test_a_removed_slot_in_the_older_copy_opens_it_only_there():
    """Section 3: a secret that only the older copy knows uses the older copy, as written in the section."""
    newer = seal_config(CLOAKFS_1, replace(CONFIG, seq=2, slots=CONFIG.slots[:1]), MADE.root_key)
    assert unlock([newer, RAW], SECRET, RECOVERY).config.seq == 1
    with pytest.raises(WrongSecretError):
        unlock([newer, newer], SECRET, RECOVERY)


def newer_configs() -> list[bytes]:
    """Write what a newer cloakfs may have written."""
    value = json.loads(split(RAW)[0].split(b"\n")[1])
    first = b"cloakfs-volume 1\n"

    def line(**changes: object) -> bytes:
        return json.dumps(value | changes, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"

    return [
        summed(b"cloakfs-volume 2\n" + line()),
        b"cloakfs-volume 7\nbinary \xff\xfe\n\n\n",
        summed(first + line(min_reader=2)),
        summed(first + line(suite="cloakfs-2")),
        summed(first + line(features={"compat": [], "incompat": ["x"], "ro_compat": []})),
    ]


@pytest.mark.parametrize("raw", newer_configs(), ids=["version", "other shape", "min_reader", "suite", "incompat"])
def test_newer_format(raw):
    """Section 3: a newer format is told before any secret is tried, in either copy."""
    for copies in ([raw], [raw, RAW], [RAW, raw]):
        with pytest.raises(NewerFormatError) as caught:
            unlock(copies, SECRET, RECOVERY)
        assert caught.value.exit_code == ExitCode.NEWER_FORMAT


def test_a_damaged_version_digit_is_damage():
    """Section 3: where the first line names another version but the rest is version 1, the digit is the damage."""
    changed = RAW.replace(b"cloakfs-volume 1", b"cloakfs-volume 3")
    with pytest.raises(ConfigDamagedError):
        unlock([changed], SECRET, RECOVERY)
    assert unlock([changed, RAW], SECRET, RECOVERY).config == CONFIG


def test_unknown_ro_compat():
    """Section 3: an unknown ro_compat feature unlocks, read-only."""
    raw = seal_config(CLOAKFS_1, replace(CONFIG, features=Features(ro_compat=("x",))), MADE.root_key)
    assert unlock([raw], SECRET, RECOVERY).config.read_only
    assert not unlock([RAW], SECRET, RECOVERY).config.read_only


def test_epoch_keys_that_do_not_open():
    """Section 5: a wrap that does not open although the MAC is right is damage, not a crash."""
    raw = seal_config(CLOAKFS_1, replace(CONFIG, epochs=(Epoch(epoch=0, active=True, wrap=bytes(60)),)), MADE.root_key)
    with pytest.raises(ConfigDamagedError):
        unlock([raw], SECRET, RECOVERY)


def test_two_epochs():
    """Section 5: retired epochs keep their keys; the active one is used for new things."""
    key = b"e" * 32
    wrap = wrap_epoch(CLOAKFS_1, root_key=MADE.root_key, volume_id=CONFIG.volume_id, epoch=1, key=key)
    epochs = (replace(CONFIG.epochs[0], active=False), Epoch(epoch=1, active=True, wrap=wrap))
    ring = unlock([seal_config(CLOAKFS_1, replace(CONFIG, epochs=epochs), MADE.root_key)], SECRET, RECOVERY).ring
    assert ring.active.epoch == 1
    assert ring.of(0).directory_key == MADE.ring.active.directory_key
    assert ring.of(1).directory_key != ring.of(0).directory_key


def test_repr_tells_no_keys():
    """Section 5: the root key is in no repr."""
    text = repr(MADE)
    assert "root_key" not in text
    assert repr(MADE.root_key)[2:-1] not in text
