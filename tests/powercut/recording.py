"""A filesystem on a recorded disk, a volume on it, a real mount, and workloads at work until the volume is locked."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from encfs.host.database import path_for
from encfs.volume import Volume
from encfs.volume.skeleton import read_config
from tests.powercut.logbook import CrashPoint, Medium, copy_sparse, read_log
from tests.powercut.workload import Marks, Workload
from tests.powercut.workloads_checkpoint import Checkpoints
from tests.powercut.workloads_files import ConfigChange, Log, Overwrite, Save, Truncate
from tests.powercut.workloads_rotation import Rotations
from tests.powercut.workloads_sqlite import SqliteRollback, SqliteWal
from tests.powercut.workloads_tree import Churn, Tree
from tests.support.blockdev import make_filesystem, mounted_image, unmount
from tests.support.linux import syncfs
from tests.support.mounting import MountedVolume, is_mounted, wait_for
from tests.support.volumes import RECOVERY_KEY, SECRET

TOP = Path(__file__).resolve().parents[2]
WORKLOADS: tuple[type[Workload], ...] = (
    Log, Overwrite, Save, Truncate, Tree, Churn, SqliteWal, SqliteRollback, ConfigChange, Checkpoints, Rotations,
)  # fmt: skip
# Both of the others write configs: one at a time.
ALL = tuple(kind.name for kind in WORKLOADS if kind is not Rotations)
WITH_ROTATION = tuple(kind.name for kind in WORKLOADS if kind is not ConfigChange)

_BTRFS_IOC_START_SYNC = 0x80089418
_SYNC_FILE_RANGE_WRITE, _SYNC_FILE_RANGE_WAIT_AFTER = 2, 4
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Recording:
    """What happened on a disk, in a directory of its own: ``base`` is the disk before, ``log`` what came since."""

    directory: Path
    filesystem: str
    seed: int
    names: list[str]
    earlier: list[str]  # marks that were made before the log began

    @property
    def base(self) -> Path:
        return self.directory / "base"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def workloads(self) -> list[Workload]:
        return [kind(self.seed) for kind in WORKLOADS if kind.name in self.names]

    def memory(self, mark: int) -> Path:
        """What the host remembered of the volume just before this mark was made; the first is number 1."""
        return self.directory / f"memory-{mark:05}.sqlite"

    def keep(self) -> None:
        """Note what :meth:`load` needs."""
        what = {field: getattr(self, field) for field in ("filesystem", "seed", "names", "earlier")}
        (self.directory / "recording.json").write_text(json.dumps(what), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Recording:
        """A recording that was made earlier."""
        return cls(directory, **json.loads((directory / "recording.json").read_text(encoding="utf-8")))


class _Recorded(MountedVolume):
    """A volume on the recorded filesystem, which is mounted at ``base/lower``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.lower = base / "lower/volume"
        self.path = base / "mnt"
        self.log = base / "daemon.log"
        self.secret_file = base / "passphrase"
        self.options = ()
        self.user = {}
        self.secret_file.write_bytes(SECRET)
        self.path.mkdir()
        self.pid = 0

    def mount(self, *more: str) -> None:
        """As :meth:`MountedVolume.mount`, by ``eager.py``."""
        command = [sys.executable, "-m", "tests.powercut.eager", "mount", str(self.lower), str(self.path), "--json"]
        command += ["--passphrase-file", str(self.secret_file), "--log", str(self.log), *more]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)
        assert result.returncode == 0, result.stderr
        self.pid = int(json.loads(result.stdout)["mount"]["pid"])


def record(filesystem: str, kept: Path, work: Path, *, steps: int, seed: int, names: Sequence[str] = ALL) -> Recording:
    """Let each of the workloads do ``steps`` steps, in turns, on a new volume.

    ``kept``, ``work``: empty directories, for the recording and for all that is needed only meanwhile.
    """
    recording = Recording(kept, filesystem, seed, list(names), [])
    recording.keep()
    workloads = recording.workloads
    make_filesystem(filesystem, recording.base)
    (work / "lower").mkdir()
    with mounted_image(recording.base, work / "lower", filesystem) as lower:
        _prepare(lower / "volume", workloads)
    with _on_recorded_disk(recording, work) as (volume, marks):
        _run(volume, workloads, marks, _Disturber(recording, volume.lower, marks), steps)
    return recording


