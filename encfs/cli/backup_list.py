"""``cloakfs backup list`` and ``cloakfs backup verify``: the runs on a target that is there, and whether they are good.

Owns: these commands. Must not know: how a run is read back (the engines).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from encfs.audit import journal
from encfs.backup import busy, plans, running
from encfs.backup.engine import Verified
from encfs.backup.manifest import RunHead
from encfs.backup.plans import Checked, EngineKind, Plan, Run
from encfs.cli import auditing, backup_engines, backup_finding, backup_words, options, output
from encfs.cli.backup_bar import StepsBar
from encfs.cli.backup_engines import At
from encfs.errors import BackupError, CloakfsError, DataError, ExitCode, UsageError
from encfs.format.audit_body import Outcome
from encfs.outcomes import of
from encfs.units import VolumeId

_target_option = click.option("--target", metavar="TARGET", help="Only the backup that goes there.")


# -- list --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """One backup and what is on its target now."""

    plan: Plan
    label: str = ""
    runs: Sequence[tuple[RunHead, Run | None]] = ()
    failure: BaseException | None = None


@options.command(
    "list",
    example="""
cloakfs backup list ~/practice.vault
cloakfs backup list ~/practice.vault --target /media/anna/BACKUP --json""",
)
@click.argument("volume", required=False)
@_target_option
@options.json_option
def list_(*, volume: str | None, target: str | None, as_json: bool) -> ExitCode:
    """Show the runs that are on the target, or on the medium that is there now: each is what can be restored.

    The exit status is that of a target which is not there or cannot be read, else 0.
    """
    listed = [_list(plan) for plan in backup_finding.chosen(volume, target)]
    if as_json:
        output.print_json({"backups": [_listed_row(one) for one in listed]})
    else:
        for position, one in enumerate(listed):
            if position:
                output.say()
            _show_listed(one)
    return max((of(one.failure).code for one in listed if one.failure is not None), default=ExitCode.OK)


def _list(plan: Plan) -> _Listed:
    try:
        with backup_engines.opened(plan, reading=True) as at:
            noted = {run.id: run for run in plan.runs if run.id}
            return _Listed(plan=plan, label=at.label, runs=[(one, noted.get(one.run)) for one in at.engine.runs()])
    except (CloakfsError, OSError) as exc:
        return _Listed(plan=plan, failure=exc)


def _show_listed(one: _Listed) -> None:
    output.say(backup_words.title(one.plan) + (f", medium {output.printable(one.label)}" if one.label else ""))
    if one.failure is not None:
        backup_words.show_failure(one.failure)
        return
    if not one.runs:
        output.say("  nothing yet: cloakfs backup run")
    for head, run in one.runs:
        told = "made by another computer" if run is None else backup_words.amount(run)
        partly = f"; {output.plural(run.not_whole, 'file')} not whole" if run is not None and run.not_whole else ""
        output.say(f"  {output.human_time(head.made_at)}  {head.run}  {told}{partly}")


def _listed_row(one: _Listed) -> dict[str, Any]:
    runs = [
        {
            "run": head.run,
            "made_at": head.made_at,
            "label": head.label or None,
            "mounted": head.mounted,
            "noted": None if run is None else backup_words.run_row(run),
        }
        for head, run in one.runs
    ]
    row = {"plan": one.plan.id, "volume": one.plan.volume, "target": one.plan.target, "label": one.label or None}
    return {**row, "runs": runs, "error": backup_words.error_row(one.failure)}


# -- verify ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """One run that was read back. ``why``: what is wrong with it, empty if nothing."""

    plan: Plan
    run: str = ""
    label: str = ""
    verified: Verified | None = None
    why: str = ""
    failure: BaseException | None = None


@options.command(
    "verify",
    example="""
