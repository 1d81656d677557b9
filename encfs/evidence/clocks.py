"""When the frames of an audit log can have been written, whatever the clock of the computer said.

Owns: clock steps, and the earliest and the latest moment that each frame leaves open. Must not know: what the frames
say, files.

The frames of a log are in order, which is proved; the time in them is only what the clock said. A clock that was set
was wrong on one side of the step. The kernel says where it was kept right by others (FORMAT.md section 16, ``clock``):
that side is believed. Of any other stretch the time is taken to be wrong by as much as any step in the log could have
made it, and the order of the frames is what narrows that down again.

This assumes that the clock was right at some time in this log, and a jump of it that nobody can see is not known: one
that was made while the computer was off and that does not take the time back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from encfs.format.audit import Clock, Moment

STEP_MS: Final = 1000
"""What two clocks that are read one after the other may differ by, as in ``encfs/core/audit_verify.py``."""
ROUGH_MS: Final = 2000
"""What every time is doubted by."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The earliest and the latest true time, ms since 1970."""

    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames between two steps of the clock.

    Attributes:
        first, after: the indices of its frames: from ``first``, before ``after``.
        offset: how far the clock had been set since the first frame, ms.
        is_trusted: the clock was kept right by others at some time in it.
        step: by how much the clock was set where it begins, within one start of the computer; 0 otherwise.
    """

    first: int
    after: int
    offset: int
    is_trusted: bool
    step: int


def stretches(moments: Sequence[Moment]) -> list[Stretch]:
    """The log, cut where the clock was set."""
    found: list[Stretch] = []
    first = offset = step = 0
    for at in range(1, len(moments) + 1):
        jump = _jump(moments[at - 1], moments[at]) if at < len(moments) else 0
        if jump or at == len(moments):
            trusted = any(one.clock is Clock.SYNCHRONISED for one in moments[first:at])
            found.append(Stretch(first, at, offset, trusted, step))
            first, offset = at, offset + jump
            step = jump if at < len(moments) and moments[at - 1].boot_id == moments[at].boot_id else 0
    return found


def _jump(before: Moment, after: Moment) -> int:
    step = after.wall_ms - before.wall_ms
    if after.boot_id == before.boot_id:
        step -= after.mono_ms - before.mono_ms
        return step if abs(step) > STEP_MS else 0
    return step if step < -STEP_MS else 0


def bounds(moments: Sequence[Moment]) -> list[Bounds]:
    """When each frame was written: its own time, give or take what the clock may have been wrong by.

    Bounds that contradict each other are left as wide as they were.
    """
    pieces = stretches(moments)
    offsets = [piece.offset for piece in pieces] or [0]
    wide: list[Bounds] = []
    for index, piece in enumerate(pieces):
        furthest = max(piece.offset - min(offsets), max(offsets) - piece.offset)
        slack = ROUGH_MS + (_contradiction(pieces, index) if piece.is_trusted else furthest)
        wide += [Bounds(one.wall_ms - slack, one.wall_ms + slack) for one in moments[piece.first : piece.after]]
    earliest, latest = [one.earliest for one in wide], [one.latest for one in wide]
    for at in range(1, len(wide)):
        earliest[at] = max(earliest[at], earliest[at - 1])
    for at in range(len(wide) - 2, -1, -1):
        latest[at] = min(latest[at], latest[at + 1])
    return [
        Bounds(low, high) if low <= high else Bounds(min(low, one.earliest), max(high, one.latest))
        for low, high, one in zip(earliest, latest, wide, strict=True)
    ]


def _contradiction(pieces: Sequence[Stretch], index: int) -> int:
    """Where both sides of a step say that they were kept right, neither is believed more than the other."""
    piece = pieces[index]
    before = abs(piece.step) if index and pieces[index - 1].is_trusted else 0
    after = pieces[index + 1] if index + 1 < len(pieces) else None
    return max(before, abs(after.step) if after is not None and after.is_trusted else 0)
