"""The pages of an evidence pack behind the first two: volumes, media, exceptions, the log.

Owns: their words. Must not know: the first pages, how pages are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from encfs.format.slots import SlotKind
from encfs.sheets.report import Block, Facts, Heading, Paragraph, Table
from encfs.wording import human_date, human_size, human_time, plural

_VOUCHED: Final = {
    "opened": "its keys, when this pack was made",
    "as-it-lies": "nobody: it was read without a key while it was locked",
    "remembered": "this computer, which wrote it down when it was opened here on {day}; it cannot be read now",
    "unknown": "nobody: how it is encrypted is not known here",
}
_KINDS: Final = {
    SlotKind.PASSPHRASE.value: "passphrase",
    SlotKind.RECOVERY.value: "recovery key on paper",
    SlotKind.SHARES.value: "shares of a recovery key",
    SlotKind.KEY_FILE.value: "key file",
    SlotKind.PASSPHRASE_AND_KEY_FILE.value: "passphrase with key file",
}
_SUITES: Final = {"cloakfs-1": "AES-256-GCM (suite cloakfs-1)"}
_RULES: Final = {
    "epoch_days": "a new epoch key after {} days",
    "slot_days": "each slot made anew after {} days",
    "kdf_memory_kib": "Argon2id with {} KiB or more",
    "kdf_passes": "Argon2id with {} passes or more",
    "passphrase_characters": "passphrases of {} characters or more",
    "passphrase_score": "passphrases with a zxcvbn score of {} or more",
    "idle_seconds": "locked when unused for {} seconds",
    "recovery_slots": "{} recovery keys or more",
}
_STATES: Final = {"in": "in the house", "out": "out", "lost": "LOST", "destroyed": "destroyed"}


def at(seconds: int | None) -> str:
    """A point in time; ``-`` for none."""
    return "-" if seconds is None else human_time(seconds)


def day(seconds: int | None) -> str:
    """Its day."""
    return "-" if seconds is None else human_date(seconds)


def volumes(body: Mapping[str, Any]) -> list[Block]:
    """Each volume: facts, what opens it, changes of its keys."""
    blocks: list[Block] = [Heading("Volumes")]
    if not body["volumes"]:
        blocks.append(Paragraph("No encrypted volume is known here."))
    for one in body["volumes"]:
        blocks += _volume(one)
    return blocks


def _volume(one: Mapping[str, Any]) -> list[Block]:
    config = one["config"]
    vouched = _VOUCHED[one["vouched"]].format(day=day(one["noted"]))
    rows = [("Volume id", one["volume_id"])]
    if one["destroyed"] is not None:
        rows.append(("DESTROYED", f"its keys were destroyed on {at(one['destroyed'])}"))
    rows.append(("Who vouches for this", vouched))
    if config is not None:
        cells = human_size(config["cell_size"])
        since = at(one["encrypted_since"])
        rows += [
            ("Encrypted with", f"{_SUITES.get(config['suite'], config['suite'])}, cells of {cells}"),
            ("Encrypted since", f"{since}: all in it, from its first byte on"),
            ("Keys in use since", at(config["key_since"])),
            ("Rules", "; ".join(_rule(name, value) for name, value in config["rules"].items()) or "none are set"),
        ]
    rows += [
        ("Last seen here", _last_seen(one)),
        ("Verified in full", _verified(one["verified"])),
        ("On media", ", ".join(one["media"]) or "on none of the register"),
        ("Shared as", ", ".join(one["shares"]) or "not shared by this computer"),
    ]
    blocks: list[Block] = [Heading(one["path"] or f"volume {one['volume_id'][:8]}", small=True), Facts(rows)]
    if config is not None:
        blocks += [*_slots(config["slots"]), *_rotations(config["rotations"])]
    return blocks


def _rule(name: str, value: int) -> str:
    return _RULES[name].format(f"{value:,}") if name in _RULES else f"{name}: {value:,}"


def _last_seen(one: Mapping[str, Any]) -> str:
    if one["mounted"]:
        return "open now"
    beat = one["last_seen"]
    if beat is None:
        return "never opened here, as far as is written down"
    how = "open" if beat["state"] == "open" else f"locked ({beat['reason']})"
    label = f", opened with {beat['slot_label']}" if beat["slot_label"] else ""
    return f"{how} on {at(beat['at'])}, on {beat['host']}{label}"


def _verified(verified: Mapping[str, Any] | None) -> str:
    if verified is None or not verified["at"]:
        return "never by this user on this computer"
    wrong = verified["wrong"]
    found = plural(wrong, "thing was", "things were") + " wrong" if wrong else "nothing was wrong"
    return f"{at(verified['at'])}: {found}"


def _slots(slots: Sequence[Mapping[str, Any]]) -> list[Block]:
    rows = [
        (
            slot["label"] or "-",
            _KINDS.get(slot["kind"], slot["kind"]),
            day(slot["created"]),
            slot["cost"] or "no passphrase",
            slot["id"],
        )
        for slot in slots
    ]
    head = ("Opens it", "Kind", "Made", "Cost of one guess", "Id of the slot")
    return [Table(head, rows, widths=(4, 4, 3, 4, 5))]


def _rotations(rotations: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not rotations:
        return [Paragraph("The keys were never replaced.")]
    rows = [
        (
            str(one["epoch"]),
            one["reason"],
            at(one["started"]),
            at(one["finished"]) if one["finished"] else "not finished",
            ("all files encrypted anew" if one["data"] else "keys sealed anew") + f", {one['files']:,} entries",
        )
        for one in rotations
    ]
    return [Table(("Keys no.", "Reason", "Began", "Completed", "What"), rows, widths=(2, 3, 4, 4, 5))]


def media(body: Mapping[str, Any]) -> list[Block]:
    """The register of media."""
    if not body["media"]:
        return [Heading("Media"), Paragraph("None is in the register.")]
    names = {one["volume_id"]: one["path"] for one in body["volumes"]}
    rows = [
        (
            one["label"],
            f"{one['kind']} {one['serial']}".strip(),
            f"{_STATES[one['state']]} since {day(one['since'])}",
            one["holder"] or "-",
            one["place"] or "-",
            day(one["due"]),
            ", ".join(names.get(each) or each[:8] for each in one["volumes"]) or "-",
        )
        for one in body["media"]
    ]
    head = ("Label", "What", "State", "Who has it", "Place", "Due back", "Volumes")
    return [Heading("Media"), Table(head, rows, widths=(3, 4, 4, 3, 3, 3, 5))]


def exceptions(body: Mapping[str, Any]) -> list[Block]:
    """The register of exceptions."""
    blocks: list[Block] = [Heading("Data that is not encrypted, on purpose")]
    if not body["exceptions"]:
        return [*blocks, Paragraph("No such decision is in the register.")]
    rows = [
        (
            one["id"],
            one["dataset"],
            one["reason"],
            one["controls"],
            one["approver"],
            day(one["review"]) if one["withdrawn"] is None else f"ended {day(one['withdrawn'])}",
        )
        for one in body["exceptions"]
    ]
    head = ("Id", "Data", "Why", "Protected instead by", "Approved by", "Holds until")
    return [*blocks, Table(head, rows, widths=(1, 4, 4, 5, 3, 3))]


def log(body: Mapping[str, Any]) -> list[Block]:
    """How the audit log stands, and what is in it."""
    found = body["log"]
    sealed = "not seen: that needs the auditor's key" if found["sealed"] is None else _pieces(found["sealed"])
    rows = [
        ("Log", found["log_id"]),
        ("Records and marks", f"{found['frames']:,}, from {at(found['first_at'])}"),
        ("Intact", f"{_pieces(found['intact'])} (a signature of this computer vouches for it)"),
        ("Sealed", sealed),
        ("Problems", ", ".join(f"{name}: {count:,}" for name, count in found["problems"].items()) or "none"),
        ("Clock was set", plural(found["clock_steps"], "time")),
        ("Anchored, it remembers", "; ".join(_anchor(one) for one in found["anchors"]) or "nowhere"),
        ("Signed for this pack", f"up to {found['seq']:,}, head {found['head']}"),
    ]
    blocks: list[Block] = [Heading("The audit log"), Facts(rows)]
    if found["counts"]:
        blocks.append(Paragraph("How often each action is in it:"))
        counts = [(name, f"{count:,}") for name, count in found["counts"].items()]
        blocks.append(Table(("Action and outcome", "Times"), counts, widths=(4, 1)))
    return blocks


def _anchor(one: Mapping[str, Any]) -> str:
    where = f" {one['host']}" if one["host"] else ""
    return f"{one['place']}{where}: up to {one['seq']:,} on {at(one['at'])}"


def _pieces(pieces: Sequence[Sequence[int]]) -> str:
    return ", ".join(f"{first:,} to {last:,}" for first, last in pieces) or "nothing"


def registers(body: Mapping[str, Any]) -> list[Block]:
    """Entries of the other registers."""
    rows = [
        (name, at(one["at"]), one["kind"], _told(one.get("data", {})), one["digest"][:16])
        for name, entries in body["registers"].items()
        for one in entries
    ]
    blocks: list[Block] = [Heading("Other registers")]
    if not rows:
        return [*blocks, Paragraph("Reviews of the log, backups, trials of them, incidents: nothing is written down.")]
    head = ("Register", "When", "What", "More", "Digest begins")
    return [*blocks, Table(head, rows, widths=(3, 4, 3, 6, 4))]


def _told(data: Mapping[str, Any]) -> str:
    """The plain values of an entry."""
    told = []
    for name, value in data.items():
        if isinstance(value, list):
            told += [f"{name}: {one}" for one in value if isinstance(one, str | int)]
        elif isinstance(value, str | int):
            told.append(f"{name}: {value}")
    return "\n".join(told)


def events(body: Mapping[str, Any]) -> list[Block]:
    """The records that are told one by one."""
    found = body["log"]
    if not found["events"]:
        return []
    rows = [
        (
            f"{one['seq']:,}",
            at(one["at"]),
            f"{one['action']} {one['outcome']}",
            "-" if one["volume"] is None else one["volume"][:8],
            "; ".join(
                [f"user {one['uid']}"]
                + ([f"on {one['object']}"] if one["object"] else [])
                + [f"{name} {value}" for name, value in one["detail"].items()]
            ),
        )
        for one in found["events"]
    ]
    blocks: list[Block] = [Heading("Records of the audit log")]
    if found["left_out"]:
        blocks.append(Paragraph(f"The latest ones; {found['left_out']:,} earlier ones are left out."))
    head = ("No.", "When", "What", "Volume", "More")
    return [*blocks, Table(head, rows, widths=(2, 4, 5, 3, 6))]
