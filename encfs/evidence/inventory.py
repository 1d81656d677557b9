"""All that this host knows of: volumes, media, shares, exceptions, watched directories, and what the host is like.

Owns: what an inventory has, and how it is spelled in JSON. Must not know: where facts of volumes and mounts
come from, what the list looks like, the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from encfs.checks import Checked, Light
from encfs.evidence.facts import VolumeFacts, Vouched
from encfs.memory.swap import Protection
from encfs.registers import exceptions, media
from encfs.registers.beat_file import State as BeatState
from encfs.registers.exceptions import DataException
from encfs.registers.media import Medium, MediumState
from encfs.registers.scans import LastScan, Scans, Watched
from encfs.share.definition import ShareSpec

_PORTABLE: Final = frozenset({"8", "9", "10", "11", "14", "30", "31", "32"})
_FIXED: Final = frozenset({"3", "4", "5", "6", "7", "13", "15", "16", "17", "23", "24", "25", "28", "29", "35", "36"})


class State(StrEnum):
    """How a volume stands here now."""

    OPEN = "open"
    LOCKED = "locked"
    IN_USE = "in-use"
    DEAD = "dead"
    ELSEWHERE = "elsewhere"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What is known of the backups of a volume: the last one, and the last time that one was restored for a trial."""

    last: int | None
    drill: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One volume.

    Attributes:
        kind: ``share``, that of its medium, ``laptop`` or ``folder``.
        holder, place: who has it, and where, as far as somebody said; the place of one on this host is its name.
        light: how it stands against its policy; None if it has none, or that cannot be told from here.
        problem: why its config cannot be read; empty if it can, or if it is not here.
        backup: None if no backup is known.
    """

    facts: VolumeFacts
    state: State
    kind: str
    holder: str
    place: str
    light: Light | None
    problem: str
    backup: Backup | None

    @property
    def slots(self) -> Mapping[str, int]:
        """How many of each kind open it."""
        return dict(Counter(slot.kind for slot in self.facts.config.slots)) if self.facts.config else {}

    @property
    def last_unlock(self) -> int | None:
        """On this host."""
        return None if self.facts.beat is None else self.facts.beat.since

    @property
    def last_lock(self) -> int | None:
        """On this host; None while it was last seen open."""
        beat = self.facts.beat
        return beat.at if beat is not None and beat.state is BeatState.LOCKED else None

    @property
    def verified_at(self) -> int | None:
        """When all of it had been read; None if that never was, as far as this host knows."""
        verified = self.facts.verified
        return None if verified is None else verified.at or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All of it.

    Attributes:
        host, form: the name of the computer; ``laptop``, ``desktop`` or empty if it does not tell.
        made_at: seconds since 1970.
        version: of cloakfs.
    """

    host: str
    form: str
    made_at: int
    version: str
    checks: Sequence[Checked]
    volumes: Sequence[Line]
    media: Sequence[Medium]
    shares: Sequence[ShareSpec]
    exceptions: Sequence[DataException]
    scans: Scans = field(default_factory=Scans)


def line(
    facts: VolumeFacts,
    state: State,
    *,
    host: str,
    form: str,
    light: Light | None = None,
    problem: str = "",
    backup: Backup | None = None,
) -> Line:
    """What follows from the facts of a volume: what it is, who has it, and where."""
    there = [one for one in facts.media if one.state is not MediumState.DESTROYED] or list(facts.media)
    if facts.shares:
        kind = "share"
    elif there:
        kind = str(there[0].kind)
    else:
        kind = "laptop" if form == "laptop" else "folder"
    here = host if state is not State.ELSEWHERE else ""
    return Line(
        facts=facts,
        state=State.DESTROYED if state is State.ELSEWHERE and facts.known and facts.known.destroyed else state,
        kind=kind,
        holder=_joined(one.holder for one in there),
        place=_joined(one.place for one in there) or here,
        light=light,
        problem=problem,
        backup=backup,
    )


def nameless(path: str) -> VolumeFacts:
    """A volume of which only the place is known: where this host mounts one, or where one is damaged."""
    return VolumeFacts(
        volume_id="",
        path=path,
        vouched=Vouched.UNKNOWN,
        config=None,
        noted=None,
        mounted=False,
        known=None,
        beat=None,
        verified=None,
        media=(),
        shares=(),
    )


def form_of(root: Path = Path("/")) -> str:
    """Whether this host is a ``laptop`` (or a tablet) or a ``desktop`` (or a server); empty if it does not tell."""
    try:
        kind = (root / "sys/class/dmi/id/chassis_type").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
    return "laptop" if kind in _PORTABLE else "desktop" if kind in _FIXED else ""


