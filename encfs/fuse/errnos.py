"""Every exception that can leave the volume, as the errno a program sees. The only place that decides this.

pyfuse3 ends its main loop when anything but ``FUSEError`` leaves a handler, so every handler is wrapped.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3

from encfs.errors import CloakfsError, DataError, LowerIOError, ReadOnlyError

logger = logging.getLogger("cloakfs.fuse")

_S = TypeVar("_S")
_P = ParamSpec("_P")
_R = TypeVar("_R")

_ERRNOS: tuple[tuple[type[CloakfsError], int], ...] = (
    (DataError, errno.EIO),
    (ReadOnlyError, errno.EROFS),
    (LowerIOError, errno.EIO),
)


def errno_of(exc: Exception) -> int:
    """The errno for an exception; one that nobody expected is logged with its traceback and is EIO."""
    if isinstance(exc, OSError) and exc.errno:
        return exc.errno
    for kind, code in _ERRNOS:
        if isinstance(exc, kind):
            return code
    if isinstance(exc, MemoryError):
        return errno.ENOMEM
    logger.error(
        "unexpected error in a request", exc_info=(type(exc), _Nameless(type(exc).__name__), exc.__traceback__)
    )
    return errno.EIO


class _Nameless(Exception):  # noqa: N818 - it is no error of its own
    """Stands in for an exception whose text may hold a plain name."""


def handler(
    function: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Make a request handler raise nothing but ``FUSEError``."""

    @functools.wraps(function)
    async def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await function(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as exc:  # noqa: BLE001 - anything else would end the mount
            raise pyfuse3.FUSEError(errno_of(exc)) from None

    return guarded
