"""Where a running cloakfs keeps its control sockets and logs on this host.

Owns: these paths. Must not know: what is said over the sockets.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SUFFIX = ".sock"


def private_directory(path: Path) -> Path:
    """Make a directory for this user alone.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise PermissionError(f"{path} does not belong to this user")
    if stat.S_IMODE(info.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def state_directory() -> Path:
    """Private directory for what this host remembers: ``/var/lib/cloakfs`` for root, else below ``$XDG_STATE_HOME``.

    ``$CLOAKFS_STATE_DIRECTORY`` names another one; where that belongs to another user, each has one of his own in it.

    Raises:
        OSError: it cannot be made.
        RuntimeError: this user has no home directory.
    """
    chosen = os.environ.get("CLOAKFS_STATE_DIRECTORY")
    if chosen:
        directory = Path(chosen).absolute()
        if directory.exists() and directory.stat().st_uid != os.geteuid():
            directory /= f"uid-{os.geteuid()}"
        return private_directory(directory)
    if os.geteuid() == 0:
        return private_directory(Path("/var/lib/cloakfs"))
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return private_directory(Path(base) / "cloakfs")


def runtime_directories() -> list[Path]:
    """Private directories for control sockets, the preferred one first.

    root: ``/run/cloakfs``. Others: below ``$XDG_RUNTIME_DIR``, below ``/run/user/UID``, below the state directory.
    A mount from cron knows less of these than a login session does, so sockets are looked for in all of them.
    """
    if os.geteuid() == 0:
        return [private_directory(Path("/run/cloakfs"))]
    bases = [os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.geteuid()}"]
    usable = dict.fromkeys(base for base in bases if base and os.access(base, os.W_OK))
    return [private_directory(Path(base) / "cloakfs") for base in usable] + [
        private_directory(state_directory() / "run")
    ]


def socket_path(volume_id: bytes) -> Path:
    """The control socket of the daemon that serves a volume: where it is, or where it is to be."""
    paths = [directory / (volume_id.hex() + _SUFFIX) for directory in runtime_directories()]
    return next((path for path in paths if path.exists()), paths[0])


def sockets_of_user(volume_id: bytes, uid: int, home: str) -> list[Path]:
    """Where root finds the control socket of a user's daemon, if that user has set no other directories."""
    places = (Path(f"/run/user/{uid}/cloakfs"), Path(home, ".local", "state", "cloakfs", "run"))
    return [path for place in places if (path := place / (volume_id.hex() + _SUFFIX)).exists()]


def sockets() -> list[Path]:
    """All control sockets of this user, of live and of dead daemons."""
    return sorted(path for directory in runtime_directories() for path in directory.glob("*" + _SUFFIX))
