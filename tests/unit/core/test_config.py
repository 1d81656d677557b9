"""encfs/core/config.py: sealing and unlocking, and which error each fault has."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from encfs import errors
from encfs.core import config, slots
from encfs.core.config import UnlockedConfig, new_config, read_copy, seal_config
from encfs.core.key_changes import renew_root_key
from encfs.core.keys import wrap_epoch
from encfs.core.slots import (
    SlotSecret,
    make_slot,
    open_authenticator,
    passphrase_bytes,
    seal_authenticator,
    seal_root_key,
)
from encfs.core.sources import KnownSecret
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
from encfs.format.config import Config, Features, assemble, signed_bytes, split
from encfs.format.epochs import Epoch, Rotation, RotationReason
from encfs.format.recovery_key import decode_recovery_key
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind

SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32
RECOVERY = SlotKind.RECOVERY


def unlock(copies, secret, kind):
    """With a secret that is at hand."""
    return config.unlock(copies, KnownSecret.of(kind, secret))


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
            secret=SlotSecret(key=secret),
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


def attacked(raw: bytes, **changes: object) -> bytes:
    """Put a root key of one's own into a config, as somebody would who can only read and write it."""
    made = read_copy(raw)
    root_key, rk_id, guess, volume_id = b"E" * 32, b"evil rk.", b"?" * 32, made.volume_id
    own = {"root_key": root_key, "volume_id": volume_id}
    sealed = tuple(
        replace(
            slot,
            # An old erk format, without the authenticator, and one with a guess.
            erk=CLOAKFS_1.kem_seal(slot.pub, b"cloakfs/1 erk" + volume_id + slot.id + rk_id, root_key)
            if slot is made.slots[0]
            else seal_root_key(CLOAKFS_1, **own, slot_id=slot.id, rk_id=rk_id, pub=slot.pub, authenticator=guess),
            auth=seal_authenticator(CLOAKFS_1, **own, slot_id=slot.id, authenticator=guess),
        )
        for slot in made.slots
    )
    epochs = (Epoch(epoch=0, created=9, active=True, wrap=wrap_epoch(CLOAKFS_1, **own, epoch=0, key=b"K" * 32)),)
    return seal_config(
        CLOAKFS_1, replace(made, seq=made.seq + 1, rk_id=rk_id, slots=sealed, epochs=epochs, **changes), root_key
    )


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET], ids=["guessed authenticator", "none"])
def test_a_root_key_of_an_outsider(secret):
    """Section 4: a root key sealed with public data alone, MAC and checksum right, is never taken."""
    attack = attacked(RAW)
    for copies in ([attack], [attack, attack], [attack, damaged(RAW)]):
        with pytest.raises(SlotDamagedError) as caught:
            unlock(copies, secret, RECOVERY)
        assert caught.value.exit_code == ExitCode.SLOT_DAMAGED
    with pytest.raises(WrongSecretError):
        unlock([attack], b"x" * 32, RECOVERY)


def test_a_root_key_of_an_outsider_next_to_a_good_copy():
    """Section 4: the honest copy, though its seq is lower, is what unlocks."""
    attack = attacked(RAW)
    for copies in ([attack, RAW], [RAW, attack]):
        opened = unlock(copies, SECRET, RECOVERY)
        assert (opened.config, opened.root_key) == (CONFIG, MADE.root_key)


def test_a_root_key_of_an_outsider_under_the_old_id():
    """Section 4: the same under the id of the right root key."""
    made = read_copy(RAW)
    slot = made.slots[1]
    info = b"cloakfs/1 erk" + made.volume_id + slot.id + made.rk_id
    for tail in (b"", bytes(32), b"?" * 32, slot.auth[12:44]):
        evil = replace(slot, erk=CLOAKFS_1.kem_seal(slot.pub, info + tail, b"E" * 32))
        with pytest.raises(SlotDamagedError):
            unlock([seal_config(CLOAKFS_1, replace(made, slots=(evil,)), b"E" * 32)], SECRET, RECOVERY)


def slot_with(auth: bytes) -> Slot:
    """The slot of SECRET with another ``auth``."""
    return replace(CONFIG.slots[1], auth=auth)


