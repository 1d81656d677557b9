"""The register ``drills``: backups that were restored for a trial, and who has looked at that (FORMAT.md section 17).

Owns: what may follow what, who may certify. Must not know: how a drill is made, the terminal.

Who certifies is another person than who made the drill. Names that are the same are refused, and so is the same
account: but for root, which people of a small office share. There it is written down that both used it (``shared``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from encfs.backup.drill_record import DrillOutcome, Record, as_json, parse
from encfs.core.documents import open_document
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields
from encfs.registers.ledger import Check, Entry, Ledger, damaged
from encfs.registers.words import check_text
from encfs.units import VolumeId

NAME: Final = "drills"
KIND: Final = "drill"
_NEW: Final = frozenset({"drill", "brought"})
_PREFIX_MIN: Final = 4
_ROOT: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Where a drill of another computer came from: its document."""

    host: str
    made_at: int
    signer: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """Who has looked at it, when; ``shared``: from the account of who made it, which was root's."""

    by: str
    uid: int
    at: int
    note: str
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is done about what was found, by whom, until when; ``done``: what came of it, None while it is not."""

    text: str
    owner: str
    due: int
    done: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A drill, and what became of it.

    Attributes:
        record: as it was made.
        noted: when it came into this register, seconds since 1970.
        brought: None for one that was made here.
    """

    record: Record
    noted: int
    brought: Brought | None = None
    certified: Certified | None = None
    action: Action | None = None


def drills() -> list[Drill]:
    """All of them, the oldest first.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return replay(Ledger(NAME).entries())


def find(text: str) -> Drill:
    """The one whose id is or begins with ``text``.

    Raises:
        UsageError: there is none, or more than one. As :func:`drills`.
    """
    wanted = text.strip().lower()
    found = [one for one in drills() if one.record.id.startswith(wanted)]
    if len(wanted) < _PREFIX_MIN or len(found) != 1:
        raise UsageError(
            "there is no such drill" if not found else "there is more than one drill with such an id",
            hint="Give the id that the drill has told, or the file with its document; all ids:"
            " cloakfs backup status --json",
        )
    return found[0]


def note(record: Record) -> Drill:
    """A drill has ended.

    Raises:
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    return _append("drill", as_json(record), record)


def bring(signed: bytes) -> Drill:
    """Take in the document of a drill that another computer has made; one that is here already stays as it is.

    Raises:
        FormatError: it is none. AuthenticationError: it was changed. NewerFormatError. As :func:`note`.
    """
    document = open_document(signed, KIND)
    record = parse(Fields(document.body).mapping("record"))
    known = next((one for one in drills() if one.record.id == record.id), None)
    if known is not None:
        if as_json(known.record) != as_json(record):
            raise FormatError("this computer knows another drill with the same id")
        return known
    source = {
        "host": document.host,
        "made_at": document.made_at,
        "signer": document.signer.fingerprint(),
        "digest": CLOAKFS_1.digest(signed).hex(),
    }
    return _append("brought", {"record": as_json(record), **source}, record)


def certify(drill_id: str, *, by: str, note: str = "") -> Drill:
    """A second person has looked at it.

    Args:
        drill_id: the whole id.
        by: the name of that person.
        note: what else there is to say.

    Raises:
        UsageError: it is the same person, there is nothing to certify, or that was done already. As :func:`note`.
    """
    check_text("name", by, needed=True)
    check_text("note", note)
    uid = os.getuid()
    shared = False

    def check(entries: Sequence[Entry]) -> None:
        nonlocal shared
        one = _named(_replay(entries), drill_id)
        _check_certifiable(one)
        shared = _check_second(one, by, uid)
        # The same object that is written below: it is filled in before that.
        data["shared"] = shared

    data: dict[str, Any] = {"drill": drill_id, "by": by, "note": note, "shared": False}
    return _change("certify", data, check)


def _check_certifiable(one: Drill) -> None:
    if one.certified is not None:
        raise UsageError("this drill was certified already", hint="Nothing was written.")
    if one.record.outcome is DrillOutcome.BROKEN_OFF:
        raise UsageError("this drill was broken off: it shows nothing", hint="Make another one: cloakfs backup drill")
    if one.record.outcome is DrillOutcome.FAILED and one.action is None:
        raise UsageError(
            "this drill failed, and nobody has said what is done about it",
            hint="Say so with it: --action TEXT --owner NAME --due DATE",
        )


