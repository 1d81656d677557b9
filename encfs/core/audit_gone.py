"""What is not in an audit log any more, and whether tombstones account for it (FORMAT.md section 16, "Verifying").

Owns: which segments are there, which frames are missing, what tombstones say of them. Must not know: the chain, MACs
and signatures (``audit_verify.py``, which tells it of frames that it has taken), files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from encfs.core.audit_trouble import Problem, Ranges, Trouble
from encfs.format import limits
from encfs.format.audit import AuditFrame
from encfs.format.audit_tombstone import PrunedSegment, Tombstone

_KEPT_MS: Final = limits.AUDIT_KEPT_MS


@dataclass(slots=True)
class SegmentSeen:
    """A segment that is there.

    Attributes:
        first, last: seq of its first and its last frame.
        began_ms: wall time of its first frame.
        entered_ms, newest_ms: the latest wall time of all frames of the log up to its first, and up to its last one.
        previous: h of the frame before it, as its head states; None without one.
    """

    number: int
    first: int
    last: int
    began_ms: int
    entered_ms: int
    newest_ms: int
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class Buried:
    """A tombstone, and where it stands."""

    segment: int
    frame: AuditFrame
    stone: Tombstone


@dataclass(frozen=True, slots=True)
class _Gap:
    first: int
    last: int
    problem: Problem


class Gone:
    """Told of every frame in order; in the end :meth:`settle` says what is accounted for.

    Attributes:
        segments: what is there, by number.
        stones: tombstones that are signed; after :meth:`settle` those that are true.
        pruned: what tombstones account for, after :meth:`settle`.
        unfinished: segments that are there although a tombstone names them just so, after :meth:`settle`.
    """

    def __init__(self) -> None:
        self.segments: dict[int, SegmentSeen] = {}
        self.stones: list[Buried] = []
        self.pruned = Ranges()
        self.unfinished: list[PrunedSegment] = []
        self._gaps: list[_Gap] = []
        self._newest_ms = 0

    def take(self, number: int, frame: AuditFrame, previous: bytes | None) -> None:
        """A frame of the segment ``number``; ``previous`` is what the head of a segment states."""
        wall = frame.at.wall_ms
        self._newest_ms = max(self._newest_ms, wall)
        seen = self.segments.get(number)
        if seen is None:
            newest = self._newest_ms
            self.segments[number] = SegmentSeen(number, frame.seq, frame.seq, wall, newest, newest, previous)
        else:
            seen.last, seen.newest_ms = frame.seq, self._newest_ms

    def missing(self, first: int, last: int, problem: Problem) -> None:
        """Frames that are not there, and how that was found."""
        self._gaps.append(_Gap(first, last, problem))

    def bury(self, number: int, frame: AuditFrame, stone: Tombstone) -> None:
        """A tombstone with a right signature, in the segment ``number``."""
        self.stones.append(Buried(number, frame, stone))

    def covering(self, seq: int) -> Buried | None:
        """The tombstone that accounts for a frame, if one does."""
        if not any(first <= seq <= last for first, last in self.pruned.pieces):
            return None
        return next((one for one in reversed(self.stones) if one.stone.first <= seq <= one.stone.last), None)

    def settle(self, problems: list[Problem]) -> None:
        """There are no more frames: take out what tombstones account for, put in what is wrong with them."""
        stones, self.stones = self.stones, []
        for one in stones:
            if not self._fits(one.stone):
                problems.append(Problem(Trouble.TOMBSTONE, one.segment, one.frame.seq))
                continue
            self.stones.append(one)
            if self._is_early(one):
                problems.append(Problem(Trouble.TOO_EARLY, one.segment, one.frame.seq))
            self.pruned.add(one.stone.first, one.stone.last)
            self.unfinished += [each for each in one.stone.segments if each.number in self.segments]
        problems += [
            Problem(Trouble.RETURNED, seen.number, seen.first)
            for seen in self.segments.values()
            if self.covering(seen.first) is not None
        ]
        for gap in self._gaps:
            self._settle_gap(gap, problems)

    def _settle_gap(self, gap: _Gap, problems: list[Problem]) -> None:
        first = gap.first
        for begin, end in self.pruned.pieces:
            if begin <= first <= end:
                first = end + 1
        at = problems.index(gap.problem)
        if first <= gap.last:
            problems[at] = Problem(Trouble.GAP, gap.problem.segment, first)
            return
        del problems[at]
        # The first frame behind it is of a later epoch, which is no wonder.
        late = Problem(Trouble.EPOCH, gap.problem.segment, gap.last + 1)
        if late in problems:
            problems.remove(late)

    def _fits(self, stone: Tombstone) -> bool:
        """Whether it is true, as far as what is left shows."""
        if self.pruned.pieces and stone.last <= self.pruned.pieces[-1][1]:
            return False
        named = {one.number: one for one in stone.segments}
        for seen in self.segments.values():
            if seen.first == stone.last + 1 and seen.previous != stone.head:
                return False
            if stone.segments[0].first <= seen.first <= stone.last or seen.number in named:
                one = named.get(seen.number)
                if one is None or (one.first, one.last) != (seen.first, seen.last):
                    return False
        return True

    def _is_early(self, one: Buried) -> bool:
        """The head behind what is gone was written when that was whole, so it tells how old it was."""
        return any(
            seen.first == one.stone.last + 1 and one.frame.at.wall_ms - seen.began_ms < _KEPT_MS
            for seen in self.segments.values()
        )
