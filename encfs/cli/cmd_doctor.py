"""``cloakfs doctor``: one page about this host and the volumes on it, each line with a light and a remedy.

Owns: which volumes and shares are looked at, the object of docs/json.md. Must not know: what is good and what is bad
(``encfs.doctor``, and those who know a mount, a policy or a share), keys.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click

from encfs.audit import clock, health
from encfs.checks import Checked, Light, worst
from encfs.cli import (
    break_glass,
    checks_view,
    doctor_facts,
    incident_view,
    mount_troubles,
    options,
    output,
    policy_view,
    progress,
    seeing,
    share_view,
    targets,
)
from encfs.doctor.host_checks import host_checks
from encfs.doctor.host_facts import look_at_host
from encfs.doctor.volume_checks import volume_checks
from encfs.errors import CloakfsError, ExitCode, NotAVolumeError
from encfs.registers import health as register_health
from encfs.registers import reviews
from encfs.share import plan
from encfs.share.places import places

# Sticks that come and go are many after a year.
_ABSENT_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class _Group:
    """The checks of one volume or share."""

    name: str
    checks: list[Checked]


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
            _require_volume(target)
    else:
        known = doctor_facts.known_volumes()
    with progress.activity("Looking at this machine"):
        host = host_checks(look_at_host(clock=clock.now().clock, libraries=doctor_facts.libraries()))
        host += [*health.checks(), *register_health.checks(time.time()), *reviews.checks()]
        host += incident_view.checks(datetime.now().astimezone().date())
    groups = []
    for target in known.targets:
        with progress.activity(f"Looking at {output.printable(target.volume)}"):
            groups.append(_Group(target.volume, _of_volume(target)))
    shares = _shares()
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


def _require_volume(target: targets.Target) -> None:
    """Raises: NotAVolumeError: neither is it mounted, nor does it hold anything of a volume."""
    if target.mountpoint is None and not doctor_facts.is_volume(target.volume):
        raise NotAVolumeError(
            f"{output.printable(target.volume)}: this directory holds no cloakfs volume",
            hint="Name the directory of a volume, or a mount point. Without any: cloakfs doctor",
        )


def _of_volume(target: targets.Target) -> list[Checked]:
    """All checks of one volume; of what cannot be read only how its mount stands."""
    mount = {"mountpoint": target.mountpoint} if target.mounted is None else target.mounted.status
    checks = mount_troubles.checks(targets.state(target), None if target.mountpoint is None else mount)
    try:
        standing = policy_view.standing(target, int(time.time()))
        facts = doctor_facts.volume_facts(target, standing.config)
        seeing.looked(standing.config, facts.near)
    except (CloakfsError, OSError) as exc:
        return [*checks, _unreadable(exc)]
    used = break_glass.told(target.volume, break_glass.uses(standing.config))
    return [
        *checks,
        *volume_checks(facts),
        *(
            Checked(code="recovery-used", title="recovery key", light=Light.AMBER, found=what, remedy=command)
            for what, command in used
        ),
        *policy_view.as_checks(standing, target.volume),
    ]


def _unreadable(exc: CloakfsError | OSError) -> Checked:
    """The config is what every other check stands on."""
    found, remedy = (str(exc), exc.hint) if isinstance(exc, CloakfsError) else (exc.strerror or "", "")
    remedy = remedy or "is its disk there? If it is: take the volume from a backup, or see docs/findings.md"
    return Checked(code="config", title="config", light=Light.RED, found=found, remedy=remedy)


def _shares() -> list[_Group]:
    """The shares of this machine, each with its guards."""
    groups = []
    for name in plan.names(places()):
        try:
            checks = share_view.checks_of(name)
        except (CloakfsError, OSError) as exc:
            checks = [_unreadable_share(exc)]
        groups.append(_Group(name, checks))
    return groups


def _unreadable_share(exc: CloakfsError | OSError) -> Checked:
    found = str(exc) if isinstance(exc, CloakfsError) else f"its files cannot be read: {exc.strerror}"
    return Checked(code="share", title="share", light=Light.AMBER, found=found, remedy="run cloakfs doctor as root")


def _show(host: list[Checked], groups: list[_Group], shares: list[_Group], known: doctor_facts.Known) -> None:
    """The page. What was not looked at is said as well."""
    named = [("This machine", host), *((one.name, one.checks) for one in groups)]
    remarks = [f"Not looked at, because it is not there now: {path}" for path in known.absent[:_ABSENT_SHOWN]]
    if more := len(known.absent) - len(remarks):
        remarks.append(f"Not there now either: {output.plural(more, 'more volume')} (all of them: --json)")
    if not groups and not remarks:
        remarks = ["No volume is known on this machine. Name one: cloakfs doctor VOLUME"]
    checks_view.show_groups([*named, *((f"Share {one.name}", one.checks) for one in shares)], remarks)
