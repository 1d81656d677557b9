"""The facts for ``cloakfs inventory``: which volumes there are, and how each stands now.

Owns: collecting them. Must not know: how they are shown.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from encfs import __version__
from encfs.audit import clock
from encfs.backup import drills
from encfs.backup import plans as backups
from encfs.backup.drill_due import of_plan
from encfs.backup.drill_record import DrillOutcome
from encfs.checks import Checked, Light
from encfs.cli import doctor_facts, libraries, output, policy_view, targets
from encfs.doctor.host_checks import host_checks
from encfs.doctor.host_facts import look_at_host
from encfs.errors import CloakfsError
from encfs.evidence import inventory
from encfs.evidence.facts import collect
from encfs.evidence.inventory import Backup, Inventory, Line, State
from encfs.format.policy import NO_POLICY
from encfs.memory.swap import protection
from encfs.registers import exceptions, media, scans, volumes
from encfs.registers.volumes import KnownVolume
from encfs.share import plan
from encfs.share.places import places
from encfs.units import VolumeId

# What can put plain data of volumes on the disk of this host; the others are doctor's.
_OF_THE_HOST: Final = frozenset({"container", "swap", "hibernation", "core-dumps"})
_STATES: Final = {"mounted": State.OPEN, "locked": State.LOCKED, "in-use": State.IN_USE, "dead": State.DEAD}


@dataclass(frozen=True, slots=True)
class _Here:
    """A volume that can be reached, or whose directory is there and cannot be read (then without ``standing``)."""

    target: targets.Target
    standing: policy_view.Standing | None
    problem: str = ""


def everything() -> Inventory:
    """All that this host knows of.

    Raises:
        RegisterError: a register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    host, form, now = socket.gethostname(), inventory.form_of(), int(time.time())
    shares = (plan.of_name(name, places()) for name in plan.names(places()))
    return Inventory(
        host=host,
        form=form,
        made_at=now,
        version=__version__,
        checks=_checks(),
        volumes=list(_backed_up(_lines(host, form, now), now)),
        media=media.media(),
        shares=[spec for spec in shares if spec is not None],
        exceptions=[one for one in exceptions.exceptions() if one.withdrawn is None],
        scans=scans.scans(),
    )


def _checks() -> list[Checked]:
    facts = look_at_host(clock=clock.now().clock, libraries=libraries.installed())
    return [
        inventory.disk_check(protection(b"/")),
        *(check for check in host_checks(facts) if check.code in _OF_THE_HOST),
    ]


def _backed_up(lines: list[Line], now: int) -> Iterator[Line]:
    """Each with its last backup, and the last trial of one that passed."""
    plans, tried = backups.plans(), drills.drills()
    for line in lines:
        mine = [plan for plan in plans if plan.volume_id == line.facts.volume_id]
        runs = [run.ended for plan in mine if (run := plan.last_good())]
        passed = [
            one.record.took.began
            for plan in mine
            for one in of_plan(tried, plan, now)
            if one.record.outcome is DrillOutcome.PASSED
        ]
        backup = Backup(last=max(runs, default=None), drill=max(passed, default=None)) if mine else None
        yield replace(line, backup=backup)


def _lines(host: str, form: str, now: int) -> list[Line]:
    """Volumes of the register in its order, then those that are here and were never opened, then what is not there."""
    known = {one.volume_id: one for one in volumes.known_volumes()}
    present = doctor_facts.known_volumes()
    here = [_look(target, now) for target in present.targets]
    lines = []
    for one in known.values():
        found = [each for each in here if _id_of(each) == one.volume_id]
        lines += [_line_here(each, host, form) for each in found] or [_line_away(one, here, host, form)]
    lines += [_line_here(each, host, form) for each in here if _id_of(each) not in {*known, None}]
    told = {one.path for one in known.values()}
    for each in here:
        if each.standing is None and each.target.volume not in told:
            facts, state = inventory.nameless(each.target.volume), _state(each)
            lines.append(inventory.line(facts, state, host=host, form=form, problem=each.problem))
    away = (inventory.nameless(path) for path in present.absent if path not in told)
    return lines + [inventory.line(facts, State.ELSEWHERE, host=host, form=form) for facts in away]


def _state(here: _Here) -> State:
    return _STATES[targets.state(here.target)]


def _look(target: targets.Target, now: int) -> _Here:
    try:
        return _Here(target, policy_view.standing(target, now))
    except CloakfsError as exc:
        return _Here(target, None, str(exc))
    except OSError as exc:
        return _Here(target, None, f"{output.printable(target.volume)}: {exc.strerror}")


def _id_of(here: _Here) -> str | None:
    return None if here.standing is None else here.standing.config.volume_id.hex()


def _line_here(here: _Here, host: str, form: str) -> Line:
    standing = here.standing
    assert standing is not None
    state = _state(here)
    facts = collect(
        standing.config.volume_id,
        here.target.volume,
        standing.config,
        opened=standing.vouched,
        mounted=state is State.OPEN,
    )
    light: Light | None = None if standing.config.policy == NO_POLICY else standing.judgement.light
    return inventory.line(facts, state, host=host, form=form, light=light)


def _line_away(one: KnownVolume, here: list[_Here], host: str, form: str) -> Line:
    """One that is not where it was, or cannot be read there."""
    there = next((each for each in here if each.standing is None and each.target.volume == one.path), None)
    facts = collect(VolumeId(bytes.fromhex(one.volume_id)), one.path, None, opened=False, mounted=False)
    if there is None:
        return inventory.line(facts, State.ELSEWHERE, host=host, form=form)
    return inventory.line(facts, _state(there), host=host, form=form, problem=there.problem)
