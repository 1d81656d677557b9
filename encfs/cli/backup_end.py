"""``cloakfs backup end``: a backup is not made any more.

Owns: the command, what is asked. Must not know: where keys are kept (``encfs.backup.keys``).
"""

from __future__ import annotations

import click

from encfs.backup import busy, keys, plans, slots
from encfs.backup.plans import KeyKind, Plan
from encfs.cli import auditing, backup_finding, backup_schedule, options, output, terminal
from encfs.errors import ExitCode, UsageError
from encfs.format.audit_body import Outcome
from encfs.registers.words import check_text
from encfs.units import VolumeId


@options.command(
    "end",
    example="cloakfs backup end ~/practice.vault --target /media/anna/BACKUP --why 'the stick is worn out'",
)
@click.argument("volume")
@click.option("--target", metavar="TARGET", help="Which one, where the volume has several.")
@click.option("--why", required=True, metavar="TEXT", help="Why. No patient's name.")
@click.option("--yes", is_flag=True, help="Do not ask. The key stays on this computer.")
@options.json_option
def command(*, volume: str, target: str | None, why: str, yes: bool, as_json: bool) -> ExitCode:
    """Make no more runs of a backup, and forget it.

    What lies on its target stays, and can be restored: cloakfs restore --from TARGET. If the backup has a key of its
    own, that stays on this computer too, unless you say otherwise; without it the recovery sheet alone opens what lies
    on the target.
    """
    plan = backup_finding.the_one(volume, target)
    check_text("reason", why, needed=True)
    if not yes:
        _confirm(plan)
    remove = not yes and keys.is_kept(plan.id) and _wants_key_gone()
    with busy.alone(plan.id):
        if not [one for one in plans.plans() if one.volume_id == plan.volume_id and one.id != plan.id]:
            backup_schedule.take_away(plan.volume_id)
        plans.end(plan.id, why)
        volume_id = VolumeId(bytes.fromhex(plan.volume_id))
        auditing.tell("backup.end", Outcome.DONE, volume_id, plan=plan.id, key_removed=int(remove))
        if remove:
            keys.remove(plan.id)
        slots.remove(plan.id)
    if as_json:
        output.print_json({"plan": plan.id, "target": plan.target, "key_removed": remove})
        return ExitCode.OK
    output.say(f"The backup to {output.printable(plan.target)} is ended. What lies there stays.")
    if plan.key is KeyKind.OWN:
        kept = keys.is_kept(plan.id)
        output.say("Its key stays on this computer." if kept else "Only its recovery sheet opens it from now on.")
    return ExitCode.OK


def _confirm(plan: Plan) -> None:
    """Raises: UsageError: nobody says yes."""
    terminal.require("somebody who says yes", hint="Give --yes.")
    runs = output.plural(sum(bool(run.id) for run in plan.runs), "run")
    terminal.tell(f"{output.printable(plan.volume)} -> {output.printable(plan.target)}, {runs} so far.")
    if terminal.ask("No more backups are made there. Type yes: ") != "yes":
        raise UsageError("that was not yes", hint="Nothing was changed.")


def _wants_key_gone() -> bool:
    terminal.tell(
        "The key of this backup is on this computer. Without it only the recovery sheet opens what lies there."
    )
    return terminal.ask("Type yes to remove the key from this computer; anything else keeps it: ") == "yes"
