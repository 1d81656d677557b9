"""Options and argument types that several commands share.

Owns: their spelling and help. Must not know: what is done with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from encfs.cli import completing

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
# A year is never shorter than one of the calendar.
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 366 * 86400.0}
_DURATION: Final = re.compile(r"(\d{1,6})([smhdy])", re.IGNORECASE)


def command(name: str, *, example: str) -> Callable[[_F], click.Command]:
    """A click command with ``--debug``, and with an example at the end of its help."""

    def decorate(function: _F) -> click.Command:
        made: click.Command = click.command(
            name,
            epilog="\b\nExample:\n" + "\n".join("  " + line for line in example.strip().splitlines()),
            context_settings={"help_option_names": ["-h", "--help"]},
        )(function)
        made.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks."))
        completing.attach(made)
        return made

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object (docs/json.md).")


class Size(click.ParamType[int]):
    """A number of bytes with a unit: 64M, 1G, 4096."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a size such as 64M or 1G.", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]


class Duration(click.ParamType[float]):
    """A length of time with a unit, in seconds: 90s, 30m, 2h, 1d, 6y."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return seconds_of(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def seconds_of(text: str) -> float:
    """What a length of time with a unit says.

    Raises:
        ValueError: it is none; the text is for the user.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is not a length of time such as 90s, 30m or 2h.")
    return int(found[1]) * _SECONDS[found[2].lower()]