@pytest.mark.parametrize(
    "auth",
    [
        CONFIG.slots[0].auth,
        bytes(60),
        CONFIG.slots[1].auth[:-1] + bytes([CONFIG.slots[1].auth[-1] ^ 1]),
        seal_authenticator(
            CLOAKFS_1,
            volume_id=CONFIG.volume_id,
            slot_id=CONFIG.slots[1].id,
            root_key=MADE.root_key,
            authenticator=b"?" * 32,
        ),
        seal_authenticator(
            CLOAKFS_1,
            volume_id=CONFIG.volume_id,
            slot_id=CONFIG.slots[1].id,
            root_key=b"E" * 32,
            authenticator=open_authenticator(CLOAKFS_1, CONFIG.volume_id, CONFIG.slots[1], MADE.root_key),
        ),
    ],
    ids=["of another slot", "garbage", "flipped bit", "another authenticator", "under another root key"],
)
def test_auth_that_does_not_agree(auth):
    """Section 4: with a right MAC, an auth that is not that of esk is told at once, not at the next renewal."""
    first, second = CONFIG.slots
    raw = seal_config(CLOAKFS_1, replace(CONFIG, seq=2, slots=(first, slot_with(auth))), MADE.root_key)
    with pytest.raises(SlotDamagedError):
        unlock([raw, raw], SECRET, RECOVERY)
    # Another slot, another copy, or another slot of the same secret still opens.
    assert unlock([raw], OTHER_SECRET, RECOVERY).config.seq == 2
    assert unlock([raw, RAW], SECRET, RECOVERY).config.seq == 1
    twice = with_slots(MADE, SECRET).slots
    again = seal_config(CLOAKFS_1, replace(CONFIG, slots=(slot_with(auth), *twice)), MADE.root_key)
    assert unlock([again], SECRET, RECOVERY).root_key == MADE.root_key
    # Changed by somebody without the keys, it is a forgery.
    with pytest.raises(ConfigForgedError):
        unlock([forged(RAW, slots=(first, slot_with(auth)))], SECRET, RECOVERY)
    assert unlock([RAW], SECRET, RECOVERY).config.slots == (first, second)


def test_a_config_without_auth_is_damaged():
    """Section 4: auth is required, and of one length, before any secret is tried."""
    value = json.loads(split(RAW)[0].split(b"\n")[1])
    for auth in (None, "", "A" * 79, "A" * 78, "!" * 80):
        fields = {name: field for name, field in value["slots"][1].items() if name != "auth"}
        fields |= {} if auth is None else {"auth": auth}
        line = json.dumps(value | {"slots": [value["slots"][0], fields]}, sort_keys=True, separators=(",", ":"))
        with pytest.raises(ConfigDamagedError):
            unlock([summed(b"cloakfs-volume 1\n" + line.encode("ascii") + b"\n")], SECRET, RECOVERY)


def test_a_new_root_key_for_every_slot():
    """Section 4: whoever holds the root key renews it for every slot, with nobody's secret."""
    renewed = renew_root_key(unlock([RAW], SECRET, RECOVERY))
    assert renewed.root_key != MADE.root_key
    assert renewed.config.rk_id != CONFIG.rk_id
    raw = seal_config(CLOAKFS_1, renewed.config, renewed.root_key)
    for secret in (SECRET, OTHER_SECRET):
        opened = unlock([raw, RAW], secret, RECOVERY)
        assert (opened.root_key, opened.config.seq) == (renewed.root_key, CONFIG.seq + 1)
        assert opened.ring.active.directory_key == MADE.ring.active.directory_key
        assert opened.ring.metadata.freshness_key == MADE.ring.metadata.freshness_key


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
    broken = replace(CONFIG, slots=(CONFIG.slots[0], replace(CONFIG.slots[1], esk=bytes(156))))
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
        {"epochs": (Epoch(epoch=0, created=9, active=True, wrap=bytes(60)),)},
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
    broken = seal_config(CLOAKFS_1, replace(CONFIG, slots=(replace(CONFIG.slots[1], esk=bytes(156)),)), MADE.root_key)
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
    raw = seal_config(CLOAKFS_1, replace(CONFIG, epochs=(replace(CONFIG.epochs[0], wrap=bytes(60)),)), MADE.root_key)
    with pytest.raises(ConfigDamagedError):
        unlock([raw], SECRET, RECOVERY)


def test_two_epochs():
    """Section 5: retired epochs keep their keys; the active one is used for new things."""
    key = b"e" * 32
    wrap = wrap_epoch(CLOAKFS_1, root_key=MADE.root_key, volume_id=CONFIG.volume_id, epoch=1, key=key)
    epochs = (replace(CONFIG.epochs[0], active=False), Epoch(epoch=1, created=9, active=True, wrap=wrap))
    rotations = (Rotation(epoch=1, reason=RotationReason.SCHEDULE, started=9),)
    config = replace(CONFIG, epochs=epochs, rotations=rotations)
    ring = unlock([seal_config(CLOAKFS_1, config, MADE.root_key)], SECRET, RECOVERY).ring
    assert ring.active.epoch == 1
    assert ring.of(0).directory_key == MADE.ring.active.directory_key
    assert ring.of(1).directory_key != ring.of(0).directory_key


def test_a_metadata_key_that_does_not_open():
    """Section 5: damage, although the MAC is right."""
    with pytest.raises(ConfigDamagedError):
        unlock([seal_config(CLOAKFS_1, replace(CONFIG, metadata=bytes(60)), MADE.root_key)], SECRET, RECOVERY)


def test_repr_tells_no_keys():
    """Section 5: the root key is in no repr."""
    text = repr(MADE)
    assert "root_key" not in text
    assert repr(MADE.root_key)[2:-1] not in text
