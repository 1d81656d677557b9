"""The kernel's memory of files: making it forget them, and asking whether it did.

Owns: both. Must not know: what is measured afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
# Of the pages of the files: a header that is looked at in between leaves a large file as cold as it was.
_NONE_TO_SPEAK_OF: Final = 0.05


def can_drop_caches() -> bool:
    """Whether names and attributes can be made to come from below too; only root may."""
    return os.access(_DROP_CACHES, os.W_OK)


def forget(*paths: Path) -> None:
    """Write these files back and let the kernel forget their bytes: of all files, and names too, where it is allowed.

    The order counts where one file is made of another: that of a mount comes before what lies below it. One that is
    gone is passed over, since a mounted volume replaces files of its own; a directory has no bytes to forget.

    Raises:
        OSError: the filesystem failed.
    """
    for path in paths:
        if path.is_dir():
            continue
        with suppress(FileNotFoundError), path.open("rb", buffering=0) as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if can_drop_caches():
        os.sync()  # What is not written yet is not dropped.
        _DROP_CACHES.write_text("3", encoding="ascii")


def cool(*files: Path) -> bool:
    """As :func:`forget`; whether the kernel has forgotten them. What is only in memory, as on tmpfs, it never does.

    Raises:
        OSError: the filesystem failed.
    """
    forget(*files)
    kept = pages = 0
    for file in files:
        with suppress(FileNotFoundError), file.open("rb", buffering=0) as opened:
            more_kept, more = _pages_in_memory(opened.fileno())
            kept, pages = kept + more_kept, pages + more
    return kept <= _NONE_TO_SPEAK_OF * pages


def files_below(directory: Path) -> list[Path]:
    """What there is to cool in a directory: all files, at any depth."""
    return [path for path in directory.rglob("*") if path.is_file()]


def _pages_in_memory(fd: int) -> tuple[int, int]:
    """How many pages of a file the kernel has in memory, and how many it is made of: mincore(2)."""
    size = os.fstat(fd).st_size
    pages = -(-size // mmap.PAGESIZE)
    if pages == 0:
        return 0, 0
    try:
        mapping = mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
    except OSError as exc:
        if exc.errno != errno.ENODEV:
            raise
        return pages, pages  # The filesystem has no mmap: nothing can be known, and so nothing is claimed.
    with mapping:
        found = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapping)
        result = _libc.mincore(ctypes.byref(start), ctypes.c_size_t(size), found)
        del start  # A mapping that is looked at cannot be closed.
        if result != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    return sum(page & 1 for page in found), pages
