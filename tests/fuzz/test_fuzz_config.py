"""Configs from anybody: parsed or refused, before any work that they ask for (FORMAT.md sections 3 and 4)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from encfs.core import config as core_config
from encfs.core.slots import SlotSecret, open_slot
from encfs.core.sources import KnownSecret
from encfs.crypto import kdf as crypto_kdf
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import CloakfsError, ConfigError, FormatError, MemoryShortError, UnlockError
from encfs.format import config as config_format
from encfs.format import limits
from encfs.format.config import Config
from encfs.format.slots import SlotKind
from encfs.units import VolumeId
from tests.support.evidence import record
from tests.support.fuzzing import (
    DEEP,
    MEMORY_MAX,
    ODD_NUMBERS,
    Fuzz,
    compact,
    damaged,
    damaged_fixed,
    damaged_json,
    peak_memory,
)
from tests.support.volumes import RECOVERY_KEY

FIRST = b"cloakfs-volume 1\n"
OURS = (ConfigError, FormatError)


def checked(signed: bytes, root_key: bytes | None = None) -> bytes:
    """A whole config with a right checksum; with a root key the MAC is right too."""
    mac = bytes(32)
    if root_key is not None:
        mac = crypto_kdf.mac(crypto_kdf.expand(root_key, crypto_kdf.Label.CONFIG), signed)
    return config_format.assemble(signed, mac, crypto_kdf.digest(signed)[: limits.CHECKSUM_SIZE])


def lines(text: bytes) -> bytes:
    """Lines 1 and 2."""
    return FIRST + text + b"\n"


def as_json(config: Config) -> Any:
    """Line 2 as a value."""
    return json.loads(config_format.signed_bytes(config)[len(FIRST) :])


class Work:
    """Stands in for Argon2id: adds up what it is asked for, and fails the test beyond the cap of section 4."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        monkeypatch.setattr(crypto_kdf, "hash_secret_raw", self._hash)
        monkeypatch.setattr(crypto_kdf, "available_kib", lambda: None)

    def _hash(
        self, secret: bytes, salt: bytes, passes: int, memory_kib: int, lanes: int, size: int, *_: object, version: int
    ) -> bytes:
        self.calls += 1
        assert 65_536 <= memory_kib <= 4_194_304
        assert 3 <= passes <= 64
        assert 1 <= lanes <= 16
        assert len(salt) == 16
        return bytes(size)


# What once got through: numbers, depth and sizes at which a parser could choke.
HARD_LINES = [
    *(lines(text.encode()) for text in DEEP),
    lines(b"1" * 100_000),
    lines(b'{"a":' + b"9" * 5000 + b"}"),
    lines(b'{"a":1e999}'),
    lines(b'{"a":NaN}'),
    lines(b'"' + b"A" * limits.CONFIG_MAX + b'"'),
    lines(b'"\\ud800"'),
    lines("\u00e9".encode()),
    lines(b'{"a":1,"a":2}'),
    lines(b"\0"),
    lines(b""),
]


def test_config_file(fuzz: Fuzz, good_config: Config) -> None:
    """The three lines of a config file, damaged anywhere, are refused as damaged or newer (FORMAT.md section 3)."""
    signed = config_format.signed_bytes(good_config)
    good = st.sampled_from([checked(signed), signed, FIRST, b"cloakfs-volume 2\nrest\n", b""])
    fuzz(
        "config: the file",
        core_config.read_copy,
        damaged(good) | st.binary(max_size=4096),
        examples=250,
        explicit=[b"", b"\n\n\n", b"\0" * 4096, b"cloakfs-volume 999999999\n", b"\n" * (1 << 20)],
        allowed=(ConfigError,),
    )


def test_config_json(fuzz: Fuzz, good_config: Config) -> None:
    """Line 2 with fields changed in any way, spelled canonically or not (FORMAT.md section 3)."""
    fuzz(
        "config: the JSON line",
        lambda value: config_format.parse_config(lines(compact(value))),
        damaged_json(as_json(good_config)),
        examples=350,
        allowed=OURS,
    )
    fuzz(
        "config: the text of the JSON line",
        config_format.parse_config,
        damaged(st.just(config_format.signed_bytes(good_config))),
        examples=150,
        explicit=HARD_LINES,
        allowed=OURS,
    )


def test_a_parsed_config_has_one_spelling(fuzz: Fuzz, good_config: Config) -> None:
    """Whatever parses comes out again byte for byte (FORMAT.md section 3): no reader understands something else."""

    def same(value: Any) -> None:
        signed = lines(compact(value))
        assert config_format.signed_bytes(config_format.parse_config(signed)) == signed

    numbers = st.sampled_from([n for n in ODD_NUMBERS if isinstance(n, int)])
    base = as_json(good_config)
    changed = st.builds(
        lambda field, number: base | {field: number}, st.sampled_from(["seq", "created", "min_reader"]), numbers
    )
    fuzz("config: one spelling", same, changed | damaged_json(base), examples=150, allowed=OURS)


