"""``cloakfs backup certify``: a second person has looked at a drill; what is done about what it found.

Owns: the command. Must not know: who may certify (``encfs.backup.drills``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from encfs.audit import journal
from encfs.backup import drills
from encfs.backup.drills import Drill
from encfs.cli import auditing, drill_view, options, output
from encfs.errors import ExitCode, UsageError
from encfs.evidence import checking
from encfs.evidence.when import parse_span
from encfs.format.audit_body import Outcome
from encfs.units import VolumeId
from encfs.volume.told import about

_MS: Final = 1000


@options.command(
    "certify",
    example="""
cloakfs backup certify 3f2a91c4 --by 'Dr. Weber' --note 'opened two of the files' --out drill.pdf
cloakfs backup certify 3f2a91c4 --action 'a new stick' --owner Anna --due 2027-02-01
cloakfs backup certify drill-of-the-laptop.pdf --by 'Dr. Weber'""",
)
@click.argument("drill")
@click.option("--by", metavar="NAME", help="Who has looked at it: another person than who made it.")
@click.option("--note", default="", metavar="TEXT", help="What that person has to say. No patient's name.")
@click.option("--action", metavar="TEXT", help="What is done about what was found.")
@click.option("--owner", metavar="NAME", help="Who does it.")
@click.option("--due", metavar="DATE", help="Until when: 2027-02-01.")
@click.option("--action-done", metavar="TEXT", help="It is done, and this came of it.")
@click.option("--out", metavar="FILE", help="Write the signed record to a new PDF file, or to one that ends in .json.")
@options.json_option
def command(
    *,
    drill: str,
    by: str | None,
    note: str,
    action: str | None,
    owner: str | None,
    due: str | None,
    action_done: str | None,
    out: str | None,
    as_json: bool,
) -> ExitCode:
    """Say that a second person has looked at DRILL, a trial of a backup; or what is done about it.

    DRILL is the id that "cloakfs backup drill" has told, or its beginning; or a file with the record of one that was
    made on another computer, which then stands in the register of this one.

    Whoever made the trial cannot certify it, by name or by account. Only root's account, which people share, may do
    both, for people whose names differ; the record says so. A trial that failed is certified with what is done about
    it.
    """
    if by is None and action is None and action_done is None and out is None:
        raise UsageError("say who has looked at it", hint="Give --by NAME; or --action, --action-done, --out.")
    if (action, owner, due).count(None) not in {0, 3}:
        raise UsageError("--action, --owner and --due go together", hint="Nothing was written.")
    if note and by is None:
        raise UsageError("--note goes with --by", hint="Nothing was written.")
    until = None if due is None else parse_span(due).last // _MS
    drill_view.check_file(out)
    one = _find(drill)
    with _recorded(one, certified=by is not None):
        if action is not None and owner is not None and until is not None:
            one = drills.set_action(one.record.id, text=action, owner=owner, due=until)
        if action_done is not None:
            one = drills.end_action(one.record.id, action_done)
        if by is not None:
            one = drills.certify(one.record.id, by=by, note=note)
    if out is not None:
        drill_view.write(one, out)
    if as_json:
        output.print_json({"drill": drill_view.row(one), "out": out})
        return ExitCode.OK
    drill_view.show(one)
    if out is not None:
        output.say(f"Written: {output.printable(out)}")
    return ExitCode.OK


def _find(text: str) -> Drill:
    """By its id, or from a file. Raises: UsageError, FormatError, AuthenticationError, OSError."""
    if not os.path.isfile(text):
        return drills.find(text)
    with open(text, "rb") as file:
        data = file.read(checking.FILE_MAX + 1)
    with about(text):
        return drills.bring(checking.document_in(data))


@contextmanager
def _recorded(one: Drill, *, certified: bool) -> Iterator[None]:
    """The audit log is told of a certification, also of one that was refused."""
    volume_id = VolumeId(bytes.fromhex(one.record.volume))
    try:
        yield
    except BaseException as exc:
        if certified:
            auditing.tell("backup.certify", journal.outcome_of(exc), volume_id, drill=one.record.id)
        raise
    if certified:
        auditing.tell("backup.certify", Outcome.DONE, volume_id, drill=one.record.id)
