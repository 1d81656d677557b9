"""What is said of how the last mount of a volume ended: for ``cloakfs status`` and ``cloakfs mount``.

Owns: the words and the JSON object (docs/json.md, ``last_lock``). Must not know: where it is remembered.
"""

from __future__ import annotations

from typing import Any, Final

from encfs.cli import output
from encfs.errors import RegisterError
from encfs.locking import LockReason
from encfs.registers import heartbeat
from encfs.registers.beat_file import Session
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
    """How the last mount of a volume on this host ended; None where that is not known, is mounted, or after a crash."""
    last = _ended(volume_id.hex())
    return None if last is None else _as_json(last)


def by_themselves() -> list[dict[str, Any]]:
    """The same of all volumes that are locked without having been simply locked, with ``volume``; the latest first."""
    try:
        ids = heartbeat.volume_ids()
    except (OSError, RuntimeError):
        return []
    found = [last for volume_id in ids if (last := _ended(volume_id)) is not None and last.reason in _BECAUSE]
    found.sort(key=lambda one: one.at, reverse=True)
    return [{"volume": one.path, **_as_json(one)} for one in found]


def _ended(volume_id: str) -> Session | None:
    try:
        last = heartbeat.last_mount(volume_id)
    except RegisterError as exc:
        output.warn(str(exc))
        return None
    except (OSError, RuntimeError):
        return None
    # A newer cloakfs may know more reasons; a crash is no lock, and the next mount tells of it.
    return last if last is not None and last.reason in list(LockReason) else None


def _as_json(last: Session) -> dict[str, Any]:
    return {"reason": last.reason, "at": last.at}


def words(last: dict[str, Any] | None) -> str | None:
    """When and why, for the end of a sentence; None if nobody needs to be told."""
    if last is None or last["reason"] not in _BECAUSE:
        return None
    return f"{output.human_time(last['at'])}, because {_BECAUSE[LockReason(last['reason'])]}"
