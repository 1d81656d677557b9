"""When a volume was open on this computer, as far as its audit log says.

Owns: which records begin and end that, and what is left where an end is missing. Must not know: whether the log is
right (the verifier says that), what follows for a loss (``verdict.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from encfs.core.audit_verify import Taken
from encfs.evidence.clocks import ROUGH_MS, Bounds, bounds
from encfs.format.audit_body import AuditBody, Outcome
from encfs.locking import LockReason
from encfs.units import VolumeId

_NO_BOOT: Final = bytes(16)
FOR_EVER: Final = 1 << 63
# Among so many openings before the end of a command its mount is looked for.
_LATELY: Final = 16
# These open a volume, or its keys, without a record that it was unlocked: from their beginning to their end.
_WITHOUT_UNLOCK: Final = ("key.", "policy.", "rotation.run")
# Ends of commands that open a volume. What is not named here ends nothing.
_COMMANDS: Final = frozenset(
    f"volume.{name}"
    for name in ("mount", "cat", "export", "verify", "rescue", "checkpoint", "accept", "share", "status", "closed")
)
# What says that the log itself has a hole there (encfs/audit/log.py).
GAPS: Final = frozenset({"log.missing", "log.cut-off", "log.foreign-end", "log.begun-anew", "log.gap"})


class End(StrEnum):
    """How a time in which a volume was open ended."""

    LOCKED = "locked"
    PULLED = "pulled"
    """The medium went away while it was open."""
    DONE = "done"
    """The command that had opened it came to its end."""
    RESTART = "restart"
    """The computer was started again: keys are nowhere but in memory."""
    REPLACED = "replaced"
    """Somebody opened it for writing, which needs that nobody else has it open."""
    STOPPED = "stopped"
    """Its process ended, and recorded no lock."""
    UNKNOWN = "unknown"


# Ends that nobody recorded: a later record of the same process takes them back. Also a restart, since several computers
# may share a state directory.
_CONCLUDED: Final = frozenset({End.UNKNOWN, End.REPLACED, End.RESTART, End.STOPPED})
_TOLD: Final = frozenset(End) - _CONCLUDED


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame of the log, and when it was written."""

    taken: Taken
    when: Bounds

    @property
    def seq(self) -> int:
        return self.taken.frame.seq


@dataclass(slots=True, eq=False)
class Opening:
    """A time in which a volume was open.

    Attributes:
        began: the record of that.
        is_mount: a mount, and no other command.
        pid: of the process that had it open; None where that is not known.
        seen: the last record that shows it open.
        end, ended: how, and the record that shows it; None while nothing does.
        reason: of a lock.
    """

    began: Placed
    is_mount: bool
    pid: int | None
    slot: bytes
    seen: Placed
    end: End = End.UNKNOWN
    ended: Placed | None = None
    reason: str = ""

    @property
    def boot_id(self) -> bytes:
        return self.began.taken.frame.at.boot_id

    @property
    def sure(self) -> tuple[int, int]:
        """It was open from and until then, for certain but for a moment; nothing if the second is less."""
        last = self.ended if self.ended is not None and self.end in _TOLD else self.seen
        return self.began.when.latest - ROUGH_MS, last.when.earliest + ROUGH_MS

    @property
    def possible(self) -> tuple[int, int]:
        """It cannot have been open before and after."""
        return self.began.when.earliest, FOR_EVER if self.ended is None else self.ended.when.latest

    def close(self, end: End, by: Placed, reason: str = "") -> None:
        self.end, self.ended, self.reason = end, by, reason

    def go_on(self, seen: Placed) -> None:
        """It was open still, whatever had seemed to end it."""
        self.end, self.ended, self.reason, self.seen = End.UNKNOWN, None, "", seen


@dataclass(slots=True)
class Timeline:
    """What a log says of one volume.

    Attributes:
        openings: in the order in which they began.
        records: all of this volume, in order.
        gaps: records that say that something is missing in the log, of whatever volume.
        made: the record of its creation here.
        log: every frame.
    """

    openings: list[Opening] = field(default_factory=list)
    records: list[Placed] = field(default_factory=list)
    gaps: list[Placed] = field(default_factory=list)
    made: Placed | None = None
    log: Sequence[Placed] = ()

    def is_last(self, opening: Opening) -> bool:
        """Whether nobody opened it again after the end of ``opening``."""
        ended = opening.ended
        return ended is None or self.openings[-1].began.seq < ended.seq


def place(frames: Sequence[Taken]) -> list[Placed]:
    """Each frame of a whole log, with the time in which it was written."""
    times = bounds([taken.frame.at for taken in frames])
    return [Placed(taken, when) for taken, when in zip(frames, times, strict=True)]


def timeline(log: Sequence[Placed], volume_id: VolumeId) -> Timeline:
    """When a volume was open, from all frames of a log."""
    found = _Follower()
    before: bytes | None = None
    for one in log:
        boot = one.taken.frame.at.boot_id
        if before is not None and boot != before and _NO_BOOT not in {boot, before}:
            found.restarted(one)
        before = boot
        body = one.taken.body
        if body is not None and body.action in GAPS:
            found.line.gaps.append(one)
        if body is not None and one.taken.volume_id == volume_id:
            found.line.records.append(one)
            found.take(one, body)
    found.line.log = log
    return found.line


