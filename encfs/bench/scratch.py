"""A place to measure in: a folder of our own on the chosen medium, gone afterwards whatever happens.

Owns: room, making and removing that folder, the cache of the kernel. Must not know: what is done in it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Final

from encfs.errors import LowerIOError, MountpointError

PREFIX: Final = ".cloakfs-bench-"
_DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")


@contextmanager
def scratch(directory: Path, needed: int) -> Iterator[Path]:
    """A new folder in ``directory`` with room for ``needed`` bytes.

    Raises:
        MountpointError: it is no directory that can be written to.
        LowerIOError: there is no room, before or during the block.
    """
    try:
        free = shutil.disk_usage(directory).free
        home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
    except OSError as exc:
        raise MountpointError(f"{directory} cannot be measured: {exc.strerror}") from exc
    try:
        if free < needed:
            raise LowerIOError(
                f"{directory} has {free >> 20} MiB free, and this needs {needed >> 20} MiB",
                hint="Make room, or give --size a smaller number.",
            )
        yield home
    except OSError as exc:
        if exc.errno != ENOSPC:
            raise
        raise LowerIOError(f"{directory} is full", hint="Make room, or give --size a smaller number.") from exc
    finally:
        shutil.rmtree(home, ignore_errors=True)


def can_drop_caches() -> bool:
    """Whether everything that is read can be made to come from below; only root may."""
    return os.access(_DROP_CACHES, os.W_OK)


def cool(path: Path) -> bool:
    """Write everything back and let the kernel forget it, or at least this file; whether that was possible."""
    if can_drop_caches():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        _DROP_CACHES.write_text("3", encoding="ascii")
        return True
    if not path.is_file():
        return False
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return True
