"""Every exception that can leave the volume, as the errno a program sees. The only place that decides this.

pyfuse3 ends its main loop when anything but ``FUSEError`` leaves a handler, so every handler is wrapped.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3

from encfs.errors import CloakfsError, DataError, LowerIOError, ReadOnlyError
from encfs.fuse.polling import waiting

if TYPE_CHECKING:
    from encfs.fuse.state import MountState

logger = logging.getLogger("cloakfs.fuse")

_S = TypeVar("_S", bound="_Handlers")
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


class _Handlers(Protocol):
    """A class with request handlers."""

    state: MountState


class _Nameless(Exception):  # noqa: N818 - it is no error of its own
    """Stands in for an exception whose text may hold a plain name."""


def handler(
    function: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Make a request handler raise nothing but ``FUSEError``; where the medium is gone, EIO at once."""
    return _guarded(function, uses=1)


def glance(
    function: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """:func:`handler` for requests that are no use of the mount.

    ``df``, desktops and our own status make them again and again; so does a program, by a flush, when it starts another
    one while it has a file open.
    """
    return _guarded(function, uses=0)


def _guarded(
    function: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]], *, uses: int
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    @functools.wraps(function)
    async def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        medium = self.state.medium
        if medium.gone:
            raise pyfuse3.FUSEError(errno.EIO)
        self.state.uses += uses
        request = function(self, *args, **kwargs)
        try:
            # Most requests never wait. Those that do let somebody else read the next one first.
            try:
                trap = request.send(None)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            return await waiting(request, trap, self.state.poller.hand_over)
        except pyfuse3.FUSEError:
            raise
        except Exception as exc:  # noqa: BLE001 - anything else would end the mount
            if medium.gone:
                raise pyfuse3.FUSEError(errno.EIO) from None  # The keys went while the request was under way.
            medium.suspect(exc)
            raise pyfuse3.FUSEError(errno_of(exc)) from None

    return guarded
