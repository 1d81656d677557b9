"""Where a running cloakfs keeps its control sockets and logs on this host.

Owns: these paths. Must not know: what is said over the sockets.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SUFFIX = ".sock"


def _private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise PermissionError(f"{path} does not belong to this user")
    if stat.S_IMODE(info.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def state_directory() -> Path:
    """Private directory for logs: ``/var/lib/cloakfs`` for root, else below ``$XDG_STATE_HOME``."""
    if os.geteuid() == 0:
        return _private_directory(Path("/var/lib/cloakfs"))
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return _private_directory(Path(base) / "cloakfs")


def runtime_directory() -> Path:
    """Private directory for control sockets: ``/run/cloakfs`` for root, else below ``$XDG_RUNTIME_DIR``.

    Without one (cron, a bare container) the state directory takes its place.
    """
    if os.geteuid() == 0:
        return _private_directory(Path("/run/cloakfs"))
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and os.access(base, os.W_OK):
        return _private_directory(Path(base) / "cloakfs")
    return _private_directory(state_directory() / "run")


def socket_path(volume_id: bytes) -> Path:
    """The control socket of the daemon that serves a volume."""
    return runtime_directory() / (volume_id.hex() + _SUFFIX)


def sockets() -> list[Path]:
    """All control sockets of this user, of live and of dead daemons."""
    return sorted(runtime_directory().glob("*" + _SUFFIX))
