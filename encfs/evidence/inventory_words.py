"""An inventory in words for people, the same on a terminal and on paper.

Owns: these words. Must not know: where they are shown.
"""

from __future__ import annotations

from typing import Final

from encfs.checks import Light
from encfs.evidence.facts import SlotFacts, Vouched
from encfs.evidence.inventory import Inventory, Line, State, covered
from encfs.registers import media
from encfs.registers.media import Medium, MediumKind, MediumState
from encfs.registers.scans import LastScan, Watched
from encfs.wording import human_date, human_duration, human_size, human_time, plural, printable

NOT_KNOWN: Final = "not known"
STATES: Final = {
    State.OPEN: "open",
    State.LOCKED: "locked",
    State.IN_USE: "open, by a process that cannot be asked",
    State.DEAD: "its daemon has died",
    State.ELSEWHERE: "not here now",
    State.DESTROYED: "its keys were destroyed",
}
LIGHTS: Final = {Light.GREEN: "in order", Light.AMBER: "look", Light.RED: "BAD"}
_SUITES: Final = {"cloakfs-1": "AES-256-GCM (cloakfs-1)"}
_REASONS: Final = {"crash": "it ended in a crash", "done": "the command was done"}
_DISKS: Final = {"encrypted": "an encrypted disk", "plain": "a disk that is not encrypted", "memory": "memory"}


def encrypted(one: Line) -> str:
    """With what, since when, and who says so."""
    config, since = one.facts.config, one.facts.encrypted_since
    if config is None:
        return f"since {human_date(since)}, as this computer wrote down" if since is not None else NOT_KNOWN
    suite = _SUITES.get(config.suite, printable(config.suite))
    return f"{suite} in cells of {human_size(config.cell_size)}, all of it since {human_date(config.created)}"


def vouched(one: Line) -> str:
    """Who says so."""
    return {
        Vouched.OPENED: "its keys: it is open",
        Vouched.AS_IT_LIES: "nobody while it is locked: read from its config without a key",
        Vouched.REMEMBERED: f"this computer, which wrote it down on {human_date(one.facts.noted or 0)}",
        Vouched.UNKNOWN: "nobody",
    }[one.facts.vouched]


def last_lock(one: Line) -> str:
    """When and why it was locked last here, or that it is open."""
    beat = one.facts.beat
    if beat is None:
        return NOT_KNOWN
    if one.last_lock is None:
        return f"not since; last seen open on {human_time(beat.at)}"
    return f"{human_time(one.last_lock)} ({_REASONS.get(beat.reason, printable(beat.reason))})"


def last_unlock(one: Line) -> str:
    """When it was opened last here, and with what."""
    beat = one.facts.beat
    if beat is None:
        return NOT_KNOWN
    return f"{human_time(beat.since)}, with {printable(beat.slot_label) or beat.slot}"


def verified(one: Line) -> str:
    """When all of it was read last, and whether something was wrong."""
    found = one.facts.verified
    when = "never as a whole, as far as this computer knows"
    if found is not None and found.at:
        when = human_date(found.at)
    return f"{when}; {plural(found.wrong, 'thing was', 'things were')} wrong" if found and found.wrong else when


def backup(one: Line) -> str:
    """The last one that is known."""
    return "none known" if one.backup is None or one.backup.last is None else human_date(one.backup.last)


def drill(one: Line) -> str:
    """When a backup was restored for a trial."""
    return "none known" if one.backup is None or one.backup.drill is None else human_date(one.backup.drill)


def backups(found: Inventory) -> str:
    """What is known of backups altogether."""
    labels = [printable(one.label) for one in found.media if one.kind is MediumKind.BACKUP]
    kept = f" Media for backups in the register: {', '.join(labels)}." if labels else ""
    known = [one for one in found.volumes if one.backup is not None]
    text = f"Of {plural(len(known), 'volume')} a backup is known." if known else "No backup of a volume is known here."
    return text + kept


def volume_rows(one: Line, now: int) -> list[tuple[str, str]]:
    """All that is told of a volume but its slots."""
    facts, config = one.facts, one.facts.config
    who = ", ".join(printable(text) for text in (one.holder, one.place) if text)
    rows = [("state", STATES[one.state]), ("kind", one.kind), ("who, where", who or NOT_KNOWN)]
    if facts.media:
        rows.append(("medium", ", ".join(medium_state(medium, now) for medium in facts.media)))
    if facts.shares:
        rows.append(("share", ", ".join(map(printable, facts.shares))))
    if one.problem:
        rows.append(("NOT READABLE", printable(one.problem)))
    rows += [("encrypted", encrypted(one)), ("who says so", vouched(one))]
    if config is not None:
        age = human_duration(max(0, now - config.key_since))
        rows.append(("keys since", f"{human_date(config.key_since)} ({age}), {_rotations(one)}"))
        counts = ", ".join(f"{number} {kind}" for kind, number in one.slots.items())
        rows.append(("opened by", printable(counts) or "nothing"))
    if one.light is not None:
        rows.append(("policy", LIGHTS[one.light]))
    rows += [("last unlock", last_unlock(one)), ("last lock", last_lock(one)), ("last verify", verified(one))]
    rows += [("last backup", backup(one)), ("last drill", drill(one))]
    return [*rows, ("id", facts.volume_id)] if facts.volume_id else rows


def _rotations(one: Line) -> str:
    turns = one.facts.config.rotations if one.facts.config else ()
    if any(not turn.finished for turn in turns):
        return "a change of keys is not finished"
    return f"changed {plural(len(turns), 'time')}" if turns else "never changed"


def slot_row(slot: SlotFacts, now: int) -> tuple[str, str, str, str]:
    """Label, kind, since when, what a guess costs."""
    age = human_duration(max(0, now - slot.created))
    return printable(slot.label) or slot.id, printable(slot.kind), f"{human_date(slot.created)} ({age})", slot.cost


def medium_state(one: Medium, now: int) -> str:
    """A medium, and where it is."""
    text = f"{printable(one.label)}: {one.state}"
    if media.is_overdue(one, now):
        return f"{text}, OVERDUE since {human_date(one.due or 0)}"
    if one.state is MediumState.OUT and one.due is not None:
        return f"{text}, due on {human_date(one.due)}"
    return text


def coverage(one: Watched) -> str:
    """How much of a watched directory lies in volumes."""
    if one.last is None:
        return "not scanned yet: cloakfs scan"
    percent = covered(one)
    counts = one.last.counts
    text = f"{plural(counts.files, 'likely file')} outside of volumes, {counts.inside:,} in open ones"
    disk = _DISKS.get(counts.disk, "a disk of which nothing is known")
    share = "nothing likely was found" if percent is None else f"{percent} % in volumes"
    return f"{share}: {text}, on {disk} ({human_date(one.last.at)})"


def other_scan(last: LastScan | None) -> str:
    """The last scan of anything else; its path was not kept."""
    if last is None:
        return "none"
    return f"{human_date(last.at)}: {plural(last.counts.files, 'likely file')} outside of volumes"
