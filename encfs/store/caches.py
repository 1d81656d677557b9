"""Letting the kernel forget what it has read or written, so that the next read asks the medium.

Owns: the calls. Must not know: why. What is not yet written out stays in memory: sync first.
"""

from __future__ import annotations

import os
import stat as stat_module


def forget_file(fd: int) -> None:
    """One open file. Raises: OSError."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def forget(path: bytes) -> None:
    """Every regular file below a directory; symlinks are not followed. Raises: OSError."""
    for folder, _, names, folder_fd in os.fwalk(path):
        del folder
        for name in names:
            if not stat_module.S_ISREG(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
                continue
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder_fd)
            try:
                forget_file(fd)
            finally:
                os.close(fd)
