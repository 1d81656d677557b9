"""What the log itself has to tell with the next record: clocks that were set, records that were lost.

Owns: when that is worth a record, and the words of it (docs/audit.md). Must not know: files, who appends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from encfs.audit.gaps import Lost
from encfs.format.audit import Moment
from encfs.format.audit_body import AuditBody, Outcome

# Clocks are read one after the other, and a synchronised one is nudged all the time; the verifier takes the same.
STEP_MS: Final = 1000


def of_clocks(last: Moment | None, at: Moment) -> Iterator[AuditBody]:
    """What happened to the clocks since the last frame.

    The wall clock is held against the other one, which nobody can set. Where the host was started again meanwhile, only
    a wall clock that went back tells something.

    Args:
        last: when the last frame was made; None if nobody knows.
        at: this moment.
    """
    if last is None:
        return
    same_boot = last.boot_id == at.boot_id
    step = at.wall_ms - last.wall_ms - (at.mono_ms - last.mono_ms if same_boot else 0)
    if step < -STEP_MS or (same_boot and step > STEP_MS):
        yield _note("clock.step", ms=step)
    if last.clock != at.clock:
        yield _note("clock.sync", before=last.clock.name.lower(), now=at.clock.name.lower())


def of_gap(lost: Lost) -> Iterator[AuditBody]:
    """That records could not be written, if that is so."""
    if lost.count:
        yield _note("log.gap", lost=lost.count, since_ms=lost.since_ms)


def _note(action: str, **detail: str | int) -> AuditBody:
    return AuditBody(action=action, outcome=Outcome.DONE, uid=os.geteuid(), detail=detail)
