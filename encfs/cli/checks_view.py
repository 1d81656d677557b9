"""Checks with their traffic lights, for people and for scripts.

Owns: how they are laid out, the object of docs/json.md. Must not know: what was looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from encfs.checks import Checked, Light, worst
from encfs.cli import output

_MARKS: Final = {Light.GREEN: ("ok", "green"), Light.AMBER: ("look", "yellow"), Light.RED: ("BAD", "red")}


def show(checks: Sequence[Checked]) -> None:
    """One line for each, its remedy below, and how all stand together. What is wrong does not depend on colours."""
    _lines(checks, max((len(check.title) for check in checks), default=0))
    _sum(checks)


def show_groups(groups: Sequence[tuple[str, Sequence[Checked]]], remarks: Sequence[str] = ()) -> None:
    """The same for several things, each with its name above; then the remarks, and how all of them stand together."""
    checks = [check for _, some in groups for check in some]
    width = max((len(check.title) for check in checks), default=0)
    for name, some in groups:
        output.say(output.bold(output.printable(name)))
        _lines(some, width)
        output.say()
    for remark in remarks:
        output.say(output.printable(remark))
    _sum(checks)


def _lines(checks: Sequence[Checked], width: int) -> None:
    for check in checks:
        output.say(f"  {_mark(check.light)}  {check.title:<{width}}  {output.printable(check.found)}")
        if check.remedy and check.light is not Light.GREEN:
            output.say(f"        {'':<{width}}  -> {output.printable(check.remedy)}")


def _sum(checks: Sequence[Checked]) -> None:
    counts = {light: sum(check.light is light for check in checks) for light in Light}
    output.say(
        output.bold(worst(checks).name)
        + f": {counts[Light.GREEN]} in order, {counts[Light.AMBER]} worth a look, {counts[Light.RED]} bad"
    )


def as_json(checks: Sequence[Checked]) -> dict[str, Any]:
    """``light`` and ``checks`` of docs/json.md."""
    return {
        "light": worst(checks).name.lower(),
        "checks": [
            {
                "code": check.code,
                "light": check.light.name.lower(),
                "title": check.title,
                "found": check.found,
                "remedy": check.remedy,
            }
            for check in checks
        ],
    }


def _mark(light: Light) -> str:
    word, colour = _MARKS[light]
    return output.coloured(f"{word:<4}", colour)
