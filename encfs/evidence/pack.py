"""The body of an evidence pack: what is known of volumes, media and the log, and which rule it answers.

Owns: what stands in it, and the verdict. Must not know: how it is shown, where facts come from.

It claims what was looked at, and no more: each volume says who vouches for what is told of it, each part where it is
from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from encfs.checks import Checked, Light, worst
from encfs.evidence import made, pack_parts
from encfs.evidence.citations import CITATIONS, Citation
from encfs.evidence.facts import VolumeFacts, Vouched
from encfs.evidence.log_facts import LogFacts
from encfs.evidence.pack_checks import of_host, of_volume
from encfs.registers.exceptions import DataException
from encfs.registers.ledger import Entry
from encfs.registers.media import Medium
from encfs.wording import NOT_LEGAL_ADVICE, human_date, plural, printable

KIND: Final = "evidence"
THIS_COMPUTER: Final = "this computer"
REGISTERS: Final = ("reviews", "backups", "drills", "destructions", "handovers", "incidents")
"""Registers whose entries are in a pack, under their own names, if there are any."""
_WHOLE: Final = frozenset({"reviews", "backups", "drills"})
"""Those that have no document of their own to hand over."""
_OTHERS: Final = (
    "whether anything outside of these volumes is encrypted; what was done with a copy of a volume elsewhere, or on"
    " another computer; who a person at the keyboard was; what happened before cloakfs was used here"
)
SOURCES: Final = {
    "volumes": "The config of each volume. Its row says who vouches for it: its keys, this computer as it remembers"
    " it, or nobody.",
    "verified": "What this user of this computer remembers of its own checks. The audit log has each check, sealed.",
    "checks": "What was seen on this computer when this pack was made.",
    "media, exceptions": "Registers of this computer, as people have told it: each entry is signed, chained to the one"
    " before, and recorded in the audit log with its digest.",
    "log": "The audit log of this user of this computer. Intact: a signature of this computer vouches for it. Sealed:"
    " the keys of those quarters of an hour, which are gone, vouch for it; that is seen only with the auditor's key.",
    "not known": f"This pack does not say {_OTHERS}.",
}
"""Where each part is from, and how sure it is."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Checks, and what they are about, in words for people."""

    about: str
    checks: Sequence[Checked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that a pack is made of.

    Attributes:
        everything: whether it is about all that this computer knows, and not of chosen volumes only.
        program: names and versions of what seals, signs and mounts.
        looked: what was looked at, beside what is judged here.
        unreadable: volumes of which nothing is known: their config cannot be read, and they were never opened here.
        entries: of the registers that a pack shows, by name.
    """

    everything: bool
    program: Mapping[str, str]
    looked: Sequence[Looked]
    volumes: Sequence[VolumeFacts]
    unreadable: int
    media: Sequence[Medium]
    exceptions: Sequence[DataException]
    log: LogFacts
    entries: Mapping[str, Sequence[Entry]]


def body(found: Found) -> dict[str, Any]:
    """The body of the document, whose kind is ``KIND``."""
    looked = [
        *found.looked,
        *(Looked(f"volume {one.path or one.volume_id}", of_volume(one)) for one in found.volumes),
        Looked(THIS_COMPUTER, of_host(found.log, found.entries)),
    ]
    checks = [(one.about, check) for one in looked for check in one.checks]
    # What needs somebody comes first, as it does on the pages.
    checks.sort(key=lambda each: -each[1].light)
    return {
        "everything": found.everything,
        "light": worst(check for _, check in checks).name.lower(),
        "verdict": _verdict(found, [check for _, check in checks]),
        "program": dict(found.program),
        **made.fields(),
        "checks": [_check(about, check) for about, check in checks],
        "citations": [_citation(one, [check for _, check in checks]) for one in CITATIONS],
        "volumes": [pack_parts.volume(one) for one in found.volumes],
        "media": [pack_parts.medium(one) for one in found.media],
        "exceptions": [pack_parts.exception(one) for one in found.exceptions],
        "log": pack_parts.log(found.log),
        "registers": {
            name: [pack_parts.entry(one, whole=name in _WHOLE) for one in found.entries.get(name, ())]
            for name in REGISTERS
        },
        "sources": dict(SOURCES),
        "advice": NOT_LEGAL_ADVICE,
    }


def _verdict(found: Found, checks: Sequence[Checked]) -> str:
    """What is encrypted, how sure that is, and how much is to do."""
    to_do = sum(check.light is not Light.GREEN for check in checks)
    urgent = sum(check.light is Light.RED for check in checks)
    if to_do:
        todo = f"{plural(to_do, 'thing')} should be looked at" + (f", {urgent} of them now." if urgent else ".")
    else:
        todo = "Nothing is left to do."
    living = [one for one in found.volumes if not pack_parts.is_destroyed(one)]
    if not found.unreadable:
        return f"{_encrypted(living)} {todo}"
    rest = f"Of {plural(found.unreadable, 'more volume' if living else 'volume')} nothing could be read here."
    return f"{_encrypted(living)} {rest} {todo}" if living else f"{rest} {todo}"


def _encrypted(volumes: Sequence[VolumeFacts]) -> str:
    count = len(volumes)
    if not count:
        return "No encrypted volume is known to this computer."
    if unknown := sum(one.config is None for one in volumes):
        return f"Of {plural(unknown, 'volume')} of {count} it is not known here how they are encrypted."
    day = human_date(max(one.config.created for one in volumes if one.config is not None))
    what, since = ("is", "since") if count == 1 else ("are", "all of them at least since")
    text = f"{plural(count, 'volume')} {what} encrypted with AES-256-GCM, {since} {day}."
    loose = sum(one.vouched is Vouched.AS_IT_LIES for one in volumes)
    if loose:
        text += " Nothing vouches for that" + (f" for {loose} of them," if count > 1 else "") + " while locked."
    return text


def _check(about: str, check: Checked) -> dict[str, Any]:
    return {
        "about": printable(about),
        "code": check.code,
        "title": check.title,
        "light": check.light.name.lower(),
        "found": printable(check.found),
        "remedy": "" if check.light is Light.GREEN else printable(check.remedy),
    }


def _citation(one: Citation, checks: Sequence[Checked]) -> dict[str, Any]:
    """``light``: null where no check answers it, only what the pack shows."""
    numbers = [number for number, check in enumerate(checks) if check.code in one.codes]
    return {
        "rule": f"45 CFR {one.rule}",
        "asks": one.asks,
        "light": worst(checks[number] for number in numbers).name.lower() if numbers else None,
        "checks": numbers,
        "shows": list(one.shows),
    }