def _check_second(one: Drill, by: str, uid: int) -> bool:
    """Whether both used the account of root. Raises: UsageError: it is the same person."""
    people = one.record.people
    if _plain(by) in {_plain(people.name), _plain(people.login)}:
        raise UsageError(
            "who made a drill does not certify it", hint="Ask a second person, and give the name of that one."
        )
    if one.brought is not None or people.uid != uid:
        return False
    if uid != _ROOT:
        raise UsageError(
            "this is the account from which the drill was made",
            hint="The second person certifies from an account of their own, or on this one as root.",
        )
    if not people.name:
        raise UsageError(
            "the drill was made as root, and does not say by whom: so nobody can tell that you are another person",
            hint="Certify from another account, or make the next drill with --by NAME.",
        )
    return True


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def set_action(drill_id: str, *, text: str, owner: str, due: int) -> Drill:
    """What is done about it, by whom, until when (seconds since 1970). Raises: as :func:`note`, and UsageError."""
    check_text("action", text, needed=True)
    check_text("owner", owner, needed=True)
    return _change("action", {"drill": drill_id, "text": text, "owner": owner, "due": due})


def end_action(drill_id: str, text: str) -> Drill:
    """It is done, and this came of it. Raises: as :func:`set_action`."""
    check_text("result", text, needed=True)

    def check(entries: Sequence[Entry]) -> None:
        action = _named(_replay(entries), drill_id).action
        if action is None or action.done is not None:
            raise UsageError("nothing is to be done about this drill", hint="Nothing was written.")

    return _change("action-done", {"drill": drill_id, "text": text}, check)


def _change(kind: str, data: Mapping[str, Any], check: Check | None = None) -> Drill:
    one = _named(_replay(Ledger(NAME).entries()), str(data["drill"]))
    return _append(kind, data, one.record, check)


def _append(kind: str, data: Mapping[str, Any], record: Record, check: Check | None = None) -> Drill:
    known: dict[str, Drill] = {}

    def checked(entries: Sequence[Entry]) -> None:
        known.update(_replay(entries))
        if kind in _NEW and record.id in known:
            raise UsageError("this drill is in the register already", hint="Nothing was written.")
        if check is not None:
            check(entries)

    entry = Ledger(NAME).append(kind, data, volume_id=VolumeId(bytes.fromhex(record.volume)), check=checked)
    _take(known, entry)
    return known[record.id]


# -- what all entries say together -------------------------------------------------------------------------------------


def replay(entries: Iterable[Entry]) -> list[Drill]:
    """For whoever has read the register. Raises: RegisterError: an entry says what it cannot."""
    return list(_replay(entries).values())


def _named(found: Mapping[str, Drill], drill_id: str) -> Drill:
    one = found.get(drill_id)
    if one is None:
        raise UsageError("there is no such drill", hint="Nothing was written.")
    return one


def _replay(entries: Iterable[Entry]) -> dict[str, Drill]:
    found: dict[str, Drill] = {}
    for entry in entries:
        try:
            _take(found, entry)
        except (FormatError, KeyError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return found


def _take(found: dict[str, Drill], entry: Entry) -> None:
    """Raises: FormatError, KeyError: it does not fit."""
    fields = Fields(dict(entry.data))
    if entry.kind in _NEW:
        _take_new(found, entry, fields)
        return
    drill_id = fields.text("drill")
    one = found[drill_id]
    match entry.kind:
        case "certify":
            after = replace(one, certified=_certified(entry, fields))
        case "action":
            action = Action(text=fields.text("text"), owner=fields.text("owner"), due=fields.integer("due"))
            after = replace(one, action=action)
        case "action-done":
            if one.action is None:
                raise FormatError("nothing was to be done")
            after = replace(one, action=replace(one.action, done=fields.text("text")))
        case _:
            raise FormatError("an entry is of a kind that this version does not know")
    fields.finish()
    found[drill_id] = after


def _take_new(found: dict[str, Drill], entry: Entry, fields: Fields) -> None:
    brought = None
    if entry.kind == "drill":
        record = parse(entry.data)
    else:
        record = parse(fields.mapping("record"))
        brought = Brought(
            host=fields.text("host"),
            made_at=fields.integer("made_at"),
            signer=fields.text("signer"),
            digest=fields.text("digest"),
        )
        fields.finish()
    if record.id in found:
        raise FormatError("a drill stands twice")
    found[record.id] = Drill(record=record, noted=entry.at, brought=brought)


def _certified(entry: Entry, fields: Fields) -> Certified:
    return Certified(
        by=fields.text("by"),
        uid=entry.uid,
        at=entry.at,
        note=fields.text("note"),
        shared=fields.boolean("shared"),
    )