def disk_check(found: Protection) -> Checked:
    """What the system's own disk does for what lies in no volume."""
    light, text, remedy = {
        Protection.ENCRYPTED: (Light.GREEN, "it is encrypted", ""),
        Protection.MEMORY: (Light.GREEN, "it is in memory", ""),
        Protection.UNKNOWN: (Light.AMBER, "whether it is encrypted cannot be seen from here", "look there: lsblk -f"),
        Protection.PLAIN: (
            Light.AMBER,
            "it is not encrypted: whoever gets it can read what lies in no volume",
            "look for such files: cloakfs scan /   Disks that encrypt by themselves do not show here",
        ),
    }[found]
    return Checked(code="system-disk", title="disk of the system", light=light, found=text, remedy=remedy)


def covered(one: Watched) -> int | None:
    """Of the likely files of a watched directory, how many in a hundred are in volumes; None if there are none."""
    if one.last is None or not (total := one.last.counts.files + one.last.counts.inside):
        return None
    return one.last.counts.inside * 100 // total


def _joined(texts: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


# -- JSON ------------------------------------------------------------------------------------------------------------


def as_json(found: Inventory) -> dict[str, Any]:
    """The object of docs/json.md."""
    return {
        "host": found.host,
        "form": found.form or None,
        "made_at": found.made_at,
        "version": found.version,
        "checks": [
            {"code": one.code, "light": one.light.name.lower(), "found": one.found, "remedy": one.remedy}
            for one in found.checks
        ],
        "volumes": [_volume(one) for one in found.volumes],
        "media": [_medium(one, found.made_at) for one in found.media],
        "shares": [{"name": one.name, "volume": one.volume, "mountpoint": one.mountpoint} for one in found.shares],
        "exceptions": [_exception(one, found.made_at) for one in found.exceptions],
        "watched": [_watched(one) for one in found.scans.watched.values()],
        "last_other_scan": _scan(found.scans.elsewhere),
    }


def _volume(one: Line) -> dict[str, Any]:
    facts, config, beat = one.facts, one.facts.config, one.facts.beat
    verified = facts.verified
    return {
        "volume_id": facts.volume_id or None,
        "path": facts.path,
        "kind": one.kind,
        "state": str(one.state),
        "holder": one.holder or None,
        "place": one.place or None,
        "media": [medium.label for medium in facts.media],
        "shares": list(facts.shares),
        "encrypted_since": facts.encrypted_since,
        "vouched": str(facts.vouched),
        "noted": facts.noted,
        "problem": one.problem or None,
        "suite": config.suite if config else None,
        "cell_size": config.cell_size if config else None,
        "keys_since": config.key_since if config else None,
        "slots": [
            {"id": slot.id, "kind": slot.kind, "label": slot.label, "created": slot.created, "cost": slot.cost or None}
            for slot in (config.slots if config else ())
        ],
        "rotations": [
            {"epoch": turn.epoch, "reason": turn.reason, "started": turn.started, "finished": turn.finished or None}
            for turn in (config.rotations if config else ())
        ],
        "rules": dict(config.rules) if config else None,
        "policy": one.light.name.lower() if one.light is not None else None,
        "last_unlock": None if beat is None else {"at": beat.since, "slot": beat.slot, "label": beat.slot_label},
        "last_lock": None if one.last_lock is None or beat is None else {"at": one.last_lock, "reason": beat.reason},
        "last_seen": None if beat is None else beat.at,
        "verified": None if verified is None else {"at": verified.at, "wrong": verified.wrong},
        "backup": None if one.backup is None else {"last": one.backup.last, "drill": one.backup.drill},
        "destroyed": facts.known.destroyed if facts.known else None,
    }


def _medium(one: Medium, now: int) -> dict[str, Any]:
    return {
        "label": one.label,
        "kind": str(one.kind),
        "serial": one.serial or None,
        "state": str(one.state),
        "since": one.since,
        "holder": one.holder or None,
        "place": one.place or None,
        "due": one.due,
        "overdue": media.is_overdue(one, now),
        "volumes": list(one.volumes),
    }


def _exception(one: DataException, now: int) -> dict[str, Any]:
    return {
        "id": one.id,
        "dataset": one.dataset,
        "reason": one.reason,
        "controls": one.controls,
        "approver": one.approver,
        "review": one.review,
        "overdue": exceptions.is_overdue(one, now),
    }


def _watched(one: Watched) -> dict[str, Any]:
    return {"path": one.path, "since": one.since, "covered": covered(one), "scan": _scan(one.last)}


def _scan(last: LastScan | None) -> dict[str, Any] | None:
    if last is None:
        return None
    counts = last.counts
    return {
        "at": last.at,
        "outside": counts.files,
        "clinical": counts.clinical,
        "bytes": counts.bytes,
        "inside": counts.inside,
        "unreadable": counts.unreadable,
        "disk": counts.disk,
        "kinds": dict(counts.kinds),
        "ages": dict(counts.ages),
    }