def record_recovery(before: Recording, point: CrashPoint, kept: Path, work: Path) -> Recording:
    """After a power cut at ``point``: mount the volume, which recovers it, and lock it, on a recorded disk again.

    What was promised before ``point`` goes on being promised.
    """
    medium = Medium(before.base, read_log(before.log), work)
    image = medium.after(point)
    earlier = medium.marks(point.index)
    recording = Recording(kept, before.filesystem, before.seed, before.names, [mark.decode() for mark in earlier])
    recording.keep()
    copy_sparse(image, recording.base)
    (work / "lower").mkdir()
    with _on_recorded_disk(recording, work) as (volume, marks):
        shutil.copy(before.memory(len(earlier)), path_for(read_config(os.fsencode(volume.lower)).volume_id))
        marks.note("recovery begun 1")
        volume.mount()
        try:
            marks.note("recovery done 1")
        finally:
            _lock(volume)
        marks.note("recovery done 2")
    return recording


@contextmanager
def _on_recorded_disk(recording: Recording, work: Path) -> Iterator[tuple[_Recorded, Marks]]:
    """The filesystem in ``recording.base``, mounted from a copy of it whose log is the recording's."""
    copy_sparse(recording.base, work / "image")
    with (
        patch.dict(os.environ, CLOAKFS_STATE_DIRECTORY=str(work / "state")),
        _recorded_disk(work / "image", recording.log, work / "fuse") as disk,
    ):
        marks = os.open(disk / "marks", os.O_WRONLY)
        try:
            with mounted_image(disk / "disk", work / "lower", recording.filesystem):
                yield _Recorded(work), Marks(marks, recording.memory, len(recording.earlier))
        finally:
            os.close(marks)


def _prepare(path: Path, workloads: list[Workload]) -> None:
    Volume.create(os.fsencode(path), secret=SECRET, recovery_key=RECOVERY_KEY)
    with Volume.unlock(os.fsencode(path), SECRET) as volume:
        for workload in workloads:
            volume.make_directory(workload.plain)
            workload.prepare(volume)


@contextmanager
def _recorded_disk(image: Path, log: Path, mountpoint: Path) -> Iterator[Path]:
    mountpoint.mkdir()
    command = [sys.executable, "-m", "tests.powercut.disk", str(image), str(log), str(mountpoint)]
    process = subprocess.Popen(command, cwd=TOP)
    try:
        wait_for(lambda: is_mounted(mountpoint) and (mountpoint / "disk").exists(), "the recorded disk is there")
        yield mountpoint
    finally:
        if is_mounted(mountpoint):
            unmount(mountpoint)
        else:
            process.kill()
        process.wait(60)


def _run(volume: _Recorded, workloads: list[Workload], marks: Marks, disturber: _Disturber, steps: int) -> None:
    volume.mount()
    started: list[Workload] = []
    try:
        for workload in workloads:
            workload.start(volume.path, volume.lower)
            workload.between = disturber.disturb
            started.append(workload)
        for number in range(1, steps + 1):
            for workload in workloads:
                marks.begun(workload, number)
                workload.step(number)
                marks.done(workload, number)
                disturber.disturb()
    finally:
        try:
            for workload in started:
                workload.stop()
        finally:
            _lock(volume)


def _lock(volume: _Recorded) -> None:
    try:
        volume.lock()
    except BaseException:
        volume.kill()
        raise


class _Disturber:
    """What else goes on below: other programs' syncs and the kernel's own write-back, at random moments.

    Without it nothing but what a workload syncs itself would ever be on the disk.
    """

    def __init__(self, recording: Recording, lower: Path, marks: Marks) -> None:
        self._filesystem = recording.filesystem
        self._lower = lower
        self._chance = random.Random(recording.seed)
        self._marks = marks

    def disturb(self) -> None:
        """Commit the journal but no data, or write back data but no journal, or all, or nothing."""
        what = self._chance.random()
        if what < 0.35:
            self._commit()
        elif what < 0.65:
            self._write_back()
        elif what < 0.75:
            fd = os.open(self._lower, os.O_RDONLY)
            syncfs(fd)
            os.close(fd)
        else:
            return
        self._marks.note("below")

    def _commit(self) -> None:
        """fsync of another file commits what ext4 and xfs have in their journals; btrfs has a call for that."""
        noise = self._lower.parent / "noise"
        fd = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, b"n")
            if self._filesystem == "btrfs":
                fcntl.ioctl(fd, _BTRFS_IOC_START_SYNC, bytearray(8))
            os.fsync(fd)
        finally:
            os.close(fd)

    def _write_back(self) -> None:
        files = sorted(path for path in self._lower.rglob("*") if path.is_file() and not path.is_symlink())
        for path in self._chance.sample(files, min(len(files), 3)):
            fd = os.open(path, os.O_RDONLY)
            try:
                flags = _SYNC_FILE_RANGE_WRITE | _SYNC_FILE_RANGE_WAIT_AFTER
                _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(flags))
            finally:
                os.close(fd)


__all__ = ["ALL", "WITH_ROTATION", "WORKLOADS", "Recording", "record", "record_recovery"]
