"""Files whose size was changed below, opened in ways that look no name up (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from tests.support.attack_batch import Batch, Case, attacked, errno_of

CASES = [
    Case("append-garbage", offset=9000),
    Case("append-garbage", "small", offset=9000),
    Case("truncate", offset=2 * 4096),
    Case("truncate", offset=2 * 4096 + 100),
]

MAPPED = Case("append-garbage", "twin", offset=9000)


@pytest.fixture(scope="module")
def batch() -> Iterator[Batch]:
    """All of them on one volume."""
    with attacked([*CASES, MAPPED]) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_opened_through_a_descriptor(batch: Batch, case: Case) -> None:
    """Where the kernel keeps the size it was told first, nobody reads short or gets zeros (FORMAT.md section 9.3)."""
    yard = batch.yards[case]
    plain = yard.path(case.file)
    fd = os.open(batch.at(plain), os.O_PATH)
    try:
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            if case.attack == "truncate":
                assert errno_of(file.read) == "EIO"
            else:
                assert file.read() == yard.files[plain]
    finally:
        os.close(fd)


def test_mapped(batch: Batch) -> None:
    """Found by its name, such a file has the size of its header in a mapping too (FORMAT.md section 9.3)."""
    yard = batch.yards[MAPPED]
    plain = yard.path("twin")
    with batch.at(plain).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == yard.files[plain]
