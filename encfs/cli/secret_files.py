"""Files that hold a new secret, or a sheet with one: where they may lie, and how they are written.

Owns: never beside the volume, never over something else, never half. Must not know: what is in them.
"""

from __future__ import annotations

import os
import stat

from encfs.cli import media, output
from encfs.errors import NotEmptyError, UsageError


def check_apart(place: str, path: str) -> None:
    """Raises: UsageError: what lies at ``place`` would be lost and stolen together with the volume."""
    if media.same_medium(place, path):
        raise UsageError(
            f"{output.printable(place)}: this is on the medium of the volume, and would be lost together with it",
            hint="Choose a place on another stick or disk.",
        )


def check_free(place: str) -> None:
    """Raises: NotEmptyError: there is something at ``place``."""
    if os.path.lexists(place):
        raise NotEmptyError(f"{output.printable(place)}: this exists already", hint="Nothing is ever overwritten.")


def is_device(path: str) -> bool:
    """Whether it is a character device, such as a terminal: nothing is made there."""
    try:
        return stat.S_ISCHR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def write_new(path: str, content: bytes) -> None:
    """A new file for its owner only, on the medium when this returns.

    Raises:
        OSError: it exists, or cannot be written; then nothing of it is left.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
