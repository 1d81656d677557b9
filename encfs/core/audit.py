"""The end of an audit log: makes the next frame, and keeps the one key that the host has.

Owns: the chain, the MACs, the seals and the evolution of the key (FORMAT.md section 16). Must not know: files, clocks,
what is recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from encfs.crypto.kdf import Label
from encfs.crypto.signing import Signer
from encfs.crypto.suite import Suite
from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.audit import (
    AuditFrame,
    AuditKind,
    AuditState,
    CheckpointReason,
    EpochEnd,
    Moment,
    SegmentHead,
    SignedCheckpoint,
    parse_audit_frame,
    parse_audit_state,
    parse_epoch_end,
)
from encfs.format.audit_body import AuditBody
from encfs.format.audit_tombstone import Tombstone
from encfs.units import VolumeId

FIRST: Final = bytes(limits.DIGEST_SIZE)
"""h before the first frame of a log."""
# Nonce and tag.
_SEAL_OVERHEAD: Final = 12 + 16
_CHECKSUM_AT: Final = limits.AUDIT_STATE_SIZE - limits.DIGEST_SIZE


def next_key(suite: Suite, key: bytes, epochs: int = 1) -> bytes:
    """A of so many epochs later."""
    for _ in range(epochs):
        key = suite.expand(key, Label.AUDIT_NEXT)
    return key


def next_head(suite: Suite, head: bytes, frame: AuditFrame) -> bytes:
    """h of ``frame``, whose forerunner has ``head``."""
    return suite.digest(head + frame.pack())


def mac_of(suite: Suite, key: bytes, head: bytes) -> bytes:
    """The MAC of the frame with h ``head``, under A of its epoch."""
    return suite.mac(suite.expand(key, Label.AUDIT_MAC), head)


def head_info(log_id: bytes, segment: int) -> bytes:
    """What a segment's key is sealed for."""
    return Label.AUDIT_HEAD + log_id + segment.to_bytes(4, "big")


def signed_text(log_id: bytes, frame: AuditFrame, reason: CheckpointReason, previous: bytes) -> bytes:
    """What the host signs in a checkpoint."""
    return Label.AUDIT_CHECKPOINT + log_id + frame.clear() + bytes([reason]) + previous


def tombstone_text(log_id: bytes, frame: AuditFrame, signed_part: bytes) -> bytes:
    """What the host signs in a tombstone."""
    return Label.AUDIT_TOMBSTONE + log_id + frame.clear() + signed_part


def body_aad(frame: AuditFrame, volume_id: bytes) -> bytes:
    """What the body of a record is bound to."""
    return frame.clear() + volume_id


def seal_state(suite: Suite, state: AuditState) -> bytes:
    """The 512 bytes of a state."""
    packed = state.pack()
    return packed + suite.digest(packed)


def open_state(suite: Suite, data: bytes) -> AuditState:
    """The inverse of :func:`seal_state`.

    Raises:
        FormatError: it is damaged, or no state.
    """
    packed, checksum = data[:_CHECKSUM_AT], data[_CHECKSUM_AT:]
    if suite.digest(packed) != checksum:
        raise FormatError("the state of the audit log is damaged")
    return parse_audit_state(packed)


def epochs_passed(state: AuditState, at: Moment) -> int:
    """How many epochs have ended since the state's began; 0 while it lasts.

    The wall clock counts only where the host was started again: then at least one has ended.
    """
    began = state.began
    same_boot = began.boot_id == at.boot_id
    elapsed = at.mono_ms - began.mono_ms if same_boot else at.wall_ms - began.wall_ms
    by_time = max(elapsed, 0) // limits.AUDIT_EPOCH_MS
    at_least = 0 if same_boot and state.frames < limits.AUDIT_EPOCH_FRAMES else 1
    return min(max(by_time, at_least), limits.AUDIT_EPOCHS_SKIPPED_MAX)


