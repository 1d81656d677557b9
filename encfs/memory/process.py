"""A process that holds keys: none of its memory gets into a core dump, and none into swap where the system allows that.

Owns: the limits and flags of the process that see to it. Must not know: what is in the memory.
"""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
# Without "on fault" the stacks of 16 threads alone would make 145 MB of a daemon of 44 MB resident.
_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4

_libc: Final = ctypes.CDLL(None, use_errno=True)


def protect() -> None:
    """Protect this process, and all that it will ever map; after a fork again, because locks are not inherited.

    No core dump, no ptrace and no look into ``/proc`` by others of the same user. Memory is locked only where its
    amount is not limited: under a limit the kernel would refuse memory later, in the middle of a write.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _leave_out_of_dumps()
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _lock_all()


def is_locked() -> bool:
    """Whether the memory of this process is locked, as the kernel tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmLck:"):
            return int(line.split()[1]) > 0
    return False


def _leave_out_of_dumps() -> None:
    """For tools that dump a process from outside, as root. Unlike MADV_DONTDUMP it holds for later mappings too."""
    try:
        Path("/proc/self/coredump_filter").write_text("0")
    except OSError:
        return  # Protected already and not root's, so the file is another's now; or a kernel without core dumps.


def _lock_all() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = hard == resource.RLIM_INFINITY
    # Under a limit of zero the kernel lets only those lock to whom no limit applies (CAP_IPC_LOCK).
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard if unlimited else 0, hard))
    _libc.mlockall(_MCL_CURRENT_FUTURE_ONFAULT)
    if not unlimited:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
