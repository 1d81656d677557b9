"""What all clocks of this host say.

Owns: where the kernel tells boot, time and whether the clock is set by others. Must not know: the log.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Final

from encfs.format.audit import Clock, Moment

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_NO_BOOT_ID: Final = bytes(16)
_TIME_ERROR: Final = 5  # adjtimex(2): not synchronised
_TIMEX_SIZE: Final = 208

_libc: Final = ctypes.CDLL(None, use_errno=True)


def now() -> Moment:
    """This moment."""
    return Moment(
        boot_id=_boot_id(),
        wall_ms=time.time_ns() // 1_000_000,
        mono_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        clock=_clock(),
    )


def _boot_id() -> bytes:
    """Sixteen zero bytes where /proc does not say: then time goes on as if the host had never been started again."""
    try:
        fd = os.open(_BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _NO_BOOT_ID
    try:
        return bytes.fromhex(os.read(fd, 64).decode("ascii").strip().replace("-", ""))
    finally:
        os.close(fd)


def _clock() -> Clock:
    """By adjtimex(2), which only reads where it is told to change nothing."""
    if not hasattr(_libc, "adjtimex"):
        return Clock.UNKNOWN
    state = _libc.adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state < 0:
        return Clock.UNKNOWN
    return Clock.UNSYNCHRONISED if state == _TIME_ERROR else Clock.SYNCHRONISED
