"""The audit log: frames, what is in each kind of them, and the state of the writer.

Owns: FORMAT.md section 16 but for keys, the chain and files: bytes <-> dataclasses. Must not know: whether a MAC or a
signature is right, clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.units import VolumeId

_CLEAR: Final = Struct(">IBBHQI16sQQ")
CLEAR_SIZE: Final = _CLEAR.size
_SIZE: Final = 4
_MAC: Final = limits.MAC_SIZE
_SMALLEST: Final = CLEAR_SIZE - _SIZE + _MAC
_HEAD: Final = Struct(">16sI1216s32s32s1168s")
_EPOCH_END: Final = Struct(">II")
_CHECKPOINT: Final = Struct(">B32s64s")
_STATE: Final = Struct(">4sI16sIQQ32sI32sI16sQQQQBQ307s")
_STATE_MAGIC: Final = b"CLKA"
_STATE_VERSION: Final = 1
_ZERO307: Final = bytes(307)
_U32_MAX: Final = (1 << 32) - 1


class AuditKind(IntEnum):
    """What a frame is."""

    HEAD = 1
    RECORD = 2
    EPOCH_END = 3
    CHECKPOINT = 4
    TOMBSTONE = 5


class Clock(IntEnum):
    """What the kernel says of the wall clock."""

    UNKNOWN = 0
    SYNCHRONISED = 1
    UNSYNCHRONISED = 2


class CheckpointReason(IntEnum):
    """Why a signed checkpoint was made."""

    START = 1
    LOCK = 2
    KEY_CHANGE = 3
    HOUR = 4
    ASKED = 5


_KINDS: Final = {kind.value: kind for kind in AuditKind}
_CLOCKS: Final = {clock.value: clock for clock in Clock}
_REASONS: Final = {reason.value: reason for reason in CheckpointReason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, by all clocks of the host.

    Attributes:
        wall_ms: milliseconds since 1970, as far as the clock is right.
        mono_ms: milliseconds since the host was started, suspend included.

    Raises:
        FormatError: the values cannot stand in a frame.
    """

    boot_id: bytes
    wall_ms: int
    mono_ms: int
    clock: Clock

    def __post_init__(self) -> None:
        if len(self.boot_id) != limits.BOOT_ID_SIZE:
            raise FormatError("a boot id has the wrong length")
        if not (0 <= self.wall_ms <= limits.U64_MAX and 0 <= self.mono_ms <= limits.U64_MAX):
            raise FormatError("a time in the audit log is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFrame:
    """One frame without its MAC.

    Raises:
        FormatError: the values cannot stand in a frame.
    """

    kind: AuditKind
    seq: int
    epoch: int
    at: Moment
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not (0 <= self.seq <= limits.U64_MAX and 0 <= self.epoch <= _U32_MAX):
            raise FormatError("a number in the audit log is out of range")
        if _SMALLEST + len(self.content) > limits.AUDIT_FRAME_MAX:
            raise FormatError("a frame of the audit log is too long")

    def clear(self) -> bytes:
        """The 52 bytes before the content."""
        at, size = self.at, _SMALLEST + len(self.content)
        return _CLEAR.pack(size, self.kind, at.clock, 0, self.seq, self.epoch, at.boot_id, at.wall_ms, at.mono_ms)

    def pack(self) -> bytes:
        """All but the MAC."""
        return self.clear() + self.content


def whole_size(data: bytes | memoryview) -> int | None:
    """How long the frame at the beginning of ``data`` is, MAC included; None where too little of it is there to tell.

    Raises:
        FormatError: no frame has that size.
    """
    if len(data) < _SIZE:
        return None
    size = int.from_bytes(data[:_SIZE], "big")
    if not _SMALLEST <= size <= limits.AUDIT_FRAME_MAX:
        raise FormatError("no frame of the audit log has that size")
    return _SIZE + size


def parse_audit_frame(data: bytes) -> tuple[AuditFrame, bytes]:
    """A whole frame: what it says, and its MAC (32 bytes).

    Raises:
        FormatError: it has not the form of section 16.
    """
    if whole_size(data) != len(data):
        raise FormatError("a frame of the audit log is cut short")
    _, number, clock, zero, seq, epoch, boot_id, wall_ms, mono_ms = _CLEAR.unpack_from(data)
    if number not in _KINDS or clock not in _CLOCKS or zero:
        raise FormatError("a frame of the audit log has an unknown kind or field")
    at = Moment(boot_id=boot_id, wall_ms=wall_ms, mono_ms=mono_ms, clock=_CLOCKS[clock])
    content = data[CLEAR_SIZE:-_MAC]
    return AuditFrame(kind=_KINDS[number], seq=seq, epoch=epoch, at=at, content=content), data[-_MAC:]


# -- contents --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHead:
    """Content of kind 1: whose log it is, and who can read it.

    Attributes:
        auditor: public key of the auditor, 1,216 bytes.
        signer: Ed25519 public key of the host, 32 bytes.
        previous: h of the frame before, 32 bytes.
        sealed_key: the key of the epoch, sealed to the auditor: 1,168 bytes.

    Raises:
        FormatError: the values cannot stand in a head.
    """

    log_id: bytes
    segment: int
    auditor: bytes = field(repr=False)
    signer: bytes = field(repr=False)
    previous: bytes
    sealed_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.log_id) != limits.LOG_ID_SIZE or not 1 <= self.segment <= limits.SEGMENT_MAX:
            raise FormatError("a segment of the audit log has an impossible id or number")
        sizes = (len(self.auditor), len(self.signer), len(self.previous), len(self.sealed_key))
        if sizes != (limits.PUBLIC_KEY_SIZE, limits.SIGNER_SIZE, limits.DIGEST_SIZE, limits.ERK_SIZE):
            raise FormatError("a key in the head of a segment has the wrong length")

    def pack(self) -> bytes:
        return _HEAD.pack(self.log_id, self.segment, self.auditor, self.signer, self.previous, self.sealed_key)


