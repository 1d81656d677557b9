"""``cloakfs backup init``: a backup of a volume is set up, or one more medium for it.

Owns: the command, the order: everything that can be refused comes first; then the key and its sheet, the register, and
last the target, so that what fails leaves nothing behind. Must not know: what a target is, how keys are made.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import click

from encfs.audit import journal
from encfs.backup import keys, plans
from encfs.backup import targets as backup_targets
from encfs.backup.plans import EngineKind, Keep, KeyKind, Place, Plan
from encfs.backup.targets import Target, TargetKind
from encfs.cli import (
    auditing,
    backup_key_making,
    backup_preparing,
    backup_words,
    disk_use,
    options,
    output,
    targets,
)
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of
from encfs.errors import BackupError, ExitCode, UsageError
from encfs.format.audit_body import Outcome
from encfs.registers.words import check_text
from encfs.units import VolumeId

_GUARD = 50
_SPARE = 1 << 20
"""Bytes beside the files: the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What was asked for. ``volume`` is the directory; None stands for what nobody said."""

    volume: str
    volume_id: VolumeId
    target: Target
    engine: EngineKind | None
    slot: bool
    label: str
    place: Place | None
    keep: tuple[int | None, int | None, int | None]
    guard: int | None
    sheet: str | None
    secret: SecretOptions = field(repr=False)

    @property
    def own_key(self) -> bool:
        return self.slot or self.engine is EngineKind.RESTIC


@options.command(
    "init",
    example="""
cloakfs backup init ~/practice.vault /media/anna/BACKUP
cloakfs backup init ~/practice.vault /media/anna/BACKUP --label 'Blue 2'
cloakfs backup init ~/practice.vault sftp:backup@nas:practice --engine restic --place offsite --sheet sheet.pdf""",
)
@click.argument("volume")
@click.argument("target")
@click.option("--engine", type=click.Choice([one.value for one in EngineKind]), help="copy by default.")
@click.option("--backup-slot", is_flag=True, help="copy: nothing opens the copy but a key made for it.")
@click.option("--label", default="", metavar="NAME", help="What is written on the medium, if several take turns.")
@click.option(
    "--place", type=click.Choice([one.value for one in Place]), help="Where the target is; onsite if not told."
)
@click.option("--keep-daily", type=click.IntRange(0, 1000), metavar="N", help="Days of which a run is kept; 7.")
@click.option("--keep-weekly", type=click.IntRange(0, 1000), metavar="N", help="Weeks of which a run is kept; 5.")
@click.option("--keep-monthly", type=click.IntRange(0, 1000), metavar="N", help="Months of which a run is kept; 12.")
@click.option("--guard", type=click.IntRange(1, 100), metavar="PERCENT", help="Of files that may change at once; 50.")
@click.option("--sheet", metavar="FILE", help="Write the recovery sheet of the backup key to a new PDF file.")
@options.json_option
@secret_options
def command(
    *,
    volume: str,
    target: str,
    engine: str | None,
    backup_slot: bool,
    label: str,
    place: str | None,
    keep_daily: int | None,
    keep_weekly: int | None,
    keep_monthly: int | None,
    guard: int | None,
    sheet: str | None,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Set up a backup of VOLUME to TARGET: a directory, a stick, sftp:USER@HOST:PATH or rclone:REMOTE:PATH.

    The engine copy takes the encrypted files as they lie there. It needs no key, the volume may be locked, and what
    opens the volume opens the copy. The engine restic takes what programs see, through the mount, into a repository
    with a key of its own: it stores less of a file that changes a little, and nothing that opens the volume opens it.

    A backup key is made where there is one (restic, --backup-slot), and kept on this computer. The recovery sheet is
    what opens the backup when this computer is gone: print it, and keep it apart from the backup. Without it the
    backup is lost together with this computer.

    The same command with another --label adds a medium that takes turns at TARGET.
    """
    wishes = _wishes(
        volume,
        backup_targets.parse(target),
        engine=None if engine is None else EngineKind(engine),
        slot=backup_slot,
        label=label,
        place=None if place is None else Place(place),
        keep=(keep_daily, keep_weekly, keep_monthly),
        guard=guard,
        sheet=sheet,
        secret=secret,
    )
    known = [one for one in plans.plans_of(wishes.volume_id) if one.target == wishes.target.text]
    try:
        plan, sheet = _new(wishes) if not known else (_more(wishes, known[0]), None)
    except BaseException as exc:
        auditing.tell("backup.init", journal.outcome_of(exc), wishes.volume_id, label=label)
        raise
    auditing.tell(
        *("backup.init", Outcome.DONE, wishes.volume_id),
        plan=plan.id,
        engine=str(plan.engine),
        place=str(plan.place),
        key=str(plan.key),
        label=label,
    )
    _tell(plan, wishes.label, sheet, is_new=not known, as_json=as_json)
    return ExitCode.OK


