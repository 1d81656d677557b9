"""A rotation that is cut short at any point: nothing is lost, and the next run ends it (FORMAT.md section 14)."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.core import config as core_config
from encfs.core import key_changes
from encfs.core.sources import KnownSecret
from encfs.format.epochs import RotationReason
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.rotation import Rotator
from encfs.volume.skeleton import read_copies, write_config
from encfs.volume.steps import carry_out
from tests.support import evidence
from tests.support.model_crash import Disks, Model
from tests.support.model_disk import Disk
from tests.support.model_store import ModelStore
from tests.support.operations import put
from tests.support.steps import Step, allowed, mkdir, state, symlink
from tests.support.stores import DyingStore
from tests.support.volumes import LONG, RECOVERY_KEY, LowerVolume

SOURCE = KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)
FILES: tuple[Step, ...] = (
    put(b"f", 9000),
    put(b"empty", 0),
    mkdir(b"d"),
    put(b"d/" + LONG, 100),
    symlink(b"d/l", b"f"),
)


def begin(volume: Volume, *, data: bool) -> None:
    """The config of a new epoch, and the volume goes on under it, as a mount does."""
    store, root = volume.ctx.store, volume.root_fd
    unlocked = core_config.unlock(read_copies(store, root), SOURCE)
    seq = unlocked.config.seq + 1
    changed, key = key_changes.begin_rotation(
        key_changes.renew_root_key(unlocked), RotationReason.STAFF, data=data, now=int(time.time())
    )
    config, suite = replace(changed.config, seq=seq), volume.ctx.suite
    write_config(store, root, core_config.seal_config(suite, config, changed.root_key))
    volume.begin_epoch(config.active.epoch, key, core_config.config_key(suite, changed.root_key))


def run(volume: Volume) -> None:
    """A whole run, which ends the rotation."""
    rotator = Rotator(volume)
    for step in rotator.run():
        carry_out(step)
    assert rotator.ended


@pytest.mark.parametrize("data", [False, True], ids=["headers", "data"])
def test_power_cut_at_any_point(model: Model, furnished: Disk, data: bool) -> None:
    """Every disk that a cut can leave opens, is whole, and is brought to the end by the next run."""
    disk = model.prepare(furnished, FILES)
    steps: tuple[Step, ...] = (lambda volume: begin(volume, data=data), run)
    (before,) = model.states(disk, ())
    found = model.cut(disk, steps, f"rotation {data}")
    rotating, chosen = 0, _some(found.during) | found.after
    for identity, left in chosen.items():
        assert allowed([before], model.look(left))
        with model.unlock(ModelStore(left)) as volume:
            rotating += volume.config.rotating
            if volume.config.rotating:
                run(volume)
            elif identity in found.after:
                assert volume.config.active.epoch == 1
            assert not volume.config.rotating
            assert state(volume) == before
    assert rotating > 5
    evidence.record("crashes", f"model store: rotation{' of data' if data else ''}", cases=len(chosen))


def _some(disks: Disks) -> Disks:
    """As many as there is time for; the same in each run. There are 483, with data 670."""
    return dict(random.Random(1).sample(list(disks.items()), min(len(disks), 200)))


def crash_at(lower: LowerVolume, number: int, *, data: bool, torn: bool) -> bool:
    """Begin a rotation and go through with it in a process that dies at change ``number``; false if it did not."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            volume = lower.unlock(store=DyingStore)
            volume.ctx.store.torn = torn  # type: ignore[attr-defined]
            volume.ctx.store.dies_at = number  # type: ignore[attr-defined]
            begin(volume, data=data)
            run(volume)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 77)
    return status == 77


@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
@pytest.mark.parametrize("data", [False, True], ids=["headers", "data"])
def test_killed_at_any_change(fast_path: Path, data: bool, torn: bool) -> None:
    """kill -9 before or within any write of a rotation: what is there opens, and the next run ends it."""
    whole = LowerVolume(fast_path / "whole")
    with whole.unlock() as volume:
        for step in FILES:
            step(volume)
        before = state(volume)
    number = 0
    while crash_at(lower := whole.copy(fast_path / f"volume-{number}"), number, data=data, torn=torn):
        with lower.unlock() as volume:
            assert volume.recovery is not None
            assert volume.recovery.failed == 0, number
            assert state(volume) == before, number
            if volume.config.rotating:
                run(volume)
        assert lower.findings() == [], number
        assert not list(lower.path.rglob("cloakfs.t.*"))
        with lower.unlock(read_only=True) as volume:
            assert not volume.config.rotating
            assert state(volume) == before, number
        lower.remove()
        number += 1
    assert number > 15, "the store did not count"
