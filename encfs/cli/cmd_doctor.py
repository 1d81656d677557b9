"""``cloakfs doctor``: one page about this host and the volumes on it, each line with a light and a remedy.

Owns: which volumes are looked at, the object of docs/json.md. Must not know: which checks there are
(``looked_at.py``), keys.
"""

from __future__ import annotations

from typing import Final

import click

from encfs.checks import Checked, worst
from encfs.cli import checks_view, doctor_facts, looked_at, options, output, progress, targets
from encfs.cli.looked_at import Group
from encfs.errors import ExitCode

# Sticks that come and go are many after a year.
_ABSENT_SHOWN: Final = 5


@options.command(
    "doctor",
    example="""
cloakfs doctor
cloakfs doctor /media/stick/practice.vault
cloakfs doctor --json""",
)
@click.argument("volumes", metavar="[VOLUME|MOUNTPOINT]...", nargs=-1)
@options.json_option
def command(*, volumes: tuple[str, ...], as_json: bool) -> ExitCode:
    """Look at this machine and its volumes, and say what is in the way of safe work.

    Without an argument: every volume that is mounted, was made or opened here, or is mounted by fstab or a unit of this
    machine. Nothing is changed, and no passphrase is needed. "look" is worth a look, or cannot be seen from here; "BAD"
    means that data or its secrecy is at risk, or that nothing works. docs/doctor.md explains each line.

    The exit status is that of the worst line: 0 green, 1 amber, 2 red.
    """
    if volumes:
        known = doctor_facts.Known([targets.find(text) for text in volumes], [])
        for target in known.targets:
            looked_at.require_volume(target)
    else:
        known = doctor_facts.known_volumes()
    with progress.activity("Looking at this machine"):
        host = looked_at.machine()
    groups = []
    for target in known.targets:
        with progress.activity(f"Looking at {output.printable(target.volume)}"):
            groups.append(looked_at.volume(target))
    shares = looked_at.shares()
    light = worst([*host, *(check for group in (*groups, *shares) for check in group.checks)])
    if as_json:
        output.print_json(
            {
                **checks_view.as_json(host),
                "light": light.name.lower(),
                "volumes": [{"volume": one.name, **checks_view.as_json(one.checks)} for one in groups],
                "shares": [{"share": one.name, **checks_view.as_json(one.checks)} for one in shares],
                "absent": known.absent,
            }
        )
    else:
        _show(host, groups, shares, known)
    return ExitCode(light)


def _show(host: list[Checked], groups: list[Group], shares: list[Group], known: doctor_facts.Known) -> None:
    """The page. What was not looked at is said as well."""
    named = [("This machine", host), *((one.name, one.checks) for one in groups)]
    remarks = [f"Not looked at, because it is not there now: {path}" for path in known.absent[:_ABSENT_SHOWN]]
    if more := len(known.absent) - len(remarks):
        remarks.append(f"Not there now either: {output.plural(more, 'more volume')} (all of them: --json)")
    if not groups and not remarks:
        remarks = ["No volume is known on this machine. Name one: cloakfs doctor VOLUME"]
    checks_view.show_groups([*named, *((f"Share {one.name}", one.checks) for one in shares)], remarks)
