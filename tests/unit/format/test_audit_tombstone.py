"""Tombstones of the audit log, byte for byte (FORMAT.md section 16, kind 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.audit import AuditFrame, AuditKind, Clock, Moment
from encfs.format.audit_tombstone import PrunedSegment, Tombstone, parse_tombstone

ONE = PrunedSegment(7, 0x11, 0x1F, b"1" * 32)
TWO = PrunedSegment(9, 0x20, 0x2F, b"2" * 32)
STONE = Tombstone(
    previous=b"p" * 32, first=3, last=0x2F, head=b"h" * 32, uid=1000, segments=(ONE, TWO), signature=b"s" * 64
)
PACKED = (
    b"p" * 32
    + (3).to_bytes(8, "big")
    + (0x2F).to_bytes(8, "big")
    + b"h" * 32
    + b"\0\0\x03\xe8\0\2"
    + (b"\0\0\0\7" + (0x11).to_bytes(8, "big") + (0x1F).to_bytes(8, "big") + b"1" * 32)
    + (b"\0\0\0\x09" + (0x20).to_bytes(8, "big") + (0x2F).to_bytes(8, "big") + b"2" * 32)
    + b"s" * 64
)


def test_a_tombstone_byte_for_byte() -> None:
    """All fields in their places, and back; the signature covers all before it."""
    assert STONE.pack() == PACKED
    assert parse_tombstone(PACKED) == STONE
    assert STONE.signed_part() == PACKED[:-64]


def test_the_largest_one_stands_in_a_frame() -> None:
    """1,000 segments; one more is refused, and so is none."""
    many = tuple(PrunedSegment(number, number, number, b"d" * 32) for number in range(1, 1001))
    largest = replace(STONE, first=0, last=1000, segments=many)
    at = Moment(boot_id=bytes(16), wall_ms=0, mono_ms=0, clock=Clock.UNKNOWN)
    AuditFrame(kind=AuditKind.TOMBSTONE, seq=2000, epoch=0, at=at, content=largest.pack())
    assert parse_tombstone(largest.pack()) == largest
    for segments in ((), (*many, PrunedSegment(1001, 1001, 1001, b"d" * 32))):
        with pytest.raises(FormatError):
            replace(largest, segments=segments, last=1000 + (len(segments) > 1000))


@pytest.mark.parametrize(
    "changed",
    [
        {"first": 0x12},
        {"last": 0x30},
        {"segments": (TWO, ONE)},
        {"segments": (ONE, replace(TWO, first=0x21))},
        {"segments": (ONE, replace(TWO, number=7))},
        {"segments": (ONE, replace(TWO, first=0x20, last=0x1F)), "last": 0x1F},
        {"segments": (replace(ONE, number=0), TWO)},
        {"segments": (replace(ONE, digest=b"1" * 31), TWO)},
        {"head": b"h" * 31},
        {"uid": 1 << 32},
        {"first": -1},
    ],
)
def test_what_no_tombstone_says(changed: dict[str, Any]) -> None:
    """Segments that do not follow each other, ranges that are not theirs, wrong lengths."""
    with pytest.raises(FormatError):
        replace(STONE, **changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:80],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:84] + b"\0\1" + raw[86:],
        lambda raw: raw[:84] + b"\xff\xff" + raw[86:],
    ],
)
def test_what_is_no_tombstone(change: Callable[[bytes], bytes]) -> None:
    """Another length than its number of segments asks for."""
    with pytest.raises(FormatError):
        parse_tombstone(change(PACKED))


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Our error and no other; what is taken has one spelling."""
    try:
        stone = parse_tombstone(data)
    except FormatError:
        return
    assert stone.pack() == data


def test_six_years_are_never_less() -> None:
    """Of any six calendar years in a row (45 CFR 164.316(b)(2))."""
    assert limits.AUDIT_KEPT_MS == 6 * 366 * 86_400_000
