"""What can be said of a volume at the time of a loss: locked, open, or neither.

Owns: the table of cases in docs/incident.md, "What the record can say". Must not know: where the facts come from, the
words (``wordings.py``).

Rules: "locked" is said only where no opening can have touched the time of the loss, the log is whole from the record
that decides to a frame after the loss, and nothing contradicts it. Whatever is missing makes it less, never more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Final

from encfs.evidence.clocks import ROUGH_MS
from encfs.evidence.timeline import FOR_EVER, End, Opening, Placed, Timeline
from encfs.evidence.when import Span
from encfs.format.audit_body import Outcome
from encfs.locking import LockReason

_NO_END: Final = frozenset({End.UNKNOWN, End.REPLACED, End.RESTART, End.STOPPED})
_NEVER_LOCKED: Final = _NO_END | {End.PULLED}
CRASH: Final = "crash"
# Records that show the volume, and so the medium, on this computer.
_SHOWS_IT: Final = frozenset({"volume.unlock", "volume.mounted", "volume.open", "volume.create"})


class Verdict(StrEnum):
    """The three things that are ever said."""

    LOCKED = "locked, key elsewhere"
    OPEN = "open at the time"
    UNKNOWN = "cannot be told"


class Proof(IntEnum):
    """What stands behind it, the least first."""

    NOTHING = 0
    REMEMBERED = 1
    """This computer remembers it; whoever has the account can change that."""
    SIGNED = 2
    """And its log, signed by this computer, has records of the volume at those times and none after."""
    SEALED = 3
    """The log says so, in records whose keys were destroyed within a quarter of an hour."""
    ANCHORED = 4
    """And it was known in a second place."""


class Why(StrEnum):
    """A reason for what is said. The words are those of docs/json.md."""

    MOUNTED = "mounted"
    COMMAND = "command"
    NO_END = "no-end"
    PULLED = "pulled"
    CLOCK = "clock"
    RESTARTED = "restarted"
    NOT_KNOWN = "not-known"
    LATER = "later"
    SEEN_AFTER = "seen-after"
    ELSEWHERE = "elsewhere"
    ELSEWHERE_AFTER = "elsewhere-after"
    OPEN_ELSEWHERE = "open-elsewhere"
    OTHER_HOSTS = "other-hosts"
    LOG_WRONG = "log-wrong"
    LOG_GAP = "log-gap"
    LOG_SHORT = "log-short"
    MEMORY_DISAGREES = "memory-disagrees"
    KEY_BESIDE = "key-beside"
    KEY_NOT_LOOKED = "key-not-looked"
    LOCKED = "locked"
    NEVER_OPENED = "never-opened"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and when the record that shows it was written (seconds; None without one), with its seq in the log."""

    why: Why
    at: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a log can be believed.

    Attributes:
        wrong: seqs at which something is wrong.
        sealed: pieces, first and last seq of each, whose frames have the right MACs.
        anchored: up to here it is known elsewhere; None for nowhere.
    """

    wrong: tuple[int, ...] = ()
    sealed: tuple[tuple[int, int], ...] = ()
    anchored: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What this computer remembers beside its log: how the volume stood last.

    Attributes:
        is_open: open, when last seen; else its end is known.
        opened: when that began.
        at: when it was last seen open, or when it ended. Seconds, both.
        reason: of the end; :data:`CRASH` where its process was found to be gone.
    """

    is_open: bool
    opened: int
    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SessionSeen:
    """A session as the volume itself has it, known when it was last opened here.

    Attributes:
        is_ours: of this computer and this user, whose log this is.
        started, ended: seconds; None where it was never locked.
        is_clean: it was locked as it should be.
    """

    host: str
    is_ours: bool
    started: int
    ended: int | None
    is_clean: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of one volume.

    Attributes:
        reasons: the one that decided first.
        opening: the one that decides: open at that time, or the last one before.
        notes: what weakens or adds to it.
    """

    verdict: Verdict
    proof: Proof
    reasons: tuple[Reason, ...]
    opening: Opening | None = None
    notes: tuple[Reason, ...] = field(default=())

    def less(self, *reasons: Reason) -> Judgement:
        """Not locked after all: it cannot be told."""
        if not reasons or self.verdict is Verdict.OPEN:
            return replace(self, notes=self.notes + reasons)
        return replace(self, verdict=Verdict.UNKNOWN, reasons=reasons + self.reasons)


def judge(
    line: Timeline, state: LogState, span: Span, *, memory: Memory | None = None, found_at: int | None = None
) -> Judgement:
    """From a log that could be read.

    Args:
        line: what it says of the volume.
        state: how far it can be believed.
        span: when the loss was.
        memory: what is remembered beside it, which can only make it less.
        found_at: since when the medium is back, seconds; None if it is not.
    """
    proof = Proof.SEALED
    said = _open_then(line, span)
    if said is None:
        last = _last_before(line, span)
        if last is None:
            return _never_opened(line, state, span, memory, found_at)
        said = _ended_before(last)
        proof = _proof(state, last.ended)
        said = replace(said, proof=proof)
        decided = last.ended
    else:
        said = replace(said, proof=_proof(state, said.opening.began if said.opening else None))
        decided = said.opening.seen if said.opening else None
    return _weaken(said, line, state, span, decided=decided, memory=memory, found_at=found_at)


def judge_without_log(memory: Memory | None, span: Span, *, signed: bool = False) -> Judgement:
    """From what is remembered, where no log can be read.

    Args:
        memory: None if nothing is remembered.
        span: when the loss was.
        signed: the log, which nobody can read here, has the last frames of this volume at just that time.
    """
    if memory is None:
        return Judgement(Verdict.UNKNOWN, Proof.NOTHING, (Reason(Why.NOT_KNOWN),))
    proof = Proof.SIGNED if signed else Proof.REMEMBERED
    verdict, why = _remembered(memory, span)
    return Judgement(verdict, proof, (Reason(why, memory.at),))


def _remembered(memory: Memory, span: Span) -> tuple[Verdict, Why]:
    ended_before = memory.at * 1000 + 999 < span.first
    if not memory.is_open and memory.reason == LockReason.MEDIUM_GONE:
        return Verdict.OPEN, Why.PULLED
    if memory.opened * 1000 > span.last:
        return Verdict.UNKNOWN, Why.SEEN_AFTER
    if memory.is_open:
        return Verdict.OPEN, Why.NO_END if ended_before else Why.MOUNTED
    if memory.reason == CRASH:
        return (Verdict.UNKNOWN, Why.RESTARTED) if ended_before else (Verdict.OPEN, Why.NO_END)
    return (Verdict.LOCKED, Why.LOCKED) if ended_before else (Verdict.OPEN, Why.MOUNTED)


def with_keys(said: Judgement, *, beside: bool, looked: bool) -> Judgement:
    """Locked is worth something only where the key was elsewhere.

    Args:
        said: of the volume itself.
        beside: a key that opens the volume was seen on the medium.
        looked: all of the medium was looked through, for every kind of key that can be seen there.
    """
    if beside:
        return said.less(Reason(Why.KEY_BESIDE))
    return said if looked else said.less(Reason(Why.KEY_NOT_LOOKED))


def with_sessions(
    said: Judgement, sessions: Sequence[SessionSeen], span: Span, *, found_at: int | None = None
) -> Judgement:
    """What the volume itself says of who had it open, also on other computers.

    Args:
        said: by the log of this one.
        sessions: in the order of use.
        span: when the loss was.
        found_at: since when the medium is back.
    """
    for one in sessions:
        if _session_meets(one, span):
            reason = Reason(Why.MOUNTED if one.is_ours else Why.OPEN_ELSEWHERE, one.started)
            proof = said.proof if said.verdict is Verdict.OPEN else Proof.REMEMBERED
            return replace(said, verdict=Verdict.OPEN, proof=proof, reasons=(reason, *said.reasons))
    before = [one for one in sessions if one.started * 1000 <= span.last]
    after = [one for one in sessions if one not in before and not one.is_ours]
    if before and not before[-1].is_ours:
        said = said.less(Reason(Why.ELSEWHERE, before[-1].started))
    for one in after:
        if found_at is None or one.started < found_at:
            said = said.less(Reason(Why.ELSEWHERE_AFTER, one.started))
    if any(not one.is_ours for one in before):
        said = replace(said, notes=(*said.notes, Reason(Why.OTHER_HOSTS)))
    return said


def _session_meets(one: SessionSeen, span: Span) -> bool:
    """Open at that time. One of ours that has no end yet is in our log, with its end."""
    if one.is_ours and not one.is_clean:
        return False
    ended = FOR_EVER if one.ended is None else one.ended * 1000 + 999
    return one.started * 1000 <= span.last and ended >= span.first


def worst(said: Sequence[Verdict]) -> Verdict:
    """Of several volumes on one medium; nothing is known of none."""
    order = (Verdict.OPEN, Verdict.UNKNOWN, Verdict.LOCKED)
    return next((verdict for verdict in order if verdict in said), Verdict.UNKNOWN)


# -- the rules -------------------------------------------------------------------------------------------------


def _meets(bounds: tuple[int, int], span: Span) -> bool:
    return bounds[0] <= bounds[1] and bounds[0] <= span.last and bounds[1] >= span.first


def _open_then(line: Timeline, span: Span) -> Judgement | None:
    """Whether it was open, or may have been, at some time of the span, or was pulled out open and not seen since."""
    for opening in sorted(line.openings, key=lambda one: not one.is_mount):
        if _meets(opening.sure, span):
            why = Why.MOUNTED if opening.is_mount else Why.COMMAND
            pulled = (_reason(Why.PULLED, opening.ended),) if opening.end is End.PULLED else ()
            return Judgement(Verdict.OPEN, Proof.SEALED, (_reason(why, opening.began), *pulled), opening)
    for opening in line.openings:
        if opening.end is End.PULLED and line.is_last(opening):
            return Judgement(Verdict.OPEN, Proof.SEALED, (_reason(Why.PULLED, opening.ended),), opening)
    maybe = [opening for opening in line.openings if _meets(opening.possible, span)]
    # Begun before, and nobody has recorded an end in time.
    for opening in maybe:
        if opening.end in _NO_END and opening.began.when.latest <= span.last:
            return Judgement(Verdict.OPEN, Proof.SEALED, (_reason(Why.NO_END, opening.seen),), opening)
    for opening in maybe:
        return Judgement(Verdict.UNKNOWN, Proof.SEALED, (_reason(Why.CLOCK, opening.began),), opening)
    return None


def _last_before(line: Timeline, span: Span) -> Opening | None:
    """The last one that was certainly over before; one that was never locked counts if nobody has opened it since."""
    before = [opening for opening in line.openings if opening.possible[1] < span.first]
    unlocked = [one for one in before if one.end in _NEVER_LOCKED and _is_last_of(before, one)]
    return max(unlocked or before, key=lambda one: (one.ended.seq if one.ended else 0, one.began.seq), default=None)


def _is_last_of(openings: Sequence[Opening], one: Opening) -> bool:
    return one.ended is None or openings[-1].began.seq < one.ended.seq


def _ended_before(last: Opening) -> Judgement:
    if last.end is End.PULLED:
        return Judgement(Verdict.OPEN, Proof.SEALED, (_reason(Why.PULLED, last.ended),), last)
    if last.end in _NO_END:
        return Judgement(Verdict.UNKNOWN, Proof.SEALED, (_reason(Why.RESTARTED, last.ended),), last)
    return Judgement(Verdict.LOCKED, Proof.SEALED, (_reason(Why.LOCKED, last.ended),), last)


def _never_opened(
    line: Timeline, state: LogState, span: Span, memory: Memory | None, found_at: int | None
) -> Judgement:
    made = line.made
    if made is None or made.when.latest >= span.first:
        why = Why.NOT_KNOWN if not line.records else Why.LATER
        first = line.records[0] if line.records else None
        return Judgement(Verdict.UNKNOWN, Proof.NOTHING, (_reason(why, first),))
    said = Judgement(Verdict.LOCKED, _proof(state, made), (_reason(Why.NEVER_OPENED, made),))
    return _weaken(said, line, state, span, decided=made, memory=memory, found_at=found_at)


def _weaken(
    said: Judgement,
    line: Timeline,
    state: LogState,
    span: Span,
    *,
    decided: Placed | None,
    memory: Memory | None,
    found_at: int | None,
) -> Judgement:
    """Everything that speaks against what the log seems to say."""
    since = decided.seq if decided is not None else 0
    # But for the moment in which clocks are read: the mark that is made when somebody asks counts.
    reaches = (one.seq for one in line.log if one.seq >= since and one.when.earliest + ROUGH_MS >= span.last)
    until = next(reaches, None)
    against: list[Reason] = []
    if until is None:
        against.append(_reason(Why.LOG_SHORT, line.log[-1] if line.log else None))
    last = until if until is not None else FOR_EVER
    wrong = [seq for seq in state.wrong if since <= seq <= last]
    if wrong or not any(first <= since and (until or since) <= end for first, end in state.sealed):
        against.append(Reason(Why.LOG_WRONG, None, wrong[0] if wrong else since))
    against += [_reason(Why.LOG_GAP, gap) for gap in line.gaps if since <= gap.seq <= last][:1]
    after = _seen_after(line, span, found_at)
    if after is not None:
        against.append(_reason(Why.SEEN_AFTER, after))
    if memory is not None and said.verdict is Verdict.LOCKED:
        against += _disagrees(memory, span, found_at)
    return said.less(*against)


def _seen_after(line: Timeline, span: Span, found_at: int | None) -> Placed | None:
    """The first record that shows the volume here after the loss, though nobody had found it by then."""
    for one in line.records:
        body = one.taken.body
        shows = body is not None and body.action in _SHOWS_IT and body.outcome is Outcome.DONE
        if shows and one.when.earliest > span.last and (found_at is None or one.when.latest < found_at * 1000):
            return one
    return None


def _disagrees(memory: Memory, span: Span, found_at: int | None) -> list[Reason]:
    """What is remembered as open at that time, of which the log has nothing."""
    if found_at is not None and memory.opened >= found_at:
        return []  # It is back, and this is of later.
    verdict, _ = _remembered(memory, span)
    return [] if verdict is Verdict.LOCKED else [Reason(Why.MEMORY_DISAGREES, memory.at)]


def _proof(state: LogState, decided: Placed | None) -> Proof:
    anchored = state.anchored is not None and decided is not None and state.anchored >= decided.seq
    return Proof.ANCHORED if anchored else Proof.SEALED


def _reason(why: Why, one: Placed | None) -> Reason:
    if one is None:
        return Reason(why)
    return Reason(why, one.taken.frame.at.wall_ms // 1000, one.seq)
