"""How the backups of a volume stand: what is overdue, what failed, and what the two-targets rule still wants.

Owns: these judgements, the lights. Must not know: how a backup is made, the terminal. When restores are due is
``drill_due.py``'s.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from encfs.backup import plans as register
from encfs.backup import rotation
from encfs.backup.plans import Checked as ReadBack
from encfs.backup.plans import Place, Plan, Result, Run
from encfs.checks import Checked, Light
from encfs.registers import media as media_register
from encfs.registers.health import told
from encfs.registers.media import Medium
from encfs.wording import human_date, human_duration, human_time, plural, printable

DAY: Final = 86_400
SCHEDULED: Final = 26 * 3600
"""How old the last good run of a backup with a schedule may be, in seconds."""
BY_HAND: Final = 8 * DAY
"""The same of one without."""
COUNTED: Final = 35 * DAY
"""A medium whose last good run is older than this is none for the two-targets rule."""
AHEAD: Final = DAY
"""A run that is dated further ahead than this was made with another clock, and shows nothing of when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one backup stands.

    Attributes:
        last: its last run, however it ended.
        good: the last one that left something good, and is not dated ahead.
        due: when the next good run is due at the latest, seconds since 1970.
        overdue: whether that is past.
        checked: when all of it was read back the last time.
        trouble: why the last run left nothing good, for people; empty if it did.
    """

    plan: Plan
    last: Run | None
    good: Run | None
    due: int
    overdue: bool
    checked: ReadBack | None
    trouble: str


def standing(plan: Plan, now: float) -> Standing:
    """How it stands at ``now``, seconds since 1970."""
    last = plan.runs[-1] if plan.runs else None
    good = next((run for run in reversed(plan.runs) if is_good(run) and run.ended <= now + AHEAD), None)
    since = good.ended if good is not None else min(plan.since, int(now))
    due = since + (SCHEDULED if plan.schedule else BY_HAND)
    return Standing(
        plan=plan,
        last=last,
        good=good,
        due=due,
        overdue=due < now,
        checked=plan.last_checked(),
        trouble="" if last is None or is_good(last) else last.why or "it failed",
    )


def is_good(run: Run) -> bool:
    """Whether it left something that can be restored."""
    return run.result in (Result.DONE, Result.PARTLY)


# -- two targets, one of them off-site ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One thing that a backup lies on: a target, or one medium of those that take turns at it.

    Attributes:
        label: of the medium; empty for a target without any.
        at: when its last good run ended; None if it has none.
        offsite: whether it is not where the volume is, as far as somebody has said.
        lost: whether nobody knows where it is, or it is no more.
    """

    plan: Plan
    label: str
    at: int | None
    offsite: bool
    lost: bool = False


def copies(plans: Iterable[Plan], media: Iterable[Medium]) -> list[Copy]:
    """All that the backups of a volume lie on. A medium is off-site if it is out, or its target is."""
    known = list(media)
    found = []
    for plan in plans:
        place = plan.place is Place.OFFSITE
        if not plan.labels:
            run = plan.last_good()
            found.append(Copy(plan=plan, label="", at=None if run is None else run.ended, offsite=place))
        for turn in rotation.turns(plan, known):
            at = None if turn.last is None else turn.last.ended
            offsite = place or turn.offsite
            found.append(Copy(plan=plan, label=turn.label, at=at, offsite=offsite, lost=not turn.usable))
    return found


def missing(found: Iterable[Copy], now: float) -> list[str]:
    """What the rule still wants: two targets with a backup of these weeks, one of them off-site. Empty: nothing."""
    good = [one for one in found if counts(one, now)]
    wanted = []
    if len(good) < 2:
        wanted.append("a second target" if good else "a target with a good run")
    if not any(one.offsite for one in good):
        wanted.append("one that is off-site")
    return wanted


def counts(one: Copy, now: float) -> bool:
    """Whether it is a target for the rule: what was taken away or lost, or is many weeks old, is none."""
    return one.at is not None and not one.lost and now - COUNTED <= one.at <= now + AHEAD


# -- lights ------------------------------------------------------------------------------------------------------------


def checks(now: float | None = None) -> list[Checked]:
    """What somebody has to look at, for ``cloakfs status`` and ``cloakfs doctor``; nothing where all is well.

    Args:
        now: seconds since 1970; None for this moment.
    """
    at = time.time() if now is None else now
    return told(lambda: [check for plan in register.plans() for check in lights(plan, at)], "backups")


def rule_checks(now: float | None = None) -> list[Checked]:
    """The two-targets rule, for each volume that has a backup; as :func:`checks`."""
    at = time.time() if now is None else now
    return told(lambda: list(rule_lights(register.plans(), media_register.media(), at)), "backups")


def lights(plan: Plan, now: float) -> Iterator[Checked]:
    """One for each thing that is wrong with a backup."""
    one = standing(plan, now)
    again = f"cloakfs backup run {_quoted(plan)}"
    if one.last is not None and one.last.result is Result.GUARD:
        yield Checked(
            code="backup-guard",
            title="backup",
            light=Light.RED,
            found=f"{_named(plan)} was held on {human_time(one.last.ended)}: {one.trouble}",
            remedy=f"look at the files; if all is well: {again} --accept-changes",
        )
    elif one.trouble and one.last is not None:
        yield Checked(
            code="backup-failed",
            title="backup",
            light=Light.RED,
            found=f"the last run of {_named(plan)}, on {human_time(one.last.ended)}, failed: {one.trouble}",
            remedy=again,
        )
    if one.overdue:
        yield _overdue(one, now, again)
    if one.checked is not None and one.checked.why:
        yield Checked(
            code="backup-damaged",
            title="backup, read back",
            light=Light.RED,
            found=f"{_named(plan)} was read back on {human_date(one.checked.at)}: {one.checked.why}",
            remedy=f"make another one on another medium, then: cloakfs backup verify {_quoted(plan)}",
        )


def _overdue(one: Standing, now: float, again: str) -> Checked:
    if one.good is None:
        found = f"{_named(one.plan)} was never made"
    else:
        age = human_duration(max(0.0, now - one.good.ended))
        found = f"the last good run of {_named(one.plan)} is {age} old ({human_time(one.good.ended)})"
    remedy = again
    if one.plan.schedule:
        remedy = f"is its timer on, and was this computer? {again}"
    return Checked(code="backup-overdue", title="backup", light=Light.RED, found=found, remedy=remedy)


def rule_lights(plans: Sequence[Plan], media: Sequence[Medium], now: float) -> Iterator[Checked]:
    """One for each volume whose backups are not enough."""
    for volume_id in dict.fromkeys(plan.volume_id for plan in plans):
        mine = [plan for plan in plans if plan.volume_id == volume_id]
        found = copies(mine, media)
        if wanted := missing(found, now):
            number = sum(counts(one, now) for one in found)
            there = plural(number, "target that counts", "targets that count")
            yield Checked(
                code="backup-rule",
                title="two targets",
                light=Light.AMBER,
                found=f"the backups of {printable(mine[0].volume)} are on {there}; missing: {', and '.join(wanted)}",
                remedy=f"a target elsewhere: cloakfs backup init {_quoted(mine[0])} TARGET --place offsite; a stick"
                " that is carried away: cloakfs media check-out LABEL --holder NAME",
            )


def _quoted(plan: Plan) -> str:
    return shlex.quote(printable(plan.volume))


def _named(plan: Plan) -> str:
    return f"the backup of {printable(plan.volume)} to {printable(plan.target)}"
