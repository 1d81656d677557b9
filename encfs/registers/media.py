"""The register ``media``: sticks and disks, who has which, and which is lost (FORMAT.md section 17).

Owns: what may follow what, how a medium stands. Must not know: devices, the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.registers.words import check_text, text_list
from encfs.wording import human_date, printable

NAME: Final = "media"


class MediumKind(StrEnum):
    """What a medium is."""

    STICK = "stick"
    DISK = "disk"
    BACKUP = "backup"
    OTHER = "other"


class MediumState(StrEnum):
    """Where a medium is: in the house, with somebody, nobody knows, no more."""

    IN = "in"
    OUT = "out"
    LOST = "lost"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """One medium, as the register has it.

    Attributes:
        label: what is written on it.
        serial: of its maker; empty if not known.
        filesystem: the UUID of what is on it; empty if not known.
        volumes: ids of the volumes that are on it, hexadecimal.
        holder, place: who has it, where it is; empty if nobody said.
        due: when it is to be back, seconds since 1970.
        since: when it came into this state.
        lost_at: of one that is lost: when that happened, as far as is known.
        keeper, shelf: holder and place while it is in.
    """

    label: str
    serial: str
    kind: MediumKind
    volumes: tuple[str, ...]
    holder: str
    place: str
    due: int | None
    state: MediumState
    since: int
    filesystem: str = ""
    lost_at: int | None = None
    keeper: str = ""
    shelf: str = ""


def media() -> list[Medium]:
    """All of them, by label.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return sorted(_replay(Ledger(NAME).entries()).values(), key=lambda one: _key(one.label))


def medium(label: str) -> Medium:
    """The one with this label, whatever its case. Raises: UsageError: there is none. As :func:`media`."""
    return _named(_replay(Ledger(NAME).entries()), label)


def history(label: str) -> list[Entry]:
    """All that was written down of one, the oldest first. Raises: as :func:`medium`."""
    entries = Ledger(NAME).entries()
    key = _key(_named(_replay(entries), label).label)
    return [entry for entry in entries if _key(str(entry.data["label"])) == key]


def all_entries() -> list[Entry]:
    """All that was written down, the oldest first. Raises: as :func:`media`."""
    entries = Ledger(NAME).entries()
    _replay(entries)
    return entries


def media_of(volume_id: str) -> list[Medium]:
    """Those on which a volume is, or was when they were destroyed. Raises: as :func:`media`."""
    return [one for one in media() if volume_id in one.volumes]


def overdue(now: float) -> list[Medium]:
    """Those that should be back. Raises: as :func:`media`."""
    return [one for one in media() if is_overdue(one, now)]


def is_overdue(one: Medium, now: float) -> bool:
    """Whether it should be back at ``now``, seconds since 1970."""
    return one.state is MediumState.OUT and one.due is not None and one.due < now


# -- what is written down --------------------------------------------------------------------------------------------


