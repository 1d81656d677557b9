"""encfs/format/policy.py: the field ``policy`` of the config (FORMAT.md section 3)."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from encfs.errors import FormatError
from encfs.format import config
from encfs.format.policy import NO_POLICY, RANGES, Policy
from tests.unit.format.test_config_format import CONFIG, changed

TOP = Path(__file__).resolve().parents[3]
ALL = Policy(**{name: low for name, (low, _) in RANGES.items()})  # type: ignore[arg-type]  # each is a number


def test_without_rules_nothing_is_written() -> None:
    """A volume without a policy has the bytes that it had before there were policies."""
    assert CONFIG.policy == NO_POLICY
    assert b"policy" not in config.signed_bytes(CONFIG)
    assert config.signed_bytes(replace(CONFIG, policy=Policy())) == config.signed_bytes(CONFIG)


def test_bytes_of_a_policy() -> None:
    """Sorted names, integers, only the rules that are set."""
    signed = config.signed_bytes(replace(CONFIG, policy=Policy(slot_days=730, idle_seconds=900, others=(("zeal", 0),))))
    assert b',"policy":{"idle_seconds":900,"slot_days":730,"zeal":0},' in signed
    assert config.signed_bytes(config.parse_config(signed)) == signed


@pytest.mark.parametrize("policy", [ALL, Policy(kdf_passes=64), Policy(others=(("a", 0), ("b_2", 2**64 - 1)))])
def test_round_trip(policy: Policy) -> None:
    """Also of rules that a newer version has set: none is lost."""
    written = replace(CONFIG, policy=policy)
    assert config.parse_config(config.signed_bytes(written)) == written


@pytest.mark.parametrize(
    "policy",
    [
        {},
        [],
        None,
        7,
        {"epoch_days": 0},
        {"epoch_days": 36_501},
        {"epoch_days": True},
        {"epoch_days": 1.0},
        {"epoch_days": "1"},
        {"epoch_days": None},
        {"epoch_days": {}},
        {"kdf_memory_kib": 65_535},
        {"kdf_passes": 65},
        {"passphrase_score": 5},
        {"idle_seconds": 59},
        {"recovery_slots": 65},
        {"unknown": -1},
        {"unknown": 2**64},
        {"unknown": "text"},
        {"Unknown": 1},
        {"": 1},
        {"a" * 33: 1},
        {"a b": 1},
        {"ä": 1},
        {"others": [["x", 1]]},
    ],
    ids=repr,
)
def test_what_is_no_policy_is_refused(policy: object) -> None:
    """One spelling: no empty object, nothing but integers, each in its range."""
    with pytest.raises(FormatError):
        config.parse_config(changed(policy=policy))


def test_a_rule_twice_is_refused() -> None:
    """Two readers would take different ones."""
    signed = changed(policy={"slot_days": 1}).replace(b'{"slot_days":1}', b'{"slot_days":1,"slot_days":2}')
    with pytest.raises(FormatError):
        config.parse_config(signed)


def test_ranges_are_those_of_the_format() -> None:
    """The table in FORMAT.md section 3, read from there; every rule has a place in the class."""
    text = (TOP / "FORMAT.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+), ([\d,]+) \|", text, re.MULTILINE)
    assert {name: (int(low.replace(",", "")), int(high.replace(",", ""))) for name, low, high in rows} == RANGES
    assert {field.name for field in fields(Policy)} == {*RANGES, "others"}
    assert json.loads(json.dumps(ALL.rules())) == {name: low for name, (low, _) in RANGES.items()}
