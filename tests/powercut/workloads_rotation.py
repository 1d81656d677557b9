"""New keys for the mounted volume, while the other workloads go on, and the power fails in the middle."""

from __future__ import annotations

import os
from pathlib import Path

from encfs import control
from encfs.cli import targets
from encfs.core.sources import KnownSecret
from encfs.format.epochs import RotationReason
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.keys import Keys
from encfs.volume.rotation import Rotator
from encfs.volume.steps import carry_out
from tests.powercut.workload import Progress, Workload
from tests.support.volumes import RECOVERY_KEY, verify

# Each walks the whole volume; every second one encrypts all contents anew.
EVERY = 3


class Rotations(Workload):
    """Replaces the keys at every third step (FORMAT.md section 14); what a cut interrupted is ended by the next run."""

    name = "rotation"

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        mounted = targets.find(str(mountpoint)).mounted
        assert mounted is not None
        self._socket = mounted.socket
        self._lower = os.fsencode(lower)

    def step(self, number: int) -> None:
        if number % EVERY:
            return
        with Keys(self._lower, KnownSecret.of(SlotKind.RECOVERY, RECOVERY_KEY)) as keys:
            new = keys.rotate(RotationReason.SCHEDULE, data=number % (2 * EVERY) == 0)
        request = {"verb": "rotate", "epoch": new.epoch, "key": new.key.hex(), "config_key": new.config_key.hex()}
        *_, last = control.talk(self._socket, request)
        assert (last["rotation"]["left"], last["rotation"]["failed"]) == (0, 0)

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        config = volume.config
        assert progress.done // EVERY <= config.active.epoch <= progress.begun // EVERY, f"{config.epochs}: {progress}"
        if not config.rotating:
            return
        rotator = Rotator(volume)
        for step in rotator.run():
            carry_out(step)
        assert rotator.ended, f"{rotator.outcome}"
        findings, summary = verify(volume)
        assert findings == []
        assert set(summary.epochs) == {str(volume.config.active.epoch)}
