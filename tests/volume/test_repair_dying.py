"""Repair that dies before or within any lower change: the next run finishes, and nothing is lost (docs/findings.md)."""

from __future__ import annotations

import os
import shutil
import traceback
from pathlib import Path

import pytest

from encfs.volume.verify import Severity
from tests.support import evidence
from tests.support.repairing import lower_pieces, missing_bytes, repair, repair_open
from tests.support.stores import DyingStore
from tests.support.volumes import LONG, LowerVolume, flip, pattern, read

FILES = [b"a", b"b", b"c", b"d/e", b"d/f", b"g/h", LONG, b"swap1", b"swap2"]


def damaged(path: Path) -> LowerVolume:
    """A volume with nearly every kind of damage at once."""
    lower = LowerVolume(path)
    with lower.unlock() as volume:
        for directory in (b"d", b"g", b"moved", LONG + b"d"):
            volume.make_directory(directory)
        for name in FILES:
            volume.write_file(name, pattern(9000, name))
        volume.write_file(LONG + b"d/in", pattern(9000, "in"))
        volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"a2")
        for name in (b"l", b"l1", b"l2"):
            volume.make_symlink(name, b"target of " + name)
        volume.attributes.set(volume.resolve(b"g"), b"user.x", b"y" * 100)
    paths = {name: lower.lower(name) for name in [*FILES, b"l", b"l1", b"l2", b"d", b"g", b"moved", LONG + b"d"]}
    flip(paths[b"a"], 5000)  # linked, put aside
    flip(paths[b"b"], 70)  # header
    os.truncate(paths[b"c"], 4096)  # fitted
    shutil.copyfile(paths[b"d/f"], paths[b"d"] / "conflict")
    flip(paths[LONG], 5000)
    for one, two in ((b"swap1", b"swap2"), (b"l1", b"l2")):
        spare = lower.path / "spare"
        paths[one].rename(spare)
        paths[two].rename(paths[one])
        spare.rename(paths[two])
    target = os.readlink(paths[b"l"])
    paths[b"l"].unlink()
    paths[b"l"].symlink_to(target[:-1] + ("A" if target[-1] != "A" else "E"))
    sealed = bytearray(os.getxattr(paths[b"g"], "user.cloakfs"))
    sealed[-1] ^= 1
    os.setxattr(paths[b"g"], "user.cloakfs", bytes(sealed))
    (paths[LONG + b"d"] / "cloakfs.d").unlink()
    (paths[b"d"] / "cloakfs.d").unlink()
    paths[b"moved"].rename(paths[b"g"] / "elsewhere")
    return lower


def die(lower: LowerVolume, number: int, *, torn: bool) -> bool:
    """Repair until change ``number``; whether that was reached."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            volume = lower.unlock(store=DyingStore)
            store: DyingStore = volume.ctx.store  # type: ignore[assignment]
            store.torn = torn

            def began() -> None:
                store.dies_at = number

            repair_open(volume, began=began)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 77)
    return status == 77


def run(fast_path: Path, step: int, *, torn: bool) -> int:
    """Die at every ``step``-th change; how many there were."""
    whole = damaged(fast_path / "damaged")
    pieces, number, cases = lower_pieces(whole), 0, 0
    while True:
        lower = LowerVolume(fast_path / f"volume-{number}")
        shutil.rmtree(lower.path)
        assert os.spawnlp(os.P_WAIT, "cp", "cp", "-a", str(whole.path), str(lower.path)) == 0
        if not die(lower, number, torn=torn):
            break
        assert missing_bytes(pieces, lower) == set(), f"change {number}: lost at once"
        repair(lower)
        findings, _ = lower.verify()
        assert [one for one in findings if one.severity is not Severity.INFO] == [], f"change {number}"
        assert missing_bytes(pieces, lower) == set(), f"change {number}: lost in the end"
        left = [path for path in lower.path.rglob("cloakfs.t.*") if path.parent.parent.parent == lower.path]
        assert left == [], f"change {number}: unfinished copies stay"
        with lower.unlock() as volume:
            assert volume.recovery is None, f"change {number}: taken for a crash"
            for name in (b"d/e", b"d/f", b"g/h", b"swap1", b"swap2"):
                assert read(volume, name) == pattern(9000, name), f"change {number}"
            assert volume.list_directory(b"moved") == []
        shutil.rmtree(lower.path)
        number += step
        cases += 1
    assert number > 60, "the store did not count"
    return cases


@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
def test_dying_at_some_changes(fast_path: Path, torn: bool) -> None:
    """At every 9th lower change: nothing is lost at once or in the end, and the next run leaves nothing wrong."""
    cases = run(fast_path, 9, torn=torn)
    evidence.record("repair", "killed while it repairs", cases=cases, note="the next run finishes, nothing lost")


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
def test_dying_at_every_change(fast_path: Path, torn: bool) -> None:
    """At every single lower change: nothing is lost at once or in the end, and the next run leaves nothing wrong."""
    cases = run(fast_path, 1, torn=torn)
    evidence.record("repair", "killed while it repairs", cases=cases, note="the next run finishes, nothing lost")