def test_unlock_of_a_config_with_a_right_checksum(
    fuzz: Fuzz, unlocked: core_config.UnlockedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config that somebody without a key rewrote, checksum included: nothing opens it (FORMAT.md sections 3, 4)."""
    Work(monkeypatch)
    base = as_json(unlocked.config)

    def attempt(value: Any, kind: SlotKind) -> None:
        signed = lines(compact(value))
        if value == base:
            return
        with pytest.raises((ConfigError, UnlockError, MemoryShortError)):
            core_config.unlock([checked(signed)], KnownSecret.of(kind, RECOVERY_KEY))

    fuzz(
        "config: unlock, checksum right",
        attempt,
        damaged_json(base),
        st.sampled_from(SlotKind),
        examples=200,
    )


def test_unlock_of_a_config_with_a_right_mac(
    fuzz: Fuzz, unlocked: core_config.UnlockedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the MAC too there is only our error: epochs, authenticators, ids (FORMAT.md sections 3 to 5)."""
    Work(monkeypatch)
    base = as_json(unlocked.config)

    def attempt(value: Any) -> None:
        raw = checked(lines(compact(value)), unlocked.root_key)
        core_config.unlock([raw, raw], KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY))

    epochs = damaged_json(base["epochs"]).map(lambda value: base | {"epochs": value})
    fuzz("config: unlock, MAC right", attempt, epochs | damaged_json(base), examples=250)


def test_argon2_parameters(fuzz: Fuzz, unlocked: core_config.UnlockedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a slot asks of Argon2id, never more than the cap or less than the floor (FORMAT.md section 4)."""
    work = Work(monkeypatch)
    base = as_json(unlocked.config)

    def attempt(kdf: Any) -> None:
        before = work.calls
        value = base | {"slots": [base["slots"][0] | {"kdf": kdf}]}
        try:
            core_config.unlock([checked(lines(compact(value)))], KnownSecret.of(SlotKind.PASSPHRASE, b"guess"))
        except (ConfigError, UnlockError, MemoryShortError):
            assert work.calls - before <= 1
            return
        raise AssertionError("a slot that was made up opens")

    # Both sides of every limit, and what no field wants.
    edges = (65_535, 65_536, 4_194_304, 4_194_305, 3, 2, 64, 65, 16, 17, 1, 0)
    number = st.sampled_from(edges) | st.sampled_from(ODD_NUMBERS)
    asked = st.fixed_dictionaries(
        {
            "alg": st.sampled_from(["argon2id", "argon2id", "none", "argon2i", ""]),
            "memory_kib": number,
            "passes": number,
            "lanes": number,
            "salt": st.sampled_from(["A" * 22, "A" * 21, "A" * 23, "A" * 21 + "B", "", "=" * 22, "A" * 100_000]),
        }
    )
    good = base["slots"][0]["kdf"]
    one = st.builds(
        lambda name, value: good | {name: value}, st.sampled_from(["memory_kib", "passes", "lanes"]), number
    )
    each = {"memory_kib": (65_535, 4_194_305, 1 << 31), "passes": (2, 65, 1 << 31), "lanes": (0, 17, 1 << 31)}
    fuzz(
        "config: Argon2id parameters",
        attempt,
        asked | one | damaged_json(good),
        examples=250,
        explicit=[good, *(good | {name: value} for name, values in each.items() for value in values)],
    )
    assert work.calls  # It was reached, so it could have failed.


def test_slot_fields(fuzz: Fuzz, unlocked: core_config.UnlockedConfig) -> None:
    """A slot whose sealed fields are damaged, opened with its own secret, opens right or not at all (section 4)."""
    config = unlocked.config
    slot = config.slots[1]

    def attempt(field: str, raw: bytes) -> None:
        changed = replace(slot, **{field: raw})
        opened = open_slot(CLOAKFS_1, VolumeId(config.volume_id), config.rk_id, changed, SlotSecret(key=RECOVERY_KEY))
        assert opened.root_key == unlocked.root_key

    fields = ("id", "pub", "commit", "esk", "erk", "auth")
    pairs = st.sampled_from(fields).flatmap(
        lambda field: st.tuples(st.just(field), damaged_fixed(st.just(getattr(slot, field))))
    )
    fuzz("config: fields of a slot", lambda pair: attempt(*pair), pairs, examples=100)


@pytest.mark.parametrize("raw", HARD_LINES, ids=range(len(HARD_LINES)))
def test_memory_of_a_hard_config(raw: bytes) -> None:
    """Deep, long and huge JSON costs bounded memory (FORMAT.md section 3: a line is at most 1 MiB)."""

    def parse() -> None:
        with pytest.raises(CloakfsError):
            core_config.read_copy(checked(raw))

    assert peak_memory(parse) < MEMORY_MAX
    record("fuzz", "config: memory of the hardest", note="under a fixed bound")


def test_memory_of_the_largest_configs(good_config: Config) -> None:
    """Lists as long as a config may be are refused in bounded memory, by their count (FORMAT.md section 15)."""
    base = as_json(good_config)
    slot = base["slots"][1]
    for field, one in (("slots", slot), ("epochs", base["epochs"][0]), ("slots", {}), ("epochs", 0)):
        count = (limits.CONFIG_MAX - 8192) // (len(compact(one)) + 1)
        raw = checked(lines(compact(base | {field: [one] * count})))

        def parse(raw: bytes = raw) -> None:
            with pytest.raises(CloakfsError):
                core_config.read_copy(raw)

        assert peak_memory(parse) < MEMORY_MAX
    record("fuzz", "config: memory of the largest", cases=4, note="under a fixed bound")
