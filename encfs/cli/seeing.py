"""What this host keeps of a volume for the day on which it is not here: after it was opened, and before it leaves.

Owns: when that is remembered. Must not know: where (``encfs/host/last_seen.py``), what follows from it
(``encfs/evidence``).
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

from encfs.cli import doctor_facts, output
from encfs.doctor.near import Search
from encfs.errors import AuditError, CloakfsError
from encfs.evidence.facts import snapshot
from encfs.format.config import Config
from encfs.host import last_seen
from encfs.host.last_seen import Look
from encfs.registers import configs
from encfs.volume import Volume, read_config
from encfs.volume.sessions import as_dict

# At a mount somebody waits: a stick has fewer entries than this beside its volume, and what has more is doctor's.
AT_A_MOUNT: Final = 2000
_OF_A_SESSION: Final = ("state", "started", "ended", "host", "uid")


def opened(volume: Volume) -> None:
    """It is open: what it is made of is authenticated now, and so is who had it open before."""
    sessions = [_session(as_dict(record)) for record in volume.sessions.records()]
    config = volume.config
    _warn(last_seen.remember_sessions(config.volume_id, sessions, int(time.time())))
    keys_changed(config)


def keys_changed(config: Config) -> None:
    """These keys open it from now on. Where that cannot be written down work goes on."""
    try:
        configs.note(config.volume_id.hex(), snapshot(config))
    except (AuditError, OSError, RuntimeError) as exc:
        why = (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else str(exc)
        output.warn(f"which keys open this volume cannot be written down on this computer: {why}")


def looked(config: Config, search: Search) -> None:
    """Its medium was looked through for keys."""
    kinds = tuple(sorted(str(secret.kind) for secret in search.secrets))
    look = Look(int(time.time()), search.complete, search.looked_at, kinds)
    _warn(last_seen.remember_look(config.volume_id, look))


def look(volume: str, *, entries_max: int | None = None) -> None:
    """Look through the medium of a volume, as far as that goes; what cannot be read is nobody's trouble here."""
    path = os.fsencode(volume)
    try:
        config = read_config(path)
        search = doctor_facts.look_near(path, entries_max=entries_max)
    except (CloakfsError, OSError):
        return
    looked(config, search)


def _session(record: dict[str, object]) -> dict[str, Any]:
    return {name: record[name] for name in _OF_A_SESSION}


def _warn(problems: list[str]) -> None:
    for problem in problems:
        output.warn(problem)
