"""Overwriting what freed objects have left in memory.

Owns: how the allocators of CPython and of the C library are made to hand out every free piece once. Must not know:
whose bytes lay there.

Bytes objects cannot be wiped while they live, and freeing leaves their content where it was, until something else
happens to get the place. So after keys and passphrases were dropped, everything free is taken, zeroed and given back.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from typing import BinaryIO, Final

# obmalloc.c: objects of up to 512 bytes lie in pools of 16 KiB, each for one size, cut from arenas of 1 MiB.
_POOL: Final = 1 << 14
_ARENA: Final = 1 << 20
_PAGE: Final = mmap.PAGESIZE
_STEP: Final = 16
_LARGEST: Final = 512
_OVERHEAD: Final = bytes.__basicsize__
# From large to small: what is left of a large piece is taken by a smaller size.
# A thread keeps a few pieces of each size at hand, which do not count as free.
_CACHED: Final = 64
_MALLOC_SIZES: Final = (1 << 16, 1 << 14, 1 << 12, *range(1032, 23, -16))


class _Mallinfo2(ctypes.Structure):
    """What mallinfo2(3) returns; the last fields are all that is free, and the piece at the end of the heap."""

    _fields_ = (("others", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


_libc: Final = ctypes.CDLL(None)
_libc.malloc.argtypes, _libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
_libc.free.argtypes, _libc.free.restype = [ctypes.c_void_p], None
_libc.sbrk.argtypes, _libc.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
# Only glibc has them; musl gives memory back by itself and has no way to walk what is free.
_IS_GLIBC: Final = hasattr(_libc, "mallinfo2")
if _IS_GLIBC:
    _libc.mallinfo2.argtypes, _libc.mallinfo2.restype = [], _Mallinfo2


def overwrite() -> None:
    """Overwrite everything that is free in the heaps of this process, but for those of other threads. For any time."""
    _overwrite_pools()
    if _IS_GLIBC:
        _overwrite_heap()


def _overwrite_pools() -> None:
    """Take free places of each size until the allocator has none left but in an arena that it just mapped."""
    held: deque[bytes] = deque()  # Which grows in small steps: a list would map as much at once as an arena.
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        fresh = range(0)
        for size in range(_LARGEST, _OVERHEAD, -_STEP):
            fresh = _use_up(size - _OVERHEAD, held, statm, fresh)


def _use_up(length: int, held: deque[bytes], statm: BinaryIO, fresh: range) -> range:
    """Take places for bytes of one length. ``fresh``: the pools of the last arena that was mapped; as it is now."""
    mapped = _mapped(statm)
    limit = mapped // (length + _OVERHEAD)  # More than is mapped cannot be free: where there are no arenas this ends.
    last = 0
    for _ in range(limit):
        taken = bytes(length)
        held.append(taken)
        pool = id(taken) // _POOL
        if pool == last:
            continue
        if pool in fresh:
            break
        before, mapped, last = mapped, _mapped(statm), pool
        if mapped - before >= _ARENA:
            return range(pool, pool + _ARENA // _POOL)
    return fresh


def _mapped(statm: BinaryIO) -> int:
    """Bytes of address space that this process has."""
    statm.seek(0)
    return int(statm.read().split()[0]) * _PAGE


def _overwrite_heap() -> None:
    """Take free pieces of each size until they come from the end of the heap, which is given back to the kernel."""
    _libc.malloc_trim(0)
    # What comes from the end lies higher than everything before; a place that was freed meanwhile does not. Pieces of
    # other heaps, which a thread has at hand after it freed them for another one, lie above the end.
    free = _libc.mallinfo2()
    highest = _libc.sbrk(0) - free.keepcost - 1
    # More than is free cannot be taken, of all sizes together: where the heap could not grow at its end, this ends.
    left = free.fordblks + _CACHED * sum(_MALLOC_SIZES)
    held: list[int] = []
    try:
        for size in _MALLOC_SIZES:
            for _ in range(left // size):
                place = _libc.malloc(size)
                if not place:
                    return
                held.append(place)
                left = max(left - size, 0)
                ctypes.memset(place, 0, size)
                if highest < place < _libc.sbrk(0):
                    highest = place
                    break
    finally:
        for place in held:
            _libc.free(place)
        _libc.malloc_trim(0)
