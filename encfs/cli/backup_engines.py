"""Engines put together: for runs, for reading, and for a target of which this computer knows nothing.

Owns: which engine works on which target with which key, what has to be there for it. Must not know: what is done with
an engine then.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from encfs.backup import flushing, keys, markers, rotation, slots
from encfs.backup import targets as backup_targets
from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.copying.rclone import RcloneTarget
from encfs.backup.copying.sealed_run import Unlock
from encfs.backup.copying.target import CopyTarget
from encfs.backup.engine import Engine
from encfs.backup.markers import Marker
from encfs.backup.plans import EngineKind, KeyKind, Plan
from encfs.backup.restic_engine import ResticEngine
from encfs.backup.targets import Target, TargetKind
from encfs.cli import output, targets
from encfs.cli.unlocking import config_of
from encfs.errors import BackupError, CloakfsError
from encfs.registers import volumes

REPOSITORY: Final = "restic"
"""The directory of a target in which the repository of restic is (FORMAT.md section 18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """An engine on a target that is there.

    Attributes:
        label: of the medium, or empty.
        remark: what is to be said of the medium and of the volume before anything is done, or empty.
        key: the backup key, 32 bytes, where there is one.
    """

    engine: Engine
    label: str
    remark: str = ""
    key: bytes | None = field(default=None, repr=False)


@contextmanager
def opened(plan: Plan, *, reading: bool = False, unlock: Unlock | None = None) -> Iterator[At]:
    """The engine of a backup.

    Args:
        plan: whose.
        reading: no run is made, so the volume need not be there.
        unlock: opens a run of ``copy`` where its plain files are to be read.

    Raises:
        WrongMediumError: another medium is there. BackupError: the target, the volume or its mount is not there.
        CloakfsError, OSError: the key cannot be read.
    """
    target = backup_targets.parse(plan.target)
    label, remarks = _medium(plan, target, reading=reading)
    key = keys.read(plan.id) if plan.engine is EngineKind.RESTIC else None
    source = None if reading else _source(plan)
    if source is not None and source.remark:
        remarks.append(source.remark)
    if plan.engine is EngineKind.RESTIC:
        assert key is not None
        engine: Engine = _restic(plan, target, label, key, source)
    else:
        engine = _copy(plan, target, label, source, unlock)
    yield At(engine=engine, label=label, remark=" ".join(remarks), key=key)


# -- what is at the target ---------------------------------------------------------------------------------------------


def _medium(plan: Plan, target: Target, *, reading: bool) -> tuple[str, list[str]]:
    """The label of the medium that is there, and what is to be said of it. Raises: as :func:`opened`."""
    if target.kind is TargetKind.DIRECTORY:
        label = markers.find_medium(plan, os.fsencode(target.location)).label
        remark = "" if reading else rotation.remark(plan, label)
        return label, [remark] if remark else []
    if target.kind is TargetKind.RCLONE:
        markers.check_marker(plan, remote_marker(target))
    return "", []


def remote_marker(target: Target) -> Marker | None:
    """That of a remote of rclone; None: it has none. Raises: BackupError."""
    return RcloneTarget(target.location).read_marker()


def write_remote_marker(target: Target, marker: Marker, *, volume: bytes, mountpoints: Iterable[bytes]) -> None:
    """Make a remote of rclone a target. Raises: as :meth:`RcloneTarget.prepare`."""
    RcloneTarget(target.location).prepare(marker, volume=volume, mountpoints=mountpoints)


def repository_at(target: Target) -> str:
    """Where the repository of restic is."""
    return os.path.join(target.location, REPOSITORY) if target.kind is TargetKind.DIRECTORY else target.location


def has_repository(plan: Plan, target: Target) -> bool:
    """Whether there is one that opens with the key of the backup."""
    if target.kind is TargetKind.DIRECTORY:
        return os.path.lexists(os.path.join(repository_at(target), "config"))
    try:
        ResticEngine(plan.id, plan.volume_id, None, repository_at(target), keys.read(plan.id)).runs()
    except (CloakfsError, OSError):
        return False
    return True


def make_repository(plan: Plan, target: Target, key: bytes) -> None:
    """Raises: BackupError: there is one already, or it cannot be made."""
    ResticEngine(plan.id, plan.volume_id, None, repository_at(target), key).init()


# -- the volume --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A volume that is there. ``mountpoint``: None if it is not mounted, as far as this user can see."""

    path: bytes
    mountpoint: bytes | None
    flush: Callable[[], None] | None
    remark: str = ""


def _source(plan: Plan) -> _Source:
    """The volume of a backup, where it is now. Raises: BackupError: it is not there."""
    known = volumes.known_volume(plan.volume_id)
    places = dict.fromkeys([plan.volume, *([known.path] if known is not None else [])])
    for place in places:
        found = targets.find(place)
        try:
            is_it = config_of(found.volume).volume_id.hex() == plan.volume_id
        except (CloakfsError, OSError):
            continue
        if is_it:
            return _found(found)
    raise BackupError(
        f"the volume is not at {output.printable(plan.volume)} any more",
        hint="Nothing was written. Plug in its medium. If it was moved, open it once where it is now.",
    )


def _found(found: targets.Target) -> _Source:
    volume = os.fsencode(found.volume)
    if found.mountpoint is None:
        elsewhere = targets.state(found) == "in-use"
        remark = (
            "The volume is open elsewhere, on another computer or for another user: what was written there in the last"
            " moments may not be in this run."
        )
        return _Source(volume, None, None, remark if elsewhere else "")
    mountpoint = os.fsencode(found.mountpoint)
    return _Source(volume, mountpoint, flushing.flusher(config_of(found.volume).volume_id, mountpoint))


# -- the engines -------------------------------------------------------------------------------------------------------


def _restic(plan: Plan, target: Target, label: str, key: bytes, source: _Source | None) -> ResticEngine:
    if source is not None and source.mountpoint is None:
        where = output.printable(plan.volume)
        raise BackupError(
            "the volume is not mounted, and this backup reads its files through the mount",
            hint=f"Mount it and run the backup again: cloakfs mount {where} MOUNTPOINT (a backup that was set up with"
            " --engine copy needs no mount)",
        )
    return ResticEngine(
        plan.id,
        plan.volume_id,
        None if source is None else source.mountpoint,
        repository_at(target),
        key,
        label=label,
        flush=None if source is None else source.flush,
    )


def _copy(plan: Plan, target: Target, label: str, source: _Source | None, unlock: Unlock | None) -> CopyEngine:
    config: Callable[[], bytes] | None = None
    if plan.key is KeyKind.OWN and source is not None:
        config = functools.partial(slots.current, plan.id, source.path)
    return CopyEngine(
        plan.id,
        plan.volume_id,
        None if source is None else source.path,
        copy_target(target),
        label=label,
        flush=None if source is None else source.flush,
        config=config,
        unlock=unlock,
    )


def copy_target(target: Target) -> CopyTarget:
    """Where a sealed tree is copied to."""
    if target.kind is TargetKind.RCLONE:
        return RcloneTarget(target.location)
    return DirectoryTarget(os.fsencode(target.location))
