"""What a pack judges by itself, beside what ``cloakfs doctor`` looks at.

Owns: encryption and who vouches for it, idle locks, backups, how the audit log stands. Must not know: how it is shown.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence

from encfs.backup import drills
from encfs.backup import plans as backups
from encfs.backup.drill_due import of_plan
from encfs.backup.drill_record import DrillOutcome
from encfs.backup.drills import Drill
from encfs.backup.plans import Plan
from encfs.checks import Checked, Light
from encfs.evidence.facts import ConfigFacts, VolumeFacts, Vouched
from encfs.evidence.log_facts import LogFacts
from encfs.evidence.pack_parts import is_destroyed
from encfs.registers.ledger import Entry
from encfs.wording import human_date, plural, printable

SIX_YEARS = 6 * 365 * 86_400


def of_volume(one: VolumeFacts) -> list[Checked]:
    """Of one volume; nothing of one whose keys are destroyed."""
    if is_destroyed(one):
        return []
    if one.config is None:
        return [
            Checked(
                code="encrypted",
                title="encryption",
                light=Light.AMBER,
                found="how it is encrypted is not known here: it cannot be reached, and was never opened here",
                remedy="put its medium in, open it once, and make the pack again",
            )
        ]
    return [_encryption(one, one.config), _idle(one, one.config)]


def _encryption(one: VolumeFacts, config: ConfigFacts) -> Checked:
    what = f"AES-256-GCM ({config.suite}), all of it since it was made on {human_date(config.created)}"
    match one.vouched:
        case Vouched.OPENED:
            light, who, remedy = Light.GREEN, "its keys vouch for that", ""
        case Vouched.REMEMBERED:
            day = human_date(one.noted or 0)
            light, who, remedy = Light.GREEN, f"known since it was opened here on {day}; it cannot be read now", ""
        case _:
            light, who = Light.AMBER, "as its config says, for which nothing vouches while it is locked"
            remedy = "mount it, and make the pack again; or give what opens it: cloakfs evidence VOLUME"
    return Checked(code="encrypted", title="encryption", light=light, found=f"{what}; {who}", remedy=remedy)


def _idle(one: VolumeFacts, config: ConfigFacts) -> Checked:
    seconds = config.rules.get("idle_seconds")
    if seconds:
        found = f"its policy locks it when nobody has used it for {plural(max(1, seconds // 60), 'minute')}"
        return Checked(code="idle-lock", title="idle lock", light=Light.GREEN, found=found)
    return Checked(
        code="idle-lock",
        title="idle lock",
        light=Light.AMBER,
        found="no rule locks it when nobody uses it",
        remedy=f"cloakfs policy {shlex.quote(printable(one.path or 'VOLUME'))} --idle 30m",
    )


def of_host(log: LogFacts, entries: Mapping[str, Sequence[Entry]]) -> list[Checked]:
    """Of backups and the log."""
    return [_backup(entries.get("backups", ())), *_drill(entries), *_of_log(log)]


def _backup(entries: Sequence[Entry]) -> Checked:
    """Whether there are any; what is overdue or failed is a check of the computer."""
    plans = backups.replay(entries)
    good = [run.ended for plan in plans if (run := plan.last_good())]
    if good:
        found = f"the last good run was on {human_date(max(good))}; {plural(len(plans), 'backup')} set up here"
        return Checked(code="backup", title="backups", light=Light.GREEN, found=found)
    if plans:
        return Checked(
            code="backup",
            title="backups",
            light=Light.AMBER,
            found="a backup is set up, and no run of it is there yet",
            remedy="cloakfs backup run",
        )
    return Checked(
        code="backup",
        title="backups",
        light=Light.AMBER,
        found="no backup is known to cloakfs; another program may make them",
        remedy="keep the record of that program, and of its last tested restore, with this pack",
    )


def _drill(entries: Mapping[str, Sequence[Entry]]) -> Iterator[Checked]:
    """Where no backup is known the check of backups says it all; what is overdue is a check of the computer."""
    known, plans = drills.replay(entries.get("drills", ())), backups.replay(entries.get("backups", ()))
    for plan in plans:
        passed = [one for one in of_plan(known, plan, math.inf) if one.record.outcome is DrillOutcome.PASSED]
        if passed:
            yield _passed(plan, passed)
        else:
            yield Checked(
                code="drill",
                title="restore, tried",
                light=Light.AMBER,
                found=f"{_named(plan)} was never restored for a trial, as far as cloakfs knows",
                remedy=f"cloakfs backup drill {shlex.quote(printable(plan.volume))}",
            )


def _passed(plan: Plan, passed: Sequence[Drill]) -> Checked:
    last = passed[-1]
    full = [one for one in passed if one.record.method.full]
    found = f"{_named(plan)} was restored for a trial on {human_date(last.record.took.began)}"
    found += f", all of it on {human_date(full[-1].record.took.began)}" if full else ", a sample of it"
    if last.certified is not None:
        found += f"; certified by {printable(last.certified.by)}"
        return Checked(code="drill", title="restore, tried", light=Light.GREEN, found=found)
    return Checked(
        code="drill",
        title="restore, tried",
        light=Light.AMBER,
        found=f"{found}; no second person has certified that",
        remedy=f"cloakfs backup certify {last.record.id} --by NAME",
    )


def _named(plan: Plan) -> str:
    return f"the backup of {printable(plan.volume)} to {printable(plan.target)}"


def _of_log(log: LogFacts) -> Iterator[Checked]:
    if log.problems:
        words = ", ".join(f"{name} ({count})" for name, count in sorted(log.problems.items()))
        yield Checked(
            code="log-problem",
            title="audit log, proved",
            light=Light.RED,
            found=f"something in it is wrong: {words}",
            remedy="cloakfs audit verify   (docs/audit.md says what each word means)",
        )
    else:
        proved = "signatures and seals are right" if log.sealed is not None else "its signatures are right"
        yield Checked(
            code="log-problem",
            title="audit log, proved",
            light=Light.GREEN,
            found=f"{proved}: {plural(log.frames, 'record')} since {human_date(log.first_at)}",
        )
    span = log.last_at - log.first_at
    years = "it holds six years or more" if span >= SIX_YEARS else f"it holds all since {human_date(log.first_at)}"
    yield Checked(code="log-age", title="audit log, kept", light=Light.GREEN, found=years)
