"""``cloakfs audit review``: read what happened in a time, say what was found, sign that.

Owns: the page, the questions, the past ones. Must not know: what is counted and kept (``encfs.registers.reviews``).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from encfs.audit import journal
from encfs.audit.heads import began
from encfs.audit.home import host_signer
from encfs.audit.reading import read_log, too_early
from encfs.cli import audit_reading, options, output, periods, secret_files, targets, terminal
from encfs.cli.anchor_proof import anchor_proof
from encfs.cli.periods import Period
from encfs.core.documents import sign_document
from encfs.errors import ExitCode, UsageError
from encfs.format.audit import CheckpointReason, Moment
from encfs.registers import reviews
from encfs.registers.reviews import Counts, Review

_DOCUMENT: Final = "review"
_SCRIPTS: Final = "In scripts give --reviewer NAME, and --finding TEXT or --no-findings."


@options.command(
    "review",
    example="""
cloakfs audit review
cloakfs audit review --since 2026-07-01 --until 2026-09-30 --reviewer "Dr. Weber" --no-findings
cloakfs audit review --list""",
)
@periods.since_option
@periods.until_option
@click.option("--reviewer", metavar="NAME", help="Who reviews.")
@click.option("--finding", "findings", metavar="TEXT", multiple=True, help="What was found; give it several times.")
@click.option("--no-findings", is_flag=True, help="Nothing was found.")
@click.option("--out", metavar="FILE", help="Also a signed copy in a new file.")
@click.option("--list", "listed", is_flag=True, help="Show the reviews that were made, and when the next one is due.")
@audit_reading.anchors_option
@audit_reading.auditor_option
@options.json_option
def command(
    *,
    since: str | None,
    until: str | None,
    reviewer: str | None,
    findings: tuple[str, ...],
    no_findings: bool,
    out: str | None,
    listed: bool,
    anchors: str | None,
    key_file: str | None,
    as_json: bool,
) -> ExitCode:
    """Show what happened since the last review, ask what you make of it, and keep that, signed by this computer.

    45 CFR 164.308(a)(1)(ii)(D) wants records of activity to be reviewed regularly; "cloakfs doctor" reminds of it each
    quarter. Without --since it begins where the last review ended.
    """
    if listed:
        return _list(as_json=as_json)
    if findings and no_findings:
        raise UsageError("--finding and --no-findings do not go together")
    if out is not None:
        secret_files.check_free(out)
    log, summary = _look(periods.period(since, until), key_file, anchors)
    if not as_json:
        _show(summary)
    name, found = _opinion(reviewer, findings, summary, nothing=no_findings)
    data = reviews.content(name, found, log, summary)
    made = reviews.add(data)
    audit_reading.note("log.review", review=made.seq, records=summary["records"], findings=len(found))
    if out is not None:
        host, made_at = socket.gethostname(), int(time.time())
        document = sign_document(host_signer(), kind=_DOCUMENT, made_at=made_at, host=host, body=data)
        secret_files.write_new(out, document)
    if as_json:
        output.print_json(_as_json(made))
    else:
        output.say(f"Review {made.seq + 1} is signed and kept. All of them: cloakfs audit review --list")
    return ExitCode.OK


def _look(part: Period, key_file: str | None, anchors: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which log up to where, and what happened. Raises: UsageError, AuditError, OSError."""
    proof, counts = anchor_proof(anchors, None), Counts()
    with audit_reading.opened(key_file, proof) as (here, verifier):
        seq, head = journal.checkpoint(CheckpointReason.ASKED)
        since_ms, until_ms = part.since_ms, part.until_ms
        if since_ms is None:
            since_ms = _after_the_last(began(here))
        now_ms = int(time.time() * 1000)
        until_ms = now_ms if until_ms is None else min(until_ms, now_ms)
        part, in_time = Period(since_ms, until_ms), set()
        for taken in read_log(here, verifier):
            if part.has(taken.frame.at.wall_ms):
                in_time.add(taken.frame.seq)
                counts.add(taken)
        audit_reading.need_key(verifier)
        verifier.problems += [] if proof is None else too_early(verifier, proof.anchors)
        log = {"id": here.log().log_id().hex(), "seq": seq, "head": head.hex()}
    steps = sum(step.seq in in_time for step in verifier.clock_steps)
    words = [] if proof is None else [str(problem.trouble) for problem in proof.problems]
    return log, counts.summary(verifier, since_ms=since_ms, until_ms=until_ms, steps=steps, words=words)


