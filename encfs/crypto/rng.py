"""Randomness: every random byte of cloakfs comes from the kernel, through here.

Owns: the source of nonces, keys and ids (FORMAT.md section 1). Must not know: what they are for.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from typing import Final

_BATCH: Final = 1024
"""IOV_MAX of Linux: more views than this in one readv fail."""

_BULK: Final = hasattr(os, "getrandom") and hasattr(os, "readv")
"""Whether this is Linux, where one call fills many views."""

_URANDOM_DEVICE: Final = os.makedev(1, 9) if _BULK else -1

_lock = threading.Lock()
_urandom_fd = -1


def random_bytes(n: int) -> bytes:
    """``n`` random bytes."""
    return os.urandom(n)


def fill(views: Sequence[memoryview]) -> None:
    """Fill each writable view with random bytes; one system call per 1,024 views.

    Raises:
        OSError: the kernel gave none. The views must then not be used.
    """
    if not views:
        return
    if len(views) == 1:
        views[0][:] = os.urandom(len(views[0]))  # 0.6 us; the way through the device takes 3.
        return
    if not _BULK:
        _fill_rest(views, 0)
        return
    fd = _checked_fd()
    for start in range(0, len(views), _BATCH):
        batch = views[start : start + _BATCH]
        wanted = sum(map(len, batch))
        got = os.readv(fd, batch)
        if got != wanted:
            _fill_rest(batch, got)


def _fill_rest(batch: Sequence[memoryview], done: int) -> None:
    # A signal can end a large read early. os.urandom never returns short.
    for view in batch:
        if done < len(view):
            view[done:] = os.urandom(len(view) - done)
            done = 0
        else:
            done -= len(view)


def _checked_fd() -> int:
    """The cached descriptor, reopened if something closed it.

    A daemon that closes all descriptors would leave a number that soon means another file, and
    its bytes would become nonces: so the device is checked before each use.
    """
    global _urandom_fd
    with _lock:
        if _urandom_fd >= 0 and _is_urandom(_urandom_fd):
            return _urandom_fd
        # Unlike getrandom, the device does not wait until the kernel's generator is seeded.
        os.getrandom(1)
        fd = os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC)
        if not _is_urandom(fd):
            os.close(fd)
            raise OSError("/dev/urandom is not the kernel's random device")
        _urandom_fd = fd
        return fd


def _is_urandom(fd: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _URANDOM_DEVICE
