"""``cloakfs backup status``: how the backups of each volume stand.

Owns: the command, what it puts together. Must not know: what is overdue (``encfs.backup.standing``, ``drill_due``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from encfs.backup import drill_due, drills, rotation, standing
from encfs.backup import plans as register
from encfs.backup.drill_due import Due
from encfs.backup.plans import Plan
from encfs.backup.standing import Copy, Standing
from encfs.checks import Checked
from encfs.cli import backup_finding, backup_words, checks_view, options, output
from encfs.errors import ExitCode
from encfs.registers import media as media_register
from encfs.registers.media import Medium

_UNNAMED: Final = "target"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backup:
    """One backup with all that is known of it."""

    standing: Standing
    expected: str
    drills: Sequence[Due]
    copies: Sequence[Copy]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Volume:
    """A volume and its backups. ``checks``: what somebody has to look at."""

    path: str
    volume_id: str
    backups: Sequence[_Backup]
    missing: Sequence[str]
    checks: Sequence[Checked]


@options.command(
    "status",
    example="""
cloakfs backup status
cloakfs backup status ~/practice.vault --json""",
)
@click.argument("volume", required=False)
@options.json_option
def command(*, volume: str | None, as_json: bool) -> ExitCode:
    """Tell how the backups of VOLUME, or of all volumes, stand: what is there, what is due, what is missing.

    The rule is: two targets with a run of the last weeks, one of them off-site. A labelled medium is off-site while it
    is checked out ("cloakfs media check-out"); any other target if it was set up with --place offsite.

    No target has to be there: it is told by what was written down. The exit status is 0 if nothing is to be done, 3
    if something is.
    """
    if volume is None and not register.plans():
        if as_json:
            output.print_json({"volumes": []})
        else:
            output.say(f"No backup is set up on this computer. {backup_finding.NONE_YET}")
        return ExitCode.OK
    found = _volumes(backup_finding.chosen(volume), time.time())
    if as_json:
        output.print_json({"volumes": [_row(one) for one in found]})
    else:
        for position, one in enumerate(found):
            if position:
                output.say()
            _show(one)
    return ExitCode.FINDINGS if any(one.checks for one in found) else ExitCode.OK


def _volumes(plans: Sequence[Plan], now: float) -> list[_Volume]:
    media, tried = media_register.media(), drills.drills()
    found = []
    for volume_id in dict.fromkeys(plan.volume_id for plan in plans):
        mine = [plan for plan in plans if plan.volume_id == volume_id]
        checks = [check for plan in mine for check in standing.lights(plan, now)]
        checks += drill_due.lights([one for one in tried if one.record.volume == volume_id], mine, now)
        checks += standing.rule_lights(mine, media, now)
        found.append(
            _Volume(
                path=mine[-1].volume,
                volume_id=volume_id,
                backups=[_backup(plan, media, tried, now) for plan in mine],
                missing=standing.missing(standing.copies(mine, media), now),
                checks=checks,
            )
        )
    return found


def _backup(plan: Plan, media: Sequence[Medium], tried: Sequence[drills.Drill], now: float) -> _Backup:
    return _Backup(
        standing=standing.standing(plan, now),
        expected=rotation.expected(plan, media),
        drills=drill_due.due(tried, [plan], now),
        copies=standing.copies([plan], media),
    )


# -- text --------------------------------------------------------------------------------------------------------------


def _show(one: _Volume) -> None:
    output.say(output.bold(output.printable(one.path)))
    for backup in one.backups:
        output.print_table(_rows(backup))
    wanted = ", and ".join(one.missing)
    rule = f"missing: {wanted}" if wanted else "two targets, one of them off-site"
    output.print_table([("rule", rule)])
    for check in one.checks:
        output.say(f"ATTENTION: {output.printable(check.found)}.")
        output.say(f"  -> {output.printable(check.remedy)}")


def _rows(one: _Backup) -> list[tuple[str, str]]:
    plan, stands = one.standing.plan, one.standing
    key = "a key of its own" if plan.key is register.KeyKind.OWN else "opens with what opens the volume"
    rows = [("target", f"{output.printable(plan.target)} ({plan.engine}, {plan.place}; {key})")]
    if stands.last is None:
        rows.append(("last run", "none yet"))
    else:
        where = f" on {output.printable(stands.last.label)}" if stands.last.label else ""
        rows.append(("last run", f"{backup_words.result(stands.last)} {output.human_time(stands.last.ended)}{where}"))
    if stands.good is not None:
        if stands.good is not stands.last:
            rows.append(("last good run", output.human_time(stands.good.ended)))
        rows.append(("has", f"{output.plural(stands.good.files, 'file')}, {output.human_size(stands.good.bytes)}"))
    rows.append(("next", _next(stands)))
    rows.append(("read back in full", _checked(stands)))
    rows += [(f"tried, {due.what}", _drill(due)) for due in one.drills]
    for copy in one.copies if plan.labels else ():
        expected = copy.label.casefold() == one.expected.casefold()
        rows.append((f"medium {output.printable(copy.label)}", _medium(copy, expected=expected)))
    return rows


def _next(one: Standing) -> str:
    how = f"each day at {one.plan.schedule}" if one.plan.schedule else "by hand"
    late = output.coloured("OVERDUE since", "red") if one.overdue else "due by"
    return f"{how}; {late} {output.human_time(one.due)}"


def _checked(one: Standing) -> str:
    if one.checked is None:
        return "never (cloakfs backup verify)"
    return f"{output.human_time(one.checked.at)}: {one.checked.why or 'all of it is right'}"


def _drill(due: Due) -> str:
    last = "never" if due.last is None else output.human_date(due.last.record.took.began)
    late = output.coloured("OVERDUE since", "red") if due.overdue else "due by"
    return f"last {last}; {late} {output.human_date(due.at)}"


def _medium(copy: Copy, *, expected: bool) -> str:
    used = "not used yet" if copy.at is None else f"last run {output.human_time(copy.at)}"
    where = "lost or destroyed" if copy.lost else "off-site" if copy.offsite else "in the house"
    return f"{used}, {where}" + (", expected next" if expected else "")


# -- JSON --------------------------------------------------------------------------------------------------------------


def _row(one: _Volume) -> dict[str, Any]:
    return {
        "volume": one.path,
        "volume_id": one.volume_id,
        "backups": [_backup_row(backup) for backup in one.backups],
        "missing": list(one.missing),
        "checks": checks_view.as_json(one.checks)["checks"],
    }


def _backup_row(one: _Backup) -> dict[str, Any]:
    stands = one.standing
    checked = stands.checked
    return {
        **backup_words.plan_row(stands.plan),
        "last": None if stands.last is None else backup_words.run_row(stands.last),
        "last_good": None if stands.good is None else backup_words.run_row(stands.good),
        "due": stands.due,
        "overdue": stands.overdue,
        "verified": None
        if checked is None
        else {"at": checked.at, "run": checked.run, "bytes": checked.bytes, "why": checked.why or None},
        "drills": [
            {
                "what": str(due.what),
                "last": None if due.last is None else due.last.record.took.began,
                "due": due.at,
                "overdue": due.overdue,
            }
            for due in one.drills
        ],
        "expected": one.expected or None,
        "media": [
            {"label": copy.label, "last": copy.at, "offsite": copy.offsite, "lost": copy.lost}
            for copy in one.copies
            if copy.label
        ],
    }
