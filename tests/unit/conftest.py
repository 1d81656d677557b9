"""Fixtures of the unit tests: the stored vectors, and the key ring that they were made with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from encfs.core.keys import KeyRing
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.units import DirId, VolumeId

# A deadline would measure how busy the machine is.
settings.register_profile("cloakfs", deadline=None)
settings.load_profile("cloakfs")

TESTS = Path(__file__).resolve().parents[1]

Vectors = Callable[[str], Any]


@pytest.fixture(scope="session")
def vectors() -> Vectors:
    """Read one file of tests/vectors."""

    def read(name: str) -> Any:
        return json.loads((TESTS / "vectors" / f"{name}.json").read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def ring(vectors: Vectors) -> KeyRing:
    """The keys of all vectors: epochs 0 and 7, of which 7 is active."""
    keys = vectors("names")["keys"]
    return KeyRing(
        suite=CLOAKFS_1,
        volume_id=VolumeId(bytes.fromhex(keys["volume_id"])),
        metadata=bytes.fromhex(keys["metadata"]),
        epochs={int(number): bytes.fromhex(key) for number, key in keys["epochs"].items()},
        active=keys["active"],
    )


@pytest.fixture(scope="session")
def dir_id(vectors: Vectors) -> DirId:
    """The directory of all vectors."""
    return DirId(bytes.fromhex(vectors("names")["dir_id"]))


@pytest.fixture
def give_nonce(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Make the next random bytes known ones."""

    def give(nonce: bytes) -> None:
        def random_bytes(n: int) -> bytes:
            assert n == len(nonce)
            return nonce

        monkeypatch.setattr(rng, "random_bytes", random_bytes)

    return give
