"""Things swapped, moved, copied, replaced, also by those of another volume (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest

from tests.support import evidence
from tests.support.attack_batch import Batch, Case, attacked
from tests.support.attack_checks import check_yard, delete_and_write_anew
from tests.support.corruption import Effect

CASES = [
    *(
        Case("files-swap", one, two)
        for one, two in (
            ("multi", "twin"),
            ("small", "multi"),
            ("small", "empty"),
            ("sub/deep", "dub/deep"),
            ("small", "sub/below/x"),
            ("long", "long2"),
            ("long", "small"),
        )
    ),
    *(
        Case(name, one, two)
        for name in ("file-copy-over", "file-link-over", "file-rename-over")
        for one, two in (("multi", "twin"), ("sub/deep", "dub/deep"), ("empty", "small"), ("long", "small"))
    ),
    *(
        Case(name, one, two)
        for name in ("file-move-away", "file-copy-elsewhere")
        for one, two in (("small", "sub"), ("sub/deep", ""), ("sub/deep", "longdir"), ("long", "dub"))
    ),
    *(Case("file-add-garbage", "small", to, seed=n) for n, to in enumerate(("", "sub", "longdir"))),
    *(Case("file-twin", name) for name in ("small", "multi", "sub/deep")),
    *(Case("file-as-symlink", name) for name in ("small", "multi", "sub/deep")),
    Case("file-to-symlink", "small", "multi"),
    *(Case("file-to-directory", name) for name in ("small", "multi")),
    Case("directory-to-file", "dub", "small"),
    Case("file-to-pipe", "small"),
    *(Case("file-delete", name) for name in ("small", "sub/deep", "long")),
    Case("hard-links-swap", "hard-b", "hard-d"),
    *(
        Case(name, one, two)
        for name in ("directories-swap", "records-swap")
        for one, two in (("sub", "dub"), ("sub/below", "dub"), ("sub", "longdir"))
    ),
    *(Case("directory-copy-over", one, two) for one, two in (("dub", "sub"), ("sub/below", "dub"), ("longdir", "dub"))),
    *(
        Case(name, one, two)
        for name in ("directory-move-away", "directory-copy-elsewhere")
        for one, two in (("dub", "sub"), ("sub/below", ""), ("longdir", "dub"))
    ),
    Case("symlinks-swap", "link", "link2"),
    Case("symlink-copy-over", "link", "link2"),
    *(Case("file-of-another-volume", name, f"!{name}") for name in ("small", "multi", "empty", "long", "linkfile")),
    Case("symlink-of-another-volume", "link", "!link"),
    *(Case("directory-of-another-volume", name, f"!{name}") for name in ("sub", "dub", "longdir")),
    *(Case("file-added-from-another-volume", "sub", f"!{name}") for name in ("small", "long")),
]


@pytest.fixture(scope="module")
def batch() -> Iterator[Batch]:
    """All of them on one volume."""
    with attacked(CASES) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}-{case.other}")
def test_place(batch: Batch, case: Case) -> None:
    """What is in the wrong place gives EIO or is not shown, with an event (THREAT_MODEL.md section 3, A3)."""
    assert batch.found(case, batch.findings) == batch.expected(case)
    check_yard(batch, case)
    _check_limits(batch, case)
    delete_and_write_anew(batch, case)
    evidence.record("attacks", case.attack, note=case.kind.outcome)


def _check_limits(batch: Batch, case: Case) -> None:
    """What a documented limit lets through is that and no more."""
    yard = batch.yards[case]
    if case.attack == "file-to-pipe":
        assert stat.S_ISFIFO(batch.at(yard.path("small")).lstat().st_mode)
    if case.attack == "hard-links-swap":
        assert batch.at(yard.path("hard-b")).read_bytes() == yard.files[yard.path("hard-c")]
        assert batch.at(yard.path("hard-d")).read_bytes() == yard.files[yard.path("hard-a")]
    if case.attack == "file-to-symlink":
        assert os.path.islink(batch.at(yard.path("small")))
    assert all(hit.effect is not Effect.OLD or case.kind.limit for hit in batch.hits[case])
