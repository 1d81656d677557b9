"""What is left of segments of the audit log that were pruned: their tombstone.

Owns: content of kind 5 (FORMAT.md section 16): bytes <-> dataclass. Must not know: whether a signature is right, when
something may be pruned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits

_FIXED: Final = Struct(">32sQQ32sIH")
_SEGMENT: Final = Struct(">IQQ32s")
_U32_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class PrunedSegment:
    """A segment that is gone.

    Attributes:
        first, last: seq of its first and its last frame.
        digest: SHA-256 of the whole segment, 32 bytes.
    """

    number: int
    first: int
    last: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Content of kind 5.

    Attributes:
        previous: h of the frame before the tombstone, 32 bytes.
        first, last: seq of the first and the last frame that are gone, by this one and by those that it carries on.
        head: h of the last frame that is gone, 32 bytes.
        uid: who asked for it.
        segments: which segments went now, in their order.

    Raises:
        FormatError: the values cannot stand in a tombstone.
    """

    previous: bytes
    first: int
    last: int
    head: bytes
    uid: int
    segments: tuple[PrunedSegment, ...]
    signature: bytes = field(default=bytes(limits.SIGNATURE_SIZE), repr=False)

    def __post_init__(self) -> None:
        sizes = (len(self.previous), len(self.head), len(self.signature))
        if sizes != (limits.DIGEST_SIZE, limits.DIGEST_SIZE, limits.SIGNATURE_SIZE):
            raise FormatError("a part of a tombstone of the audit log has the wrong length")
        if not 1 <= len(self.segments) <= limits.TOMBSTONE_SEGMENTS_MAX or not 0 <= self.uid <= _U32_MAX:
            raise FormatError("a number in a tombstone of the audit log is out of range")
        for one in self.segments:
            if not (1 <= one.number <= limits.SEGMENT_MAX and 0 <= one.first <= one.last <= limits.U64_MAX):
                raise FormatError("a tombstone of the audit log names an impossible segment")
            if len(one.digest) != limits.DIGEST_SIZE:
                raise FormatError("a part of a tombstone of the audit log has the wrong length")
        follow = all(b.number > a.number and b.first == a.last + 1 for a, b in pairwise(self.segments))
        if not follow or not 0 <= self.first <= self.segments[0].first or self.segments[-1].last != self.last:
            raise FormatError("the segments in a tombstone of the audit log do not follow each other")

    def signed_part(self) -> bytes:
        """All but the signature."""
        fixed = (self.previous, self.first, self.last, self.head, self.uid, len(self.segments))
        segments = (_SEGMENT.pack(one.number, one.first, one.last, one.digest) for one in self.segments)
        return _FIXED.pack(*fixed) + b"".join(segments)

    def pack(self) -> bytes:
        return self.signed_part() + self.signature


def parse_tombstone(content: bytes) -> Tombstone:
    """Raises: FormatError."""
    if len(content) < _FIXED.size:
        raise FormatError("a tombstone of the audit log is cut short")
    previous, first, last, head, uid, count = _FIXED.unpack_from(content)
    end = _FIXED.size + count * _SEGMENT.size
    if len(content) != end + limits.SIGNATURE_SIZE:
        raise FormatError("a tombstone of the audit log has the wrong length")
    return Tombstone(
        previous=previous,
        first=first,
        last=last,
        head=head,
        uid=uid,
        segments=tuple(PrunedSegment(*fields) for fields in _SEGMENT.iter_unpack(content[_FIXED.size : end])),
        signature=content[end:],
    )
