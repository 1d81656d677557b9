"""What an error of the system means to whoever makes a backup.

Owns: the words, and what to do next. Must not know: what was being done.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from encfs.errors import BackupError

_COMPLETE: Final = "Runs that were complete before are complete still."
_WORDS: Final = {
    (errno.ENOSPC, errno.EDQUOT): (
        "the target of the backup is full",
        f"Make room there, keep fewer runs, or take a larger medium, and run it again. {_COMPLETE}",
    ),
    (errno.EROFS,): (
        "the target of the backup is read-only",
        "See whether the medium has a switch that protects it, or was mounted read-only after an error.",
    ),
    (errno.EACCES, errno.EPERM): (
        "the target of the backup cannot be written to by this user",
        "Run it as the user who made the backup, or as root.",
    ),
    (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ESTALE, errno.ESHUTDOWN, errno.EUCLEAN): (
        "the target of the backup has failed, or was pulled out",
        f"Put it back, and run it again; if it fails once more, take another medium. {_COMPLETE}",
    ),
    (errno.ENOENT, errno.ENOTDIR): (
        "the target of the backup is gone, or something on it was taken away",
        f"Put it back, and run it again. {_COMPLETE}",
    ),
}


@contextmanager
def of_target() -> Iterator[None]:
    """Around what works on a target. Raises: BackupError in place of OSError."""
    try:
        yield
    except OSError as exc:
        for codes, (text, hint) in _WORDS.items():
            if exc.errno in codes:
                raise BackupError(text, hint=hint) from exc
        raise BackupError(f"the target of the backup cannot be used: {exc.strerror or exc}", hint=_COMPLETE) from exc


@contextmanager
def of_volume() -> Iterator[None]:
    """Around what reads the volume's directory as a whole. Raises: BackupError in place of OSError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise no_volume() from exc
    except OSError as exc:
        raise BackupError(
            f"the directory of the volume cannot be read: {exc.strerror or exc}",
            hint="See whether its medium is there and in order: cloakfs doctor VOLUME. Nothing was written.",
        ) from exc


def no_volume() -> BackupError:
    """Where the volume should be there is none, or another one."""
    return BackupError(
        "the volume is not where the backup takes it from",
        hint="Put its medium back, or see where it went: cloakfs backup status. Nothing was written.",
    )
