"""Whether a disk on which the power failed still holds what was promised."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from encfs.format.slots import SlotKind
from encfs.host.database import path_for
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume
from encfs.volume.findings import Severity
from encfs.volume.skeleton import read_config
from tests.powercut.logbook import CrashPoint, Medium, choose_points, read_log
from tests.powercut.recording import Recording
from tests.powercut.workload import Progress, Workload, progress_of
from tests.support.blockdev import mounted_image
from tests.support.volumes import RECOVERY_KEY, verify


@dataclass(slots=True)
class Figures:
    """What was seen at all crash points of a recording."""

    entries: int = 0
    points: int = 0
    crashed: int = 0
    objects: int = 0
    cases: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    failures: dict[CrashPoint, str] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Those of another recording on the same filesystem."""
        for name in ("entries", "points", "crashed", "objects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cases.update(other.cases)
        self.repaired.update(other.repaired)
        self.failures.update(other.failures)

    def __str__(self) -> str:
        repairs = ", ".join(f"{count} {kind}" for kind, count in sorted(self.repaired.items()))
        return (
            f"{self.points} crash points in a log of {self.entries} entries; {self.crashed} found the volume in use, "
            f"{self.objects} objects were looked at, repairs: {repairs or 'none'}"
        )


class Checker:
    """Visits crash points of one recording, in order, with files in ``directory``."""

    def __init__(self, recording: Recording, directory: Path) -> None:
        self._recording = recording
        self._workloads = recording.workloads
        self._directory = directory
        self.entries = read_log(recording.log)
        self.medium = Medium(recording.base, self.entries, directory)
        self.figures = Figures(entries=len(self.entries))

    def visit(self, count: int, seed: int) -> Figures:
        """Check ``count`` points; what fails is noted, and the next point is tried."""
        for point in choose_points(self.entries, count, seed):
            try:
                self.check(point)
            except Exception as exc:
                self.figures.failures[point] = f"{type(exc).__name__}: {exc}"
        return self.figures

    def check(self, point: CrashPoint) -> None:
        """Mount what is left, unlock, and hold it against every promise."""
        image = self.medium.after(point)
        marks = [*map(str.encode, self._recording.earlier), *self.medium.marks(point.index)]
        target, memory = self._directory / "mounted", self._directory / "memory"
        target.mkdir(exist_ok=True)
        try:
            with (
                patch.dict(os.environ, CLOAKFS_STATE_DIRECTORY=str(memory)),
                mounted_image(image, target, self._recording.filesystem),
            ):
                if marks and self._recording.memory(len(marks)).exists():
                    # The host's memory is on another disk: it has all that was written to it before.
                    known = path_for(read_config(os.fsencode(target / "volume")).volume_id)
                    shutil.copy(self._recording.memory(len(marks)), known)
                self._check_volume(target / "volume", progress_of(marks))
        finally:
            image.unlink()
            shutil.rmtree(memory, ignore_errors=True)
        self.figures.points += 1
        begun = progress_of(marks)
        self.figures.cases.update(workload.name for workload in self._workloads if workload.name in begun)

    @contextmanager
    def _unlocked(self, path: Path) -> Iterator[Volume]:
        """Unlock as the commands do, with what the host remembers; no step of it may look like tampering."""
        memory = HostFreshness()
        key = (os.fsencode(path), RECOVERY_KEY, SlotKind.RECOVERY)
        with Volume.unlock(*key, freshness=memory) as volume:
            yield volume
            assert volume.ctx.events == 0, f"{volume.ctx.events} integrity events"
        assert memory.problems == []

    def _check_volume(self, path: Path, progress: dict[str, Progress]) -> None:
        with self._unlocked(path) as volume:
            report = volume.recovery
            if report is not None:
                self.figures.crashed += 1
                self.figures.objects += report.objects
                self.figures.repaired.update(report.repaired)
                assert report.failed == 0, f"{report.failed} objects could not be recovered"
        with self._unlocked(path) as volume:
            assert volume.recovery is None, "the second unlock recovers again"
            findings, summary = verify(volume)
            assert summary.clean, [f"{f.code} {f.path!r}: {f.detail}" for f in findings if f.severity != Severity.INFO]
            for workload in self._workloads:
                if workload.name in progress:
                    self._check_workload(workload, volume, progress[workload.name])

    def _check_workload(self, workload: Workload, volume: Volume, progress: Progress) -> None:
        scratch = self._directory / "scratch"
        scratch.mkdir()
        try:
            workload.check(volume, progress, scratch)
        finally:
            shutil.rmtree(scratch)
