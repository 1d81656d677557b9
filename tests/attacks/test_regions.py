"""Every region of every kind of lower object, flipped, zeroed, cut (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import evidence
from tests.support.attack_batch import Batch, Case, attacked
from tests.support.attack_checks import check_yard, delete_and_write_anew

FILES = ("multi", "empty", "sparse", "long", "linkfile")

CASES = [
    *(Case("header-flip", offset=offset, seed=offset) for offset in range(0, 512, 16)),
    *(Case("header-flip", offset=offset) for offset in (4, 5, 6, 7, 11, 59, 60, 495, 511)),
    *(Case("header-flip", file, offset=offset) for file in FILES[1:] for offset in (0, 60, 300)),
    *(Case("header-zero", file) for file in FILES),
    *(Case("header-cut", file, offset=offset) for file in FILES for offset in (0, 300)),
    *(Case("header-cut", offset=offset) for offset in (1, 511)),
    *(Case("tail-flip", file, offset=offset) for file in ("multi", "long2") for offset in (0, 4)),
    *(Case("tail-cut", file, offset=offset) for file in ("multi", "long2") for offset in (0, 1, 4)),
    *(Case("record-flip", "sub", offset=offset, seed=offset) for offset in (*range(0, 512, 64), 5, 60, 495, 511)),
    *(Case("record-flip", "longdir", offset=offset) for offset in (0, 300)),
    *(Case("record-zero", file) for file in ("sub", "longdir")),
    *(Case("record-cut", "sub", offset=offset) for offset in (0, 1, 511, 513, 4096)),
    *(Case("record-delete", file) for file in ("sub", "longdir")),
    *(Case("symlink-flip", "link", offset=offset) for offset in (0, 15, 16, 40, 60)),
    Case("symlink-zero", "link"),
    *(Case("symlink-cut", "link", offset=offset) for offset in (1, 20, 60)),
    Case("symlink-to-elsewhere", "link"),
    *(Case("xattr-flip", file, offset=offset) for file in ("multi", "sub", "small") for offset in (0, 11, 12, 30, -1)),
    *(Case("xattr-zero", file) for file in ("multi", "sub", "small")),
    *(Case("xattr-cut", file, offset=offset) for file in ("multi", "sub") for offset in (0, 1, 28, -1)),
    Case("xattr-of-another", "multi", "twin"),
    Case("xattr-of-another", "multi", "sub"),
    Case("xattr-of-another", "small", "twin"),
    Case("xattr-delete"),
]


@pytest.fixture(scope="module")
def batch() -> Iterator[Batch]:
    """All of them on one volume."""
    with attacked(CASES) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_region(batch: Batch, case: Case) -> None:
    """What was hit gives EIO and an event, ``verify`` names it, the rest is whole (THREAT_MODEL.md section 3, A3)."""
    assert batch.found(case, batch.findings) == batch.expected(case)
    check_yard(batch, case)
    delete_and_write_anew(batch, case)
    evidence.record("attacks", case.attack, note=case.kind.outcome)
