"""``cloakfs inventory``: every volume, medium, share and exception that this computer knows of.

Owns: how it is shown, and where the page goes. Must not know: where facts come from (``inventory_facts.py``), what the
page looks like (``encfs.evidence.inventory_html``).
"""

from __future__ import annotations

import os
from typing import Final

import click

from encfs.cli import checks_view, inventory_facts, options, output, progress, secret_files
from encfs.errors import ExitCode, UsageError
from encfs.evidence import inventory, inventory_html, inventory_rows
from encfs.evidence import inventory_words as words
from encfs.evidence.inventory import Inventory, Line

_NONE: Final = "  none is known"


@options.command(
    "inventory",
    example="""
cloakfs inventory
cloakfs inventory --html inventory.html
cloakfs inventory --csv > inventory.csv""",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@click.option("--html", metavar="FILE", help="Write a page to print or to keep; FILE must not exist.")
@options.json_option
def command(*, as_csv: bool, html: str | None, as_json: bool) -> ExitCode:
    """List every volume, medium, share and exception that this computer knows of, and how each stands.

    No passphrase is needed. Volumes on media that are elsewhere are told as they were when they were opened here last.
    Each user of a computer has a register of his own; that of a practice is root's. The exit status is 0: what is
    overdue or wrong is told by "cloakfs status" and "cloakfs doctor".
    """
    if as_csv and (as_json or html is not None):
        raise UsageError("--csv goes with neither --json nor --html")
    if html is not None:
        secret_files.check_free(html)
    with progress.activity("Looking at what there is"):
        found = inventory_facts.everything()
    if html is not None:
        page = inventory_html.render(found).encode("utf-8")
        secret_files.write_new(html, page)
    if as_json:
        output.print_json(inventory.as_json(found) | {"html": None if html is None else os.path.abspath(html)})
    elif as_csv:
        output.print_csv(inventory_rows.COLUMNS, inventory_rows.rows(found))
    elif html is not None:
        output.say(f"Written: {output.printable(html)}")
    else:
        _show(found)
    return ExitCode.OK


def _show(found: Inventory) -> None:
    now = found.made_at
    output.say(output.bold(f"Volumes known to {output.printable(found.host)}"))
    if not found.volumes:
        output.say(_NONE)
    for position, one in enumerate(found.volumes):
        if position:
            output.say()
        _show_volume(one, now)
    _section("Sticks and disks", [(words.medium_state(one, now), _who(one.holder, one.place)) for one in found.media])
    _section("Shares", [(one.name, f"{one.volume} at {one.mountpoint}") for one in found.shares])
    output.say()
    output.say(output.bold("Backups"))
    output.say(f"  {words.backups(found)}")
    exceptions = [(one.id, f"{one.dataset}: review by {output.human_date(one.review)}") for one in found.exceptions]
    _section("Data that is not encrypted", exceptions)
    watched = [(one.path, words.coverage(one)) for one in found.scans.watched.values()]
    _section("Watched directories", [*watched, ("other scans", words.other_scan(found.scans.elsewhere))])
    output.say()
    checks_view.show_groups([("This computer", found.checks)])


def _show_volume(one: Line, now: int) -> None:
    output.say(f"  {output.bold(output.printable(one.facts.path))}")
    output.print_table(words.volume_rows(one, now), indent="    ")
    for slot in one.facts.config.slots if one.facts.config else ():
        label, kind, since, cost = words.slot_row(slot, now)
        output.say(f"      {label} ({kind}), since {since}" + (f", {cost}" if cost else ""))


def _section(title: str, rows: list[tuple[str, str]]) -> None:
    output.say()
    output.say(output.bold(title))
    if not rows:
        output.say(_NONE)
    output.print_table([(output.printable(left), output.printable(right)) for left, right in rows])


def _who(holder: str, place: str) -> str:
    return ", ".join(text for text in (holder, place) if text)