class _Follower:
    """Takes the records of one volume in order."""

    def __init__(self) -> None:
        self.line = Timeline()
        # Those whose end nobody has recorded, by the life of the computer: few of thousands.
        self._doubtful: dict[bytes, list[Opening]] = {}

    def take(self, one: Placed, body: AuditBody) -> None:
        action, pid = body.action, _pid(body)
        if action == "volume.create":
            self.line.made = one
        elif action == "volume.unlock":
            if body.outcome is Outcome.DONE:
                self._unlocked(one, body, pid)
        elif action == "volume.mounted":
            self._mounted(one, body, pid)
        elif action == "volume.open":
            self._alive(one, pid)
        elif action == "volume.locked":
            self._locked(one, body, pid)
        elif action.startswith(_WITHOUT_UNLOCK):
            self._keys(one, body)
        elif action == "daemon.stop":
            self._stopped(one, pid)
        elif action in _COMMANDS and body.outcome is not Outcome.BEGUN:
            self._command_ended(one, action, body, pid)

    def restarted(self, one: Placed) -> None:
        for opening in self._running():
            opening.close(End.RESTART, one)

    def _running(self) -> list[Opening]:
        return [opening for some in self._doubtful.values() for opening in some if opening.ended is None]

    def _open(self, one: Placed, slot: bytes, pid: int | None, *, is_mount: bool) -> None:
        opening = Opening(one, is_mount, pid, slot, one)
        self.line.openings.append(opening)
        self._doubtful.setdefault(opening.boot_id, []).append(opening)

    def _end(self, opening: Opening, end: End, one: Placed, reason: str = "") -> None:
        """Its end is recorded."""
        opening.close(end, one, reason)
        self._doubtful[opening.boot_id].remove(opening)

    def _of_life(self, one: Placed) -> list[Opening]:
        return self._doubtful.get(one.taken.frame.at.boot_id, [])

    def _find(self, one: Placed, pid: int | None, *, mounts: bool) -> Opening | None:
        """The one of that process in this life of the computer, the latest; also one that something seemed to end."""
        fitting = (opening for opening in reversed(self._of_life(one)) if opening.is_mount is mounts)
        return next((opening for opening in fitting if opening.pid == pid), None)

    def _unlocked(self, one: Placed, body: AuditBody, pid: int | None) -> None:
        if body.detail.get("read_only") == 0:
            for opening in self._running():
                opening.close(End.REPLACED, one)
        self._open(one, body.slot, pid, is_mount=False)

    def _mounted(self, one: Placed, body: AuditBody, pid: int | None) -> None:
        command = self._find(one, pid, mounts=False)
        if pid is not None and command is not None:
            self._end(command, End.DONE, one)  # In the foreground the command is the mount.
        self._open(one, body.slot, pid, is_mount=True)

    def _alive(self, one: Placed, pid: int | None) -> None:
        """Open still. Without a process any mount of this life may be meant."""
        mine = self._find(one, pid, mounts=True)
        alive = [opening for opening in self._of_life(one) if opening.is_mount]
        if pid is not None:
            alive = [] if mine is None else [mine]
        for opening in alive:
            opening.go_on(one)
        if not alive:
            # Nobody saw it begin: it was open at this moment at least.
            self._open(one, b"", pid, is_mount=True)

    def _locked(self, one: Placed, body: AuditBody, pid: int | None) -> None:
        mine = self._find(one, pid, mounts=True) or self._find(one, None, mounts=True)
        if mine is not None:
            reason = str(body.detail.get("reason", ""))
            self._end(mine, End.PULLED if reason == LockReason.MEDIUM_GONE else End.LOCKED, one, reason)

    def _stopped(self, one: Placed, pid: int | None) -> None:
        mine = None if pid is None else self._find(one, pid, mounts=True)
        if mine is not None and mine.end is End.UNKNOWN:
            mine.close(End.STOPPED, one)

    def _keys(self, one: Placed, body: AuditBody) -> None:
        """Told apart by what is done: a break-glass key that is told meanwhile is not the end of a change of keys."""
        if body.outcome is Outcome.BEGUN:
            self._open(one, body.slot, None, is_mount=False)
            return
        mine = next((opening for opening in reversed(self._of_life(one)) if _action(opening) == body.action), None)
        if mine is not None:
            self._end(mine, End.DONE, one)

    def _command_ended(self, one: Placed, action: str, body: AuditBody, pid: int | None) -> None:
        if pid is None:
            return  # Nobody knows whose end it is.
        mine = self._find(one, pid, mounts=False)
        if mine is None:
            return
        since = mine.began.seq
        later = any(opening.is_mount and opening.began.seq > since for opening in self.line.openings[-_LATELY:])
        self._end(mine, End.DONE, one)
        if action == "volume.mount" and body.outcome is Outcome.DONE and not later:
            # Its daemon could not record that it has the volume open now.
            self._open(one, mine.slot, None, is_mount=True)


def _action(opening: Opening) -> str:
    body = opening.began.taken.body
    return "" if body is None else body.action


def _pid(body: AuditBody) -> int | None:
    pid = body.detail.get("pid")
    return pid if isinstance(pid, int) else None
