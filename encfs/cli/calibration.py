"""Choosing the cost of Argon2id for this machine: about a second to unlock.

Owns: the choice of memory, passes and lanes. Must not know: passphrases.

Memory comes first (it is what makes guessing on graphics cards expensive): a quarter of the machine's, 1 GiB at
most, as long as three passes take no more than 1.5 seconds; then passes are added until it takes a second.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from encfs.core.slots import new_argon2id
from encfs.crypto.kdf import argon2id
from encfs.format.config import Kdf
from encfs.format.limits import KDF_MEMORY_KIB_MIN, KDF_PASSES_MAX, KDF_PASSES_MIN

_TARGET: Final = 1.0
_LIMIT: Final = 1.5
_STEP_KIB: Final = KDF_MEMORY_KIB_MIN
_MEMORY_KIB_MAX: Final = 1 << 20
_LANES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The chosen cost, and how long it took here in seconds; None if it was not measured."""

    kdf: Kdf
    seconds: float | None


def calibrate(*, memory_kib: int | None = None, passes: int | None = None) -> Calibrated:
    """Choose what is not fixed.

    Raises:
        FormatError: a fixed value is outside the limits of the format.
        MemoryShortError: the fixed memory is not free here.
    """
    lanes = min(_LANES_MAX, os.cpu_count() or 1)
    if memory_kib is not None and passes is not None:
        return Calibrated(new_argon2id(memory_kib=memory_kib, passes=passes, lanes=lanes), None)
    measured_passes = passes or KDF_PASSES_MIN
    memory = memory_kib or _first_memory(measured_passes, lanes)
    seconds = _measure(memory, measured_passes, lanes)
    while memory_kib is None and seconds > _LIMIT and memory > _STEP_KIB:
        memory = max(_STEP_KIB, memory // 2 // _STEP_KIB * _STEP_KIB)
        seconds = _measure(memory, measured_passes, lanes)
    if passes is None:
        passes = max(KDF_PASSES_MIN, min(KDF_PASSES_MAX, round(measured_passes * _TARGET / seconds)))
        seconds *= passes / measured_passes
    return Calibrated(new_argon2id(memory_kib=memory, passes=passes, lanes=lanes), seconds)


def _first_memory(passes: int, lanes: int) -> int:
    """The most that this machine should give, less if a small run says that it will be far too slow."""
    most = max(_STEP_KIB, min(_MEMORY_KIB_MAX, _machine_kib() // 4) // _STEP_KIB * _STEP_KIB)
    per_step = min(_measure(_STEP_KIB, passes, lanes) for _ in range(2))
    # Large runs are slower for each byte than small ones, so this never rules out too much.
    affordable = int(_LIMIT / per_step) * _STEP_KIB
    return max(_STEP_KIB, min(most, affordable))


def _measure(memory_kib: int, passes: int, lanes: int) -> float:
    start = time.perf_counter()
    argon2id(b"calibration", salt=bytes(16), memory_kib=memory_kib, passes=passes, lanes=lanes)
    return time.perf_counter() - start


def _machine_kib() -> int:
    """Memory that a process may count on: the machine's, its control group's, and half of what is available now."""
    figures = {}
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            figures[name] = int(value.split()[0])
    most = figures["MemTotal"]
    if "MemAvailable" in figures:
        most = min(most, figures["MemAvailable"] * 2)
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            most = min(most, int(limit.read()) // 1024)
    except (OSError, ValueError):
        pass  # No control group, or one without a limit ("max").
    return most
