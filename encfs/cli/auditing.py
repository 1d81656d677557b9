"""What commands tell the audit log of this computer.

Owns: which words, and that work on files goes on where nothing can be recorded. Must not know: the log's bytes.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from encfs.audit import journal
from encfs.audit.file_log import FileLog
from encfs.cli import output, targets
from encfs.cli.presences import MountPresence
from encfs.errors import AuditError, CloakfsError, ExitCode
from encfs.format.audit import NO_VOLUME, CheckpointReason
from encfs.format.audit_body import AuditBody, Outcome
from encfs.format.config import Config
from encfs.format.slots import Slot, SlotKind
from encfs.happenings import FileJournal, FileRule, RotationStep
from encfs.locking import IntegrityEvent, LockReason
from encfs.units import VolumeId
from encfs.volume.skeleton import read_config

_F = TypeVar("_F", bound=Callable[..., Any])
IN_RESERVE: Final = frozenset({SlotKind.RECOVERY, SlotKind.SHARES})
"""Kinds of slots that are kept for the day when nothing else opens the volume."""
logger: Final = logging.getLogger("cloakfs.audit")
# One for each time that this process has opened a volume, and of which the log has no end yet.
_open: Final[list[VolumeId]] = []


def tell(action: str, outcome: Outcome, volume_id: VolumeId, *, slot: bytes = b"", **detail: str | int) -> None:
    """Record something that goes on even if it cannot be recorded; then there is a warning, and a gap in the log."""
    body = AuditBody(action=action, outcome=outcome, uid=os.getuid(), slot=slot, detail=detail)
    try:
        journal.record(body, volume_id)
    except AuditError as exc:
        output.warn(str(exc))
        logger.warning("not recorded: %s %s: %s", action, outcome, exc)


def tell_break_glass(volume_id: VolumeId, slot: Slot) -> None:
    """Record that a key in reserve has opened the volume, if ``slot`` is one."""
    if slot.kind in IN_RESERVE:
        kind = str(slot.kind)
        tell("key.break-glass", Outcome.DONE, volume_id, slot=slot.id, kind=kind, label=slot.label)


def ends_with_command(volume_id: VolumeId) -> None:
    """This process has opened a volume: when the command is over that is recorded, if nothing it tells says so."""
    context = click.get_current_context(silent=True)
    if context is not None:
        _open.append(volume_id)
        context.find_root().call_on_close(lambda: _command_is_over(volume_id))


def _command_is_over(volume_id: VolumeId) -> None:
    if volume_id in _open:
        tell_end("volume.closed", Outcome.DONE, volume_id)


def tell_end(action: str, outcome: Outcome, volume_id: VolumeId, **detail: str | int) -> None:
    """The end of a command that may have opened a volume: with its process, so that it ends no other one's."""
    tell(action, outcome, volume_id, slot=b"", pid=os.getpid(), **detail)
    if volume_id in _open:
        _open.remove(volume_id)


def recorded(action: str) -> Callable[[_F], _F]:
    """A command with an argument ``volume`` that tells the log, under the name ``action``, how it ended."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def run(**given: Any) -> ExitCode:  # noqa: ANN401 - click's
            try:
                code: ExitCode = function(**given)
            except BaseException as exc:
                tell_end(action, journal.outcome_of(exc), volume_id_of(given["volume"]))
                raise
            tell_end(action, Outcome.DONE, volume_id_of(given["volume"]), exit=int(code))
            return code

        return run  # type: ignore[return-value]

    return decorate


def volume_id_of(volume: str) -> VolumeId:
    """Of the volume that a user named, as far as its config tells."""
    try:
        return read_config(os.fsencode(targets.find(volume).volume)).volume_id
    except (CloakfsError, OSError):
        return NO_VOLUME


def tell_rotation(step: RotationStep, detail: Mapping[str, str | int], volume_id: VolumeId, slot: bytes) -> None:
    """How far the work of a rotation is (docs/audit.md)."""
    if step is RotationStep.PROGRESS:
        tell("rotation.progress", Outcome.DONE, volume_id, slot=slot, **detail)
    else:
        tell("rotation.run", Outcome(step), volume_id, slot=slot, **detail)


def file_log(config: Config, slot: bytes) -> FileLog | None:
    """Who records what programs do with the files of a volume; None where its policy does not want that."""
    rule = config.policy.file_events
    return None if rule is None else FileLog(config.volume_id, slot, reads=rule >= FileRule.FULL)


class RecordedLocks:
    """Satisfies :class:`encfs.locking.MountJournal`: tells the heartbeat, then the log."""

    def __init__(
        self, presence: MountPresence, volume_id: VolumeId, slot: bytes, files: FileJournal | None = None
    ) -> None:
        self._presence = presence
        self._volume_id = volume_id
        self._slot = slot
        self.files = files

    def started(self) -> None:
        tell("daemon.start", Outcome.DONE, self._volume_id, slot=self._slot, pid=os.getpid())

    def stopped(self, *, failed: bool) -> None:
        outcome = Outcome.FAILED if failed else Outcome.DONE
        tell("daemon.stop", outcome, self._volume_id, slot=self._slot, pid=os.getpid())

    def rotation(self, step: RotationStep, detail: Mapping[str, str | int]) -> None:
        tell_rotation(step, detail, self._volume_id, self._slot)

    def mounted(self) -> None:
        self._tell("volume.mounted", self._presence.mounted())

    def meanwhile(self, events: Sequence[IntegrityEvent], missed: int) -> None:
        """Each event, and that it is open still; without any of them the log's quarter of an hour ends too."""
        for event in events:
            tell(
                *("volume.integrity", Outcome.FAILED, self._volume_id),
                what=event.what,
                inode=event.inode,
                text=event.detail,
            )
        if missed:
            tell("volume.integrity", Outcome.FAILED, self._volume_id, missed=missed)
        if self._presence.is_due():
            self._tell("volume.open", self._presence.still_open())
        try:
            journal.keep_up()
        except AuditError as exc:
            logger.warning("the audit log cannot be written: %s", exc)

    def locked(self, reason: LockReason) -> None:
        self._tell("volume.locked", self._presence.locked(reason), reason=str(reason))
        try:
            journal.checkpoint(CheckpointReason.LOCK)
        except AuditError as exc:
            logger.warning("no checkpoint of the audit log at this lock: %s", exc)

    def _tell(self, action: str, beat: str, **detail: str | int) -> None:
        """``beat``: the digest of the heartbeat, which is sealed here; empty where it could not be written."""
        if beat:
            detail["beat"] = beat
        tell(action, Outcome.DONE, self._volume_id, slot=self._slot, pid=os.getpid(), **detail)
