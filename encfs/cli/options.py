"""Options and argument types that several commands share.

Owns: their spelling and help. Must not know: what is done with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)


def command(name: str, *, example: str) -> Callable[[_F], click.Command]:
    """A click command with ``--debug``, and with an example at the end of its help."""

    def decorate(function: _F) -> click.Command:
        made: click.Command = click.command(
            name,
            epilog="\b\nExample:\n" + "\n".join("  " + line for line in example.strip().splitlines()),
            context_settings={"help_option_names": ["-h", "--help"]},
        )(function)
        made.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks."))
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
