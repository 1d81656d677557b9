"""What is said of how the last mount of a volume ended: for ``cloakfs status`` and ``cloakfs mount``.

Owns: the words and the JSON object (docs/json.md, ``last_lock``). Must not know: where it is remembered.
"""

from __future__ import annotations

from typing import Any, Final

from encfs.cli import output
from encfs.host import locks
from encfs.locking import LockReason
from encfs.units import VolumeId

_BECAUSE: Final = {
    LockReason.FORCED: "it was locked with --force",
    LockReason.PANIC: "everything was locked (cloakfs lock --all)",
    LockReason.IDLE: "nobody had used it",
    LockReason.SUSPEND: "the machine went to sleep",
    LockReason.LOG_OUT: "its user had logged out",
    LockReason.MEDIUM_GONE: "its medium went away",
    LockReason.SIGNAL: "its process was told to end",
}


def of(volume_id: VolumeId) -> dict[str, Any] | None:
    """How the last mount of a volume on this host ended; None where that is not known."""
    last = locks.last_lock(volume_id)
    return None if last is None else _as_json(last)


def by_themselves() -> list[dict[str, Any]]:
    """The same of all volumes that are locked without having been simply locked, with ``volume``; the latest first."""
    return [{"volume": one.volume, **_as_json(one)} for one in locks.all_last_locks() if one.reason in _BECAUSE]


def _as_json(last: locks.LastLock) -> dict[str, Any]:
    return {"reason": str(last.reason), "at": last.at}


def words(last: dict[str, Any] | None) -> str | None:
    """When and why, for the end of a sentence; None if nobody needs to be told."""
    if last is None or last["reason"] not in _BECAUSE:
        return None
    return f"{output.human_time(last['at'])}, because {_BECAUSE[LockReason(last['reason'])]}"
