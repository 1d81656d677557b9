"""With what, and by which clock, the pages of a document are made: two fields of each body that has pages.

Owns: these fields. Must not know: what else a document says, how pages look.

Pages are made again from a document to hold them against those that somebody was given. So their times are those of the
clock on the wall where the document was made, wherever that is done; and what made them is named too, because other
versions may make others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from encfs import __version__
from encfs.sheets import parts
from encfs.wording import in_zone

_LOOKED_BACK: Final = 12 * 366 * 86_400
"""Summer and winter time are known for so many seconds; what a document tells is hardly older."""
_STRIDE: Final = 7 * 86_400


def fields(now: int | None = None) -> dict[str, Any]:
    """``zone``: of this computer; ``pages``: versions of what makes pages here.

    Args:
        now: seconds since 1970; for tests.
    """
    now = int(time.time()) if now is None else now
    return {"zone": {"name": time.localtime(now).tm_zone, "steps": _steps(now)}, "pages": made_with()}


def made_with() -> dict[str, str]:
    """Names and versions; those of packages that are not installed are missing."""
    return {"cloakfs": __version__, **parts.versions()}


@contextmanager
def shown(body: Mapping[str, Any]) -> Iterator[str]:
    """Times are spelled meanwhile as clocks showed them where a document was made; gives that in words.

    Raises:
        KeyError, TypeError, ValueError: the document does not say it.
    """
    steps = [(int(since), int(east)) for since, east in body["zone"]["steps"]]
    if not steps or steps != sorted(steps):
        raise ValueError("a document has a zone that is none")
    east = steps[-1][1]
    sign, minutes = "-" if east < 0 else "+", abs(east) // 60
    with in_zone(steps):
        yield f"{body['zone']['name']}, UTC{sign}{minutes // 60:02}:{minutes % 60:02}"


def _steps(now: int) -> list[list[int]]:
    """Since when (0: ever) the clocks of this zone were how many seconds east of UTC, up to ``now``."""
    at = now - _LOOKED_BACK
    steps = [[0, _east(at)]]
    while at < now:
        following = min(at + _STRIDE, now)
        if _east(following) != steps[-1][1]:
            before, after = at, following
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if _east(middle) == steps[-1][1] else (before, middle)
            steps.append([after, _east(after)])
        at = following
    return steps


def _east(seconds: int) -> int:
    return time.localtime(seconds).tm_gmtoff
