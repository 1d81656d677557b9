"""That the last mount of a volume on this host was never locked: told to the audit log by whoever opens it next.

Owns: what is told of it, and to people of the repair. Must not know: what is repaired, the bytes of the heartbeat.
"""

from __future__ import annotations

import socket
from typing import Any

from encfs.audit import clock
from encfs.cli import auditing, output
from encfs.errors import RegisterError
from encfs.format.audit_body import Outcome
from encfs.registers.beat_file import State
from encfs.registers.heartbeat import last_mount
from encfs.registers.processes import has_ended
from encfs.units import VolumeId
from encfs.volume import Volume


def unlocked_since(volume_id: VolumeId) -> int | None:
    """Since when a mount is "open" in the heartbeat whose process is gone; None if there is none, or nobody can tell.

    Asked before this process writes into the heartbeat itself, which then says how that mount ended.
    """
    try:
        last = last_mount(volume_id.hex())
    except (RegisterError, OSError, RuntimeError):
        return None
    if last is None or last.state is not State.OPEN:
        return None
    gone = has_ended(last.pid, last.started, same_boot=last.boot == clock.now().boot_id.hex())
    return last.since if gone else None


def tell(volume_id: VolumeId, slot: bytes, since: int | None, volume: Volume | None = None) -> None:
    """Record it, once.

    Args:
        volume_id: which.
        slot: what has opened it now.
        since: of :func:`unlocked_since`.
        volume: if all of it was opened: the sessions that were recovered now are told too.
    """
    detail: dict[str, str | int] = {} if since is None else {"mounted_at": since}
    if volume is not None and volume.recovery is not None:
        detail |= {"repaired": volume.recovery.total, "failed": volume.recovery.failed, "sessions": len(volume.crashed)}
        hosts = {record.host.decode("ascii", "replace") for record in volume.crashed} - {socket.gethostname()}
        if hosts:
            detail["hosts"] = " ".join(sorted(hosts))
    if detail:
        auditing.tell("volume.crash-found", Outcome.FAILED, volume_id, slot=slot, **detail)


def recovery_text(recovery: dict[str, Any]) -> str:
    """What recovery did, in one sentence."""
    repairs = sum(recovery["repaired"].values())
    checked = f"a crash came before; {output.plural(recovery['objects'], 'entry was', 'entries were')} checked"
    done = f", {output.plural(repairs, 'repair was', 'repairs were')} made" if repairs else ", and all was in order"
    failed = recovery["failed"]
    left = f"; {output.plural(failed, 'is', 'are')} damaged: run cloakfs verify" if failed else ""
    return checked + done + left
