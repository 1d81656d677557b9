"""Backups opened for reading: for a trial, and to restore from.

Owns: which backup is meant, where the key comes from: kept here, typed in, or of what opens the volume. Must not know:
what is done with the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from encfs.audit.home import host_signer
from encfs.backup import keys, markers, trial
from encfs.backup import plans as register
from encfs.backup import targets as backup_targets
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.copying.sealed_run import SealedRun, Unlock
from encfs.backup.engine import Engine
from encfs.backup.markers import Marker
from encfs.backup.plans import EngineKind, KeyKind, Plan
from encfs.backup.restic_engine import ResticEngine
from encfs.backup.restic_words import ResticError, Trouble
from encfs.backup.targets import Target, TargetKind
from encfs.backup.trial import About
from encfs.cli import backup_engines, backup_finding, output, unlocking
from encfs.cli.backup_drill import SHEET, Asked
from encfs.cli.backup_secret import backup_key
from encfs.cli.drill_doing import Opened
from encfs.core.sources import KnownSecret
from encfs.errors import BackupError, WrongSecretError
from encfs.format.slots import SlotKind
from encfs.memory import leftovers
from encfs.registers import media
from encfs.volume import Volume

KEPT: Final = "the key that is kept on this computer"
OF_VOLUME: Final = "what opens the volume"
TYPED: Final = "backup key, given"
_UNKNOWN: Final = "00" * 16


@contextmanager
def open_backup(asked: Asked) -> Iterator[Opened]:
    """Find a backup and open it for reading.

    Raises:
        UsageError, BackupError, WrongMediumError, UnlockError, OSError.
    """
    if asked.bare is not None:
        yield _bare(asked, asked.bare)
        return
    assert asked.volume is not None
    plan = backup_finding.the_one(asked.volume, asked.target)
    key, how = _key_of(plan, asked)
    with backup_engines.opened(plan, reading=True, unlock=_unlock(asked, key, plan.volume)) as at:
        engine = at.engine if at.key == key or plan.engine is EngineKind.COPY else _restic_of(plan, key, at.label)
        yield Opened(engine=engine, about=_about(plan, asked, at.label, how), backup_key=key)


def _key_of(plan: Plan, asked: Asked) -> tuple[bytes | None, str]:
    """The backup key that is to be used, None for whatever opens the volume; and how a record calls it."""
    if asked.sheet_key is not None:
        return asked.sheet_key, SHEET
    if plan.key is not KeyKind.OWN:
        return None, OF_VOLUME
    if plan.engine is EngineKind.RESTIC and not asked.secret.given:
        return keys.read(plan.id), KEPT
    # That of a sealed copy is never kept: with the config of the copy it opens the volume.
    return backup_key(asked.secret, target=plan.target), TYPED


def _restic_of(plan: Plan, key: bytes | None, label: str) -> Engine:
    """With another key than the one that is kept."""
    assert key is not None
    target = backup_targets.parse(plan.target)
    return _tried(ResticEngine(plan.id, plan.volume_id, None, backup_engines.repository_at(target), key, label=label))


def fits(plan: Plan, key: bytes) -> None:
    """Try whether a key opens a backup by ``restic``.

    Raises:
        WrongSecretError: it does not. BackupError, WrongMediumError: the target is not there.
    """
    target = backup_targets.parse(plan.target)
    if target.kind is TargetKind.DIRECTORY:
        markers.find_medium(plan, os.fsencode(target.location))
    _restic_of(plan, key, "")


def _tried(engine: ResticEngine) -> ResticEngine:
    """An engine with a key that somebody gave. Raises: WrongSecretError: it is that of another backup."""
    try:
        engine.runs()
    except ResticError as exc:
        if exc.trouble is Trouble.KEY:
            raise WrongSecretError("this is not the key of this backup", hint="Is it the right sheet?") from exc
        raise
    return engine


def _about(plan: Plan, asked: Asked, label: str, how: str) -> About:
    known = next((one for one in media.media() if label and one.label.casefold() == label.casefold()), None)
    return About(
        plan=plan.id,
        volume=plan.volume_id,
        engine=plan.engine,
        target=plan.target,
        label=label,
        serial="" if known is None else known.serial,
        place=str(plan.place) if known is None else known.place,
        noted=trial.digests_of(plan),
        own=host_signer().public,
        people=asked.people,
        key=how,
    )


# -- a target of which nothing is known here ---------------------------------------------------------------------------


def _bare(asked: Asked, text: str) -> Opened:
    target = backup_targets.parse(text)
    marker = _marker_at(target)
    if marker is not None and marker.engine is EngineKind.COPY:
        # The sheet, or any other secret, opens the copy as it opens a volume; there is no key of digests.
        unlock = _unlock(asked, asked.sheet_key, text)
        copy = backup_engines.copy_target(target)
        engine: Engine = CopyEngine(marker.plan, marker.volume, None, copy, label=marker.label, unlock=unlock)
        how = OF_VOLUME if asked.sheet_key is None else SHEET
        return Opened(engine=engine, about=_about_bare(target, marker, asked, how))
    key = asked.sheet_key if asked.sheet_key is not None else backup_key(asked.secret, target=text)
    marker = marker or _marker_within(target, key)
    engine = _tried(
        ResticEngine(marker.plan, marker.volume, None, backup_engines.repository_at(target), key, label=marker.label)
    )
    how = TYPED if asked.sheet_key is None else SHEET
    return Opened(engine=engine, about=_about_bare(target, marker, asked, how), backup_key=key)


def _marker_at(target: Target) -> Marker | None:
    """What a target says of itself; None: it is a repository of restic alone. Raises: BackupError: it is no target."""
    if target.kind is TargetKind.SFTP:
        return None
    if target.kind is TargetKind.RCLONE:
        found = backup_engines.remote_marker(target)
    else:
        try:
            found = markers.read_marker(os.fsencode(target.location))
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise BackupError(
                f"the target is not there: {output.printable(target.location)}", hint="Plug in the medium."
            ) from exc
    if found is None:
        raise BackupError(
            f"{output.printable(target.text)} is no target of a backup by cloakfs",
            hint="Give the directory that has the file cloakfs.backup in it.",
        )
    return found


def _marker_within(target: Target, key: bytes) -> Marker:
    """Of a repository that has no marker beside it: its newest run says whose it is."""
    heads = _tried(ResticEngine(_UNKNOWN, _UNKNOWN, None, backup_engines.repository_at(target), key)).runs()
    if not heads:
        raise BackupError("there is no complete run in this repository", hint="Is this the right target?")
    head = heads[-1]
    return Marker(plan=head.plan, volume=head.volume, label=head.label, engine=EngineKind.RESTIC)


def _about_bare(target: Target, marker: Marker, asked: Asked, how: str) -> About:
    """What this computer has noted of the backup counts all the same, if it has."""
    known = next((one for one in register.plans() if one.id == marker.plan), None)
    return About(
        plan=marker.plan,
        volume=marker.volume,
        engine=marker.engine,
        target=target.text,
        label=marker.label,
        noted=() if known is None else trial.digests_of(known),
        own=host_signer().public,
        people=asked.people,
        key=how,
    )


# -- keys --------------------------------------------------------------------------------------------------------------


def _unlock(asked: Asked, key: bytes | None, shown: str) -> Unlock:
    """Opens a run of ``copy``: with the backup key, or with whatever opens the volume, which is asked for."""

    def unlock(sealed: SealedRun) -> Volume:
        if key is not None:
            return sealed.unlock(KnownSecret.of(SlotKind.RECOVERY, key))
        path = os.fsdecode(sealed.path)
        volume = unlocking.try_sources(path, asked.secret, sealed.unlock, shown=f"the backup of {shown}")
        leftovers.overwrite()
        return volume

    return unlock
