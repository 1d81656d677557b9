"""Telling the audit log how something ended that is done by a command, whatever volume it is about.

Owns: one record for each volume, or one without. Must not know: what is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from encfs.audit import journal
from encfs.cli import auditing
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import Outcome
from encfs.units import VolumeId


@dataclass(slots=True)
class Told:
    """What will be told, filled in on the way; ``volumes``: those that it is about, as far as they are known."""

    volumes: list[VolumeId] = field(default_factory=list)
    detail: dict[str, str | int] = field(default_factory=dict)
    outcome: Outcome = Outcome.DONE


@contextmanager
def telling(action: str, *volumes: VolumeId, **detail: str | int) -> Iterator[Told]:
    """Around an action: how it ended is recorded, also where it raises."""
    told = Told([*volumes], dict(detail))
    try:
        yield told
    except BaseException as exc:
        told.outcome = journal.outcome_of(exc)
        raise
    finally:
        for volume_id in told.volumes or [NO_VOLUME]:
            auditing.tell(action, told.outcome, volume_id, slot=b"", **told.detail)