cloakfs backup verify ~/practice.vault
cloakfs backup verify ~/practice.vault --run 0000019ac3f2a91c4d5e6f7a8b9c0d1e""",
)
@click.argument("volume", required=False)
@_target_option
@click.option("--run", "run_id", metavar="ID", help="That run (cloakfs backup list); the newest one by default.")
@options.json_option
def verify(*, volume: str | None, target: str | None, run_id: str | None, as_json: bool) -> ExitCode:
    """Read a run back from the medium, all of it, and hold it against what was taken.

    The exit status is 3 if something is damaged or missing. Whether it can be restored shows only a trial: cloakfs
    backup drill.
    """
    chosen = backup_finding.chosen(volume, target)
    if run_id is not None and len(chosen) > 1:
        raise UsageError("--run is a run of one backup", hint="Say which one: VOLUME and --target.")
    looked = []
    for plan in chosen:
        looked.append(_verify(plan, run_id))
        if not as_json:
            _show_looked(looked[-1])
    if as_json:
        output.print_json({"backups": [_looked_row(one) for one in looked]})
    codes = [of(one.failure).code for one in looked if one.failure is not None]
    codes += [ExitCode.FINDINGS for one in looked if one.why]
    return max(codes, default=ExitCode.OK)


def _verify(plan: Plan, run_id: str | None) -> _Looked:
    volume_id = VolumeId(bytes.fromhex(plan.volume_id))
    auditing.tell("backup.verify", Outcome.BEGUN, volume_id, plan=plan.id)
    try:
        with busy.alone(plan.id), backup_engines.opened(plan, reading=True) as at:
            looked = _read_back(plan, at, _which(at, run_id))
            size = 0 if looked.verified is None else looked.verified.bytes
            noted = Checked(at=int(time.time()), label=at.label, run=looked.run, bytes=size, why=looked.why)
            plans.note_checked(plan.id, noted)
    except BaseException as exc:
        auditing.tell("backup.verify", journal.outcome_of(exc), volume_id, plan=plan.id)
        if not isinstance(exc, CloakfsError | OSError):
            raise
        return _Looked(plan=plan, failure=exc)
    auditing.tell(
        *("backup.verify", Outcome.FAILED if looked.why else Outcome.DONE, volume_id),
        plan=plan.id,
        run=looked.run,
        bytes=size,
        damaged=0 if looked.verified is None else len(looked.verified.damaged),
    )
    return looked


def _which(at: At, run_id: str | None) -> str:
    """The run that is meant. Raises: BackupError, UsageError: there is none."""
    there = [one.run for one in at.engine.runs()]
    if run_id is None:
        if not there:
            raise BackupError("there is no complete run on this target", hint="Make one first: cloakfs backup run")
        return there[-1]
    if run_id not in there:
        raise UsageError("this run is not on the target", hint="See which are: cloakfs backup list")
    return run_id


def _read_back(plan: Plan, at: At, run: str) -> _Looked:
    """A manifest that is damaged is a finding, a target that goes away is none."""
    with StepsBar("Reading the backup") as bar:
        try:
            verified = at.engine.verify(run, bar)
        except DataError as exc:
            return _Looked(plan=plan, run=run, label=at.label, why=running.reason(exc))
    count = len(verified.damaged)
    why = f"{output.plural(count, 'thing is', 'things are')} damaged or missing" if count else ""
    return _Looked(plan=plan, run=run, label=at.label, verified=verified, why=why)


def _show_looked(one: _Looked) -> None:
    output.say(backup_words.title(one.plan) + (f", medium {output.printable(one.label)}" if one.label else ""))
    if one.failure is not None:
        backup_words.show_failure(one.failure)
        return
    rows = [("run", f"{output.human_time(int(one.run[:16], 16) // 1000)}  {one.run}")]
    if one.verified is not None:
        what = f"{output.plural(one.verified.files, 'file')}, {output.human_size(one.verified.bytes)}"
        rows.append(("read back", what if one.why else f"{what}, and all of it is as it was taken"))
    output.print_table(rows)
    if not one.why:
        return
    output.say(output.coloured(f"DAMAGED: {one.why}", "red"))
    if one.verified is not None:
        if one.plan.engine is EngineKind.COPY:
            output.say("Their names as they are in the sealed tree:")
        backup_words.show_names(item.path for item in one.verified.damaged)
    output.say("Take another medium and make a run there; this one is not to be trusted. Older runs on it may be good:")
    output.say("  cloakfs backup list, then: cloakfs backup verify VOLUME --run ID")


def _looked_row(one: _Looked) -> dict[str, Any]:
    """Names of files are for the terminal: what scripts print is kept in logs."""
    found = one.verified
    return {
        "plan": one.plan.id,
        "volume": one.plan.volume,
        "target": one.plan.target,
        "label": one.label or None,
        "run": one.run or None,
        "files": None if found is None else found.files,
        "bytes": None if found is None else found.bytes,
        "damaged": None if found is None else len(found.damaged),
        "why": one.why or None,
        "error": backup_words.error_row(one.failure),
    }
