"""Old copies that are put back, on hosts with and without memory, and against a checkpoint (THREAT_MODEL.md, A4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encfs.volume import Volume
from tests.support import checkpoints, evidence
from tests.support.attack_batch import Batch, Case, attacked
from tests.support.attack_checks import check_yard, delete_and_write_anew
from tests.support.corruption import Outcome
from tests.support.volumes import pattern
from tests.support.yards import USER_XATTR, Yard

Grow = Callable[[Yard, Volume], None]


def _edit(cell: int) -> Grow:
    """A program changes a cell in place."""

    def edit(yard: Yard, volume: Volume) -> None:
        yard.overwrite(volume, "multi", volume.ctx.geometry.start_of(cell) + 5, pattern(50, cell))

    return edit


CASES = [
    *(Case("cell-older", cell=cell, grow=_edit(cell)) for cell in range(5)),
    Case("file-older", grow=_edit(2)),
    Case("file-older", "small", grow=lambda yard, volume: yard.overwrite(volume, "small", 0, b"qzx-CONTENT")),
    Case("file-older", "long", grow=lambda yard, volume: yard.overwrite(volume, "long", 9, b"qzx")),
    Case("file-older", "sparse", grow=lambda yard, volume: yard.overwrite(volume, "sparse", 9, b"qzx")),
    Case("file-deleted-put-back", grow=lambda yard, volume: yard.remove(volume, "multi")),
    Case("file-deleted-put-back", "sub/deep", grow=lambda yard, volume: yard.remove(volume, "sub/deep")),
    Case("file-header-older", grow=lambda yard, volume: yard.rewrite(volume, "multi")),
    Case("symlink-older", "link", grow=lambda yard, volume: yard.relink(volume, "link")),
    Case("xattr-older", grow=lambda yard, volume: yard.set_xattr(volume, "multi", USER_XATTR, b"qzx-newer")),
    Case("record-older", "renamed", "sub", grow=lambda yard, volume: yard.rename_directory(volume, "sub", "renamed")),
]
# Here old state is not put back, but a checkpoint notices all the same.
NOTICED = [
    Case("cell-zero-in-sparse", "sparse", cell=3),
    Case("file-move-away", "small", "sub"),
    Case("directory-move-away", "dub", "sub"),
    Case("file-to-pipe", "small"),
    Case("file-delete", "small"),
    Case("file-delete", "long"),
    Case("file-delete", "sub/below/x"),
    Case("hard-links-swap", "hard-b", "hard-d"),
    Case("xattr-delete"),
]


@pytest.fixture(scope="module", params=[False, True], ids=["never-seen", "seen"])
def batch(request: pytest.FixtureRequest) -> Iterator[Batch]:
    """The attacks on a host that has seen the newer state, and on one that has not."""
    with attacked(CASES, memory=request.param) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_old_state(batch: Batch, case: Case) -> None:
    """A host that saw newer state gives EIO, another the old bytes, a documented limit (FORMAT.md section 13)."""
    assert batch.found(case, batch.findings) == batch.expected(case)
    _put_back_counts(batch, case)
    check_yard(batch, case)
    if case.kind.outcome is not Outcome.FRESHNESS or not batch.memory:
        _check_old(batch, case)
    delete_and_write_anew(batch, case)
    unseen = case.kind.outcome is Outcome.FRESHNESS and not batch.memory
    evidence.record("attacks", case.attack, note="limit: never saw the newer state" if unseen else case.kind.outcome)


def _put_back_counts(batch: Batch, case: Case) -> None:
    """A deleted file that is there again shows in listings."""
    yard = batch.yards[case]
    if case.attack == "file-deleted-put-back":
        yard.files.setdefault(yard.path(case.file), b"")


def _check_old(batch: Batch, case: Case) -> None:
    """The documented limit and no more: what is read is what once was there, authentic and whole."""
    yard = batch.yards[case]
    path, plain = batch.at(yard.path(case.file)), yard.path(case.file)
    if case.attack in ("file-older", "file-deleted-put-back"):
        assert path.read_bytes() == yard.older[plain]
    if case.attack == "cell-older":
        g = batch.geometry
        span = slice(int(g.start_of(case.cell)), int(g.start_of(case.cell + 1)))
        new = yard.files[plain]
        assert path.read_bytes() == new[: span.start] + yard.older[plain][span] + new[span.stop :]
    if case.attack == "xattr-older":
        assert os.getxattr(path, USER_XATTR) == b"qzx-value of multi"


@pytest.mark.parametrize("case", [*CASES, *NOTICED], ids=lambda case: case.id)
def test_checkpoint(tmp_path: Path, case: Case) -> None:
    """``verify --checkpoint`` names the old state where the table says so, and nothing else (FORMAT.md section 12)."""
    tested = Checkpointed(tmp_path, [case])
    found = {(code, path) for code, path in tested.compared}
    if case.kind.checkpoint:
        assert case.kind.checkpoint in {code for code, _ in found}
        root = tested.yards[case].root
        assert all(path.startswith(root) for _, path in found)
    else:
        assert not found
    evidence.record("checkpoint", case.attack, note=case.kind.checkpoint or "limit")


class Checkpointed(Batch):
    """A volume that got a checkpoint before it was attacked; nobody has written since."""

    def _attack(self) -> None:
        checkpoints.make(self.lower)
        super()._attack()
        self.compared = checkpoints.compare(self.lower)