def _wishes(volume: str, target: Target, **more: Any) -> _Wishes:  # noqa: ANN401 - of the options
    """Raises: UsageError: they do not fit together. ConfigError, OSError: there is no volume."""
    found = targets.find(volume).volume
    wishes = _Wishes(volume=found, volume_id=config_of(found).volume_id, target=target, **more)
    check_text("label", wishes.label)
    engine = wishes.engine or EngineKind.COPY
    if wishes.slot and engine is not EngineKind.COPY:
        raise UsageError("--backup-slot goes with copy", hint="A backup by restic has a key of its own anyway.")
    if engine is EngineKind.COPY and target.kind is TargetKind.SFTP and wishes.engine is not None:
        raise UsageError("copy does not go over sftp", hint="Use --engine restic, or a remote of rclone.")
    if engine is EngineKind.COPY and target.kind is TargetKind.SFTP:
        raise UsageError("only restic goes over sftp", hint="Add: --engine restic --sheet FILE")
    if engine is EngineKind.RESTIC and target.kind is TargetKind.RCLONE:
        raise UsageError("restic does not go through rclone here", hint="Leave --engine restic out: copy does.")
    if wishes.label and target.kind is not TargetKind.DIRECTORY:
        raise UsageError("--label is for media that can be carried away", hint="Leave it out for this target.")
    return wishes


# -- a new one ---------------------------------------------------------------------------------------------------------


def _new(wishes: _Wishes) -> tuple[Plan, str | None]:
    """Raises: UsageError, BackupError, OSError, …: nothing is left of it."""
    daily, weekly, monthly = (given if given is not None else usual for given, usual in zip(wishes.keep, _KEEP))
    plan = Plan(
        id=plans.new_plan_id(),
        volume_id=wishes.volume_id.hex(),
        volume=wishes.volume,
        engine=wishes.engine or EngineKind.COPY,
        target=wishes.target.text,
        place=wishes.place or Place.ONSITE,
        key=KeyKind.OWN if wishes.own_key else KeyKind.VOLUME,
        keep=Keep(daily=daily, weekly=weekly, monthly=monthly),
        guard=_GUARD if wishes.guard is None else wishes.guard,
        since=int(time.time()),
        labels=(wishes.label,) if wishes.label else (),
    )
    if wishes.sheet is not None and not wishes.own_key:
        raise UsageError(
            "this backup has no key of its own, so there is no sheet of it",
            hint="What opens the volume opens the copy: cloakfs key recovery VOLUME makes a sheet. Or: --backup-slot",
        )
    backup_preparing.check(plan, wishes.target, wishes.label)
    _require_room(wishes)
    if plan.engine is EngineKind.RESTIC:
        backup_preparing.require_restic()
    sheet = backup_key_making.place_of_sheet(wishes.sheet, plan) if wishes.own_key else None
    with ExitStack() as undo:
        key = None
        if sheet is not None:
            key = backup_key_making.made(plan, sheet, wishes.secret, undo)
        plans.add(plan)
        undo.callback(plans.end, plan.id, "it could not be set up")
        backup_preparing.prepare(plan, wishes.target, wishes.label, key, undo)
        undo.pop_all()
    _inherit(plan)
    backup_preparing.register_medium(plan, wishes.target, wishes.label)
    return plan, sheet