def _after_the_last(first: Moment | None) -> int:
    return reviews.covered(reviews.reviews(), 0 if first is None else first.wall_ms // 1000) * 1000


def _show(summary: Mapping[str, Any]) -> None:
    output.say(f"{output.human_time(summary['since'])} to {output.human_time(summary['until'])}")
    output.say()
    for action, found in summary["actions"].items():
        output.say(f"  {action:<28} " + ", ".join(f"{count:,} {outcome}" for outcome, count in found.items()))
    problems = ", ".join(f"{count} {word}" for word, count in summary["problems"].items())
    output.say()
    output.print_table(
        [
            ("records", f"{summary['records']:,}"),
            ("refused to open a volume", f"{summary['refused_unlocks']:,}"),
            ("damaged data met", f"{summary['integrity_failures']:,}"),
            ("the clock was set", output.plural(summary["clock_steps"], "time")),
            ("records missing in the log", output.plural(summary["gaps"], "gap")),
            ("the log itself", f"WRONG: {problems} (cloakfs audit verify)" if problems else "nothing in it is wrong"),
        ]
    )


def _opinion(
    reviewer: str | None, findings: Sequence[str], summary: Mapping[str, Any], *, nothing: bool
) -> tuple[str, list[str]]:
    """Who reviews, and what was found.

    Raises:
        UsageError: there is nobody to ask; nobody is named; or nothing is said of a log in which something is wrong.
        EOFError: it was not meant.
    """
    asked = not findings and not nothing
    if reviewer is None or asked:
        terminal.require("an opinion of what is shown", hint=_SCRIPTS)
    name = terminal.ask("Who reviews this? ") if reviewer is None else reviewer
    if not name.strip():
        raise UsageError("a review needs the name of whoever makes it", hint=_SCRIPTS)
    found = _ask_findings() if asked else [text.strip() for text in findings]
    if not found and summary["problems"]:
        raise UsageError(
            "something in the log itself is wrong, so a review has to say what is made of that",
            hint="See cloakfs audit verify, and give --finding TEXT.",
        )
    return name.strip(), found


def _ask_findings() -> list[str]:
    found: list[str] = []
    while text := terminal.ask("What did you find? (an empty line: that is all) ").strip():
        found.append(text)
    what = output.plural(len(found), "finding") if found else "no findings"
    if terminal.ask(f'Sign this review with {what}? Type "yes": ').strip().lower() != "yes":
        raise EOFError
    return found


def _list(*, as_json: bool) -> ExitCode:
    """The past ones, and when the next one is due."""
    made = reviews.reviews()
    with audit_reading.opened(None) as (here, _):
        first = began(here)
    due = reviews.due(made, 0 if first is None else first.wall_ms // 1000)
    if as_json:
        output.print_json({"reviews": [_as_json(one) for one in made], "due": due, "overdue": due <= time.time()})
        return ExitCode.OK
    for one in made:
        days = f"{output.human_date(one.summary['since'])} to {output.human_date(one.summary['until'])}"
        who = f"{output.printable(one.reviewer)} (as {targets.user_name(one.uid)})"
        output.say(f"{one.seq + 1:>4}  {output.human_time(one.at)}  {days}  {who}")
        for text in one.findings or ["no findings"]:
            output.say(f"        {output.printable(text)}")
    late = " It is overdue." if due <= time.time() else ""
    output.say(f"The next review is due on {output.human_date(due)}.{late}")
    return ExitCode.OK


def _as_json(one: Review) -> dict[str, Any]:
    return {"review": one.seq, "time": one.at, "uid": one.uid, **one.data(), "digest": one.digest}
