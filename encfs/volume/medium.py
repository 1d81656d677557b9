"""Whether the medium below a volume is still there.

Owns: which errors make one ask, and the question itself, put past every cache. Must not know: what is done when it is
gone (:meth:`encfs.volume.volume.Volume.lose_medium`), threads.
"""

from __future__ import annotations

import errno
from typing import Final

from encfs.errors import DataError, LowerIOError, MediumGoneError
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME
from encfs.store.base import Store

# Of a medium, or of a filesystem without one. EROFS: ext4 turns read-only when it cannot write its journal.
_SIGN_NAMES: Final = [
    "EIO",
    "ENODEV",
    "ENXIO",
    "ESTALE",
    "ENOTCONN",
    "ECONNABORTED",
    "ESHUTDOWN",
    "EUCLEAN",
    "EROFS",
    "EREMOTEIO",
    "ENOMEDIUM",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "ETIMEDOUT",
]
_SIGNS: Final = frozenset(getattr(errno, name) for name in _SIGN_NAMES if hasattr(errno, name))  # Linux has all.
# How every config begins, of whatever version of the format (FORMAT.md section 3).
_CONFIG_START: Final = b"cloakfs-volume "


def may_be_gone(failure: BaseException) -> bool:
    """Whether a failure is one that a medium which went away can cause. One bad sector can cause it too."""
    if isinstance(failure, OSError):
        return failure.errno in _SIGNS
    return isinstance(failure, DataError | LowerIOError)


def is_gone(store: Store, root_fd: int) -> bool:
    """Ask the medium for the config, past every cache: it is gone when it has neither copy any more.

    A bad sector takes one copy at most, and an answer such as ENOENT or EACCES comes from a filesystem that lives. It
    may take as long as the kernel needs to give up.
    """
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        try:
            if store.read_uncached(root_fd, name, len(_CONFIG_START)) == _CONFIG_START:
                return False
        except OSError as exc:
            if exc.errno not in _SIGNS:
                return False
    return True


def gone_error() -> MediumGoneError:
    """What whoever locks the volume is told."""
    return MediumGoneError(
        "the medium went away: the mount is off and its keys are dropped, but what was not yet on the disk is lost",
        hint="Put the medium back and mount it again: the volume is then checked and repaired.",
    )
