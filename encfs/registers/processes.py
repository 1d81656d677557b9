"""Whether a process that was written down is still the one that runs.

Owns: what ``/proc`` says of it. Must not know: what it did.
"""

from __future__ import annotations

import os
from typing import Final

_AFTER_NAME: Final = b")"
# Counted from the field behind the name, which may have spaces: field 3 and field 22 of proc(5).
_STATE: Final = 0
_STARTED: Final = 19
_DEAD: Final = (b"Z", b"X")


def began(pid: int) -> int:
    """When a process began, in the kernel's ticks since boot; 0 where ``/proc`` does not tell."""
    try:
        return int(_stat(pid)[_STARTED])
    except (OSError, ValueError, IndexError):
        return 0


def has_ended(pid: int, started: int, *, same_boot: bool) -> bool:
    """Whether the process with this number that began then is gone. False where nobody can tell.

    Args:
        pid: its number.
        started: of :func:`began`.
        same_boot: whether the computer has not been started again since.
    """
    if not same_boot:
        return True
    try:
        fields = _stat(pid)
        return fields[_STATE] in _DEAD or (started != 0 and int(fields[_STARTED]) != started)
    except (FileNotFoundError, ProcessLookupError):
        return os.path.exists("/proc/self/stat")
    except (OSError, ValueError, IndexError):
        return False


def _stat(pid: int) -> list[bytes]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(_AFTER_NAME)[2].split()
