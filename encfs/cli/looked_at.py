"""What can be looked at without keys, for ``cloakfs doctor`` and packs: this machine, each volume, each share.

Owns: which checks belong together. Must not know: what is good and what is bad (``encfs.doctor``, and those who know a
mount, a policy, a register or a share), how it is shown.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from encfs.audit import clock, health
from encfs.backup import drill_due, standing
from encfs.checks import Checked, Light
from encfs.cli import (
    break_glass,
    doctor_facts,
    incident_view,
    libraries,
    mount_troubles,
    output,
    policy_view,
    seeing,
    share_view,
    targets,
)
from encfs.doctor.host_checks import host_checks
from encfs.doctor.host_facts import look_at_host
from encfs.doctor.volume_checks import volume_checks
from encfs.errors import CloakfsError, NotAVolumeError
from encfs.registers import health as register_health
from encfs.registers import reviews
from encfs.share import plan
from encfs.share.places import places


@dataclass(frozen=True, slots=True)
class Group:
    """The checks of one volume or share."""

    name: str
    checks: list[Checked]


def machine() -> list[Checked]:
    """Of the machine, the audit log and the registers."""
    return [
        *host_checks(look_at_host(clock=clock.now().clock, libraries=libraries.installed())),
        *health.checks(),
        *register_health.checks(time.time()),
        *reviews.checks(),
        *incident_view.checks(datetime.now().astimezone().date()),
        *standing.checks(),
        *standing.rule_checks(),
        *drill_due.checks(),
    ]


def volume(target: targets.Target) -> Group:
    """All checks of one volume; of what cannot be read only how its mount stands."""
    mount = {"mountpoint": target.mountpoint} if target.mounted is None else target.mounted.status
    checks = mount_troubles.checks(targets.state(target), None if target.mountpoint is None else mount)
    try:
        standing = policy_view.standing(target, int(time.time()))
        facts = doctor_facts.volume_facts(target, standing.config)
        seeing.looked(standing.config, facts.near)
    except (CloakfsError, OSError) as exc:
        return Group(target.volume, [*checks, _unreadable(exc)])
    used = break_glass.told(target.volume, break_glass.uses(standing.config))
    checks += volume_checks(facts)
    checks += [
        Checked(code="recovery-used", title="recovery key", light=Light.AMBER, found=what, remedy=command)
        for what, command in used
    ]
    return Group(target.volume, [*checks, *policy_view.as_checks(standing, target.volume)])


def is_there(target: targets.Target) -> bool:
    """Whether it is mounted, or holds anything of a volume."""
    return target.mountpoint is not None or doctor_facts.is_volume(target.volume)


def require_volume(target: targets.Target) -> None:
    """Raises: NotAVolumeError: neither is it mounted, nor does it hold anything of a volume."""
    if not is_there(target):
        raise NotAVolumeError(
            f"{output.printable(target.volume)}: this directory holds no cloakfs volume",
            hint="Name the directory of a volume, or a mount point.",
        )


def _unreadable(exc: CloakfsError | OSError) -> Checked:
    """The config is what every other check stands on."""
    found, remedy = (str(exc), exc.hint) if isinstance(exc, CloakfsError) else (exc.strerror or "", "")
    remedy = remedy or "is its disk there? If it is: take the volume from a backup, or see docs/findings.md"
    return Checked(code="config", title="config", light=Light.RED, found=found, remedy=remedy)


def shares() -> list[Group]:
    """The shares of this machine, each with its guards."""
    groups = []
    for name in plan.names(places()):
        try:
            checks = share_view.checks_of(name)
        except (CloakfsError, OSError) as exc:
            checks = [_unreadable_share(exc)]
        groups.append(Group(name, checks))
    return groups


def _unreadable_share(exc: CloakfsError | OSError) -> Checked:
    found = str(exc) if isinstance(exc, CloakfsError) else f"its files cannot be read: {exc.strerror}"
    return Checked(code="share", title="share", light=Light.AMBER, found=found, remedy="run cloakfs doctor as root")
