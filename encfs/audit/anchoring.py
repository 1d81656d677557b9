"""Making anchors of this host's log, keeping them in a file, reading them back, and saying what they prove.

Owns: FORMAT.md section 16, "Anchor": lines of files, and what each is worth to a log. Must not know: the ways to other
computers (``syslog.py``, ``timestamping.py``), how it is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from encfs.audit.home import Home, kept_homes
from encfs.audit.log import frames_of, locked, segments
from encfs.audit.reading import read_log
from encfs.core.anchors import check_anchor, sign_anchor
from encfs.core.audit_verify import LogVerifier, Trouble
from encfs.crypto.signing import Algorithm, PublicKey
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, FormatError, UsageError
from encfs.format.anchor import Anchor, anchors_in, parse_anchor
from encfs.format.audit import AuditKind, CheckpointReason, parse_audit_frame, parse_segment_head

_LINE_MAX: Final = 1 << 20


class AnchorTrouble(StrEnum):
    """What is wrong with an anchor. The words are those of docs/json.md."""

    DAMAGED = "anchor-damaged"
    """A line of an anchor file is none, or an element in a line of syslog is not whole."""
    FORGED = "anchor-forged"
    """It is not signed by the host whose log this is."""
    FOREIGN = "anchor-foreign"
    """It is of another log, which is not kept beside this one."""
    FORKED = "forked"
    """Two anchors contradict each other, or one is of an earlier log that is not as it was."""
    NONE = "anchor-none"
    """None of the file is of this log."""
    TIMESTAMP = "anchor-timestamp"
    """Its timestamp is not right."""


@dataclass(frozen=True, slots=True)
class AnchorProblem:
    """One finding: the line of the file, from 1, None for all of it; and the frame that it speaks of, if known."""

    trouble: AnchorTrouble
    line: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class KeptAnchor:
    """An anchor that was read back; in the first line of its file that has it."""

    line: int
    anchor: Anchor


@dataclass(slots=True)
class Kept:
    """What a file has.

    Attributes:
        is_syslog: whether it was written by a syslog server: then lines of others are in it too.
        damaged: lines that should be anchors.
    """

    is_syslog: bool
    anchors: list[KeptAnchor] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Judged:
    """What anchors are worth to a log.

    Attributes:
        heads: h by seq: what has to be in this log.
        own: the anchors behind them.
        earlier: how many are in logs of this computer that were kept beside this one.
        others: how many are of other computers.
    """

    heads: dict[int, bytes] = field(default_factory=dict)
    own: list[KeptAnchor] = field(default_factory=list)
    earlier: int = 0
    others: int = 0
    problems: list[AnchorProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which log it is, and whose."""

    log_id: bytes
    signer: PublicKey


def make(here: Home) -> Anchor:
    """A signed checkpoint in the log, and a signed anchor of it. Raises: AuditError, OSError."""
    log = here.log()
    seq, head = log.checkpoint(CheckpointReason.ASKED)
    return sign_anchor(here.signer(), log_id=log.log_id(), seq=seq, head=head, wall_ms=log.now().wall_ms)


