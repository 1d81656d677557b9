"""Logs of a computer's life, made up: frames as the verifier gives them, without keys and files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from encfs.audit.home import directory, home
from encfs.audit.log import AuditLog, LogKeys
from encfs.core.audit_verify import Taken
from encfs.evidence.timeline import Timeline, place, timeline
from encfs.evidence.verdict import LogState
from encfs.evidence.when import Span
from encfs.format.audit import AuditFrame, AuditKind, CheckpointReason, Clock, Moment
from encfs.format.audit_body import AuditBody, Outcome
from encfs.units import VolumeId

VOLUME = VolumeId(b"V" * 16)
OTHER = VolumeId(b"O" * 16)
SLOT = b"S" * 8
START = 1_800_000_000
"""Seconds since 1970 of the first frame."""
MOUNT = 700
COMMAND = 600


def at(minutes: float) -> int:
    """So many minutes after the first frame: seconds since 1970."""
    return START + int(minutes * 60)


def minute(minutes: float) -> Span:
    """One minute, as somebody gives it."""
    return Span(at(minutes) * 1000, at(minutes) * 1000 + 59_999, "then")


@dataclass
class Life:
    """What happens on a computer, minute by minute; each call is a frame. Begins with a frame at minute 0.

    Attributes:
        volume: which one its records are about.
        offset: what the clock shows more than it should, seconds.
    """

    now: float = 0
    boot: int = 1
    clock: Clock = Clock.SYNCHRONISED
    offset: int = 0
    volume: VolumeId = VOLUME
    frames: list[Taken] = field(default_factory=list)
    booted: float = -10

    def __post_init__(self) -> None:
        self.tick(0)

    def tick(self, minutes: float) -> int:
        """A frame that says nothing; its seq."""
        return self._add(minutes, AuditKind.CHECKPOINT, None, None)

    def record(self, minutes: float, action: str, outcome: Outcome = Outcome.DONE, **detail: str | int) -> int:
        body = AuditBody(action=action, outcome=outcome, uid=1000, slot=SLOT, detail=detail)
        return self._add(minutes, AuditKind.RECORD, self.volume, body)

    def mount(self, minutes: float, pid: int = MOUNT, *, read_only: int = 0) -> None:
        self.record(minutes, "volume.unlock", pid=COMMAND, read_only=read_only)
        self.record(minutes, "volume.mounted", pid=pid)
        self.record(minutes, "volume.mount", pid=COMMAND, exit=0)

    def lock(self, minutes: float, reason: str = "asked", pid: int = MOUNT) -> int:
        return self.record(minutes, "volume.locked", reason=reason, pid=pid)

    def restart(self, minutes: float) -> None:
        self.boot += 1
        self.booted = minutes - 1
        self.tick(minutes)

    def _add(self, minutes: float, kind: AuditKind, volume: VolumeId | None, body: AuditBody | None) -> int:
        assert minutes >= self.now, "frames are in order"
        self.now = minutes
        moment = Moment(
            boot_id=bytes([self.boot]) * 16,
            wall_ms=(at(minutes) + self.offset) * 1000,
            mono_ms=int((minutes - self.booted) * 60_000),
            clock=self.clock,
        )
        frame = AuditFrame(kind=kind, seq=len(self.frames), epoch=0, at=moment, content=b"")
        self.frames.append(Taken(frame, volume, body))
        return frame.seq

    def write(self, end_ms: int) -> None:
        """Make the audit log of this user out of it, the last frame at ``end_ms``; there must be none yet."""
        shift = end_ms - self.frames[-1].frame.at.wall_ms
        times = iter([replace(one.frame.at, wall_ms=one.frame.at.wall_ms + shift) for one in self.frames])
        now = next(times)
        with home() as here:
            signer = here.signer()
            keys = LogKeys(Path(directory(), "auditor.pub").read_bytes(), signer)
            log = AuditLog(here.store, here.dirfd, keys, now=lambda: now)
            log.begin()
            for taken, now in zip(self.frames[1:], times, strict=True):  # noqa: B007 - the clock looks at it
                if taken.body is not None:
                    log.record(taken.volume_id or self.volume, taken.body)
                else:
                    log.checkpoint(CheckpointReason.ASKED)

    def line(self) -> Timeline:
        return timeline(place(self.frames), self.volume)

    def whole(self, anchored: int | None = None) -> LogState:
        """A log in which nothing is wrong."""
        return LogState(sealed=((0, len(self.frames) - 1),), anchored=anchored)
