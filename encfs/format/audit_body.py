"""What a record of the audit log says, which only the auditor reads.

Owns: the object in the table of FORMAT.md section 16. Must not know: how it is sealed, which actions there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.canonical import Fields, canonical_json, is_text

_U32_MAX: Final = (1 << 32) - 1


class Outcome(StrEnum):
    """How it ended."""

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBody:
    """What a record says, which only the auditor reads.

    Attributes:
        action: what was done, such as ``volume.unlock``.
        uid: who asked for it.
        slot: the id of the slot that opened the volume, or empty.
        object: what it was done to, or empty; never the name of a file.
        detail: more of it, texts and integers.

    Raises:
        FormatError: the values cannot stand in a record.
    """

    action: str
    outcome: Outcome
    uid: int
    slot: bytes = b""
    object: str = ""
    detail: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = (self.action, self.object, *self.detail, *(v for v in self.detail.values() if isinstance(v, str)))
        if not self.action or not all(is_text(text) for text in texts):
            raise FormatError("a text of the audit log cannot be written")
        if not 0 <= self.uid <= _U32_MAX or len(self.slot) not in {0, limits.SLOT_ID_SIZE}:
            raise FormatError("a number in the audit log is out of range")

    def pack(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "action": self.action,
                "outcome": str(self.outcome),
                "uid": self.uid,
                "slot": self.slot.hex(),
                "object": self.object,
                "detail": dict(self.detail),
            }
        )


def parse_audit_body(data: bytes) -> AuditBody:
    """Raises: FormatError."""
    try:
        fields = Fields(json.loads(data))
    except ValueError as exc:
        raise FormatError("the body of an audit record is not JSON") from exc
    detail = fields.object("detail")
    body = AuditBody(
        action=fields.text("action"),
        outcome=_outcome(fields.text("outcome")),
        uid=fields.integer("uid"),
        slot=_slot(fields.text("slot")),
        object=fields.text("object"),
        detail={name: detail.text_or_integer(name) for name in detail.names()},
    )
    fields.finish()
    if body.pack() != data:
        raise FormatError("the body of an audit record is not spelled as it has to be")
    return body


def _outcome(text: str) -> Outcome:
    if text not in _OUTCOMES:
        raise FormatError("an audit record has an unknown outcome")
    return _OUTCOMES[text]


def _slot(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise FormatError("the slot in an audit record is not hexadecimal") from exc
