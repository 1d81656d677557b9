"""The record of a loss: what is written down and signed (docs/incident.md, docs/json.md).

Owns: its fields. Must not know: how it is judged, printed or stored, the terminal.

The record never changes. What people add later (notes, the four factors, the decision) stands beside it, with its own
time, in the same document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from encfs.evidence import made, words
from encfs.evidence.deadlines import IF_A_BREACH, STATE_LAW, Deadline, deadlines
from encfs.evidence.examine import Examined
from encfs.evidence.keys import found_words
from encfs.evidence.log_read import LogRead
from encfs.evidence.timeline import Opening, Placed
from encfs.evidence.verdict import Proof, Reason, Verdict, worst
from encfs.evidence.when import Span
from encfs.registers.folder import text_of
from encfs.registers.incidents import FACTORS, Incident, IncidentKind, Note
from encfs.registers.media import Medium
from encfs.wording import NOT_LEGAL_ADVICE

KIND: Final = "incident"
"""Of the document."""
WINDOW_MS: Final = 30 * 86_400_000
"""Records of so long before the loss are in it, and all after."""
EVENTS_MAX: Final = 500
_PLAIN: Final = ("kind", "label", "reason", "read_only", "exit", "what", "missed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What somebody told.

    Attributes:
        span: when it was lost.
        discovered: the day on which that was known.
        people: whose information it is; None where nobody has counted.
        medium: as the register has it, if it is about a medium.
    """

    kind: IncidentKind
    span: Span
    discovered: date
    people: int | None
    medium: Medium | None


def record(loss: Loss, examined: Sequence[Examined], log: LogRead, *, asked_at: int) -> dict[str, Any]:
    """What is written down, as a document has it.

    Args:
        loss: what was told.
        examined: every volume that was on the medium.
        log: from which they were judged.
        asked_at: when that was, seconds since 1970.
    """
    verdict = worst([one.said.verdict for one in examined])
    proofs = [one.said.proof for one in examined]
    return {
        "kind": str(loss.kind),
        "lost": {"text": loss.span.text, "first_ms": loss.span.first, "last_ms": loss.span.last},
        "discovered": loss.discovered.isoformat(),
        "people": loss.people,
        "medium": None if loss.medium is None else _medium(loss.medium),
        "asked_at": asked_at,
        "verdict": str(verdict),
        "proof": words.PROOFS[min(proofs, default=Proof.NOTHING)],
        "headline": words.headline(verdict, proofs),
        "volumes": [_volume(one, loss.span) for one in examined],
        "log": log.told if log.exists else None,
        "log_read": log.is_readable,
        "safe_harbour": words.harbour(verdict),
        "sealed_always": words.SEALED_ALWAYS,
        "limits": list(words.LIMITS),
    }


def body(one: Incident) -> dict[str, Any]:
    """The body of the document about an incident, with everything that people have added."""
    return {
        "id": one.id,
        "registered_at": one.at,
        "record": dict(one.record),
        "people": one.people,
        "deadlines": {
            "rows": [deadline_row(each) for each in deadlines_of(one)],
            "if_a_breach": IF_A_BREACH,
            "state_law": STATE_LAW,
        },
        "factors": [
            {
                "factor": number,
                "asks": words.FACTORS[number - 1],
                "answers": [_note(each) for each in one.factor(number)],
            }
            for number in range(1, FACTORS + 1)
        ],
        "notes": [_note(each) for each in one.notes if each.factor is None],
        "decision": None if one.decision is None else {"text": one.decision, "at": one.closed_at, "uid": one.closed_by},
        "not_legal_advice": NOT_LEGAL_ADVICE,
        **made.fields(),
    }


def deadlines_of(one: Incident) -> list[Deadline]:
    """By the day of its discovery, and by how many people are known now."""
    return deadlines(date.fromisoformat(str(one.record["discovered"])), one.people)


def deadline_row(one: Deadline) -> dict[str, Any]:
    """The object of docs/json.md."""
    return {
        "code": one.code,
        "what": one.what,
        "citation": one.citation,
        "due": one.due.isoformat(),
        "applies": one.applies,
    }


