"""Frames, contents and the state of the audit log, byte for byte (FORMAT.md section 16)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.audit import (
    AuditFrame,
    AuditKind,
    AuditState,
    CheckpointReason,
    Clock,
    EpochEnd,
    Moment,
    SegmentHead,
    SignedCheckpoint,
    parse_audit_frame,
    parse_audit_state,
    parse_epoch_end,
    parse_segment_head,
    parse_signed_checkpoint,
    whole_size,
)
from encfs.format.audit_body import AuditBody, Outcome, parse_audit_body

AT = Moment(
    boot_id=bytes(range(16)), wall_ms=0x0102030405060708, mono_ms=0x1112131415161718, clock=Clock.UNSYNCHRONISED
)
FRAME = AuditFrame(kind=AuditKind.RECORD, seq=0x2122232425262728, epoch=0x31323334, at=AT, content=b"content")
MAC = b"m" * 32
PACKED = bytes.fromhex(
    "0000005702020000212223242526272831323334"
    "000102030405060708090a0b0c0d0e0f01020304050607081112131415161718"
) + b"content"  # fmt: skip
BODY = AuditBody(action="volume.lock", outcome=Outcome.REFUSED, uid=0, object="x", detail={"n": 1, "why": "ü"})
STATE = AuditState(
    log_id=b"l" * 16,
    segment=2,
    size=3,
    seq=4,
    head=b"h" * 32,
    epoch=5,
    key=b"k" * 32,
    frames=6,
    began=AT,
    segment_began=0x41,
)


def test_a_frame_byte_for_byte() -> None:
    """All fields in their places, and back; the size counts everything after itself, the MAC too."""
    assert FRAME.pack() == PACKED
    assert len(FRAME.clear()) == 52
    assert parse_audit_frame(PACKED + MAC) == (FRAME, MAC)
    assert whole_size(PACKED) == len(PACKED + MAC)
    assert whole_size(b"\0\0\0") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:4] + b"\0" + raw[5:],
        lambda raw: raw[:4] + b"\6" + raw[5:],
        lambda raw: raw[:5] + b"\3" + raw[6:],
        lambda raw: raw[:6] + b"\1" + raw[7:],
        lambda raw: b"\0\0\0\x4f" + raw[4:],
        lambda raw: b"\0\1\0\1" + raw[4:],
    ],
)
def test_what_is_no_frame(change: Callable[[bytes], bytes]) -> None:
    """Another length, kind, clock or zero field, a size that no frame has."""
    with pytest.raises(FormatError):
        parse_audit_frame(change(PACKED + MAC))


def test_the_longest_frame() -> None:
    """65,536 bytes after the size field; one more is refused."""
    longest = replace(FRAME, content=bytes(limits.AUDIT_FRAME_MAX - 80))
    assert parse_audit_frame(longest.pack() + MAC)[0] == longest
    with pytest.raises(FormatError):
        replace(FRAME, content=bytes(limits.AUDIT_FRAME_MAX - 79))


def test_contents_byte_for_byte() -> None:
    """Head of a segment, end of an epoch, checkpoint."""
    head = SegmentHead(
        log_id=b"l" * 16, segment=7, auditor=b"a" * 1216, signer=b"s" * 32, previous=b"p" * 32, sealed_key=b"k" * 1168
    )
    packed = b"l" * 16 + b"\0\0\0\7" + b"a" * 1216 + b"s" * 32 + b"p" * 32 + b"k" * 1168
    assert head.pack() == packed
    assert parse_segment_head(packed) == head
    assert EpochEnd(3, 9).pack() == b"\0\0\0\3\0\0\0\x09"
    assert parse_epoch_end(b"\0\0\0\3\0\0\0\x09") == EpochEnd(3, 9)
    checkpoint = SignedCheckpoint(CheckpointReason.HOUR, b"p" * 32, b"s" * 64)
    assert checkpoint.pack() == b"\4" + b"p" * 32 + b"s" * 64
    assert parse_signed_checkpoint(checkpoint.pack()) == checkpoint


def test_the_body_has_one_spelling() -> None:
    """Canonical JSON with all six fields; any other spelling, field or type is refused."""
    raw = (
        b'{"action":"volume.lock","detail":{"n":1,"why":"\\u00fc"},"object":"x","outcome":"refused","slot":"","uid":0}'
    )
    assert BODY.pack() == raw
    assert parse_audit_body(raw) == BODY
    for other in (
        raw.replace(b":0}", b": 0}"),
        raw.replace(b'"uid":0', b'"uid":true'),
        raw.replace(b'"uid":0', b'"uid":0,"more":1'),
        raw.replace(b"refused", b"perhaps"),
        raw.replace(b'"slot":""', b'"slot":"0g"'),
        raw.replace(b'"slot":""', b'"slot":"00"'),
        raw.replace(b'"n":1', b'"n":1.5'),
        raw[:-1],
        b"[]",
    ):
        with pytest.raises(FormatError):
            parse_audit_body(other)


def test_the_state_byte_for_byte() -> None:
    """480 bytes before the checksum; its repr shows no key."""
    packed = STATE.pack()
    assert len(packed) == 480
    assert packed[:12] == b"CLKA\0\0\0\1llll"
    assert packed[24:44] == b"\0\0\0\2" + bytes(7) + b"\3" + bytes(7) + b"\4"
    assert packed[44:116] == b"h" * 32 + b"\0\0\0\5" + b"k" * 32 + b"\0\0\0\6"
    assert packed[116:148] == AT.boot_id + packed[132:148]
    assert packed[148:173] == bytes(24) + b"\x41"
    assert not any(packed[173:])
    assert parse_audit_state(packed) == replace(STATE, began=replace(AT, clock=Clock.UNKNOWN))
    last = replace(STATE, last=replace(AT, clock=Clock.UNSYNCHRONISED))
    assert last.pack()[148:165] == AT.wall_ms.to_bytes(8, "big") + AT.mono_ms.to_bytes(8, "big") + b"\2"
    assert parse_audit_state(last.pack()) == replace(last, began=replace(AT, clock=Clock.UNKNOWN))
    for clock in (b"\3", b"\xff"):
        for state in (packed, last.pack()):
            with pytest.raises(FormatError, match="unknown clock"):
                parse_audit_state(state[:164] + clock + state[165:])
    assert "kkkk" not in repr(STATE)
    for broken in (packed[1:] + b"\0", b"\1" + packed[1:], packed[:-1] + b"\1", packed[:7] + b"\2" + packed[8:]):
        with pytest.raises(FormatError):
            parse_audit_state(broken)


@given(st.binary(max_size=2000))
def test_parsers_raise_nothing_else(data: bytes) -> None:
    """Whatever the bytes are."""
    for parse in (
        parse_audit_frame,
        parse_segment_head,
        parse_epoch_end,
        parse_signed_checkpoint,
        parse_audit_body,
        parse_audit_state,
    ):
        try:
            parse(data)
        except FormatError:
            pass
