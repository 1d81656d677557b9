"""``cloakfs backup run``: backups are made, one after the other.

Owns: the order: one at a time for each backup, the audit log knows that it begins, then it is made, written down, told;
then old runs are taken away. Must not know: how files are copied, what is too much (``encfs.backup.running``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import click

from encfs.audit import journal
from encfs.backup import busy, plans, running
from encfs.backup.busy import BusyError
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.engine import Made
from encfs.backup.plans import EngineKind, Plan, Result, Run
from encfs.backup.running import Ended, Pruned
from encfs.cli import auditing, backup_engines, backup_finding, backup_words, options, output, terminal
from encfs.cli.backup_bar import StepsBar
from encfs.cli.backup_engines import At
from encfs.errors import CloakfsError, ExitCode, GuardError, UsageError
from encfs.format.audit_body import Outcome
from encfs.format.backup import Taken
from encfs.outcomes import of
from encfs.units import VolumeId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What became of one backup."""

    plan: Plan
    run: Run
    made: Made | None = None
    pruned: Pruned | None = None
    failure: BaseException | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why files are not whole, and how many of them; where the engine tells."""


@options.command(
    "run",
    example="""
cloakfs backup run
cloakfs backup run ~/practice.vault
cloakfs backup run ~/practice.vault --target /media/anna/BACKUP --accept-changes""",
)
@click.argument("volume", required=False)
@click.option("--target", metavar="TARGET", help="Only the backup that goes there.")
@click.option("--accept-changes", is_flag=True, help="Make it, however many files have changed. Asks first.")
@click.option("--yes", is_flag=True, help="With --accept-changes: do not ask.")
@options.json_option
def command(*, volume: str | None, target: str | None, accept_changes: bool, yes: bool, as_json: bool) -> ExitCode:
    """Make the backups of VOLUME, or without it every backup that is set up on this computer.

    What was written is read back from the medium before the run counts. Then older runs that need not be kept are taken
    away. A run that was broken off, by Ctrl-C or a power cut, is repaired by the next one.

    If more files have changed than may change between two runs, as when a program encrypts them all, nothing is
    written and nothing is taken away (exit status 32). Look at the files; if all is well, say so with --accept-changes.

    Where one backup fails the others are made all the same. The exit status is 0 if all were made whole, 3 if a file is
    missing in one of them, else that of the worst failure.
    """
    if target is not None and volume is None:
        raise UsageError("--target goes with a volume", hint="Give VOLUME too.")
    if yes and not accept_changes:
        raise UsageError("--yes goes with --accept-changes")
    chosen = backup_finding.chosen(volume, target)
    if accept_changes:
        _confirm(chosen, yes=yes)
    told = []
    for plan in chosen:
        told.append(_one(plan, accepted=accept_changes, as_json=as_json))
        if not as_json:
            _tell(told[-1])
    if as_json:
        output.print_json({"runs": [_row(one) for one in told]})
    return _status(told)


def _confirm(chosen: Sequence[Plan], *, yes: bool) -> None:
    """Raises: UsageError: nobody says yes."""
    if yes:
        return
    terminal.require("somebody who has looked at the files", hint="Give --yes, if somebody has.")
    for plan in chosen:
        last = plan.runs[-1] if plan.runs else None
        if last is not None and last.result is Result.GUARD:
            terminal.tell(f"{output.printable(plan.volume)} -> {output.printable(plan.target)}: {last.why}.")
    terminal.tell("Older runs stay as they are, until newer ones push them out.")
    if terminal.ask("Are the files as they should be? Type yes to back them up as they are now: ") != "yes":
        raise UsageError("that was not yes", hint="Nothing was changed.")


# -- one backup --------------------------------------------------------------------------------------------------------


def _one(plan: Plan, *, accepted: bool, as_json: bool) -> _Told:
    """A run, with all that is written down of it.

    Raises:
        KeyboardInterrupt, and what else ends the whole command: it is written down.
        RegisterError, OSError: it cannot be written down.
    """
    begun = int(time.time())
    nothing = Run(id="", label="", result=Result.FAILED, begun=begun, ended=begun)
    try:
        with busy.alone(plan.id):
            return _alone(plan, nothing, accepted=accepted, as_json=as_json)
    except BusyError as exc:
        # Nothing is wrong with the backup, so nothing is written down of it.
        return _Told(plan=plan, run=nothing, failure=exc)


def _alone(plan: Plan, nothing: Run, *, accepted: bool, as_json: bool) -> _Told:
    volume_id = VolumeId(bytes.fromhex(plan.volume_id))
    auditing.tell("backup.run", Outcome.BEGUN, volume_id, plan=plan.id, accepted=int(accepted))
    with ExitStack() as stack:
        at, ended = None, None
        try:
            at = stack.enter_context(backup_engines.opened(plan))
        except BaseException as exc:  # noqa: BLE001 - also of Ctrl-C it is written down, and raised again below
            ended = Ended(running.failed(nothing, exc, ended=int(time.time())), None, exc)
        if at is not None:
            ended = _made(plan, at, accepted=accepted, as_json=as_json)
        assert ended is not None
        _note(plan, ended.run, ended.failure)
        if ended.failure is None:
            assert at is not None
            return _prune(plan, ended, at)
        if not isinstance(ended.failure, Exception):
            raise ended.failure
        return _Told(plan=plan, run=ended.run, failure=ended.failure)


def _made(plan: Plan, at: At, *, accepted: bool, as_json: bool) -> Ended:
    if at.remark and not as_json:
        output.remark(at.remark)
    with StepsBar(f"Backup to {output.printable(plan.target)}") as bar:
        return running.make(at.engine, plan, label=at.label, accepted=accepted, steps=bar)


def _note(plan: Plan, run: Run, failure: BaseException | None) -> None:
    """In the register, then in the audit log."""
    plans.note_run(plan.id, run)
    outcome = Outcome.DONE if failure is None else journal.outcome_of(failure)
    if isinstance(failure, GuardError):
        outcome = Outcome.REFUSED
    auditing.tell(
        *("backup.run", outcome, VolumeId(bytes.fromhex(plan.volume_id))),
        plan=plan.id,
        run=run.id,
        label=run.label,
        result=str(run.result),
        files=run.files,
        bytes=run.bytes,
        new_bytes=run.new_bytes,
        changed=run.changed,
        removed=run.removed,
        not_whole=run.not_whole,
    )


def _prune(plan: Plan, ended: Ended, at: At) -> _Told:
    """Only ever behind a good run. That it fails makes the run no worse."""
    volume_id = VolumeId(bytes.fromhex(plan.volume_id))
    try:
        with StepsBar("Taking old runs away") as bar:
            pruned = running.prune(at.engine, replace(plan, runs=(*plan.runs, ended.run)), bar, now=time.time())
    except BaseException as exc:
        auditing.tell("backup.prune", journal.outcome_of(exc), volume_id, plan=plan.id)
        if not isinstance(exc, CloakfsError | OSError):
            raise
        return _Told(plan=plan, run=ended.run, made=ended.made, failure=exc, reasons=_reasons(at))
    if pruned.removed:
        auditing.tell(
            *("backup.prune", Outcome.DONE, volume_id),
            plan=plan.id,
            removed=pruned.removed,
            left=pruned.left,
            bytes=pruned.bytes,
        )
    return _Told(plan=plan, run=ended.run, made=ended.made, pruned=pruned, reasons=_reasons(at))


def _reasons(at: At) -> Mapping[str, int]:
    return Counter(at.engine.reasons.values()) if isinstance(at.engine, CopyEngine) else {}


# -- what is told ------------------------------------------------------------------------------------------------------


def _tell(one: _Told) -> None:
    output.say(backup_words.title(one.plan))
    if one.made is not None:
        _tell_made(one)
    if one.failure is not None:
        what = "old runs were not taken away" if one.made is not None else ""
        if what:
            output.warn(f"{what}:")
        backup_words.show_failure(one.failure)


def _tell_made(one: _Told) -> None:
    run = one.run
    rows = [("run", f"{backup_words.result(run)} {output.human_time(run.ended)}")]
    if run.label:
        rows.append(("medium", output.printable(run.label)))
    rows.append(("has", backup_words.amount(run)))
    right = f"{output.human_size(run.verified)}, and it is right" if run.verified else "nothing: no content is new"
    rows.append(("read back", right))
    if one.pruned is not None:
        rows.append(("kept", _kept(one.pruned)))
    output.print_table(rows)
    if one.pruned is not None and one.pruned.why_not:
        output.warn(f"no old run was taken away: {one.pruned.why_not}")
    if run.not_whole:
        _tell_not_whole(one)


def _tell_not_whole(one: _Told) -> None:
    """What is not in the run as it was at one moment, why, and what to do."""
    output.warn(f"not all of it is whole: {one.run.why}")
    for reason, count in sorted(one.reasons.items()):
        output.remark(f"  {output.plural(count, 'file')}: {output.printable(reason)}")
    if one.plan.engine is EngineKind.RESTIC and one.made is not None:
        backup_words.show_names(item.path for item in one.made.manifest.not_whole())
    output.remark("  Close the programs that write to them, and run it again; databases: docs/backup.md.")


def _kept(pruned: Pruned) -> str:
    text = output.plural(pruned.left, "run")
    if pruned.removed:
        freed = f", {output.human_size(pruned.bytes)} free again" if pruned.bytes else ""
        text += f"; {output.plural(pruned.removed, 'old one was', 'old ones were')} taken away{freed}"
    return text


def _row(one: _Told) -> dict[str, Any]:
    pruned = None
    if one.pruned is not None:
        pruned = {
            "removed": one.pruned.removed,
            "left": one.pruned.left,
            "bytes": one.pruned.bytes,
            "why_not": one.pruned.why_not or None,
        }
    return {
        "plan": one.plan.id,
        "volume": one.plan.volume,
        "target": one.plan.target,
        **backup_words.run_row(one.run),
        "pruned": pruned,
        "error": backup_words.error_row(one.failure),
    }


def _status(told: Sequence[_Told]) -> ExitCode:
    """That of the worst: a guard first, then any other failure, then a file that is missing."""
    codes = [of(one.failure).code for one in told if one.failure is not None]
    if ExitCode.BACKUP_GUARD in codes:
        return ExitCode.BACKUP_GUARD
    if codes:
        return max(codes)
    missing = any(
        item.taken is Taken.MISSING for one in told if one.made is not None for item in one.made.manifest.not_whole()
    )
    return ExitCode.FINDINGS if missing else ExitCode.OK
