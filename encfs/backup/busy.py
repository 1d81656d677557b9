"""One thing at a time with one backup on this computer.

Owns: the lock of a plan, below ``backups`` in the state directory. Must not know: what is done meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from encfs import runtime
from encfs.errors import BackupError

FOLDER: Final = "backups"


class BusyError(BackupError):
    """Another command works on the same backup. Nothing is wrong with it."""


@contextmanager
def alone(plan_id: str) -> Iterator[None]:
    """Keep other runs of this plan off, without waiting. The lock goes with the process, however that ends.

    Raises:
        BusyError: one is under way. OSError, RuntimeError (a user without a home directory).
    """
    folder = runtime.private_directory(runtime.state_directory() / FOLDER)
    fd = os.open(folder / f"{plan_id}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BusyError(
                "this backup is being worked on already, by another command",
                hint="Wait until it has ended. A timer may have started it: systemctl list-timers",
            ) from exc
        yield
    finally:
        os.close(fd)
