"""The register ``incidents``: losses, what was noted about them, how they were closed (FORMAT.md section 17).

Owns: what stands in each entry, numbers of incidents, what all entries of one say together. Must not know: verdicts,
deadlines, the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from encfs.errors import RegisterError, UsageError
from encfs.format.audit import NO_VOLUME
from encfs.registers.ledger import Entry, Ledger
from encfs.units import VolumeId

NAME: Final = "incidents"
FACTORS: Final = 4
TEXT_MAX: Final = 4000
_NEW, _NOTE, _CLOSE = "new", "note", "close"


class IncidentKind(StrEnum):
    """What happened."""

    LOST = "lost"
    STOLEN = "stolen"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was written down later.

    Attributes:
        factor: 1 to 4 of 45 CFR 164.402(2); None for a remark.
        people: how many they are, if this says it.
        at: seconds since 1970.
    """

    at: int
    uid: int
    text: str
    factor: int | None = None
    people: int | None = None


@dataclass(slots=True)
class Incident:
    """One loss, with everything that is written down about it.

    Attributes:
        at: when it was written down, seconds since 1970.
        record: what was found then; it never changes.
        decision: how it was closed; None while it is open.
    """

    id: str
    at: int
    uid: int
    record: Mapping[str, Any]
    notes: list[Note] = field(default_factory=list)
    decision: str | None = None
    closed_at: int | None = None
    closed_by: int | None = None

    @property
    def people(self) -> int | None:
        """How many they are, by what was written down last."""
        said = [note.people for note in self.notes if note.people is not None]
        first = self.record.get("people")
        return said[-1] if said else first if isinstance(first, int) else None

    def factor(self, number: int) -> list[Note]:
        """What was written about one of the four factors."""
        return [note for note in self.notes if note.factor == number]


def incidents() -> list[Incident]:
    """All of them, the oldest first.

    Raises:
        RegisterError: the register is damaged; its hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return list(_replay(Ledger(NAME).entries()).values())


def incident(id_: str) -> Incident:
    """The one with this number. Raises: UsageError: there is none. As :func:`incidents`."""
    return _named(_replay(Ledger(NAME).entries()), id_)


def next_id(year: int) -> str:
    """A number that is free now: ``2026-001``. Raises: as :func:`incidents`."""
    taken = [one.id for one in incidents() if one.id.startswith(f"{year}-")]
    return f"{year}-{len(taken) + 1:03d}"


def begin(id_: str, record: Mapping[str, Any], volume_id: VolumeId = NO_VOLUME) -> Incident:
    """A new one.

    Args:
        id_: of :func:`next_id`.
        record: what was found, as a document has it.
        volume_id: for the audit log; zero where it is about several volumes or none.

    Raises:
        UsageError: the number was taken meanwhile.
        RegisterError, AuditError, FormatError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """

    def check(entries: Sequence[Entry]) -> None:
        if id_ in _replay(entries):
            raise UsageError("another incident was written down just now", hint="Try again.")

    entry = Ledger(NAME).append(_NEW, {"id": id_, "record": dict(record)}, volume_id=volume_id, check=check)
    return _replay([entry])[id_]


def note(id_: str, text: str, *, factor: int | None = None, people: int | None = None) -> Incident:
    """One more note.

    Raises:
        UsageError: there is no such incident, or the text is empty or too long.
        RegisterError, AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    check_text(text, needed=people is None)
    return _append(_NOTE, id_, {"text": text, "factor": factor, "people": people}, is_open=False)


def close(id_: str, decision: str) -> Incident:
    """What was decided. Raises: as :func:`note`; UsageError also: it is closed."""
    check_text(decision, needed=True)
    return _append(_CLOSE, id_, {"decision": decision}, is_open=True)


def check_text(text: str, *, needed: bool) -> None:
    """Raises: UsageError: it cannot stand in the register."""
    if needed and not text.strip():
        raise UsageError("the text is empty")
    if len(text) > TEXT_MAX:
        raise UsageError(f"the text is longer than {TEXT_MAX} characters", hint="Shorten it. Nothing was written.")
    if not all(character.isprintable() or character == "\n" for character in text):
        raise UsageError("the text has characters that cannot be printed", hint="Nothing was written.")


def _append(kind: str, id_: str, data: Mapping[str, Any], *, is_open: bool) -> Incident:
    found: dict[str, Incident] = {}

    def check(entries: Sequence[Entry]) -> None:
        found.update(_replay(entries))
        one = _named(found, id_)
        if is_open and one.decision is not None:
            raise UsageError(f"incident {id_} is closed", hint=f"See: cloakfs incident show {id_}")

    entry = Ledger(NAME).append(kind, {"id": id_, **data}, check=check)
    _take(found, entry)
    return found[id_]


def _named(found: Mapping[str, Incident], id_: str) -> Incident:
    if id_ not in found:
        raise UsageError(f"there is no incident {id_}", hint="See: cloakfs incident list")
    return found[id_]


def _replay(entries: Sequence[Entry]) -> dict[str, Incident]:
    found: dict[str, Incident] = {}
    for entry in entries:
        try:
            _take(found, entry)
        except (KeyError, TypeError, ValueError) as exc:
            raise RegisterError(
                f'the register "{NAME}" of this computer says something that this version does not know, at entry'
                f" {entry.seq}",
                hint="Update cloakfs, if a newer version was used here.",
            ) from exc
    return found


def _take(found: dict[str, Incident], entry: Entry) -> None:
    data = entry.data
    id_ = str(data["id"])
    if entry.kind == _NEW:
        if id_ in found or not isinstance(data["record"], Mapping):
            raise ValueError("no incident begins so")
        found[id_] = Incident(id_, entry.at, entry.uid, data["record"])
    elif entry.kind == _NOTE:
        found[id_].notes.append(Note(entry.at, entry.uid, str(data["text"]), data["factor"], data["people"]))
    elif entry.kind == _CLOSE:
        one = found[id_]
        one.decision, one.closed_at, one.closed_by = str(data["decision"]), entry.at, entry.uid
    else:
        raise ValueError("no such kind")
