"""A restore of a backup that is open: what is asked, done, written down, told.

Owns: the order. The audit log knows that it begins before anything is written, and what it came to before people are
told. Must not know: how a backup is found and opened, how files are restored (``encfs.backup.restoring``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from encfs.audit import journal
from encfs.backup import putting_back, restorable, unfinished
from encfs.backup.manifest import Manifest
from encfs.backup.plans import EngineKind
from encfs.backup.restorable import HeldSource, SealedEngine
from encfs.backup.restoring import Restore
from encfs.backup.run_choice import choose
from encfs.backup.unfinished import Begun
from encfs.cli import auditing, output, progress, restore_place, restore_view, restore_volume
from encfs.cli.drill_doing import Opened
from encfs.cli.restore_bar import RestoreBar
from encfs.cli.restore_place import Answers, Into
from encfs.cli.restore_view import Told
from encfs.cli.restore_volume import NewVolume
from encfs.errors import BackupError, ExitCode, NotFoundError
from encfs.format.audit_body import Outcome
from encfs.units import VolumeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be restored.

    Attributes:
        paths: in the volume; none: everything.
        run: an id or how one begins; empty: the newest, or that of ``until_ms``.
        until_ms: the newest run that had begun then, milliseconds since 1970.
        to: a directory, and what kind of place that is; or
        new: a volume.
        answers: given beforehand.
        as_json: tell it to a script.
    """

    paths: tuple[bytes, ...] = field(repr=False)
    run: str
    until_ms: int | None
    to: tuple[str, Into] | None
    new: NewVolume | None
    answers: Answers
    as_json: bool


def make(opened: Opened, request: Request) -> ExitCode:
    """Restore.

    Returns:
        OK if all that was asked for is there, as it was taken; else FINDINGS.

    Raises:
        CloakfsError, OSError: it was refused or broken off. What is restored by then is whole.
    """
    engine = opened.engine
    begun = None if request.new is None else request.new.unfinished()
    wanted = begun.run if begun is not None and not request.run and request.until_ms is None else request.run
    head = choose(engine.runs(), run=wanted, until_ms=request.until_ms)
    manifest = engine.manifest(head.run)
    way = _way(opened, manifest, request, begun)
    bar = RestoreBar()
    detail: dict[str, Any] = {
        "plan": head.plan,
        "run": head.run,
        "into": str(way.into),
        "whole": int(not request.paths),
    }
    volume_id = VolumeId(bytes.fromhex(head.volume))
    auditing.tell("backup.restore", Outcome.BEGUN, volume_id, **detail)
    try:
        told = way.go(bar)
    except BaseException as exc:
        auditing.tell("backup.restore", journal.outcome_of(exc), volume_id, **detail)
        if "restoring" in bar.parts:
            output.remark("cloakfs: broken off. What is restored by now is whole; the same command goes on with it.")
        raise
    report = told.done.report
    auditing.tell(
        "backup.restore",
        Outcome.DONE if told.whole else Outcome.FAILED,
        volume_id,
        **detail,
        files=report.files,
        bytes=report.size,
        failed=told.failed,
    )
    restore_view.tell(told, opened.about, as_json=request.as_json)
    return ExitCode.OK if told.whole else ExitCode.FINDINGS


@dataclass(frozen=True, slots=True)
class _Way:
    into: Into
    go: Callable[[RestoreBar], Told] = field(repr=False)


def _way(opened: Opened, manifest: Manifest, request: Request, begun: Begun | None) -> _Way:
    """Raises: UsageError, NotEmptyError: it cannot go there."""
    if request.to is not None:
        to, into = request.to
        return _Way(into, lambda bar: _into_directory(opened, manifest, request, to, into, bar))
    new = request.new
    assert new is not None
    if manifest.head.engine == EngineKind.COPY and not request.paths and not new.own_keys and begun is None:
        engine = opened.engine
        if not isinstance(engine, SealedEngine):
            raise BackupError("this backup has no sealed files")
        putting_back.check_place(os.fsencode(new.path))
        return _Way(Into.SAME_VOLUME, lambda bar: _same_volume(engine, manifest, new.path, bar))
    new.check()
    return _Way(Into.NEW_VOLUME, lambda bar: _new_volume(opened, manifest, request, new, bar))


def _into_directory(opened: Opened, manifest: Manifest, request: Request, to: str, into: Into, bar: RestoreBar) -> Told:
    own = not os.path.lexists(to)
    with _source(opened, manifest) as source:
        with restore_place.held(to, into) as place:
            one = _planned(source, request, place, bar)
            found = one.look()
            restore_place.warn_of_room(found)
            when = output.human_time(manifest.head.made_at)
            may = restore_place.may_replace(found, to, request.answers, when)
            with bar:
                source.hold(one.files(), bar)
                done = one.run(replace=may, own=own)
        gaps = source.gaps(request.paths)
    return Told(manifest=manifest, paths=request.paths, done=done, gaps=gaps, to=to, into=into)


def _new_volume(opened: Opened, manifest: Manifest, request: Request, new: NewVolume, bar: RestoreBar) -> Told:
    begun = Begun(manifest.head.plan, manifest.head.run)
    with _source(opened, manifest) as source, restore_volume.mounted(new, begun) as (mountpoint, config):
        with restore_place.held(mountpoint, Into.NEW_VOLUME) as place:
            one = _planned(source, request, place, bar)
            restore_place.warn_of_room(one.look())
            with bar:
                source.hold(one.files(), bar)
                # Locking it brings all of it to the disk, and fails where that does not go. What is there with another
                # content was written since an earlier try.
                done = one.run(replace=request.answers.yes, own=True, flush=lambda: None)
        gaps = source.gaps(request.paths)
    unfinished.done(unfinished.of_volume(config.volume_id))
    return Told(
        manifest=manifest,
        paths=request.paths,
        done=done,
        gaps=gaps,
        to=new.path,
        into=Into.NEW_VOLUME,
        next=restore_view.mount_it(new.path),
    )


def _same_volume(engine: SealedEngine, manifest: Manifest, to: str, bar: RestoreBar) -> Told:
    with bar:
        done = putting_back.put_back(engine, manifest, os.fsencode(to), bar)
    gaps = restorable.sealed_gaps(manifest)
    told = Told(manifest=manifest, paths=(), done=done, gaps=gaps, to=to, into=Into.SAME_VOLUME)
    return replace(told, next=restore_view.after_putting_back(told))


def _source(opened: Opened, manifest: Manifest) -> AbstractContextManager[HeldSource]:
    return restorable.opened(opened.engine, manifest, opened.backup_key)


def _planned(source: HeldSource, request: Request, to: bytes, bar: RestoreBar) -> Restore:
    try:
        with progress.activity("Looking at the backup"):
            return Restore(source, request.paths, to, bar)
    except NotFoundError as exc:
        exc.hint = "Not in this backup, that is. Try an older one (--as-of), or restore the folder that it was in."
        raise
