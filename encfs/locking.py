"""When a mount locks by itself, and why it was locked, in words that mount and command line share.

Owns: the reasons, the rule of idleness. Must not know: how a mount is used, taken off, or remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from encfs.happenings import FileJournal, RotationJournal


class LockReason(StrEnum):
    """Why a mount ended. The values are in the heartbeat (FORMAT.md section 17) and in JSON."""

    ASKED = "asked"
    UNMOUNTED = "unmounted"
    FORCED = "forced"
    PANIC = "panic"
    IDLE = "idle"
    SUSPEND = "suspend"
    LOG_OUT = "log-out"
    MEDIUM_GONE = "medium-gone"
    SIGNAL = "signal"


class WhenOpen(StrEnum):
    """What happens to an idle mount in which programs still have files open or work in a directory.

    ``wait`` until they have not; ``warn`` in the log, and wait; ``force``: they are cut off.
    """

    WAIT = "wait"
    WARN = "warn"
    FORCE = "force"


@dataclass(frozen=True, slots=True)
class IdleRule:
    """Lock after so many seconds in which no program has used the mount."""

    seconds: float
    when_open: WhenOpen = WhenOpen.WAIT


@dataclass(frozen=True, slots=True)
class IntegrityEvent:
    """Something in the volume was not what was written there: what, at which lower inode, and a word more; no names."""

    what: str
    inode: int
    detail: str


class MountJournal(RotationJournal, Protocol):
    """Who records what happens to a mount.

    Attributes:
        files: who records what programs do with its files; None where nobody wants that.
    """

    @property
    def files(self) -> FileJournal | None: ...

    def started(self) -> None:
        """The process that serves it begins."""
        ...

    def stopped(self, *, failed: bool) -> None:
        """It ends; ``failed``: by an error of its own, or because mounting was not possible."""
        ...

    def mounted(self) -> None:
        """The volume is mounted: how it was locked before is history."""
        ...

    def meanwhile(self, events: Sequence[IntegrityEvent], missed: int) -> None:
        """Called now and then while it is mounted, and before its end.

        Args:
            events: what was found since the last call, the latest ones.
            missed: how many more there were.
        """
        ...

    def locked(self, reason: LockReason) -> None:
        """The volume is locked, or its keys are gone, as of now. Where the medium went away this is called twice."""
        ...
