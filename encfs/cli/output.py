"""What is written for people and for scripts.

Owns: results on stdout (text or one JSON object), remarks on stderr, and how sizes, times and names of files
are spelled. Must not know: which command speaks.

Rule: a name of a file goes through :func:`printable` before a person sees it: names are chosen by others and
may hold terminal control sequences.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import click

_YEAR_10000: Final = 253_402_214_400
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def say(text: str = "") -> None:
    """A line of the result."""
    click.echo(text)


def remark(text: str) -> None:
    """A line beside the result: stderr, so that what is piped stays clean."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Something the user should know although the command goes on."""
    click.echo(f"cloakfs: warning: {text}", err=True)


def print_json(value: Mapping[str, object]) -> None:
    """The one object of a command with ``--json``. Bytes that are not UTF-8 are lone surrogates, as in PEP 383."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _plain() -> bool:
    return not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"


def bold(text: str) -> str:
    """``text``, in bold on a terminal that wants it."""
    return text if _plain() else click.style(text, bold=True)


def coloured(text: str, colour: str) -> str:
    """``text``, in one of click's colours on a terminal that wants them. It has to be clear without."""
    return text if _plain() else click.style(text, fg=colour)


def printable(name: bytes | str) -> str:
    r"""A name with everything that a terminal might obey, or that is no text, written as ``\xNN``."""
    text = os.fsdecode(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in text)


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


def human_time(seconds: float) -> str:
    """A point in time, in the local zone. A damaged or hostile config can name one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "an impossible time"


def human_date(seconds: float) -> str:
    """The day of a point in time, in the local zone."""
    return human_time(seconds).partition(" ")[0] if 0 <= seconds < _YEAR_10000 else "no day that a calendar has"


def print_table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """Two columns; an empty left cell continues the row above."""
    width = max((len(left) for left, _ in rows), default=0)
    for left, right in rows:
        say(f"{indent}{left:<{width}}  {right}".rstrip())
