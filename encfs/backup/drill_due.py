"""When each backup is to be restored for a trial again, and what is overdue.

Owns: how often (a sample each month, all of it each year), and the lights. Must not know: how a drill is made, the
terminal.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.backup import drills as register
from encfs.backup import plans as backups
from encfs.backup.drill_record import DrillOutcome
from encfs.backup.drills import Drill
from encfs.backup.plans import Plan, Result
from encfs.checks import Checked, Light
from encfs.registers.health import told
from encfs.wording import human_date, plural, printable

DAY: Final = 86400
MONTH: Final = 31 * DAY
YEAR: Final = 366 * DAY
_SOON: Final = {MONTH: 7 * DAY, YEAR: 14 * DAY}
_SLACK: Final = DAY
"""A drill that is dated further ahead than this was made with another clock, and shows nothing of when."""


class What(StrEnum):
    """Which drill."""

    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """When a drill of a backup is to be made.

    Attributes:
        at: seconds since 1970.
        overdue: whether that is past, or the last drill failed.
        soon: whether it is a matter of days.
        last: the last one that counts here and passed.
        failed: the last one of all, if it failed; then it is due at once.
    """

    plan: Plan
    what: What
    at: int
    overdue: bool
    soon: bool
    last: Drill | None
    failed: Drill | None


def due(drills: Iterable[Drill], plans: Iterable[Plan], now: float) -> list[Due]:
    """Both drills of each backup that has something to restore.

    Args:
        drills: of any backups.
        plans: those that are made.
        now: seconds since 1970.
    """
    known = list(drills)
    return [one for plan in plans for one in _of_plan(of_plan(known, plan, now), plan, now)]


def of_plan(drills: Iterable[Drill], plan: Plan, now: float) -> list[Drill]:
    """Those of a backup that say something about it, in order of their time.

    One that was broken off says nothing, nor does one that is dated ahead of the clock. One of another computer has to
    be of a manifest whose digest this one noted at its run.
    """
    noted = {(run.id, run.manifest) for run in plan.runs if run.manifest}
    mine = [
        one
        for one in drills
        if one.record.plan == plan.id
        and one.record.outcome is not DrillOutcome.BROKEN_OFF
        and one.record.took.began <= now + _SLACK
        and (one.brought is None or (one.record.run, one.record.manifest.digest) in noted)
    ]
    return sorted(mine, key=lambda one: one.record.took.began)


def _of_plan(mine: Sequence[Drill], plan: Plan, now: float) -> Iterator[Due]:
    good = [run for run in plan.runs if run.result in (Result.DONE, Result.PARTLY)]
    if not good:
        return
    # With a clock that was ahead at the first run, a trial would never be due.
    first = min(good[0].ended, int(now))
    passed = [one for one in mine if one.record.outcome is DrillOutcome.PASSED]
    failed = mine[-1] if mine and mine[-1].record.outcome is DrillOutcome.FAILED else None
    for what, length in ((What.SAMPLE, MONTH), (What.FULL, YEAR)):
        counted = [one for one in passed if what is What.SAMPLE or one.record.method.full]
        last = counted[-1] if counted else None
        at = (last.record.took.began if last else first) + length
        if failed is not None and what is What.SAMPLE:
            at = failed.record.took.ended
        yield Due(
            plan=plan,
            what=what,
            at=at,
            overdue=at < now or (failed is not None and what is What.SAMPLE),
            soon=at < now + _SOON[length],
            last=last,
            failed=failed if what is What.SAMPLE else None,
        )


# -- lights ------------------------------------------------------------------------------------------------------------


def checks(now: float | None = None) -> list[Checked]:
    """What somebody has to look at, for ``cloakfs status`` and ``cloakfs doctor``; nothing where all is well.

    Args:
        now: seconds since 1970; None for this moment.
    """
    at = time.time() if now is None else now
    return told(lambda: list(lights(register.drills(), backups.plans(), at)), "restores that were tried")


def lights(drills: Iterable[Drill], plans: Sequence[Plan], now: float) -> Iterator[Checked]:
    """One for each drill that is due or soon is, that failed, or of which something is still to be done."""
    known = list(drills)
    for one in due(known, plans, now):
        if one.overdue or one.soon:
            yield _check(one)
    for drill in known:
        if drill.action is not None and drill.action.done is None and drill.action.due < now:
            yield _action(drill)


def _check(one: Due) -> Checked:
    full = " --full" if one.what is What.FULL else ""
    command = f"cloakfs backup drill {shlex.quote(printable(one.plan.volume))}{full}"
    if one.failed is not None:
        day, wrong = human_date(one.failed.record.took.ended), one.failed.record.found.wrong
        told = f": {plural(wrong, 'thing is', 'things are')} not as it was taken" if wrong else ""
        found = f"the trial of {_named(one.plan)} on {day} failed{told}"
        remedy = f"find out why (cloakfs backup verify), make another backup, then: {command}"
        return Checked(code="drill-failed", title="restore, tried", light=Light.RED, found=found, remedy=remedy)
    what = "a sample" if one.what is What.SAMPLE else "all"
    since = f"last on {human_date(one.last.record.took.began)}" if one.last else "never yet"
    when = f"was due on {human_date(one.at)}" if one.overdue else f"is due on {human_date(one.at)}"
    return Checked(
        code="drill-overdue" if one.overdue else "drill-soon",
        title="restore, tried",
        light=Light.RED if one.overdue else Light.AMBER,
        found=f"restoring {what} of {_named(one.plan)} for a trial {when} ({since})",
        remedy=command,
    )


def _action(one: Drill) -> Checked:
    assert one.action is not None
    return Checked(
        code="drill-action",
        title="restore, tried",
        light=Light.RED,
        found=f"what {printable(one.action.owner)} was to do about the trial {one.record.id} was due on"
        f" {human_date(one.action.due)}",
        remedy=f"when it is done: cloakfs backup certify {one.record.id} --action-done TEXT",
    )


def _named(plan: Plan) -> str:
    return f"the backup of {printable(plan.volume)} to {printable(plan.target)}"
