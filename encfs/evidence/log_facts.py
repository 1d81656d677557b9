"""What the audit log of this host can show: how much of it is proved, and what it says of volumes.

Owns: reading it for a report. Must not know: what is made of it, the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from encfs.audit import journal
from encfs.audit.anchor_notes import LastAnchor, last_anchors
from encfs.audit.heads import check_auditor
from encfs.audit.home import home
from encfs.audit.reading import read_log
from encfs.core.audit_verify import LogVerifier, Taken
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.audit import CheckpointReason

# What is told one by one; of all else only how often.
_TOLD: Final = ("key.", "policy.", "rotation.", "stick.", "log.", "clock.", "evidence.", "incident.", "backup.")
_TOLD_TOO: Final = frozenset(
    {"volume.create", "volume.verify", "volume.repair", "volume.export", "volume.rescue", "volume.integrity"}
    | {"volume.share", "volume.unshare", "volume.crash-found", "volume.destroy", "volume.handover", "volume.accept"}
)
_TOLD_MOST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What can be said of the log.

    Attributes:
        log_id: hexadecimal.
        seq, head: of the checkpoint that was signed for this; the head is hexadecimal. Kept elsewhere they anchor it.
        frames: how many there are.
        first_at, last_at: when the first and the last one were written, seconds since 1970.
        intact: pieces that a signature of this host vouches for.
        sealed: pieces whose every frame has the right MAC; None without the auditor's key.
        problems: how often each trouble was found.
        clock_steps: how often the clock was set.
        counts: how often each action ended in which way; None without the auditor's key.
        events: the latest ones that are told one by one, as a document has them; None without the auditor's key.
        left_out: how many of those came before them.
        anchors: the last one to each kind of place, as this host remembers it: that proves nothing by itself.
    """

    log_id: str
    seq: int
    head: str
    frames: int
    first_at: int
    last_at: int
    intact: tuple[tuple[int, int], ...]
    sealed: tuple[tuple[int, int], ...] | None
    problems: Mapping[str, int]
    clock_steps: int
    counts: Mapping[str, int] | None
    events: tuple[Mapping[str, Any], ...] | None
    left_out: int = 0
    anchors: Mapping[str, LastAnchor] = field(default_factory=dict)


def log_facts(auditor_key: bytes | None, volumes: Collection[str] | None) -> LogFacts:
    """Sign the log as it is now, then read and verify all of it.

    Args:
        auditor_key: what opens the records; where None, the one that lies on this host, if it does still.
        volumes: only events of these and of none, ids in hexadecimal; None: all.

    Raises:
        AuditorKeyError: that key is of another log. AuditError, OSError, RuntimeError.
    """
    seq, head = journal.checkpoint(CheckpointReason.ASKED)
    with home() as here:
        key = auditor_key if auditor_key is not None else here.auditor_key()
        if auditor_key is not None:
            check_auditor(here, auditor_key)
        verifier = LogVerifier(CLOAKFS_1, key)
        counts: Counter[str] = Counter()
        events: list[Mapping[str, Any]] = []
        first_at = last_at = 0
        for taken in read_log(here, verifier):
            last_at = taken.frame.at.wall_ms // 1000
            first_at = first_at or last_at
            event = _event(taken)
            if event is None or (volumes is not None and event["volume"] not in {None, *volumes}):
                continue
            counts[f"{event['action']} {event['outcome']}"] += 1
            if event["action"].startswith(_TOLD) or event["action"] in _TOLD_TOO:
                events.append(event)
        log_id = here.log().log_id().hex()
        anchors = {str(kind): last for kind, last in last_anchors(here).items()}
    return LogFacts(
        log_id=log_id,
        seq=seq,
        head=head.hex(),
        frames=verifier.frames,
        first_at=first_at,
        last_at=last_at,
        intact=tuple(verifier.intact.pieces),
        sealed=None if key is None else tuple(verifier.sealed.pieces),
        problems=Counter(str(problem.trouble) for problem in verifier.problems),
        clock_steps=len(verifier.clock_steps),
        counts=None if key is None else dict(sorted(counts.items())),
        events=None if key is None else tuple(events[-_TOLD_MOST:]),
        left_out=max(0, len(events) - _TOLD_MOST),
        anchors=anchors,
    )


def _event(taken: Taken) -> dict[str, Any] | None:
    body = taken.body
    if body is None:
        return None
    return {
        "seq": taken.frame.seq,
        "at": taken.frame.at.wall_ms // 1000,
        "action": body.action,
        "outcome": str(body.outcome),
        "uid": body.uid,
        "slot": body.slot.hex(),
        "volume": taken.volume_id.hex() if taken.volume_id and any(taken.volume_id) else None,
        "object": body.object,
        "detail": dict(body.detail),
    }
