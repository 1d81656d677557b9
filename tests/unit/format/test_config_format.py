"""encfs/format/config.py: the three lines, canonical JSON, and its limits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError, NewerFormatError
from encfs.format import base64url, canonical, config, limits, slots
from encfs.format.config import Config, Features
from encfs.format.epochs import Epoch, Rotation, RotationReason
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind

KDF = Kdf(KdfAlg.ARGON2ID, 65536, 3, 1, b"0123456789abcdef")
PASSPHRASE_SLOT = Slot(
    id=b"slot-no1",
    kind=SlotKind.PASSPHRASE,
    label="Müller, desk",
    created=1,
    kdf=KDF,
    pub=b"p" * limits.PUBLIC_KEY_SIZE,
    commit=b"c" * limits.COMMIT_SIZE,
    esk=b"e" * limits.ESK_SIZE,
    erk=b"r" * limits.ERK_SIZE,
    auth=b"a" * limits.AUTH_SIZE,
)
RECOVERY_SLOT = replace(PASSPHRASE_SLOT, id=b"slot-no2", kind=SlotKind.RECOVERY, label="", kdf=Kdf(KdfAlg.NONE))
CONFIG = Config(
    volume_id=b"v" * 16,
    seq=1,
    created=2,
    cell_size=4096,
    root_dir_id=b"d" * 16,
    rk_id=b"rk-id-08",
    slots=(PASSPHRASE_SLOT, RECOVERY_SLOT),
    epochs=(
        Epoch(epoch=0, created=2, active=False, wrap=b"w" * limits.KEY_WRAP_SIZE),
        Epoch(epoch=1, created=3, active=True, wrap=b"x" * limits.KEY_WRAP_SIZE),
    ),
    metadata=b"m" * limits.KEY_WRAP_SIZE,
    rotations=(Rotation(epoch=1, reason=RotationReason.STAFF, started=3, data=True),),
)


def changed(**changes: object) -> bytes:
    """Write a config with some fields of its JSON replaced."""
    return lines(json.loads(config.signed_bytes(CONFIG).split(b"\n")[1]) | changes)


def changed_slot(**changes: object) -> bytes:
    """Write a config with some fields of its first slot replaced."""
    slots = json.loads(config.signed_bytes(CONFIG).split(b"\n")[1])["slots"]
    return changed(slots=[slots[0] | changes, slots[1]])


def lines(value: object) -> bytes:
    """Write lines 1 and 2 around a JSON value."""
    line = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return b"cloakfs-volume 1\n" + line.encode("ascii") + b"\n"


def b64(size: int) -> str:
    """Spell some zero bytes."""
    return base64url.encode(bytes(size)).decode("ascii")


def test_round_trip():
    """Section 3: a config is read back the same, and written again byte for byte."""
    signed = config.signed_bytes(CONFIG)
    assert config.parse_config(signed) == CONFIG
    assert changed() == signed
    assert not CONFIG.read_only


def test_three_lines():
    """Section 3: exactly three lines; line 2 is one JSON object in ASCII; line 3 holds MAC and checksum."""
    signed = config.signed_bytes(CONFIG)
    raw = config.assemble(signed, b"m" * 32, b"s" * 16)
    first, second, third, rest = raw.split(b"\n")
    assert (first, rest) == (b"cloakfs-volume 1", b"")
    assert second.isascii()
    assert b" " not in second.replace(b"desk", b"").replace(b", ", b"")
    assert third == b"mac " + base64url.encode(b"m" * 32) + b" sum " + base64url.encode(b"s" * 16)
    assert config.split(raw) == (signed, b"m" * 32, b"s" * 16)


def test_json_is_canonical():
    """Section 3: keys sorted by code point, no spaces, escapes for what is not ASCII."""
    assert canonical.canonical_json({"b": [1, {}], "a": "ü\n\U0001f600", "B": True}) == (
        rb'{"B":true,"a":"\u00fc\n\ud83d\ude00","b":[1,{}]}'
    )


def test_binding():
    """Section 4: B is the canonical JSON of kdf, kind and pub of the slot."""
    value = json.loads(config.signed_bytes(CONFIG).split(b"\n")[1])["slots"][0]
    wanted = json.dumps({name: value[name] for name in ("kdf", "kind", "pub")}, separators=(",", ":"))
    assert slots.slot_binding(KDF, SlotKind.PASSPHRASE, PASSPHRASE_SLOT.pub) == wanted.encode("ascii")
    assert slots.slot_binding(Kdf(KdfAlg.NONE), SlotKind.RECOVERY, b"").startswith(b'{"kdf":{"alg":"none"}')


def test_features():
    """Section 3: unknown incompat stops, unknown ro_compat makes read-only, unknown compat does not matter."""
    names = {"compat": ["x"], "incompat": [], "ro_compat": ["y"]}
    parsed = config.parse_config(changed(features=names))
    assert parsed.features == Features(compat=("x",), ro_compat=("y",))
    assert parsed.read_only
    assert not config.parse_config(changed(features=names | {"ro_compat": []})).read_only
    with pytest.raises(NewerFormatError):
        config.parse_config(changed(features=names | {"incompat": ["z"]}))


@pytest.mark.parametrize(
    "signed",
    [
        b"cloakfs-volume 2\nwhatever\n",
        b"cloakfs-volume 999999999\n{}\n",
        changed(min_reader=2),
        changed(suite="cloakfs-2"),
        changed(min_reader=2, slots="of another shape"),
        changed(features={"compat": [], "incompat": ["new"], "ro_compat": []}, new_field={}),
    ],
    ids=["version 2", "version 999999999", "min_reader", "suite", "min_reader and shape", "feature and shape"],
)
def test_newer_formats(signed):
    """Section 3: a newer format is told as such, also where its other fields have another shape."""
    with pytest.raises(NewerFormatError) as caught:
        config.parse_config(signed)
    assert "newer cloakfs" in caught.value.hint


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("too little memory", {"memory_kib": 65535}),
        ("too much memory", {"memory_kib": 4_194_305}),
        ("too few passes", {"passes": 2}),
        ("too many passes", {"passes": 65}),
        ("no lanes", {"lanes": 0}),
        ("too many lanes", {"lanes": 17}),
        ("a huge number", {"memory_kib": 10**3000}),
        ("salt of 15 bytes", {"salt": b64(15)}),
        ("no salt", {"salt": ""}),
        ("memory as text", {"memory_kib": "65536"}),
        ("memory as a fraction", {"memory_kib": 65536.0}),
        ("passes true", {"passes": True}),
        ("unknown derivation", {"alg": "scrypt"}),
        ("extra parameter", {"version": 19}),
    ],
)
def test_kdf_limits(what, change):
    """Section 4: 65,536 <= m <= 4,194,304, 3 <= t <= 64, 1 <= p <= 16, checked before any work."""
    kdf = {"alg": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1, "salt": b64(16)}
    assert config.parse_config(changed_slot(kdf=kdf))
    with pytest.raises(FormatError):
        config.parse_config(changed_slot(kdf=kdf | change))


def test_kdf_limits_include_their_ends():
    """Section 4: the limits themselves are allowed."""
    assert Kdf(KdfAlg.ARGON2ID, 65_536, 3, 1, bytes(16))
    assert Kdf(KdfAlg.ARGON2ID, 4_194_304, 64, 16, bytes(16))
    with pytest.raises(FormatError):
        Kdf(KdfAlg.NONE, passes=3)


@pytest.mark.parametrize(
    "change",
    [
        {"kdf": {"alg": "none"}},
        {"kdf": {"alg": "none", "passes": 3}},
        {"kind": "recovery"},
        {"kind": "token"},
        {"kind": "key-file"},
        {"data": b64(3)},
        {"data": ""},
        {"label": "x" * 65},
        {"label": "\ud800"},
        {"label": 1},
        {"id": b64(7)},
        {"id": b64(8) + "="},
        {"id": "_ü________"},
        {"pub": b64(1215)},
        {"esk": b64(155)},
        {"esk": b64(124)},
        {"erk": b64(1167)},
        {"auth": b64(59)},
        {"auth": ""},
        {"commit": b64(31)},
        {"created": -1},
        {"created": 2**64},
        {"extra": 1},
    ],
    ids=str,
)
def test_bad_slots(change):
    """Section 4: a slot that is not exactly as described is refused."""
    with pytest.raises(FormatError):
        config.parse_config(changed_slot(**change))


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"cloakfs-volume 1",
        b"cloakfs-volume 1\n",
        b"cloakfs-volume 1\n{}\n",
        b"cloakfs-volume 01\n{}\n",
        b"cloakfs-volume 0\n{}\n",
        b"cloakfs-volume -1\n{}\n",
        lines([]),
        lines("x"),
        lines(1),
        changed().replace(b'"seq":1', b'"seq":1.0'),
        changed().replace(b'"seq":1', b'"seq":-0'),
        changed().replace(b'"seq":1', b'"seq":1e0'),
        changed().replace(b'"seq":1', b'"seq":NaN'),
        changed().replace(b'"seq":1', b'"seq": 1'),
        changed().replace(b'"seq":1', b'"seq":1,"seq":1'),
        changed().replace(b"\\u00fc", "ü".encode()),
        changed().replace(b"\\u00fc", b"\\u00FC"),
        changed().replace(b"desk", b"\\u0064esk"),
        changed(seq=0),
        changed(seq=None),
        changed(cell_size=8192),
        changed(root_dir_id=b64(15)),
        changed(rk_id=b64(9)),
        changed(volume_id=None),
        changed(slots={}),
        changed(slots=[1]),
        changed(epochs=[]),
        changed(epochs=[{"epoch": 0, "state": "retired", "wrap": b64(60)}]),
        changed(epochs=[{"epoch": 0, "state": "active", "wrap": b64(59)}]),
        changed(epochs=[{"epoch": 0, "state": "on", "wrap": b64(60)}]),
        changed(features={"compat": [], "incompat": []}),
        changed(features={"compat": [], "incompat": [1], "ro_compat": []}),
        changed(surplus=1),
    ],
)
def test_bad_configs(signed):
    """Section 3: a config that is not exactly as described is refused."""
    with pytest.raises(FormatError):
        config.parse_config(signed)


def test_slots_are_counted():
    """Section 12: at most 64 slots, none twice."""
    many = tuple(replace(RECOVERY_SLOT, id=number.to_bytes(8, "big")) for number in range(65))
    assert len(config.parse_config(config.signed_bytes(replace(CONFIG, slots=many[:64]))).slots) == 64
    for some in (many, (RECOVERY_SLOT, RECOVERY_SLOT)):
        with pytest.raises(FormatError):
            replace(CONFIG, slots=some)


def test_largest_config():
    """Section 3: a JSON line of more than 1 MiB is neither written nor read."""
    with pytest.raises(FormatError):
        config.signed_bytes(replace(CONFIG, features=Features(compat=("x" * limits.CONFIG_MAX,))))
    with pytest.raises(FormatError):
        config.parse_config(changed(features={"compat": ["x" * limits.CONFIG_MAX], "incompat": [], "ro_compat": []}))
    with pytest.raises(FormatError):
        config.split(
            config.assemble(b"cloakfs-volume 1\n" + bytes(limits.CONFIG_MAX + 200) + b"\n", b"m" * 32, b"s" * 16)
        )


def test_deep_nesting():
    """Section 3: nested lists cost a FormatError, not the process."""
    for depth in (100, 5000, 400_000):
        with pytest.raises(FormatError):
            config.parse_config(b"cloakfs-volume 1\n" + b"[" * depth + b"]" * depth + b"\n")


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_every_changed_byte(position, change):
    """Section 3: whatever byte of a config changes, it is refused or comes out again as changed."""
    signed = bytearray(config.signed_bytes(CONFIG))
    signed[position % len(signed)] ^= change
    try:
        parsed = config.parse_config(bytes(signed))
    except (FormatError, NewerFormatError):
        return
    assert config.signed_bytes(parsed) == signed


@given(st.binary(max_size=300))
def test_garbage(garbage):
    """Section 3: whatever the bytes are, the errors are FormatError and NewerFormatError."""
    for read in (config.split, config.parse_config):
        for raw in (garbage, b"cloakfs-volume 1\n" + garbage, b"cloakfs-volume 1\n" + garbage + b"\n"):
            with pytest.raises((FormatError, NewerFormatError)):
                read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(json.loads(config.signed_bytes(CONFIG).split(b"\n")[1]))), JSON)
def test_any_value_in_any_field(name, value):
    """Section 3: a field with any JSON value at all is read or refused, never another error."""
    signed = changed(**{name: value})
    try:
        parsed = config.parse_config(signed)
    except (FormatError, NewerFormatError):
        return
    assert config.signed_bytes(parsed) == signed


@given(st.sampled_from(["id", "kind", "label", "created", "kdf", "pub", "commit", "esk", "erk", "auth"]), JSON)
def test_any_value_in_any_field_of_a_slot(name, value):
    """Section 4: a field of a slot with any JSON value at all is read or refused, never another error."""
    try:
        parsed = config.parse_config(changed_slot(**{name: value}))
    except FormatError:
        return
    assert name in ("label", "created")
    assert parsed.slots[0].kind is SlotKind.PASSPHRASE


def test_repr_is_short():
    """Section 4: sealed keys are not in a repr: harmless, but kilobytes of them hide the rest."""
    assert len(repr(CONFIG)) < 1500
    assert "eeee" not in repr(CONFIG)


def test_a_kind_that_is_unknown_is_kept():
    """Section 4: what a later version or a plug-in opens is read, kept as it is, and written again."""
    slot = replace(RECOVERY_SLOT, kind="pkcs11", data=b"where the secret is")
    made = replace(CONFIG, slots=(PASSPHRASE_SLOT, slot))
    signed = config.signed_bytes(made)
    assert config.parse_config(signed) == made
    assert b'"data":"' in signed
    assert slots.slot_binding(slot.kdf, slot.kind, slot.pub, slot.data).startswith(b'{"data":"')


@pytest.mark.parametrize("kind", ["", "Token", "a b", "x" * 33, "-x", "passphrasé"])
def test_what_is_no_name_of_a_kind(kind):
    """Section 4: the name of a kind has a form."""
    with pytest.raises(FormatError):
        replace(RECOVERY_SLOT, kind=kind, data=b"x")


@pytest.mark.parametrize("size", [4097, 10_000])
def test_too_much_data(size):
    """Section 4: at most 4,096 bytes, so that 64 slots fit into a config."""
    assert replace(RECOVERY_SLOT, kind="token", data=bytes(4096))
    with pytest.raises(FormatError):
        replace(RECOVERY_SLOT, kind="token", data=bytes(size))


def test_set_of_shares():
    """Section 4: the data of a slot of kind shares, byte for byte, and nothing else in its place."""
    data = bytes.fromhex("7a5c0203")
    shares = slots.ShareSet(0x7A5C, 2, 3)
    assert slots.encode_share_set(shares) == data
    assert slots.decode_share_set(data) == shares
    made = replace(CONFIG, slots=(PASSPHRASE_SLOT, replace(RECOVERY_SLOT, kind="shares", data=data)))
    assert config.parse_config(config.signed_bytes(made)) == made


@pytest.mark.parametrize(
    "data", ["", "7a5c02", "7a5c020300", "80000203", "7a5c0103", "7a5c0302", "7a5c0211", "7a5c0000"]
)
def test_what_is_no_set_of_shares(data):
    """Section 4: four bytes, an id of 15 bits, 2 <= threshold <= count <= 16."""
    with pytest.raises(FormatError):
        replace(RECOVERY_SLOT, kind="shares", data=bytes.fromhex(data))
