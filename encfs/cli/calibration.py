"""Choosing the cost of Argon2id for this machine: about a second to unlock.

Owns: the choice of memory, passes and lanes, and the options that fix them. Must not know: passphrases.

Memory comes first (it is what makes guessing on graphics cards expensive): a quarter of the machine's, 1 GiB at
most, as long as three passes take no more than 1.5 seconds; then passes are added until it takes a second.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from encfs.cli import options, output
from encfs.core.slots import new_argon2id
from encfs.crypto.kdf import argon2id
from encfs.errors import PolicyError, UsageError
from encfs.format.limits import KDF_MEMORY_KIB_MAX, KDF_MEMORY_KIB_MIN, KDF_PASSES_MAX, KDF_PASSES_MIN
from encfs.format.policy import NO_POLICY, Policy
from encfs.format.slots import Kdf

_F = TypeVar("_F", bound=Callable[..., Any])
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


def kdf_options(function: _F) -> _F:
    """What fixes the cost, as the arguments ``memory_kib`` and ``passes``."""

    @click.option("--kdf-memory", metavar="SIZE", type=options.Size(), help="Memory for Argon2id (64M to 4G).")
    @click.option(
        "--kdf-passes",
        metavar="N",
        type=click.IntRange(KDF_PASSES_MIN, KDF_PASSES_MAX),
        help="Passes of Argon2id.",
    )
    @functools.wraps(function)
    def collected(*, kdf_memory: int | None, kdf_passes: int | None, **rest: object) -> object:
        return function(memory_kib=_memory_kib(kdf_memory), passes=kdf_passes, **rest)

    return collected  # type: ignore[return-value]  # the same command, with other parameters


def _memory_kib(size: int | None) -> int | None:
    if size is None:
        return None
    kib = size // 1024
    if not KDF_MEMORY_KIB_MIN <= kib <= KDF_MEMORY_KIB_MAX:
        raise UsageError(f"--kdf-memory {output.human_size(size)}: it must be from 64M to 4G")
    return kib


def require_floor(policy: Policy, *, memory_kib: int | None, passes: int | None) -> None:
    """Refuse fixed values below the policy of the volume, before anything is asked.

    Raises:
        PolicyError
    """
    if memory_kib is not None and memory_kib < (policy.kdf_memory_kib or 0):
        least = output.human_size((policy.kdf_memory_kib or 0) * 1024)
        raise PolicyError(f"--kdf-memory: the policy of this volume wants {least} or more")
    if passes is not None and passes < (policy.kdf_passes or 0):
        raise PolicyError(f"--kdf-passes: the policy of this volume wants {policy.kdf_passes} or more")


def calibrate(*, memory_kib: int | None = None, passes: int | None = None, policy: Policy = NO_POLICY) -> Calibrated:
    """Choose what is not fixed, no lower than the policy wants it.

    Raises:
        FormatError: a fixed value is outside the limits of the format.
        MemoryShortError: the fixed memory is not free here.
    """
    lanes = min(_LANES_MAX, os.cpu_count() or 1)
    if memory_kib is not None and passes is not None:
        return Calibrated(new_argon2id(memory_kib=memory_kib, passes=passes, lanes=lanes), None)
    least_kib, least_passes = policy.kdf_memory_kib or _STEP_KIB, policy.kdf_passes or KDF_PASSES_MIN
    measured_passes = passes or least_passes
    memory = memory_kib or max(least_kib, _first_memory(measured_passes, lanes))
    seconds = _measure(memory, measured_passes, lanes)
    while memory_kib is None and seconds > _LIMIT and memory > least_kib:
        memory = max(least_kib, memory // 2 // _STEP_KIB * _STEP_KIB)
        seconds = _measure(memory, measured_passes, lanes)
    if passes is None:
        passes = max(least_passes, min(KDF_PASSES_MAX, round(measured_passes * _TARGET / seconds)))
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
