"""The whole audit log of this user, read and verified at once.

Owns: what of the verifier's findings matters for a claim. Must not know: what is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from encfs.audit import anchoring
from encfs.audit.anchoring import AnchorTrouble, Judged, Kept
from encfs.audit.heads import check_auditor
from encfs.audit.home import home
from encfs.audit.log import STATE
from encfs.audit.reading import read_log
from encfs.core.audit_verify import LogVerifier, Taken, Trouble
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import UsageError
from encfs.evidence.clocks import ROUGH_MS
from encfs.evidence.timeline import Placed, place
from encfs.evidence.verdict import LogState, Memory
from encfs.evidence.when import Span
from encfs.format.audit import RECORD_CLEAR_SIZE, AuditKind
from encfs.units import VolumeId

# A lock and its record are not written in one moment.
_NEAR_MS: Final = 10_000
# It may be the anchor that is wrong, and it may be the log: then nothing of that log is claimed.
_ANOTHER_LOG: Final = frozenset({AnchorTrouble.FORKED, AnchorTrouble.FORGED, AnchorTrouble.FOREIGN})


@dataclass(frozen=True, slots=True)
class LogRead:
    """What was read.

    Attributes:
        exists: whether there is a log.
        is_readable: the auditor's key was there, so records could be opened.
        frames: all that were found, and when each was written.
        intact: pieces that a signature vouches for, first and last seq.
    """

    exists: bool
    is_readable: bool
    frames: Sequence[Placed] = ()
    state: LogState = field(default_factory=LogState)
    intact: tuple[tuple[int, int], ...] = ()
    told: dict[str, Any] = field(default_factory=dict)

    def signed_last(self, volume_id: VolumeId, memory: Memory | None, span: Span) -> bool:
        """Whether the log, unread, has its last record of this volume when it is remembered to have been locked.

        And is signed from there to after the loss, with nothing wrong in it.
        """
        own = [one for one in self.frames if _is_of(one.taken, volume_id)]
        if memory is None or memory.is_open or not own:
            return False
        last = own[-1]
        reaches = (one.seq for one in self.frames if one.seq > last.seq and one.when.earliest + ROUGH_MS >= span.last)
        until = next(reaches, None)
        if until is None or abs(last.taken.frame.at.wall_ms - memory.at * 1000) > _NEAR_MS:
            return False
        is_right = not any(seq >= last.seq for seq in self.state.wrong)
        return is_right and any(first <= last.seq and until <= end for first, end in self.intact)


def read(auditor_key: bytes | None, kept: Kept | None) -> LogRead:
    """The log as it is now.

    Args:
        auditor_key: None for the one that lies here, if it does.
        kept: the anchors that were kept elsewhere; those of other computers are passed over.

    Raises:
        UsageError: none of the anchors is of this log.
        AuditError: the key is of another log, or a key that goes with it is damaged. OSError, RuntimeError.
    """
    with home() as here:
        if STATE not in here.store.list(here.dirfd):
            return LogRead(exists=False, is_readable=False)
        key = auditor_key if auditor_key is not None else here.auditor_key()
        if auditor_key is not None:
            check_auditor(here, auditor_key)
        log_id = here.log().log_id()
        judged = Judged() if kept is None else anchoring.judge(kept, anchoring.identity(here))
        if any(problem.trouble is AnchorTrouble.NONE for problem in judged.problems):
            raise UsageError(
                "not one anchor in that file is of the audit log of this computer",
                hint="Nothing was written. Give the file with its anchors, or leave --anchors out.",
            )
        verifier = LogVerifier(CLOAKFS_1, key, judged.heads)
        frames = place([_slim(taken) for taken in read_log(here, verifier)])
    state = LogState(wrong=_wrong(verifier, judged), sealed=tuple(verifier.sealed.pieces), anchored=verifier.anchored)
    return LogRead(
        exists=True,
        is_readable=key is not None and bool(verifier.sealed.pieces),
        frames=frames,
        state=state,
        intact=tuple(verifier.intact.pieces),
        told=_told(verifier, judged, frames, log_id.hex()),
    )


def _slim(taken: Taken) -> Taken:
    """Without what nobody looks at any more: a log of six years has a few hundred thousand frames."""
    kept = RECORD_CLEAR_SIZE if taken.frame.kind is AuditKind.RECORD else 0
    return replace(taken, frame=replace(taken.frame, content=taken.frame.content[:kept]))


def _wrong(verifier: LogVerifier, judged: Judged) -> tuple[int, ...]:
    """Where something is wrong; a log that is another one than what is known elsewhere is wrong everywhere."""
    forked = any(problem.trouble is Trouble.FORKED for problem in verifier.problems)
    if forked or any(problem.trouble in _ANOTHER_LOG for problem in judged.problems):
        return tuple(range(verifier.frames + 1))
    return tuple(problem.seq for problem in verifier.problems)


def _told(verifier: LogVerifier, judged: Judged, frames: Sequence[Placed], log_id: str) -> dict[str, Any]:
    """For the record."""
    return {
        "log": log_id,
        "frames": verifier.frames,
        "first": frames[0].seq if frames else None,
        "last": frames[-1].seq if frames else None,
        "intact": [list(piece) for piece in verifier.intact.pieces],
        "sealed": [list(piece) for piece in verifier.sealed.pieces],
        "anchored": verifier.anchored,
        "clock_steps": [{"seq": step.seq, "ms": step.step_ms} for step in verifier.clock_steps],
        "problems": [
            {"trouble": str(problem.trouble), "segment": problem.segment, "seq": problem.seq}
            for problem in verifier.problems
        ],
        "anchor_problems": [{"trouble": str(one.trouble), "line": one.line, "seq": one.seq} for one in judged.problems],
    }


def _is_of(taken: Taken, volume_id: VolumeId) -> bool:
    """A record says in the clear of which volume it is."""
    return taken.frame.kind is AuditKind.RECORD and taken.frame.content[: len(volume_id)] == volume_id