_KEEP = (Keep().daily, Keep().weekly, Keep().monthly)


def _require_room(wishes: _Wishes) -> None:
    """Raises: BackupError: it is certain that a first run does not fit."""
    if wishes.target.kind is not TargetKind.DIRECTORY:
        return
    needed = disk_use.measure(wishes.volume).used
    place = wishes.target.location
    free = disk_use.free_at(place if os.path.isdir(place) else os.path.dirname(place))
    if free < needed + _SPARE:
        raise BackupError(
            f"the target is too small: the volume takes {output.human_size(needed)}, and"
            f" {output.human_size(free)} are free there",
            hint="Nothing was written. Take a larger medium; older runs need room too.",
        )


def _inherit(plan: Plan) -> None:
    """The timer of a volume makes all its backups: one that is added later is made by it too."""
    scheduled = [one.schedule for one in plans.plans() if one.volume_id == plan.volume_id and one.schedule]
    if scheduled:
        plans.set_schedule(plan.id, scheduled[0])


# -- one more medium ---------------------------------------------------------------------------------------------------


def _more(wishes: _Wishes, plan: Plan) -> Plan:
    """A medium with another label; or one that was begun, and broken off by a power cut, is gone on with."""
    given = (wishes.place, wishes.guard, *wishes.keep, wishes.sheet)
    if wishes.engine not in (None, plan.engine) or any(one is not None for one in given) or wishes.slot:
        raise UsageError(
            "this backup is set up already, and only a medium can be added to it",
            hint="Give --label alone. To set it up in another way: cloakfs backup end, then init.",
        )
    is_there = wishes.label.casefold() in {one.casefold() for one in plan.labels or ("",)}
    backup_preparing.check(plan, wishes.target, wishes.label)
    if is_there and backup_preparing.is_ready(plan, wishes.target, wishes.label):
        raise UsageError(
            "this backup is set up already",
            hint="Make a run: cloakfs backup run. One more medium: put it in, and give another --label.",
        )
    _require_room(wishes)
    key = keys.read(plan.id) if plan.engine is EngineKind.RESTIC else None
    with ExitStack() as undo:
        backup_preparing.prepare(plan, wishes.target, wishes.label, key, undo)
        if not is_there:
            plans.add_medium(plan.id, wishes.label)
        undo.pop_all()
    backup_preparing.register_medium(plan, wishes.target, wishes.label)
    return plans.plan(plan.id)


# -- what is told ------------------------------------------------------------------------------------------------------


def _tell(plan: Plan, label: str, sheet: str | None, *, is_new: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({**backup_words.plan_row(plan), "added": label or None, "sheet": sheet})
        return
    where = output.printable(plan.target)
    if not is_new:
        output.say(f"{output.printable(label) or 'The target'} takes turns at {where} now.")
    else:
        output.say(f"Set up: {output.printable(plan.volume)} is backed up to {where}.")
        rows = [
            ("engine", str(plan.engine)),
            ("opens with", "a key of its own" if plan.key is KeyKind.OWN else "whatever opens the volume"),
            ("kept", f"runs of {plan.keep.daily} days, {plan.keep.weekly} weeks, {plan.keep.monthly} months"),
            ("held", f"when more than {plan.guard} % of the files have changed at once"),
        ]
        output.print_table(rows)
    if sheet is not None:
        output.say(f"The recovery sheet is in {output.printable(sheet)}. PRINT IT, keep it in a safe, apart from the")
        output.say("backup, and delete the file. Without the sheet the backup is LOST together with this computer.")
    output.say(f"Make {'the first' if is_new else 'a'} run: cloakfs backup run {output.printable(plan.volume)}")