def add(
    label: str,
    *,
    kind: MediumKind = MediumKind.STICK,
    serial: str = "",
    filesystem: str = "",
    volumes: Iterable[str] = (),
    holder: str = "",
    place: str = "",
) -> Medium:
    """A medium that is not in the register yet.

    Raises:
        UsageError: the label is taken, or a text cannot stand there.
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    check_label(label)
    data = {"kind": str(kind), "serial": serial, "filesystem": filesystem, "holder": holder, "place": place}
    for name in ("serial", "holder", "place"):
        check_text(name, data[name])
    return _append("add", label, {**data, "volumes": list(volumes)})


def check_label(label: str) -> None:
    """Raises: UsageError: nothing can be called so."""
    check_text("label", label, needed=True)


def set_content(label: str, *, serial: str, filesystem: str, volumes: Iterable[str]) -> Medium:
    """What is on it now. Raises: as :func:`add`, and UsageError: there is none with this label, or it is destroyed."""
    return _append("volume", label, {"serial": serial, "filesystem": filesystem, "volumes": list(volumes)})


def check_out(label: str, *, holder: str, place: str = "", due: int | None = None) -> Medium:
    """Somebody takes it. Raises: as :func:`add`, and UsageError: it is not in."""
    check_text("holder", holder, needed=True)
    check_text("place", place)
    return _append("check-out", label, {"holder": holder, "place": place, "due": due})


def check_in(label: str, *, place: str = "") -> Medium:
    """It is back. Raises: as :func:`add`, and UsageError: it is not out."""
    check_text("place", place)
    return _append("check-in", label, {"place": place})


def lost(label: str, *, lost_at: int) -> Medium:
    """Nobody knows where it is since ``lost_at``. Raises: as :func:`add`, and UsageError: it is lost or destroyed."""
    return _append("lost", label, {"lost_at": lost_at})


def found(label: str, *, place: str = "") -> Medium:
    """It was lost, and is in again. Raises: as :func:`add`, and UsageError: it was not lost."""
    check_text("place", place)
    return _append("found", label, {"place": place})


def destroyed(label: str) -> Medium:
    """There is no such medium any more. Raises: as :func:`add`, and UsageError: it is destroyed."""
    return _append("destroyed", label, {})


def _append(kind: str, label: str, data: Mapping[str, Any]) -> Medium:
    result: dict[str, Medium] = {}

    def check(entries: Sequence[Entry]) -> None:
        known = _replay(entries)
        if kind == "add":
            if (there := known.get(_key(label))) is not None:
                raise UsageError(
                    f"there is a medium {printable(there.label)} already",
                    hint="Choose another label, and write it on the medium. See: cloakfs media list --all",
                )
        else:
            _require(_named(known, label), kind)
        result.update(known)

    # The spelling of the label is that of its first entry, whatever is typed later.
    ledger = Ledger(NAME)
    if kind != "add":
        label = _named(_replay(ledger.entries()), label).label
    entry = ledger.append(kind, {"label": label, **data}, check=check)
    _take(result, entry)
    return result[_key(label)]


# -- what follows from it --------------------------------------------------------------------------------------------

_FROM: Final = {
    "volume": frozenset({MediumState.IN, MediumState.OUT, MediumState.LOST}),
    "check-out": frozenset({MediumState.IN}),
    "check-in": frozenset({MediumState.OUT}),
    "lost": frozenset({MediumState.IN, MediumState.OUT}),
    "found": frozenset({MediumState.LOST}),
    "destroyed": frozenset({MediumState.IN, MediumState.OUT, MediumState.LOST}),
}
_HINTS: Final = {
    MediumState.IN: "Nothing was written. Who takes it: cloakfs media check-out LABEL --holder NAME",
    MediumState.OUT: "Nothing was written. When it is back: cloakfs media check-in LABEL",
    MediumState.LOST: "Nothing was written. When it turns up: cloakfs media found LABEL",
    MediumState.DESTROYED: "Nothing was written. A new medium gets a new label: cloakfs media add LABEL",
}


def _require(one: Medium, kind: str) -> None:
    """Raises: UsageError: this cannot be, as it stands."""
    if one.state in _FROM[kind]:
        return
    since = human_date(one.since)
    said = {
        MediumState.IN: f"is in since {since}",
        MediumState.OUT: f"is out with {printable(one.holder)} since {since}",
        MediumState.LOST: f"is lost since {since}",
        MediumState.DESTROYED: f"was destroyed on {since}",
    }
    raise UsageError(f"{printable(one.label)} {said[one.state]}", hint=_HINTS[one.state])


def _key(label: str) -> str:
    return label.casefold()


def _named(known: Mapping[str, Medium], label: str) -> Medium:
    one = known.get(_key(label))
    if one is None:
        raise UsageError(
            f"there is no medium {printable(label)} in the register",
            hint="See which there are: cloakfs media list --all",
        )
    return one


def _replay(entries: Iterable[Entry]) -> dict[str, Medium]:
    """How all media stand, by label. Raises: RegisterError: an entry does not fit to those before."""
    known: dict[str, Medium] = {}
    for entry in entries:
        try:
            _take(known, entry)
        except (FormatError, UsageError, KeyError, ValueError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return known


def _take(known: dict[str, Medium], entry: Entry) -> None:
    """Raises: FormatError, UsageError, KeyError, ValueError: it does not fit."""
    fields = Fields(entry.data)
    label = fields.text("label")
    if entry.kind == "add":
        if _key(label) in known:
            raise FormatError("a medium is in the register twice")
        after = _added(label, fields, entry.at)
    else:
        before = known[_key(label)]
        _require(before, entry.kind)
        after = _changed(before, fields, entry)
    fields.finish()
    known[_key(label)] = after


def _added(label: str, fields: Fields, at: int) -> Medium:
    holder, place = fields.text("holder"), fields.text("place")
    return Medium(
        label=label,
        serial=fields.text("serial"),
        kind=MediumKind(fields.text("kind")),
        volumes=text_list(fields, "volumes"),
        holder=holder,
        place=place,
        due=None,
        state=MediumState.IN,
        since=at,
        filesystem=fields.text("filesystem"),
        keeper=holder,
        shelf=place,
    )


def _changed(before: Medium, fields: Fields, entry: Entry) -> Medium:
    after = replace(before, since=entry.at, due=None, lost_at=None)
    match entry.kind:
        case "volume":
            return replace(
                before,
                serial=fields.text("serial"),
                filesystem=fields.text("filesystem"),
                volumes=text_list(fields, "volumes"),
            )
        case "check-out":
            due = fields.integer_or_null("due")
            return replace(
                after, state=MediumState.OUT, holder=fields.text("holder"), place=fields.text("place"), due=due
            )
        case "check-in" | "found":
            place = fields.text("place") or before.shelf
            return replace(after, state=MediumState.IN, holder=before.keeper, place=place)
        case "lost":
            return replace(after, state=MediumState.LOST, lost_at=fields.integer("lost_at"))
        case _:
            return replace(after, state=MediumState.DESTROYED)
