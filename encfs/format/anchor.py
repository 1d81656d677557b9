"""What is kept elsewhere of an audit log: one line of a file, or an element in a line of syslog.

Owns: FORMAT.md section 16, "Anchor": its spellings, text <-> dataclass. Must not know: whether a signature or a
timestamp is right, where lines come from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from encfs.errors import FormatError
from encfs.format import base64url, limits
from encfs.format.canonical import Fields, b64, canonical_json

_BEGINNING: Final = "[cloakfs@32473 "
_ELEMENT: Final = re.compile(
    r'\[cloakfs@32473 log="([0-9a-f]{32})" seq="([0-9]{1,20})" head="([0-9a-f]{64})" wall_ms="([0-9]{1,20})"'
    r' signature="([A-Za-z0-9_-]{86})"\]'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """That frame ``seq`` of the log ``log_id`` had the chain value ``head``.

    Attributes:
        wall_ms: when it was made, milliseconds since 1970.
        signature: 64 bytes of the host; empty in lines of the first versions.
        timestamp: a TimeStampResp of RFC 3161; empty without one.

    Raises:
        FormatError: a part of it has the wrong length, or is out of range.
    """

    log_id: bytes
    seq: int
    head: bytes
    wall_ms: int
    signature: bytes = b""
    timestamp: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        sizes = (len(self.log_id), len(self.head), len(self.signature) or limits.SIGNATURE_SIZE)
        if sizes != (limits.LOG_ID_SIZE, limits.DIGEST_SIZE, limits.SIGNATURE_SIZE):
            raise FormatError("a part of an anchor has the wrong length")
        if not all(0 <= number <= limits.U64_MAX for number in (self.seq, self.wall_ms)):
            raise FormatError("a number in an anchor is out of range")
        if len(self.timestamp) > limits.TIMESTAMP_MAX:
            raise FormatError("the timestamp of an anchor is too long")

    def stamped(self) -> bytes:
        """What an authority of timestamps is given the digest of."""
        return canonical_json(replace(self, timestamp=b"")._fields())

    def line(self) -> str:
        """One line of an anchor file, without its end."""
        return canonical_json(self._fields()).decode("ascii")

    def element(self) -> str:
        """The element of structured data in syslog. It has no place for a timestamp."""
        return (
            f'{_BEGINNING}log="{self.log_id.hex()}" seq="{self.seq}" head="{self.head.hex()}"'
            f' wall_ms="{self.wall_ms}" signature="{b64(self.signature)}"]'
        )

    def _fields(self) -> dict[str, Any]:
        fields = {"log": self.log_id.hex(), "seq": self.seq, "head": self.head.hex(), "wall_ms": self.wall_ms}
        more = {"signature": self.signature, "timestamp": self.timestamp}
        return fields | {name: b64(value) for name, value in more.items() if value}


def parse_anchor(line: str) -> Anchor:
    """One line of an anchor file; of the first versions also in their spelling.

    Raises:
        FormatError: it is none.
    """
    try:
        fields = Fields(json.loads(line))
        more = {name: fields.base64(name) for name in ("signature", "timestamp") if fields.has(name)}
        anchor = Anchor(
            log_id=bytes.fromhex(fields.text("log")),
            seq=fields.integer("seq"),
            head=bytes.fromhex(fields.text("head")),
            wall_ms=fields.integer("wall_ms"),
            **more,
        )
        fields.finish()
    # RecursionError: brackets in brackets without end.
    except (ValueError, RecursionError, FormatError) as exc:
        raise FormatError("this is no anchor of an audit log") from exc
    return anchor


def anchors_in(line: str) -> set[Anchor]:
    """Those in a line that a syslog server has written; none in lines of others.

    Raises:
        FormatError: there is the beginning of one, and no whole one.
    """
    if _BEGINNING not in line:
        return set()
    found = {
        Anchor(
            log_id=bytes.fromhex(log_id),
            seq=int(seq),
            head=bytes.fromhex(head),
            wall_ms=int(wall_ms),
            signature=base64url.decode(signature.encode("ascii")),
        )
        for log_id, seq, head, wall_ms, signature in _ELEMENT.findall(line)
    }
    if not found:
        raise FormatError("an anchor in a line of syslog is damaged")
    return found
