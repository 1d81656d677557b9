"""Whether what opens a volume was with it when it was lost.

Owns: what a search of the medium says of each slot. Must not know: who searched, any key.

A search finds files. What is in somebody's head, on a paper or on a token it cannot see, and that is said of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from encfs.doctor.near import Kind
from encfs.doctor.volume_checks import OPENS
from encfs.evidence.when import Span
from encfs.format.slots import SlotKind
from encfs.host.last_seen import Look

_FILES: Final[dict[str, frozenset[str]]] = {
    str(slot): frozenset(str(kind) for kind, opens in OPENS.items() if slot in {str(one) for one in opens})
    for slot in {str(one) for opens in OPENS.values() for one in opens}
}
"""Of each kind of slot: the kinds of files that open it, or help to."""


class Where(StrEnum):
    """Where the secret of a slot was, as far as anybody can tell. The words are those of docs/json.md."""

    BESIDE = "on-the-medium"
    NOT_SEEN = "not-on-the-medium"
    UNKNOWN = "unknown"


_FOR_PEOPLE: Final = {
    SlotKind.PASSPHRASE: "a passphrase: whether a note of it was with the medium only people can say",
    SlotKind.RECOVERY: "a recovery key: on paper it cannot be seen; ask where the sheet is",
    SlotKind.SHARES: "shares of a recovery key: on paper they cannot be seen; ask where they are",
    SlotKind.KEY_FILE: "a key file",
    SlotKind.PASSPHRASE_AND_KEY_FILE: "a passphrase together with a key file; both are needed",
}
_OF_OTHERS: Final = "what opens it is no file: ask where it was"


@dataclass(frozen=True, slots=True)
class KeySeen:
    """A slot, and where what opens it was.

    Attributes:
        created: seconds since 1970.
        remark: for people: what a search cannot see.
    """

    kind: str
    label: str
    created: int
    where: Where
    remark: str


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """All slots of a volume.

    Attributes:
        look: the search that counts; None if there was none before the loss.
        beside: something that opens it, or helps to, was on the medium.
        looked: all of the medium was searched after the youngest slot that a file opens was made.
    """

    slots: tuple[KeySeen, ...]
    look: Look | None
    beside: bool
    looked: bool


def keys_seen(slots: Sequence[Mapping[str, Any]], looks: Sequence[Look], span: Span) -> KeysSeen:
    """What is known of the keys of a volume at the time of a loss.

    Args:
        slots: as docs/json.md has them; empty if none is known, and then nothing is said to be elsewhere.
        looks: the oldest first; those after the loss say nothing of it.
        span: when the loss was.
    """
    before = [look for look in looks if look.at * 1000 < span.first]
    look = before[-1] if before else None
    seen = tuple(_seen(slot, look) for slot in slots)
    of_files = [one for one in seen if one.kind in _FILES]
    return KeysSeen(
        slots=seen,
        look=look,
        beside=any(one.where is Where.BESIDE for one in of_files),
        looked=bool(seen) and all(one.where is not Where.UNKNOWN for one in of_files),
    )


def _seen(slot: Mapping[str, Any], look: Look | None) -> KeySeen:
    kind, created = str(slot["kind"]), int(slot["created"])
    where = Where.UNKNOWN
    files = _FILES.get(kind)
    if files is not None and look is not None:
        if files & set(look.kinds):
            where = Where.BESIDE
        elif look.complete and created <= look.at:
            where = Where.NOT_SEEN
    remark = _FOR_PEOPLE.get(SlotKind(kind), "") if kind in set(SlotKind) else _OF_OTHERS
    return KeySeen(kind, str(slot["label"]), created, where, "an age or SSH key" if kind == "age" else remark)


def found_words(look: Look) -> list[str]:
    """What was found on the medium, each kind once."""
    return [str(kind) for kind in Kind if str(kind) in look.kinds]
