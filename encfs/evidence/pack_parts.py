"""The parts of a pack as a document has them: objects of docs/json.md.

Owns: their fields. Must not know: what follows from them.
"""

from __future__ import annotations

from typing import Any

from encfs.evidence.facts import ConfigFacts, VolumeFacts
from encfs.evidence.log_facts import LogFacts
from encfs.registers.exceptions import DataException
from encfs.registers.folder import text_of
from encfs.registers.heartbeat import Beat
from encfs.registers.ledger import Entry
from encfs.registers.media import Medium
from encfs.wording import printable


def is_destroyed(one: VolumeFacts) -> bool:
    """Whether this host has destroyed its keys."""
    return one.known is not None and one.known.destroyed is not None


def volume(one: VolumeFacts) -> dict[str, Any]:
    """One volume; ``config`` is null where it is not known."""
    return {
        "volume_id": one.volume_id,
        "path": text_of(one.path),
        "vouched": str(one.vouched),
        "noted": one.noted,
        "mounted": one.mounted,
        "encrypted_since": one.encrypted_since,
        "first_seen": None if one.known is None else one.known.first_seen,
        "destroyed": None if one.known is None else one.known.destroyed,
        "config": None if one.config is None else _config(one.config),
        "last_seen": None if one.beat is None else _beat(one.beat),
        "verified": None if one.verified is None else {"at": one.verified.at, "wrong": one.verified.wrong},
        "media": [medium.label for medium in one.media],
        "shares": list(one.shares),
    }


def _config(config: ConfigFacts) -> dict[str, Any]:
    return {
        "created": config.created,
        "suite": config.suite,
        "cell_size": config.cell_size,
        "key_since": config.key_since,
        "rules": dict(config.rules),
        "slots": [
            {
                "id": slot.id,
                "kind": printable(slot.kind),
                "label": printable(slot.label),
                "created": slot.created,
                "cost": slot.cost,
            }
            for slot in config.slots
        ],
        "rotations": [
            {
                "epoch": one.epoch,
                "reason": one.reason,
                "started": one.started,
                "finished": one.finished or None,
                "data": one.data,
                "files": one.files,
            }
            for one in config.rotations
        ],
    }


def _beat(beat: Beat) -> dict[str, Any]:
    return {
        "state": str(beat.state),
        "at": beat.at,
        "since": beat.since,
        "host": beat.host,
        "slot": beat.slot,
        "slot_label": printable(beat.slot_label),
        "reason": beat.reason,
        "digest": beat.digest,
        "signer": beat.signer.fingerprint(),
    }


def medium(one: Medium) -> dict[str, Any]:
    """One medium, as the register has it."""
    return {
        "label": one.label,
        "serial": one.serial,
        "kind": str(one.kind),
        "volumes": list(one.volumes),
        "holder": one.holder,
        "place": one.place,
        "due": one.due,
        "state": str(one.state),
        "since": one.since,
        "lost_at": one.lost_at,
    }


def exception(one: DataException) -> dict[str, Any]:
    """One exception, as the register has it."""
    return {
        "id": one.id,
        "dataset": one.dataset,
        "reason": one.reason,
        "controls": one.controls,
        "approver": one.approver,
        "review": one.review,
        "added": one.added,
        "reviewed": one.reviewed,
        "withdrawn": one.withdrawn,
    }


def log(facts: LogFacts) -> dict[str, Any]:
    """What the log shows; null for what is seen only with the auditor's key."""
    return {
        "log_id": facts.log_id,
        "seq": facts.seq,
        "head": facts.head,
        "frames": facts.frames,
        "first_at": facts.first_at,
        "last_at": facts.last_at,
        "intact": [list(piece) for piece in facts.intact],
        "sealed": None if facts.sealed is None else [list(piece) for piece in facts.sealed],
        "problems": dict(facts.problems),
        "clock_steps": facts.clock_steps,
        "counts": None if facts.counts is None else dict(facts.counts),
        "events": None if facts.events is None else [dict(event) for event in facts.events],
        "left_out": facts.left_out,
        "anchors": [
            {"place": kind, "at": last.at, "seq": last.seq, "host": printable(last.host)}
            for kind, last in sorted(facts.anchors.items())
        ],
    }


def entry(one: Entry, *, whole: bool) -> dict[str, Any]:
    """A line of a register; if not ``whole``, only that there is one. The audit log has its digest."""
    data = {"data": dict(one.data)} if whole else {}
    return data | {
        "seq": one.seq,
        "at": one.at,
        "uid": one.uid,
        "kind": one.kind,
        "digest": one.digest,
        "signer": one.signer.fingerprint(),
    }
