"""Recording what is done on this host.

Owns: begin and end of an action, and what becomes of it where it cannot be recorded. Must not know: which actions there
are, the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from encfs.audit import losing
from encfs.audit.home import home
from encfs.audit.log import AuditLog, RecordsOf
from encfs.errors import AuditError, CloakfsError, PolicyError, UnlockError, UsageError
from encfs.format.audit import NO_VOLUME, CheckpointReason
from encfs.format.audit_body import AuditBody, Outcome
from encfs.units import VolumeId

_REFUSALS = (UsageError, PolicyError, UnlockError)


def record(body: AuditBody, volume_id: VolumeId = NO_VOLUME) -> None:
    """One record in the log of this user; the log is begun if there is none.

    Raises:
        AuditError: it cannot be recorded.
    """
    record_all(lambda _: [(volume_id, body)], count=1)


def record_all(records_of: RecordsOf, *, count: int, give_up: bool = True) -> None:
    """Many records at once (:meth:`~encfs.audit.log.AuditLog.record_all`).

    Args:
        records_of: what to write, told where it will stand.
        count: how many there are, for the gap.
        give_up: whether they are lost where this fails; else the caller tries again.

    Raises:
        AuditError: they cannot be recorded. If they are lost, the next record in the log tells how many were.
    """

    def write(log: AuditLog) -> None:
        losing.settle(log)
        log.record_all(records_of)

    try:
        with home() as here:
            write(here.log())
    except (OSError, RuntimeError, AuditError) as exc:
        if give_up:
            losing.count(count)
        if isinstance(exc, AuditError):
            raise
        raise _unwritable(exc) from exc


def outcome_of(exc: BaseException) -> Outcome:
    """Whether an action that ended so was refused, or failed."""
    return Outcome.REFUSED if isinstance(exc, _REFUSALS) else Outcome.FAILED


class HostJournal:
    """Satisfies :class:`encfs.volume.keys.KeyJournal` with the log of this user."""

    @contextmanager
    def recorded(
        self, action: str, volume_id: VolumeId, *, slot: bytes, changed: str, detail: Mapping[str, str | int]
    ) -> Iterator[None]:
        """Record that it begins, and how it ended; a signed checkpoint follows."""

        def body(outcome: Outcome) -> AuditBody:
            return AuditBody(
                action=action, outcome=outcome, uid=os.getuid(), slot=slot, object=changed, detail=dict(detail)
            )

        record(body(Outcome.BEGUN), volume_id)
        try:
            yield
        except BaseException as exc:
            record(body(outcome_of(exc)), volume_id)
            raise
        try:
            record(body(Outcome.DONE), volume_id)
            checkpoint(CheckpointReason.KEY_CHANGE)
        except AuditError as exc:
            raise AuditError(f"it was done, but {exc}; the log has only its beginning") from exc


def checkpoint(reason: CheckpointReason) -> tuple[int, bytes]:
    """A signed checkpoint in the log of this user: what to keep elsewhere, its seq and h.

    Raises:
        AuditError: it cannot be written.
    """
    try:
        with home() as here:
            return here.log().checkpoint(reason)
    except (OSError, RuntimeError) as exc:
        raise _unwritable(exc) from exc


def keep_up() -> None:
    """End the period if it is over, so that its key is gone also while nothing happens; and sign each hour.

    Raises:
        AuditError: it cannot be written.
    """
    try:
        with home() as here:
            log = here.log()
            losing.settle(log)
            log.keep_up()
    except (OSError, RuntimeError) as exc:
        raise _unwritable(exc) from exc


def _unwritable(exc: OSError | RuntimeError) -> CloakfsError:
    why = exc.strerror if isinstance(exc, OSError) else str(exc)
    return AuditError(
        f"this cannot be recorded in the audit log of this computer: {why}",
        hint="Keys are changed only where that is recorded. Make room, or mend the disk of the system, and try again.",
    )
