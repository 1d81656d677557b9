"""Checkpoints of the mounted volume, made by its daemon while other things go on."""

from __future__ import annotations

from pathlib import Path

from encfs import control
from encfs.cli import targets
from encfs.format.limits import CHECKPOINTS_KEPT
from encfs.volume import Volume
from encfs.volume.checkpoint import checkpoint_names
from encfs.volume.checkpoint_verify import CheckpointVerifier
from encfs.volume.findings import Code, Finding, Severity
from encfs.volume.steps import Waiting
from tests.powercut.workload import Progress, Workload

# Each walks the whole volume.
EVERY = 3
# Other workloads delete files of their own after a checkpoint, which it cannot know.
_BY_PROGRAMS = (Code.FILE_MISSING,)


class Checkpoints(Workload):
    """Writes a checkpoint at every third step (FORMAT.md section 12)."""

    name = "checkpoint"

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        mounted = targets.find(str(mountpoint)).mounted
        assert mounted is not None
        self._socket = mounted.socket

    def step(self, number: int) -> None:
        if number % EVERY == 0:
            replies = list(control.talk(self._socket, {"verb": "checkpoint"}))
            assert "checkpoint" in replies[-1]
            bad = [reply for reply in replies if reply.get("finding", {}).get("severity") in ("warning", "error")]
            assert bad == []

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        names = checkpoint_names(volume.ctx.store, volume.root_fd)
        assert len(names) >= min(progress.done // EVERY, CHECKPOINTS_KEPT), f"{len(names)} checkpoints: {progress}"
        if not names:
            return
        found = []
        for step in CheckpointVerifier(volume).run():
            if isinstance(step, Waiting):
                step.call()
            elif isinstance(step, Finding) and step.severity is not Severity.INFO and step.code not in _BY_PROGRAMS:
                found.append(f"{step.code} {step.path!r}: {step.detail}")
        assert found == [], f"compared with the checkpoint: {found}"
