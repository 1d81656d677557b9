"""Fixtures of the fuzz tests: how hard they try, and good objects to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.core import config as core_config
from encfs.core.keys import KeyRing
from encfs.core.slots import SlotSecret, make_slot
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.config import Config
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.units import VolumeId
from tests.support.fuzzing import Fuzz
from tests.support.volumes import RECOVERY_KEY, remove_templates

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


@pytest.fixture(params=[1, pytest.param(20, marks=pytest.mark.slow)], ids=["quick", "thorough"])
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Runs a check over many examples; twenty times as many in the slow run."""
    return Fuzz(request.param)


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    """The keys of all vectors: epochs 0 and 7, of which 7 is active."""
    keys = json.loads((VECTORS / "names.json").read_text(encoding="utf-8"))["keys"]
    return KeyRing(
        suite=CLOAKFS_1,
        volume_id=VolumeId(bytes.fromhex(keys["volume_id"])),
        metadata=bytes.fromhex(keys["metadata"]),
        epochs={int(number): bytes.fromhex(key) for number, key in keys["epochs"].items()},
        active=keys["active"],
    )


@pytest.fixture(scope="session")
def vectors() -> Any:
    """One file of tests/vectors by name."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def unlocked() -> core_config.UnlockedConfig:
    """A config with a slot of each kind; its passphrase slot opens with no passphrase, so no Argon2id is run."""
    fresh = core_config.new_config(CLOAKFS_1, created=1_700_000_000)
    recovery = make_slot(
        CLOAKFS_1,
        volume_id=fresh.config.volume_id,
        rk_id=fresh.config.rk_id,
        root_key=fresh.root_key,
        kind=SlotKind.RECOVERY,
        label="recovery key",
        created=1_700_000_000,
        kdf=Kdf(KdfAlg.NONE),
        secret=SlotSecret(key=RECOVERY_KEY),
    )
    costly = Kdf(KdfAlg.ARGON2ID, memory_kib=65_536, passes=3, lanes=1, salt=bytes(16))
    passphrase = replace(recovery, id=bytes(8), kind=SlotKind.PASSPHRASE, label="passphrase", kdf=costly)
    return replace(fresh, config=replace(fresh.config, slots=(passphrase, recovery)))


@pytest.fixture(scope="session")
def good_config(unlocked: core_config.UnlockedConfig) -> Config:
    """The config alone."""
    return unlocked.config


@pytest.fixture(scope="session", autouse=True)
def _templates() -> Iterator[None]:
    yield
    remove_templates()
