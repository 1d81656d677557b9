"""``cloakfs audit prune``: take away what was kept long enough.

Owns: what is shown before, who is asked, how it is told. Must not know: what has expired (``encfs.audit.pruning``).
"""

from __future__ import annotations

import os
from typing import Any

import click

from encfs.audit.home import Home
from encfs.audit.log import AuditLog
from encfs.audit.pruning import Plan, prune, survey
from encfs.audit.reading import read_log
from encfs.cli import audit_reading, options, output, terminal
from encfs.cli.options import Duration
from encfs.errors import AuditError, ExitCode
from encfs.format.audit import Clock


@options.command(
    "prune",
    example="""
cloakfs audit prune
cloakfs audit prune --keep 8y --yes""",
)
@click.option(
    "--keep", metavar="TIME", type=Duration(), default="6y", show_default=True, help="What is younger stays: 8y, 2500d."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.json_option
def command(*, keep: float, yes: bool, as_json: bool) -> ExitCode:
    """Remove what is older than six years (or --keep), for good.

    Only whole parts of the log go, of which everything is older; the present part stays. A signed mark stays in their
    place, which "cloakfs audit verify" shows: what was removed, when, and by whom. Less than six years is refused:
    45 CFR 164.316(b)(2) wants records to be kept for so long.
    """
    with audit_reading.opened(None) as (here, verifier):
        for _ in read_log(here, verifier):
            pass
        log = here.log()
        at = log.now()
        plan = survey(here.store, here.dirfd, verifier, now_ms=at.wall_ms, keep_ms=int(keep * 1000))
        going = bool(plan.expired or plan.unfinished)
        if not as_json or not yes:
            _show(plan, at.wall_ms, quiet=as_json)
        if going:
            if at.clock is not Clock.SYNCHRONISED:
                output.warn("nothing sets the clock of this computer by the network: look whether its date is right")
            if not yes:
                _ask()
            _prune(log, here, plan)
    if going:
        last = plan.expired[-1].segment.last if plan.expired else plan.unfinished[-1].last
        count = len(plan.expired) + len(plan.unfinished)
        audit_reading.note("log.prune", segments=count, last=last, keep_days=int(keep // 86400))
    if as_json:
        output.print_json(_report(plan, keep))
    elif going:
        output.say('Removed. "cloakfs audit verify" tells of it from now on.')
    return ExitCode.OK


def _prune(log: AuditLog, here: Home, plan: Plan) -> None:
    """Raises: AuditError: the log has changed meanwhile, or cannot be written."""
    try:
        prune(log, here.store, here.dirfd, plan, uid=os.getuid())
    except OSError as exc:
        raise AuditError(
            f"the audit log could not be pruned: {exc.strerror}",
            hint="Nothing has gone without a mark in the log. Make room, or mend the disk; another go finishes it.",
        ) from exc


def _show(plan: Plan, now_ms: int, *, quiet: bool) -> None:
    say = output.remark if quiet else output.say
    for one in plan.expired:
        days = f"{output.human_date(one.since_ms / 1000)} to {output.human_date(one.until_ms / 1000)}"
        numbers = f"{one.segment.first} to {one.segment.last}"
        say(f"log-{one.segment.number:08}  {days}  {numbers}  {output.human_size(one.size)}")
    for gone in plan.unfinished:
        say(f"log-{gone.number:08}  was to be removed before, and is still there")
    if not plan.expired and not plan.unfinished:
        say("Nothing is old enough to be removed.")
    if plan.wrong is not None:
        say(f"log-{plan.wrong:08} and all behind it stay: something in it is wrong (cloakfs audit verify).")
    if plan.later_ms is not None and plan.later_ms <= now_ms:
        # Six years are counted from the last record, so a log in which nothing happens grows no older.
        say("The next part is old enough as soon as something else is recorded.")
    elif plan.later_ms is not None:
        say(f"The next part will be old enough on {output.human_date(plan.later_ms / 1000)}.")


def _ask() -> None:
    """Raises: UsageError: there is nobody to ask. EOFError: it is not wanted."""
    terminal.require("your consent", hint="In scripts give --yes.")
    if terminal.ask('This is removed for good. Type "yes": ').strip().lower() != "yes":
        raise EOFError


def _report(plan: Plan, keep: float) -> dict[str, Any]:
    return {
        "keep_days": int(keep // 86400),
        "removed": [
            {
                "segment": one.segment.number,
                "first": one.segment.first,
                "last": one.segment.last,
                "since": one.since_ms / 1000,
                "until": one.until_ms / 1000,
                "bytes": one.size,
                "sha256": one.segment.digest.hex(),
            }
            for one in plan.expired
        ],
        "finished": [one.number for one in plan.unfinished],
        "wrong": plan.wrong,
        "next": None if plan.later_ms is None else plan.later_ms / 1000,
    }
