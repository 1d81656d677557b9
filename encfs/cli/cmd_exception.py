"""``cloakfs exception``: data that is not encrypted, why, and until when that holds.

Owns: the commands, how an exception is told. Must not know: what may follow what (``encfs.registers.exceptions``).
"""

from __future__ import annotations

import time
from typing import Any, Final

import click

from encfs.cli import options, output
from encfs.errors import ExitCode, UsageError
from encfs.evidence.when import parse_span
from encfs.registers import exceptions
from encfs.registers.exceptions import DataException

_MS: Final = 1000
_COLUMNS: Final = (
    *("id", "dataset", "reason", "controls", "approver", "added", "reviewed", "review", "overdue", "withdrawn"),
)
_review_option = click.option(
    "--review",
    required=True,
    metavar="DATE",
    help="Until when that holds: 2027-06-01. Then somebody has to look again.",
)
_approver_option = click.option("--approver", required=True, metavar="NAME", help="Who has decided that.")


@click.group("exception", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep a register of data that is not encrypted: why, what protects it instead, who decided, until when.

    It stands on this computer, in the clear, and each line is signed and stays. Name the data so that no patient is
    named. docs/exceptions.md goes through all of it.
    """


@options.command(
    "add",
    example="""
cloakfs exception add 'X-ray archive 2009' --reason 'the viewer cannot read from a mount' \\
  --controls 'locked room, no network' --approver 'Dr. Weber' --review 2027-06-01""",
)
@click.argument("dataset")
@click.option("--reason", required=True, metavar="TEXT", help="Why it is not encrypted.")
@click.option("--controls", required=True, metavar="TEXT", help="What protects it instead.")
@_approver_option
@_review_option
@options.json_option
def add(*, dataset: str, reason: str, controls: str, approver: str, review: str, as_json: bool) -> ExitCode:
    """Write down that DATASET is not encrypted. From DATE on "cloakfs status" is red until somebody looks again."""
    until = _future(review)
    output.remark("What you write stands on this computer in the clear, and stays: no patient's name in it.")
    made = exceptions.add(dataset=dataset, reason=reason, controls=controls, approver=approver, review=until)
    return _done(made, as_json=as_json)


@options.command("renew", example="cloakfs exception renew E1 --approver 'Dr. Weber' --review 2028-06-01")
@click.argument("exception_id", metavar="ID")
@_approver_option
@_review_option
@options.json_option
def renew(*, exception_id: str, approver: str, review: str, as_json: bool) -> ExitCode:
    """Somebody has looked again, and it holds on until DATE."""
    return _done(exceptions.renew(exception_id, approver=approver, review=_future(review)), as_json=as_json)


@options.command("withdraw", example="cloakfs exception withdraw E1")
@click.argument("exception_id", metavar="ID")
@options.json_option
def withdraw(*, exception_id: str, as_json: bool) -> ExitCode:
    """An exception has ended: the data is encrypted now, or gone. Its lines stay."""
    return _done(exceptions.withdraw(exception_id), as_json=as_json)


@options.command("list", example="cloakfs exception list --all --csv > exceptions.csv")
@click.option("--all", "all_", is_flag=True, help="Also those that have ended.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@options.json_option
def list_(*, all_: bool, as_csv: bool, as_json: bool) -> ExitCode:
    """Show the exceptions, and what is overdue."""
    shown = [one for one in exceptions.exceptions() if all_ or one.withdrawn is None]
    if as_json:
        output.print_json({"exceptions": [_row(one) for one in shown]})
    elif as_csv:
        output.print_csv(_COLUMNS, (_for_table(_row(one)) for one in shown))
    elif not shown:
        output.say("No exceptions are in the register.")
    for one in shown if not (as_json or as_csv) else ():
        _say(one)
    return ExitCode.OK


def _future(text: str) -> int:
    """The end of the day, or the time, that is meant. Raises: UsageError: it is no time, or over."""
    at = parse_span(text).last // _MS
    if at < time.time():
        raise UsageError(f"{text} is over already", hint="Nothing was written. Give a day that comes.")
    return at


def _done(one: DataException, *, as_json: bool) -> ExitCode:
    if as_json:
        output.print_json({"exception": _row(one)})
    else:
        _say(one)
    return ExitCode.OK


def _say(one: DataException) -> None:
    late = output.coloured(" OVERDUE", "red") if exceptions.is_overdue(one, time.time()) else ""
    until = f"holds until {output.human_date(one.review)}{late}"
    output.say(f"{one.id}  {output.bold(output.printable(one.dataset))} is not encrypted")
    output.print_table(
        [
            ("state", until if one.withdrawn is None else f"withdrawn on {output.human_date(one.withdrawn)}"),
            ("reason", output.printable(one.reason)),
            ("controls", output.printable(one.controls)),
            ("approved", f"{output.printable(one.approver)}, {output.human_date(one.reviewed)}"),
        ],
        indent="    ",
    )


def _row(one: DataException) -> dict[str, Any]:
    """What docs/json.md has of an exception."""
    return {
        "id": one.id,
        "dataset": one.dataset,
        "reason": one.reason,
        "controls": one.controls,
        "approver": one.approver,
        "added": one.added,
        "reviewed": one.reviewed,
        "review": one.review,
        "overdue": exceptions.is_overdue(one, time.time()),
        "withdrawn": one.withdrawn,
    }


def _for_table(row: dict[str, Any]) -> dict[str, Any]:
    """Times as people read them."""
    times = ("added", "reviewed", "review", "withdrawn")
    return {**row, **{name: output.human_time(row[name]) for name in times if row[name] is not None}}


for _one in (add, renew, withdraw, list_):
    command.add_command(_one)
