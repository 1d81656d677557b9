"""Following an audit log from its first frame, and saying what of it is proved (FORMAT.md section 16).

Owns: what each way of tampering looks like, and which ranges are intact, sealed and anchored. Must not know: files,
the terminal.

A finding never stops it: from the next frame that states its forerunner (the head of a segment, a signed checkpoint)
the chain is followed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from encfs.core.audit import (
    FIRST,
    body_aad,
    head_info,
    mac_of,
    next_head,
    next_key,
    signed_text,
    tombstone_text,
)
from encfs.core.audit_gone import Buried, Gone
from encfs.core.audit_trouble import Problem, Ranges, Trouble
from encfs.crypto.kdf import Label
from encfs.crypto.signing import Algorithm, PublicKey
from encfs.crypto.suite import Suite
from encfs.errors import AuthenticationError, FormatError
from encfs.format import limits
from encfs.format.audit import (
    AuditFrame,
    AuditKind,
    Moment,
    SegmentHead,
    parse_audit_frame,
    parse_epoch_end,
    parse_segment_head,
    parse_signed_checkpoint,
)
from encfs.format.audit_body import AuditBody, parse_audit_body
from encfs.format.audit_tombstone import parse_tombstone
from encfs.units import VolumeId

__all__ = ["ClockStep", "LogVerifier", "Problem", "Ranges", "Taken", "Trouble"]

# Clocks are read one after the other, and a synchronised one is nudged all the time.
_STEP_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The wall clock was set between two frames: by so many milliseconds, as of frame ``seq``."""

    seq: int
    step_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame, and what can be said of it.

    Attributes:
        volume_id, body: of a record that could be opened.
    """

    frame: AuditFrame
    volume_id: VolumeId | None = None
    body: AuditBody | None = None


class LogVerifier:
    """Takes the frames of all segments in order.

    Args:
        suite: the suite of the log.
        auditor: the private key of the auditor; without it only signatures are checked, and no body is read.
        anchors: h by seq, as it was kept elsewhere.

    Attributes:
        frames: so many were taken.
        intact: pieces that a signed checkpoint at their end vouches for.
        sealed: pieces whose every frame has the MAC of its epoch; nothing without the auditor's key.
        anchored: the highest seq of an anchor that is in the chain, or None.
        unchecked: seq of anchors of what was pruned, which nothing shows any more.
        gone: what is there and what is not; what tombstones account for, after :meth:`finish`.
    """

    def __init__(self, suite: Suite, auditor: bytes | None = None, anchors: Mapping[int, bytes] | None = None) -> None:
        self._suite = suite
        self._auditor = auditor
        self._anchors = dict(anchors or {})
        self._segment = 0
        self._first: SegmentHead | None = None
        self._seq: int | None = None  # of the next frame
        self._head: bytes | None = FIRST  # None: not known
        self._unbroken = 0  # seq from which on the chain was followed
        self._epoch = 0
        self._key: bytes | None = None  # of that epoch
        self._base: tuple[int, bytes] | None = None  # the first epoch whose key is known, with it
        self._in_epoch: int | None = None  # None: not all of its frames were seen
        self._before: Moment | None = None
        self.problems: list[Problem] = []
        self.clock_steps: list[ClockStep] = []
        self.intact, self.sealed = Ranges(), Ranges()
        self.anchored: int | None = None
        self.unchecked: list[int] = []
        self.gone = Gone()
        self.frames = 0

    def begin_segment(self, number: int) -> None:
        """What follows is of the segment with this number, as its name says."""
        self._segment = number

    def broken(self, trouble: Trouble) -> None:
        """The caller found no frame where one had to be, or not all of it."""
        self._found(trouble, self._seq or 0)
        self._lost()

    def take(self, data: bytes) -> Taken | None:
        """The next frame, whole. None if it is none, which is a finding; then no later one of the segment is found."""
        try:
            frame, mac = parse_audit_frame(data)
        except FormatError:
            self.broken(Trouble.DAMAGED)
            return None
        self.frames += 1
        self._place(frame)
        previous = self._stated(frame)
        head = None if previous is None else next_head(self._suite, previous, frame)
        self._head = head
        self.gone.take(self._segment, frame, previous if frame.kind is AuditKind.HEAD else None)
        self._seq = frame.seq + 1
        self._in_epoch = None if self._in_epoch is None else self._in_epoch + 1
        self._check_epoch(frame)
        proved = self._check_mac(frame, head, mac)
        taken = self._content(frame, proved=proved)
        self._check_anchor(frame, head)
        self._check_clock(frame)
        return taken

    def finish(self) -> None:
        """There are no more frames: anchors that were not met are of a log that went on longer, or otherwise."""
        self.gone.settle(self.problems)
        for seq, head in sorted(self._anchors.items()):
            self._settle_anchor(seq, head, self.gone.covering(seq))

    def _settle_anchor(self, seq: int, head: bytes, buried: Buried | None) -> None:
        if buried is not None and seq < buried.stone.last:
            self.unchecked.append(seq)
        elif buried is not None and head == buried.stone.head:
            self.anchored = max(seq, self.anchored or 0)
        else:
            self._found(Trouble.FORKED, seq)

    # -- the chain ---------------------------------------------------------------------------------------------

    def _found(self, trouble: Trouble, seq: int) -> None:
        self.problems.append(Problem(trouble, self._segment, seq))

    def _lost(self) -> None:
        """The chain cannot be followed from here."""
        self._head, self._in_epoch = None, None

    def _place(self, frame: AuditFrame) -> None:
        if self._seq is None:
            self._unbroken = frame.seq
            if frame.seq:
                self._missing(0, frame.seq - 1)
        elif frame.seq > self._seq:
            self._missing(self._seq, frame.seq - 1)
        elif frame.seq < self._seq:
            self._found(Trouble.ORDER, frame.seq)
            self._lost()

    def _missing(self, first: int, last: int) -> None:
        """Frames are not there; a tombstone may say why."""
        self._found(Trouble.GAP, first)
        self.gone.missing(first, last, self.problems[-1])
        self._lost()

    def _stated(self, frame: AuditFrame) -> bytes | None:
        """h of the frame before: what was computed, and where that is not known, what this frame says of it."""
        try:
            if frame.kind is AuditKind.HEAD:
                stated = parse_segment_head(frame.content).previous
            elif frame.kind is AuditKind.CHECKPOINT:
                stated = parse_signed_checkpoint(frame.content).previous
            elif frame.kind is AuditKind.TOMBSTONE:
                stated = parse_tombstone(frame.content).previous
            else:
                return self._head
        except FormatError:
            self._found(Trouble.EDITED, frame.seq)
            return None
        if self._head != stated:
            if self._head is not None:
                self._found(Trouble.EDITED, frame.seq)
            self._unbroken = frame.seq
        return stated

    def _check_anchor(self, frame: AuditFrame, head: bytes | None) -> None:
        anchor = self._anchors.pop(frame.seq, None)
        if anchor is None:
            return
        if anchor == head:
            self.anchored = frame.seq
        else:
            self._found(Trouble.FORKED, frame.seq)

    def _check_clock(self, frame: AuditFrame) -> None:
        at, before = frame.at, self._before
        self._before = at
        if before is None:
            return
        step = at.wall_ms - before.wall_ms
        if at.boot_id == before.boot_id:
            step -= at.mono_ms - before.mono_ms
            if abs(step) > _STEP_MS:
                self.clock_steps.append(ClockStep(frame.seq, step))
        elif step < -_STEP_MS:
            self.clock_steps.append(ClockStep(frame.seq, step))

    # -- epochs and MACs ---------------------------------------------------------------------------------------

    def _check_epoch(self, frame: AuditFrame) -> None:
        """Only the end of an epoch leads to another one."""
        if self._first is None:
            self._epoch = frame.epoch
            self._in_epoch = 1 if frame.seq == 0 else None
        elif frame.epoch != self._epoch:
            self._found(Trouble.EPOCH, frame.seq)
            self._go_to(frame.epoch)

    def _go_to(self, epoch: int) -> None:
        self._in_epoch = None
        if self._base is not None:
            at, key = self._base if epoch < self._epoch or self._key is None else (self._epoch, self._key)
            possible = 0 <= epoch - at <= limits.AUDIT_EPOCHS_SKIPPED_MAX
            self._key = next_key(self._suite, key, epoch - at) if possible else None
        self._epoch = epoch

    def _check_mac(self, frame: AuditFrame, head: bytes | None, mac: bytes) -> bool:
        """Whether the frame is proved by the key of its epoch."""
        if frame.kind is AuditKind.HEAD:
            self._take_key(frame)
        if self._key is None or head is None:
            return False
        if mac_of(self._suite, self._key, head) != mac:
            self._found(Trouble.EDITED, frame.seq)
            self._lost()
            return False
        self.sealed.add(frame.seq, frame.seq)
        return True

    def _take_key(self, frame: AuditFrame) -> None:
        """Of the head of a segment, which has to fit to what was known before."""
        try:
            head = parse_segment_head(frame.content)
        except FormatError:
            return
        first = self._first
        if head.segment != self._segment or (
            first is not None
            and (head.log_id, head.signer, head.auditor) != (first.log_id, first.signer, first.auditor)
        ):
            self._found(Trouble.FOREIGN, frame.seq)
            return
        self._first = first or head
        if self._auditor is None:
            return
        try:
            key = self._suite.kem_unseal(self._auditor, head_info(head.log_id, head.segment), head.sealed_key)
        except AuthenticationError:
            self._found(Trouble.FOREIGN, frame.seq)
            return
        if self._key is not None and key != self._key:
            self._found(Trouble.FOREIGN, frame.seq)
            return
        self._key = key
        self._base = self._base or (frame.epoch, key)

    # -- contents ----------------------------------------------------------------------------------------------

    def _content(self, frame: AuditFrame, *, proved: bool) -> Taken:
        try:
            if frame.kind is AuditKind.EPOCH_END:
                self._end_epoch(frame)
            elif frame.kind is AuditKind.CHECKPOINT:
                self._check_checkpoint(frame)
            elif frame.kind is AuditKind.TOMBSTONE:
                self._check_tombstone(frame, proved=proved)
            elif frame.kind is AuditKind.RECORD and proved:
                return self._open(frame)
        except FormatError:
            self._found(Trouble.EDITED, frame.seq)
        return Taken(frame)

    def _end_epoch(self, frame: AuditFrame) -> None:
        end = parse_epoch_end(frame.content)
        if end.following <= frame.epoch or self._in_epoch not in {None, end.frames + 1}:
            self._found(Trouble.EPOCH, frame.seq)
        self._go_to(max(end.following, frame.epoch))
        self._in_epoch = 0

    def _check_checkpoint(self, frame: AuditFrame) -> None:
        content = parse_signed_checkpoint(frame.content)
        if self._first is not None:
            text = signed_text(self._first.log_id, frame, content.reason, content.previous)
            self._is_signed(frame, self._first, content.signature, text)

    def _check_tombstone(self, frame: AuditFrame, *, proved: bool) -> None:
        stone = parse_tombstone(frame.content)
        if self._first is None:
            return
        text = tombstone_text(self._first.log_id, frame, stone.signed_part())
        signed = self._is_signed(frame, self._first, stone.signature, text)
        # Whoever has the auditor's key knows more than that the host signed it.
        if signed and (proved or self._auditor is None):
            self.gone.bury(self._segment, frame, stone)

    def _is_signed(self, frame: AuditFrame, head: SegmentHead, signature: bytes, text: bytes) -> bool:
        try:
            PublicKey(Algorithm.ED25519, head.signer).check(signature, text)
        except AuthenticationError:
            self._found(Trouble.SIGNATURE, frame.seq)
            self._lost()
            return False
        self.intact.add(self._unbroken, frame.seq)
        return True

    def _open(self, frame: AuditFrame) -> Taken:
        assert self._key is not None
        volume_id, sealed = frame.content[: limits.VOLUME_ID_SIZE], frame.content[limits.VOLUME_ID_SIZE :]
        key = self._suite.expand(self._key, Label.AUDIT_BODY)
        try:
            body = parse_audit_body(self._suite.unseal(key, body_aad(frame, volume_id), sealed))
        except AuthenticationError:
            self._found(Trouble.EDITED, frame.seq)
            return Taken(frame)
        return Taken(frame, VolumeId(volume_id), body)
