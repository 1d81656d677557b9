"""A target becomes one of a backup: looked at, prepared, and as it was before where that fails.

Owns: what is done at which kind of target. Must not know: what is asked for, keys.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, suppress

from encfs.backup import markers, restic
from encfs.backup.markers import MARKER, Marker
from encfs.backup.plans import EngineKind, Plan
from encfs.backup.targets import Target, TargetKind
from encfs.cli import backup_engines, medium_facts, output, targets
from encfs.cli.medium_facts import Facts
from encfs.errors import CloakfsError, WrongMediumError
from encfs.registers import media
from encfs.registers.media import MediumKind


def check(plan: Plan, target: Target, label: str) -> None:
    """Everything that can be refused. Nothing is written.

    Raises:
        UsageError, NotEmptyError, WrongMediumError, BackupError, OSError.
    """
    if target.kind is TargetKind.DIRECTORY:
        markers.check_directory(
            os.fsencode(target.location),
            markers.marker_of(plan, label),
            volume=os.fsencode(plan.volume),
            mountpoints=_mountpoints(plan.volume),
        )
    elif target.kind is TargetKind.RCLONE:
        there = backup_engines.remote_marker(target)
        if there is not None and there != markers.marker_of(plan, label):
            raise WrongMediumError(
                f"{output.printable(target.text)} is the target of a backup already",
                hint="Nothing was written. Give another path.",
            )


def is_ready(plan: Plan, target: Target, label: str) -> bool:
    """Whether it was prepared to its end; :func:`check` has passed."""
    if target.kind is TargetKind.SFTP:
        return backup_engines.has_repository(plan, target)
    there: Marker | None
    if target.kind is TargetKind.RCLONE:
        there = backup_engines.remote_marker(target)
    else:
        there = markers.read_marker(os.fsencode(target.location)) if os.path.isdir(target.location) else None
    if there != markers.marker_of(plan, label):
        return False
    return plan.engine is EngineKind.COPY or backup_engines.has_repository(plan, target)


def prepare(plan: Plan, target: Target, label: str, key: bytes | None, undo: ExitStack) -> None:
    """Write what makes it the target. What is left of it when something fails is taken away by ``undo``.

    Raises:
        BackupError, OSError, as :func:`check`.
    """
    marker = markers.marker_of(plan, label)
    if target.kind is TargetKind.DIRECTORY:
        directory = os.fsencode(target.location)
        _undo_directory(target.location, undo)
        markers.prepare_directory(
            directory, marker, volume=os.fsencode(plan.volume), mountpoints=_mountpoints(plan.volume)
        )
    elif target.kind is TargetKind.RCLONE:
        where = _mountpoints(plan.volume)
        backup_engines.write_remote_marker(target, marker, volume=os.fsencode(plan.volume), mountpoints=where)
    if plan.engine is EngineKind.RESTIC:
        assert key is not None
        backup_engines.make_repository(plan, target, key)


def require_restic() -> None:
    """Raises: BackupError: the program is missing, or too old."""
    restic.program()


def _undo_directory(directory: str, undo: ExitStack) -> None:
    """What is there now stays; what comes goes."""
    if not os.path.lexists(directory):
        undo.callback(_remove_directory, directory)
    there = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if backup_engines.REPOSITORY not in there:
        undo.callback(shutil.rmtree, os.path.join(directory, backup_engines.REPOSITORY), ignore_errors=True)
    if MARKER not in there:
        undo.callback(_remove, os.path.join(directory, MARKER))


def _remove(path: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def _remove_directory(path: str) -> None:
    with suppress(FileNotFoundError):
        os.rmdir(path)


def _mountpoints(volume: str) -> list[bytes]:
    mountpoint = targets.find(volume).mountpoint
    return [] if mountpoint is None else [os.fsencode(mountpoint)]


def register_medium(plan: Plan, target: Target, label: str) -> None:
    """A labelled medium is in the register of media too: there it is checked out and lost."""
    if not label:
        return
    try:
        if any(one.label.casefold() == label.casefold() for one in media.media()):
            return
        facts = _facts(target.location)
        media.add(
            label,
            kind=MediumKind.BACKUP,
            serial=facts.serial,
            filesystem=facts.filesystem,
            volumes=[plan.volume_id],
        )
    except (CloakfsError, OSError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        output.warn(f"the medium is not in the register of media: {why}. Put it there: cloakfs media add")


def _facts(path: str) -> Facts:
    try:
        return medium_facts.of_path(path)
    except (CloakfsError, OSError):
        return Facts()  # A directory of a share, or of a disk that says nothing of itself.