# -- of one volume ---------------------------------------------------------------------------------------------


def _volume(one: Examined, span: Span) -> dict[str, Any]:
    said = one.said
    return {
        "volume_id": one.volume_id.hex(),
        "path": None if one.known is None else text_of(one.known.path),
        "verdict": str(said.verdict),
        "proof": words.PROOFS[said.proof],
        "sentence": words.sentence(said),
        "reasons": [_reason(reason) for reason in said.reasons],
        "notes": [_reason(reason) for reason in said.notes],
        "encrypted": _encrypted(one),
        "last_opening": None if said.opening is None else _opening(said.opening),
        "heartbeat": _heartbeat(one),
        "keys": _keys(one),
        "sessions": [
            {
                "host": each.host,
                "ours": each.is_ours,
                "started": each.started,
                "ended": each.ended,
                "clean": each.is_clean,
            }
            for each in one.sessions
        ],
        "events": _events(one, span),
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {"why": str(reason.why), "at": reason.at, "seq": reason.seq, "text": words.reason_text(reason)}


def _encrypted(one: Examined) -> dict[str, Any]:
    config = one.config
    return {
        "since": one.created,
        "suite": config.get("suite"),
        "cell_size": config.get("cell_size"),
        "known_at": one.config_at,
    }


def _opening(one: Opening) -> dict[str, Any]:
    ended = one.ended
    return {
        "mount": one.is_mount,
        "slot": one.slot.hex(),
        "began": _when(one.began),
        "seen_open": _when(one.seen),
        "ended": None if ended is None else _when(ended),
        "end": str(one.end),
        "reason": one.reason,
    }


def _when(one: Placed) -> dict[str, int]:
    """``at``: by the clock then; the others: what it may have been."""
    return {
        "seq": one.seq,
        "at": one.taken.frame.at.wall_ms // 1000,
        "earliest": one.when.earliest // 1000,
        "latest": one.when.latest // 1000,
    }


def _heartbeat(one: Examined) -> dict[str, Any] | None:
    beat = one.beat
    if beat is None:
        return None
    return {
        "state": str(beat.state),
        "host": beat.host,
        "opened": beat.since,
        "at": beat.at,
        "slot": beat.slot,
        "slot_label": beat.slot_label,
        "reason": beat.reason,
        "digest": beat.digest,
    }


def _keys(one: Examined) -> dict[str, Any]:
    look = one.keys.look
    return {
        "slots": [
            {
                "kind": slot.kind,
                "label": slot.label,
                "created": slot.created,
                "where": str(slot.where),
                "remark": slot.remark,
            }
            for slot in one.keys.slots
        ],
        "looked": None
        if look is None
        else {"at": look.at, "complete": look.complete, "entries": look.looked_at, "found": found_words(look)},
    }


def _events(one: Examined, span: Span) -> dict[str, Any]:
    """The records of the volume around the loss, the latest if there are too many."""
    records = [each for each in one.line.records if each.taken.frame.at.wall_ms >= span.first - WINDOW_MS]
    shown = records[-EVENTS_MAX:]
    return {"left_out": len(records) - len(shown), "rows": [_event(each) for each in shown]}


def _event(one: Placed) -> dict[str, Any]:
    body_ = one.taken.body
    assert body_ is not None
    return {
        "seq": one.seq,
        "at": one.taken.frame.at.wall_ms // 1000,
        "action": body_.action,
        "outcome": str(body_.outcome),
        "slot": body_.slot.hex(),
        "detail": {name: body_.detail[name] for name in _PLAIN if name in body_.detail},
    }


def _medium(one: Medium) -> dict[str, Any]:
    return {
        "label": one.label,
        "kind": str(one.kind),
        "serial": one.serial,
        "holder": one.holder,
        "place": one.place,
        "state": str(one.state),
        "volumes": list(one.volumes),
    }


def _note(one: Note) -> dict[str, Any]:
    return {"at": one.at, "uid": one.uid, "text": one.text, "people": one.people}


def is_locked(one: Incident) -> bool:
    """Whether the record says so."""
    return one.record.get("verdict") == Verdict.LOCKED
