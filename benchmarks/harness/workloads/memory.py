"""Buffers that suit every way of reading and writing: at a page boundary, shared with forked processes."""

from __future__ import annotations

import mmap
import random

PAGE = 4096


def shared_memory(size: int) -> memoryview:
    """Zeros at a page boundary, as O_DIRECT wants them; what a forked process writes there is seen here."""
    return memoryview(mmap.mmap(-1, size))


def fill(view: memoryview, seed: str) -> None:
    """Sample data, the same in every run for the same seed."""
    source = random.Random(seed)  # noqa: S311 - sample data
    for start in range(0, len(view), 1 << 20):
        piece = view[start : start + (1 << 20)]
        piece[:] = source.randbytes(len(piece))


def clear(view: memoryview, size: int) -> None:
    """Zeros again."""
    view[:size] = bytes(size)
