"""The options of the kinds whose secret lies elsewhere (``encfs.kinds``): to open a slot with, and to make one.

Owns: how the table of kinds becomes options, and which kind is meant. Must not know: any kind.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from encfs.cli import output, terminal
from encfs.core.sources import UnlockSource
from encfs.errors import UsageError
from encfs.format.slots import Slot
from encfs.kinds import KINDS, Given, Kind, Made, Option, Read

_F = TypeVar("_F", bound=Callable[..., Any])
_OPENING = {kind.name: kind.opening for kind in KINDS.values()}
_MAKING = {kind.name: kind.making for kind in KINDS.values()}
OPENING_NAMES = frozenset(option.name for options in _OPENING.values() for option in options)
"""Of the options that open a slot, as mount(8) has them too."""


def opening_options(function: _F) -> _F:
    """The options that open a slot; :func:`take_opening` collects them."""
    return _with_options(function, _OPENING)


def making_options(function: _F) -> _F:
    """The options that make a slot, collected into the argument ``new_elsewhere``."""

    @functools.wraps(function)
    def collected(**arguments: object) -> object:
        return function(new_elsewhere=_take(arguments, _MAKING), **arguments)

    return _with_options(collected, _MAKING)  # type: ignore[return-value]  # the same command, with other parameters


def take_opening(arguments: dict[str, object]) -> dict[str, str]:
    """Those of the arguments that open a slot, taken out, by the names of their options.

    Raises:
        UsageError: they are of two kinds, or not complete.
    """
    return _take(arguments, _OPENING)


def check_opening(values: Mapping[str, str]) -> dict[str, str]:
    """The same for options of mount(8)."""
    return _checked({name: value for name, value in values.items() if name in OPENING_NAMES}, _OPENING)


def source(values: Mapping[str, str], slots: Sequence[Slot], read: Read) -> UnlockSource:
    """What the options name; asks for a PIN or passphrase where one is needed.

    Raises:
        UsageError, UnlockError, CloakfsError, OSError: as :class:`~encfs.kinds.Kind`.
    """
    kind = _kind_of(values, _OPENING)
    return kind.source(Given(values, read, _ask), [slot for slot in slots if slot.kind == kind.name])


def kind_of_new(values: Mapping[str, str]) -> Kind:
    """The kind that options make."""
    return _kind_of(values, _MAKING)


def make(values: Mapping[str, str], read: Read) -> Made:
    """The secret of a new slot; raises as :func:`source`."""
    return kind_of_new(values).make(Given(values, read, _ask))


def places_apart(values: Mapping[str, str]) -> list[str]:
    """Files among the values that must not lie on the medium of the volume."""
    apart = [option.name for options in _MAKING.values() for option in options if option.apart]
    return [values[name] for name in apart if name in values]


def check_making(kind: str, values: Mapping[str, str]) -> None:
    """That options make a slot of this kind, where it is one of these, and else that there are none.

    Raises:
        UsageError: it is not so.
    """
    if values and kind_of_new(values).name != kind:
        raise UsageError(f"--{kind_of_new(values).making[0].name}: this is not for the kind {kind}")
    if kind in KINDS and not values:
        first = KINDS[kind].making[0]
        raise UsageError("say where the new secret lies", hint=f"Give --{first.name} {first.metavar}.")


def proof_hint(kind: str) -> str:
    """Which options prove a new slot of a kind that needs more than the first one for that."""
    return "Give " + " or ".join(f"--{option.name} {option.metavar}" for option in KINDS[kind].making[1:]) + "."


def trial(kind: str, path: str) -> str:
    """The command that tries a slot of a kind."""
    first = KINDS[kind].opening[0]
    return f"cloakfs key test {shlex.quote(output.printable(path))} --{first.name} {first.metavar}"


def _with_options(function: _F, table: Mapping[str, Sequence[Option]]) -> _F:
    for options in reversed(list(table.values())):
        for option in reversed(options):
            function = click.option(f"--{option.name}", metavar=option.metavar, help=option.help)(function)
    return function


def _take(arguments: dict[str, object], table: Mapping[str, Sequence[Option]]) -> dict[str, str]:
    found = {}
    for options in table.values():
        for option in options:
            value = arguments.pop(option.name.replace("-", "_"), None)
            if isinstance(value, str):
                found[option.name] = value
    return _checked(found, table)


def _checked(values: dict[str, str], table: Mapping[str, Sequence[Option]]) -> dict[str, str]:
    kinds = [name for name, options in table.items() if any(option.name in values for option in options)]
    if len(kinds) > 1:
        raise UsageError(f"options for {' and '.join(kinds)} do not go together", hint="Give only one.")
    for name in kinds:
        first, *rest = table[name]
        if first.name not in values:
            lone = next(option.name for option in rest if option.name in values)
            raise UsageError(f"--{lone} goes with --{first.name}", hint=f"Give --{first.name} {first.metavar} too.")
    return values


def _kind_of(values: Mapping[str, str], table: Mapping[str, Sequence[Option]]) -> Kind:
    return next(KINDS[name] for name, options in table.items() if options[0].name in values)


def _ask(prompt: str, *, hint: str) -> str:
    terminal.require(prompt.rstrip(": "), hint=hint)
    return terminal.ask_hidden(prompt)
