"""Recovery keys and shares that were used: whoever saw one may have kept a copy, so it is to be renewed.

Owns: what counts as such a use, and how people and scripts are told until the slot is renewed or removed. Must not
know: how uses are remembered.

It is what this user of this host remembers: a volume that is only read cannot be written to, and who opens a copy of
it elsewhere would not tell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

from encfs.cli import output
from encfs.cli.auditing import IN_RESERVE
from encfs.cli.key_slots import as_json, uses_of
from encfs.format.config import Config
from encfs.format.slots import SlotKind

KINDS: Final = IN_RESERVE


def uses(config: Config) -> list[dict[str, Any]]:
    """``break_glass`` in docs/json.md: the slots in reserve that opened the volume here."""
    found = uses_of(config)
    return [as_json(slot, found[slot.id]) for slot in config.slots if slot.kind in KINDS and slot.id in found]


def texts(path: str, found: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each use, with what to do; the arguments are those of :func:`told`."""
    return [f"{what}. Renew: {command}" for what, command in told(path, found)]


def told(path: str, found: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What happened, and the command that renews the slot, for each use.

    Args:
        path: of the volume, or where it is mounted.
        found: of :func:`uses`.
    """
    return [
        (
            f"opened here with the {_slot_text(slot)} on {output.human_time(slot['last_used'])}",
            _command(path, slot),
        )
        for slot in found
    ]


def _slot_text(slot: dict[str, Any]) -> str:
    return f"{_NOUNS[slot['kind']]} {output.printable(slot['label'])!r}"


_NOUNS: Final = {SlotKind.RECOVERY: "recovery key", SlotKind.SHARES: "shares"}


def _command(path: str, slot: dict[str, Any]) -> str:
    volume = shlex.quote(output.printable(path))
    replace = f"--replace {shlex.quote(output.printable(slot['label']) or slot['id'])}"
    if slot["shares"] is not None:
        numbers = f"--threshold {slot['shares']['threshold']} --shares {slot['shares']['count']}"
        return f"cloakfs key shares {volume} {replace} {numbers} --out-dir DIR"
    return f"cloakfs key recovery {volume} {replace} --out FILE.pdf"
