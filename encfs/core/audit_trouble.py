"""What can be wrong with an audit log, in words for scripts.

Owns: the words and what each means. Must not know: how it is found (``audit_verify.py``, ``audit_gone.py``), how it is
told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Trouble(StrEnum):
    """What is wrong. The words are those of docs/json.md."""

    DAMAGED = "damaged"
    """What lies there is no frame; the rest of its segment was not read."""
    CUT_SHORT = "cut-short"
    """A segment ends in the middle of a frame."""
    GAP = "gap"
    """Frames are missing."""
    ORDER = "order"
    """A frame stands behind a later one."""
    EDITED = "edited"
    """A frame is not the one that was written, or one before it that nothing proves."""
    EPOCH = "epoch"
    """An epoch is missing, comes twice, or has not all its frames: sealed anew with a later key."""
    SIGNATURE = "signature"
    """A checkpoint or a tombstone is not signed by this host."""
    FOREIGN = "foreign"
    """The head of a segment is of another log, or made by somebody without the key of its epoch."""
    FORKED = "forked"
    """What was kept elsewhere is not in this log: an older one was put back, or it went on from an older state."""
    TOMBSTONE = "tombstone"
    """What a tombstone says of the segments that are gone is not so."""
    RETURNED = "returned"
    """A segment that a tombstone names is there: pruning was cut short, or somebody put it back."""
    TOO_EARLY = "too-early"
    """Segments were pruned before their six years were over."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding; ``seq`` is that of the frame, or what was expected there."""

    trouble: Trouble
    segment: int
    seq: int


@dataclass(slots=True)
class Ranges:
    """Pieces of the log, first and last seq of each, growing at the end."""

    pieces: list[tuple[int, int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        """Take in one more piece, which may go on from the last one."""
        if self.pieces and self.pieces[-1][1] >= first - 1:
            first = self.pieces.pop()[0]
        self.pieces.append((first, last))