def append(path: str, anchor: Anchor) -> None:
    """One more line; it is on the medium when this returns.

    Raises:
        OSError: it is not there; what was there before is.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        # A line that a crash has cut short shall not take this one with it.
        begun = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        data = (b"\n" if begun else b"") + anchor.line().encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    _sync_directory(os.path.dirname(os.path.abspath(path)))


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_back(path: str) -> Kept:
    """The anchors in an anchor file, or in a log of a syslog server, which may have any number of other lines.

    Raises:
        UsageError: there is none in it.
        OSError: it cannot be read.
    """
    kept: Kept | None = None
    seen = set()
    for number, line in _lines(path):
        if not line.strip():
            continue
        if kept is None:
            kept = Kept(is_syslog=not line.startswith("{"))
        try:
            found = anchors_in(line) if kept.is_syslog else {parse_anchor(line)}
        except FormatError:
            kept.damaged.append(number)
            continue
        kept.anchors += [KeptAnchor(number, anchor) for anchor in found if anchor not in seen]
        seen |= found
    if kept is None or not kept.anchors:
        raise UsageError(
            "there is no anchor in the file given with --anchors",
            hint='It has to be one that "cloakfs audit anchor" has written, or a log of the syslog server.',
        )
    return kept


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """With their numbers. What is longer than any line of syslog comes in pieces of the same number."""
    with open(path, "rb") as file:
        number, ended = 0, True
        while line := file.readline(_LINE_MAX):
            number += ended
            ended = line.endswith(b"\n")
            yield number, line.decode("utf-8", "replace")


def identity(here: Home) -> Identity | None:
    """As the first segment says; None where that cannot be read. Raises: OSError."""
    with locked(here.store, here.dirfd, shared=True):
        for number in segments(here.store, here.dirfd)[:1]:
            for data in frames_of(here.store, here.dirfd, number):
                return _identity_in(data)
    return None


def _identity_in(data: bytes) -> Identity | None:
    try:
        frame, _ = parse_audit_frame(data)
        head = parse_segment_head(frame.content) if frame.kind is AuditKind.HEAD else None
    except FormatError:
        return None
    return None if head is None else Identity(head.log_id, PublicKey(Algorithm.ED25519, head.signer))


def judge(kept: Kept, log: Identity | None) -> Judged:
    """What has to be in this log, and what is wrong with the rest. Raises: OSError."""
    judged = Judged(problems=[AnchorProblem(AnchorTrouble.DAMAGED, line) for line in kept.damaged])
    if log is None:
        # Its beginning is gone or damaged, so whose log it is cannot be said: then all have to be in it.
        judged.own = kept.anchors
        judged.heads = {one.anchor.seq: one.anchor.head for one in kept.anchors}
        return judged
    own = [one for one in kept.anchors if one.anchor.log_id == log.log_id]
    _judge_own(own, log, judged, must_be_signed=kept.is_syslog)
    elsewhere = [one for one in kept.anchors if one.anchor.log_id != log.log_id]
    for one in _judge_earlier(elsewhere, judged, must_be_signed=kept.is_syslog):
        if kept.is_syslog and not _is_signed(one.anchor, log.signer):
            judged.others += 1
        else:
            judged.problems.append(AnchorProblem(AnchorTrouble.FOREIGN, one.line, one.anchor.seq))
    if not (judged.own or judged.earlier or judged.problems):
        judged.problems.append(AnchorProblem(AnchorTrouble.NONE))
    return judged


def _judge_own(anchors: list[KeptAnchor], log: Identity, judged: Judged, *, must_be_signed: bool) -> None:
    for one in anchors:
        anchor = one.anchor
        if (anchor.signature or must_be_signed) and not _is_signed(anchor, log.signer):
            judged.problems.append(AnchorProblem(AnchorTrouble.FORGED, one.line, anchor.seq))
        elif judged.heads.setdefault(anchor.seq, anchor.head) != anchor.head:
            judged.problems.append(AnchorProblem(AnchorTrouble.FORKED, one.line, anchor.seq))
        else:
            judged.own.append(one)


def _judge_earlier(anchors: list[KeptAnchor], judged: Judged, *, must_be_signed: bool) -> list[KeptAnchor]:
    """Against the logs that were kept; those that are of none of them are left."""
    for here in kept_homes() if anchors else ():
        log = identity(here)
        if log is None:
            continue
        found = Judged()
        of_it = [one for one in anchors if one.anchor.log_id == log.log_id]
        _judge_own(of_it, log, found, must_be_signed=must_be_signed)
        verifier = LogVerifier(CLOAKFS_1, None, found.heads)
        for _ in read_log(here, verifier):
            pass
        wrong = {problem.seq for problem in verifier.problems if problem.trouble is Trouble.FORKED}
        forked = [one for one in found.own if one.anchor.seq in wrong]
        judged.earlier += len(found.own) - len(forked)
        judged.problems += found.problems
        judged.problems += [AnchorProblem(AnchorTrouble.FORKED, one.line, one.anchor.seq) for one in forked]
        anchors = [one for one in anchors if one.anchor.log_id != log.log_id]
    return anchors


def _is_signed(anchor: Anchor, signer: PublicKey) -> bool:
    try:
        check_anchor(anchor, signer)
    except AuthenticationError:
        return False
    return True