class LogEnd:
    """Where a log grows. Each method returns the bytes to append, after which :attr:`state` is to be written.

    Attributes:
        state: as it is once the bytes that were returned so far are in the segment.
    """

    def __init__(self, suite: Suite, state: AuditState) -> None:
        self._suite = suite
        self.state = state
        self._derived = (b"", b"", b"")

    def begin_segment(self, at: Moment, *, auditor: bytes, signer: bytes) -> bytes:
        """The head of a new segment, whose number is that of the state; its size has to be 0.

        Raises:
            FormatError: ``auditor`` is no public key.
        """
        state = self.state
        if state.size:
            raise AssertionError("internal error: a segment has one head")
        head = SegmentHead(
            log_id=state.log_id,
            segment=state.segment,
            auditor=auditor,
            signer=signer,
            previous=state.head,
            sealed_key=self._suite.kem_seal(auditor, head_info(state.log_id, state.segment), state.key),
        )
        return self._append(self._frame(AuditKind.HEAD, at, head.pack()))

    def catch_up(self, at: Moment) -> bytes:
        """The end of the epoch if it is over; else nothing. Afterwards only the key of the present epoch is left."""
        passed = epochs_passed(self.state, at)
        if not passed:
            return b""
        state = self.state
        following = state.epoch + passed
        data = self._append(self._frame(AuditKind.EPOCH_END, at, EpochEnd(state.frames, following).pack()))
        self._begin_epoch(following, at)
        return data

    def record(self, at: Moment, volume_id: VolumeId, body: AuditBody) -> bytes:
        """One record.

        Raises:
            FormatError: the body is too long.
        """
        plain = body.pack()
        overhead = limits.VOLUME_ID_SIZE + _SEAL_OVERHEAD
        # The clear part holds the size, so it has to be known before the body is sealed.
        clear = self._frame(AuditKind.RECORD, at, bytes(overhead + len(plain)))
        sealed = self._suite.seal(self._keys()[1], body_aad(clear, volume_id), plain)
        return self._append(replace(clear, content=volume_id + sealed))

    def checkpoint(self, at: Moment, reason: CheckpointReason, signer: Signer) -> bytes:
        """A signed checkpoint.

        Raises:
            FormatError: ``signer`` is no private key.
        """
        previous = self.state.head
        unsigned = SignedCheckpoint(reason, previous, bytes(limits.SIGNATURE_SIZE))
        frame = self._frame(AuditKind.CHECKPOINT, at, unsigned.pack())
        signature = signer.sign(signed_text(self.state.log_id, frame, reason, previous))
        return self._append(replace(frame, content=replace(unsigned, signature=signature).pack()))

    def tombstone(self, at: Moment, gone: Tombstone, signer: Signer) -> bytes:
        """The tombstone of segments that go now; its forerunner and its signature are put in here.

        Raises:
            FormatError: ``signer`` is no private key.
        """
        unsigned = replace(gone, previous=self.state.head)
        frame = self._frame(AuditKind.TOMBSTONE, at, unsigned.pack())
        signature = signer.sign(tombstone_text(self.state.log_id, frame, unsigned.signed_part()))
        return self._append(replace(frame, content=replace(unsigned, signature=signature).pack()))

    def accept(self, data: bytes) -> None:
        """Take a frame that is in the segment already, as if it had been made here. A head begins the next segment.

        Raises:
            FormatError: it does not follow, or has not the MAC of the epoch; nothing was changed.
        """
        frame, mac = parse_audit_frame(data)
        state = self.state
        head = next_head(self._suite, state.head, frame)
        if (frame.seq, frame.epoch) != (state.seq, state.epoch) or mac != mac_of(self._suite, state.key, head):
            raise FormatError("a frame of the audit log does not follow the one before")
        end = parse_epoch_end(frame.content) if frame.kind is AuditKind.EPOCH_END else None
        if end is not None and not 0 < end.following - frame.epoch <= limits.AUDIT_EPOCHS_SKIPPED_MAX:
            raise FormatError("an epoch of the audit log has an impossible follower")
        self._grow(frame, head, len(data))
        if end is not None:
            self._begin_epoch(end.following, frame.at)

    def _begin_epoch(self, epoch: int, at: Moment) -> None:
        key = next_key(self._suite, self.state.key, epoch - self.state.epoch)
        self.state = replace(self.state, epoch=epoch, key=key, frames=0, began=at)

    def _keys(self) -> tuple[bytes, bytes]:
        """Those of MACs and bodies in this epoch, which many records of one write share."""
        key = self.state.key
        if self._derived[0] != key:
            self._derived = (key, self._suite.expand(key, Label.AUDIT_MAC), self._suite.expand(key, Label.AUDIT_BODY))
        return self._derived[1], self._derived[2]

    def _frame(self, kind: AuditKind, at: Moment, content: bytes) -> AuditFrame:
        return AuditFrame(kind=kind, seq=self.state.seq, epoch=self.state.epoch, at=at, content=content)

    def _append(self, frame: AuditFrame) -> bytes:
        head = next_head(self._suite, self.state.head, frame)
        data = frame.pack() + self._suite.mac(self._keys()[0], head)
        self._grow(frame, head, len(data))
        return data

    def _grow(self, frame: AuditFrame, head: bytes, size: int) -> None:
        state = self.state
        if frame.kind is AuditKind.HEAD:
            state = replace(state, segment_began=frame.at.wall_ms)
        self.state = replace(
            state, size=state.size + size, seq=state.seq + 1, head=head, frames=state.frames + 1, last=frame.at
        )
