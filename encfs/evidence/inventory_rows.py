"""An inventory as rows of a spreadsheet: one for each thing.

Owns: the columns. Must not know: how they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from encfs.evidence.inventory import Inventory, Line, covered
from encfs.evidence.inventory_words import coverage
from encfs.registers import exceptions, media
from encfs.wording import human_date

COLUMNS: Final = (
    *("what", "kind", "name", "state", "holder", "place", "encrypted_since", "suite", "cell_size", "slots"),
    *("keys_since", "last_unlock", "last_lock", "last_verify", "last_backup", "last_drill", "due", "note", "id"),
)


def rows(found: Inventory) -> Iterator[dict[str, object]]:
    """One for each thing; what does not apply, or is not known, is not there. Days are in the local zone."""
    yield from map(_volume, found.volumes)
    for medium in found.media:
        yield {
            "what": "medium",
            "kind": str(medium.kind),
            "name": medium.label,
            "state": str(medium.state),
            "holder": medium.holder,
            "place": medium.place,
            "due": _day(medium.due),
            "note": "overdue" if media.is_overdue(medium, found.made_at) else None,
            "id": medium.serial,
        }
    for spec in found.shares:
        yield {"what": "share", "kind": "share", "name": spec.name, "place": spec.mountpoint, "note": spec.volume}
    for one in found.exceptions:
        overdue = exceptions.is_overdue(one, found.made_at)
        yield {
            "what": "exception",
            "name": one.dataset,
            "holder": one.approver,
            "state": "overdue" if overdue else "in force",
            "due": _day(one.review),
            "note": f"{one.reason}; instead: {one.controls}",
            "id": one.id,
        }
    for watched in found.scans.watched.values():
        percent = covered(watched)
        yield {
            "what": "watched directory",
            "name": watched.path,
            "state": None if percent is None else f"{percent} % in volumes",
            "note": coverage(watched),
        }
    for check in found.checks:
        yield {
            "what": "computer",
            "kind": check.code,
            "name": found.host,
            "state": check.light.name.lower(),
            "note": check.found,
        }


def _volume(one: Line) -> dict[str, object]:
    facts, config = one.facts, one.facts.config
    return {
        "what": "volume",
        "kind": one.kind,
        "name": facts.path,
        "state": str(one.state),
        "holder": one.holder,
        "place": one.place,
        "encrypted_since": _day(facts.encrypted_since),
        "suite": config.suite if config else None,
        "cell_size": config.cell_size if config else None,
        "slots": ", ".join(f"{number} {kind}" for kind, number in one.slots.items()) or None,
        "keys_since": _day(config.key_since) if config else None,
        "last_unlock": _day(one.last_unlock),
        "last_lock": _day(one.last_lock),
        "last_verify": _day(one.verified_at),
        "last_backup": _day(one.backup.last) if one.backup else None,
        "last_drill": _day(one.backup.drill) if one.backup else None,
        "note": one.problem or None,
        "id": facts.volume_id,
    }


def _day(at: int | None) -> str | None:
    return None if at is None else human_date(at)
