"""Removing segments of the log that have been kept long enough (FORMAT.md section 16, "Pruning").

Owns: which ones have expired, that a tombstone is on the medium before they go, and finishing what a crash cut short.
Must not know: how it is asked for and told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from encfs.audit.log import AuditLog, segment_name
from encfs.core.audit import FIRST
from encfs.core.audit_gone import SegmentSeen
from encfs.core.audit_trouble import Trouble
from encfs.core.audit_verify import LogVerifier
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, UsageError
from encfs.format import limits
from encfs.format.audit_tombstone import PrunedSegment, Tombstone
from encfs.store.atomic import sync_directory
from encfs.store.base import Store

KEPT_MS: Final = limits.AUDIT_KEPT_MS
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Expired:
    """A segment that may go.

    Attributes:
        since_ms, until_ms: wall time of its first frame, and the latest one up to its last.
        size: bytes.
    """

    segment: PrunedSegment
    since_ms: int
    until_ms: int
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be pruned.

    Attributes:
        unfinished: segments that a tombstone names already, and that a crash has left.
        first, head: for the tombstone of the expired ones: where what is gone begins, h of its last frame.
        wrong: a segment that has expired and stays, with all behind it, because something is wrong in it.
        later_ms: when the next segment will have expired; None where only the present one is left, or one is wrong.
    """

    expired: tuple[Expired, ...]
    unfinished: tuple[PrunedSegment, ...]
    first: int
    head: bytes
    wrong: int | None
    later_ms: int | None


def survey(store: Store, dirfd: int, verifier: LogVerifier, *, now_ms: int, keep_ms: int) -> Plan:
    """What can be pruned of a log that ``verifier`` has taken to its end.

    ``now_ms`` is the wall clock, ``keep_ms`` is how long everything is kept.

    Raises:
        UsageError: ``keep_ms`` is less than the law wants.
        OSError: a segment cannot be read.
    """
    if keep_ms < KEPT_MS:
        raise UsageError(
            "what is recorded is kept for six years at least",
            hint="45 CFR 164.316(b)(2) wants that, and nothing here goes below it. Give --keep 6y or more.",
        )
    gone = verifier.gone
    there = [seen for _, seen in sorted(gone.segments.items()) if gone.covering(seen.first) is None]
    newest = there[-1].newest_ms if there else 0
    # A clock that is ahead makes nothing old before the log itself has come so far.
    numbers, wrong, later = _expired(there, _wrong_in(verifier), min(now_ms, newest) - keep_ms)
    found = [_look(store, dirfd, gone.segments[number]) for number in numbers]
    first, head = (0, FIRST)
    if found:
        first, last = found[0].segment.first, found[-1].segment.last
        head = next(seen.previous for seen in there if seen.first == last + 1) or FIRST
        first = next((begin for begin, end in gone.pruned.pieces if end + 1 == first), first)
    later_ms = None if later is None else later + keep_ms
    return Plan(tuple(found), tuple(gone.unfinished), first, head, wrong, later_ms)


def _wrong_in(verifier: LogVerifier) -> set[int]:
    return {problem.segment for problem in verifier.problems if problem.trouble is not Trouble.RETURNED}


def _expired(there: list[SegmentSeen], wrong: set[int], limit_ms: int) -> tuple[list[int], int | None, int | None]:
    """Numbers of the oldest ones; one that has to stay for what is wrong in it; when the next one was over."""
    numbers: list[int] = []
    for seen, following in pairwise(there):
        if following.entered_ms > limit_ms:
            return numbers, None, following.entered_ms
        if seen.number in wrong or following.previous is None or following.first != seen.last + 1:
            return numbers, seen.number, None
        if len(numbers) == limits.TOMBSTONE_SEGMENTS_MAX:
            return numbers, None, following.entered_ms
        numbers.append(seen.number)
    return numbers, None, None


def _look(store: Store, dirfd: int, seen: SegmentSeen) -> Expired:
    digest, size = _digest(store, dirfd, seen.number)
    segment = PrunedSegment(seen.number, seen.first, seen.last, digest)
    return Expired(segment, seen.began_ms, seen.newest_ms, size)


def prune(log: AuditLog, store: Store, dirfd: int, plan: Plan, *, uid: int) -> None:
    """Remove what ``plan`` says. Whatever happens meanwhile, another go finishes it.

    Raises:
        AuditError: the log has changed since; nothing was removed.
        OSError: it cannot be written, or not all of it removed; a tombstone tells then of what is still there.
    """
    stone = None
    if plan.expired:
        stone = Tombstone(
            previous=FIRST,
            first=plan.first,
            last=plan.expired[-1].segment.last,
            head=plan.head,
            uid=uid,
            segments=tuple(one.segment for one in plan.expired),
        )
    going = sorted((*plan.unfinished, *(one.segment for one in plan.expired)), key=lambda one: one.number)
    log.prune(
        stone, check=lambda present: _check(store, dirfd, going, present), remove=lambda: _remove(store, dirfd, going)
    )


def _check(store: Store, dirfd: int, going: Iterable[PrunedSegment], present: int) -> None:
    for one in going:
        try:
            same = one.number < present and _digest(store, dirfd, one.number)[0] == one.digest
        except FileNotFoundError:
            same = False
        if not same:
            raise AuditError(
                f"log-{one.number:08} is not what was to be pruned any more, so nothing was removed",
                hint="See what is wrong with: cloakfs audit verify   If nothing is, try again.",
            )


def _remove(store: Store, dirfd: int, going: Iterable[PrunedSegment]) -> None:
    """The oldest first, so that what a crash leaves still goes on into what stays."""
    for one in going:
        store.unlink(dirfd, segment_name(one.number))
    sync_directory(store, dirfd)


def _digest(store: Store, dirfd: int, number: int) -> tuple[bytes, int]:
    """SHA-256 of a whole segment, and its size."""
    running, size = CLOAKFS_1.running_digest(), 0
    fd = store.open(dirfd, segment_name(number), os.O_RDONLY)
    try:
        while piece := store.pread(fd, _CHUNK, size):
            running.update(piece)
            size += len(piece)
    finally:
        store.close(fd)
    return running.digest(), size
