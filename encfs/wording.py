"""How sizes, times, counts and names of files are spelled for people.

Owns: these spellings. Must not know: where they are shown.

Rule: a name of a file goes through :func:`printable` before a person sees it: names are chosen by others and
may hold terminal control sequences.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

NOT_LEGAL_ADVICE: Final = "This is not legal advice."
"""Stands in every report that somebody may show to an authority."""
_STEPS: Final[ContextVar[Sequence[tuple[int, int]] | None]] = ContextVar("steps", default=None)
YEAR_10000: Final = 253_402_214_400
"""Seconds since 1970: from then on a time is one that no calendar has, in any zone."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def as_text(name: bytes) -> str:
    """A name of a file as text; bytes that are not UTF-8 are lone surrogates, as in PEP 383, on every system."""
    return name.decode("utf-8", "surrogateescape")


def printable(name: bytes | str) -> str:
    r"""A name with everything that a terminal might obey, or that is no text, written as ``\xNN``."""
    text = as_text(name) if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in _bytes_of(c)) for c in text)


def _bytes_of(character: str) -> bytes:
    """What a character stands for: a byte that is no text, or its UTF-8, also of half a pair, which Windows allows."""
    return character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")


def human_size(count: int) -> str:
    """Bytes in binary units, with three digits at most: 0 B, 4 KiB, 1.5 GiB."""
    if count < 1024:
        return f"{count} B"
    value = count / 1024
    steps = 0
    while value >= 1000 and steps + 1 < len(_UNITS):
        value, steps = value / 1024, steps + 1
    digits = f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    return f"{digits.removesuffix('.0')} {_UNITS[steps]}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 file``, ``2 files``, ``1,234 files``."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def human_duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    for length, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return plural(int(seconds // length), noun)
    return plural(int(seconds), "second")


@contextmanager
def in_zone(steps: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Times are spelled in this zone and not in the local one meanwhile: for what has to read the same everywhere.

    Args:
        steps: since when (seconds since 1970; the first one: ever) its clocks are how many seconds east of UTC.
    """
    before = _STEPS.set(steps)
    try:
        yield
    finally:
        _STEPS.reset(before)


def human_time(seconds: float) -> str:
    """A point in time, in the local zone. A damaged or hostile config can name one that no calendar has."""
    steps = _STEPS.get()
    try:
        if steps is None:
            local = time.localtime(seconds)
        else:
            step = max(0, bisect_right(steps, seconds, key=lambda one: one[0]) - 1)
            local = time.gmtime(seconds + steps[step][1])
        return time.strftime("%Y-%m-%d %H:%M:%S", local)
    except (OverflowError, OSError, ValueError):
        return "an impossible time"


def human_date(seconds: float) -> str:
    """The day of a point in time, in the local zone."""
    return human_time(seconds).partition(" ")[0] if 0 <= seconds < YEAR_10000 else "no day that a calendar has"