def parse_segment_head(content: bytes) -> SegmentHead:
    """Raises: FormatError."""
    if len(content) != _HEAD.size:
        raise FormatError("the head of a segment has the wrong length")
    log_id, segment, auditor, signer, previous, sealed = _HEAD.unpack(content)
    return SegmentHead(
        log_id=log_id, segment=segment, auditor=auditor, signer=signer, previous=previous, sealed_key=sealed
    )


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """Content of kind 3. Raises: FormatError: the values cannot stand there."""

    frames: int
    following: int

    def __post_init__(self) -> None:
        if not (0 <= self.frames <= _U32_MAX and 0 < self.following <= _U32_MAX):
            raise FormatError("the end of an epoch has an impossible number")

    def pack(self) -> bytes:
        return _EPOCH_END.pack(self.frames, self.following)


def parse_epoch_end(content: bytes) -> EpochEnd:
    """Raises: FormatError."""
    if len(content) != _EPOCH_END.size:
        raise FormatError("the end of an epoch has the wrong length")
    return EpochEnd(*_EPOCH_END.unpack(content))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """Content of kind 4; ``previous`` is h of the frame before.

    Raises:
        FormatError: a part of it has the wrong length.
    """

    reason: CheckpointReason
    previous: bytes
    signature: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if (len(self.previous), len(self.signature)) != (limits.DIGEST_SIZE, limits.SIGNATURE_SIZE):
            raise FormatError("a part of a checkpoint of the audit log has the wrong length")

    def pack(self) -> bytes:
        return _CHECKPOINT.pack(self.reason, self.previous, self.signature)


def parse_signed_checkpoint(content: bytes) -> SignedCheckpoint:
    """Raises: FormatError."""
    if len(content) != _CHECKPOINT.size or content[0] not in _REASONS:
        raise FormatError("a checkpoint of the audit log has the wrong form")
    number, previous, signature = _CHECKPOINT.unpack(content)
    return SignedCheckpoint(_REASONS[number], previous, signature)


RECORD_CLEAR_SIZE: Final = limits.VOLUME_ID_SIZE
NO_VOLUME: Final = VolumeId(bytes(limits.VOLUME_ID_SIZE))


# -- the state of the writer -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """Where the next frame goes, and the one key that the host has.

    Attributes:
        size: bytes of the segment.
        seq: of the next frame.
        head: h of the last frame, 32 bytes.
        frames: so many are in this epoch.
        began: when this epoch did; its clock is not kept.
        segment_began: wall time of the head of this segment, ms since 1970; 0 before it has one.

    Raises:
        FormatError: the values cannot stand in a state.
    """

    log_id: bytes
    segment: int
    size: int
    seq: int
    head: bytes
    epoch: int
    key: bytes = field(repr=False)
    frames: int
    began: Moment
    segment_began: int = 0
    last: Moment | None = None

    def __post_init__(self) -> None:
        sizes = (len(self.log_id), len(self.head), len(self.key))
        if sizes != (limits.LOG_ID_SIZE, limits.DIGEST_SIZE, limits.KEY_SIZE):
            raise FormatError("a part of the state of the audit log has the wrong length")
        if not 1 <= self.segment <= limits.SEGMENT_MAX:
            raise FormatError("the state of the audit log names an impossible segment")
        if not (0 <= self.size <= limits.U64_MAX and 0 <= self.seq <= limits.U64_MAX):
            raise FormatError("a number in the state of the audit log is out of range")
        if not (
            0 <= self.epoch <= _U32_MAX and 0 <= self.frames <= _U32_MAX and 0 <= self.segment_began <= limits.U64_MAX
        ):
            raise FormatError("a number in the state of the audit log is out of range")

    def pack(self) -> bytes:
        """The 480 bytes that the checksum covers."""
        began, last = self.began, self.last
        return _STATE.pack(
            _STATE_MAGIC,
            _STATE_VERSION,
            self.log_id,
            self.segment,
            self.size,
            self.seq,
            self.head,
            self.epoch,
            self.key,
            self.frames,
            began.boot_id,
            began.wall_ms,
            began.mono_ms,
            *((0, 0, 0) if last is None else (last.wall_ms, last.mono_ms, last.clock)),
            self.segment_began,
            _ZERO307,
        )


def parse_audit_state(data: bytes) -> AuditState:
    """What :meth:`AuditState.pack` gave; the checksum is the caller's.

    Raises:
        FormatError: it has not the form of section 16.
    """
    if len(data) != _STATE.size:
        raise FormatError("the state of the audit log has the wrong length")
    (
        magic,
        version,
        log_id,
        segment,
        size,
        seq,
        head,
        epoch,
        key,
        frames,
        boot,
        wall,
        mono,
        *last,
        clock,
        head_at,
        zero,
    ) = _STATE.unpack(data)
    if magic != _STATE_MAGIC or version != _STATE_VERSION or zero != _ZERO307:
        raise FormatError("this is not the state of an audit log of version 1")
    if clock not in _CLOCKS:
        raise FormatError("the state of the audit log has an unknown clock")
    return AuditState(
        log_id=log_id,
        segment=segment,
        size=size,
        seq=seq,
        head=head,
        epoch=epoch,
        key=key,
        frames=frames,
        began=Moment(boot_id=boot, wall_ms=wall, mono_ms=mono, clock=Clock.UNKNOWN),
        segment_began=head_at,
        last=Moment(boot_id=boot, wall_ms=last[0], mono_ms=last[1], clock=_CLOCKS[clock]) if any(last) else None,
    )
