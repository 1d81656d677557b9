"""``cloakfs media``: sticks and disks, who has which.

Owns: the commands, how a medium is told. Must not know: what may follow what (``encfs.registers.media``), devices.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from encfs.cli import medium_facts, options, output, targets
from encfs.cli.medium_facts import Facts
from encfs.errors import ExitCode, UsageError
from encfs.evidence.when import parse_span
from encfs.registers import media
from encfs.registers.ledger import Entry
from encfs.registers.media import Medium, MediumKind, MediumState

_MS: Final = 1000
_COLUMNS: Final = (
    *("label", "kind", "state", "since", "holder", "place", "due", "overdue", "lost_at"),
    *("serial", "filesystem", "volumes"),
)
_MOVES: Final = ("seq", "time", "by", "label", "entry", "holder", "place", "due", "lost_at")
_SAID: Final = {
    "add": "added",
    "volume": "has another content",
    "check-out": "taken",
    "check-in": "back",
    "lost": "lost",
    "found": "found",
    "destroyed": "destroyed",
}
_place_option = click.option("--place", default="", metavar="PLACE", help="Where it is.")


@click.group("media", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep a register of sticks and disks: which there are, who has which, and which is lost.

    It stands on this computer, in the clear, and each line is signed and stays. Labels are what you write on the
    medium. No patient's name belongs in it. docs/media-register.md goes through all of it.
    """


@options.command(
    "add",
    example="""
cloakfs media add 'Blue 1' --device /media/anna/STICK --volume /media/anna/STICK --place safe
cloakfs media add 'Backup A' --kind backup --serial 4C530001 --holder 'Dr. Weber'""",
)
@click.argument("label")
@click.option("--device", metavar="DEVICE|DIRECTORY", help="Where it is plugged in: finds serial and filesystem.")
@click.option("--serial", default="", metavar="SERIAL", help="Of its maker, as it is printed on it.")
@click.option(
    "--kind", type=click.Choice([one.value for one in MediumKind]), default=MediumKind.STICK.value, show_default=True
)
@click.option("--volume", "volumes", multiple=True, metavar="VOLUME", help="On it: directory, mount point or id.")
@click.option("--holder", default="", metavar="NAME", help="Who keeps it while it is in.")
@_place_option
@options.json_option
def add(
    *,
    label: str,
    device: str | None,
    serial: str,
    kind: str,
    volumes: tuple[str, ...],
    holder: str,
    place: str,
    as_json: bool,
) -> ExitCode:
    """Put a medium into the register. LABEL is what you write on it; no two media have the same.

    A stick that "cloakfs stick create" makes is put there by itself.
    """
    ids = [medium_facts.volume_id(text) for text in volumes]
    if device is not None:
        facts = medium_facts.of_path(device)
    else:
        facts = medium_facts.of_volume(targets.find(volumes[0]).volume) if len(ids) == 1 else Facts()
    made = media.add(
        label,
        kind=MediumKind(kind),
        serial=serial or facts.serial,
        filesystem=facts.filesystem,
        volumes=ids,
        holder=holder,
        place=place,
    )
    return _done(made, as_json=as_json)


@options.command("check-out", example="cloakfs media check-out 'Blue 1' --holder Anna --due 2026-12-01")
@click.argument("label")
@click.option("--holder", required=True, metavar="NAME", help="Who takes it.")
@_place_option
@click.option("--due", metavar="DATE", help="When it is to be back: 2026-12-01, or with a time.")
@options.json_option
def check_out(*, label: str, holder: str, place: str, due: str | None, as_json: bool) -> ExitCode:
    """Somebody takes a medium. From DATE on "cloakfs status" is red until it is back."""
    until = None
    if due is not None:
        until = parse_span(due).last // _MS
        if until < time.time():
            raise UsageError(f"{due} is over already", hint="Nothing was written. Give a day that comes.")
    return _done(media.check_out(label, holder=holder, place=place, due=until), as_json=as_json)


@options.command("check-in", example="cloakfs media check-in 'Blue 1'")
@click.argument("label")
@_place_option
@options.json_option
def check_in(*, label: str, place: str, as_json: bool) -> ExitCode:
    """A medium is back. Without --place it is where it was when it was added."""
    return _done(media.check_in(label, place=place), as_json=as_json)


@options.command("lost", example="cloakfs media lost 'Blue 1' --at '2026-11-20 14:30'")
@click.argument("label")
@click.option("--at", "lost_at", metavar="TIME", help="When that happened, or the day; without it: now.")
@options.json_option
def lost(*, label: str, lost_at: str | None, as_json: bool) -> ExitCode:
    """Nobody knows where a medium is. What that means, and what is to be done: cloakfs incident."""
    now = int(time.time())
    at = now if lost_at is None else parse_span(lost_at).seconds
    if at > now:
        raise UsageError(f"{lost_at} is still to come", hint="Nothing was written.")
    return _done(media.lost(label, lost_at=at), as_json=as_json)


@options.command("found", example="cloakfs media found 'Blue 1' --place safe")
@click.argument("label")
@_place_option
@options.json_option
def found(*, label: str, place: str, as_json: bool) -> ExitCode:
    """A medium that was lost is there again."""
    return _done(media.found(label, place=place), as_json=as_json)


@options.command("destroyed", example="cloakfs media destroyed 'Blue 1'")
@click.argument("label")
@options.json_option
def destroyed(*, label: str, as_json: bool) -> ExitCode:
    """A medium is no more: it was shredded, or it is broken and was thrown away. Its lines stay."""
    return _done(media.destroyed(label), as_json=as_json)


@options.command("list", example="cloakfs media list --all --csv > media.csv")
@click.option("--all", "all_", is_flag=True, help="Also those that are destroyed.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@options.json_option
def list_(*, all_: bool, as_csv: bool, as_json: bool) -> ExitCode:
    """Show the media: who has which, and what is overdue or lost."""
    now = time.time()
    shown = [one for one in media.media() if all_ or one.state is not MediumState.DESTROYED]
    rows = [_row(one, now) for one in shown]
    if as_json:
        output.print_json({"media": rows})
    elif as_csv:
        output.print_csv(_COLUMNS, map(_for_table, rows))
    elif not rows:
        output.say("No media are in the register. Put one there: cloakfs media add LABEL")
    else:
        output.print_table([row for one in shown for row in _lines(one, now)], indent="")
    return ExitCode.OK


@options.command("history", example="cloakfs media history 'Blue 1'")
@click.argument("label", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@options.json_option
def history(*, label: str | None, as_csv: bool, as_json: bool) -> ExitCode:
    """Show all that was written down of a medium, or of all of them: when, by whom, what."""
    entries = media.all_entries() if label is None else media.history(label)
    rows = [_move(entry) for entry in entries]
    if as_json:
        output.print_json({"entries": rows})
        return ExitCode.OK
    if as_csv:
        output.print_csv(_MOVES, map(_for_table, rows))
        return ExitCode.OK
    for row in rows:
        more = [f"{name} {row[name]}" for name in ("holder", "place") if row.get(name)]
        more += [f"due {output.human_date(row['due'])}"] if row.get("due") else []
        more += [f"since {output.human_time(row['lost_at'])}"] if row.get("lost_at") else []
        what = ", ".join([_SAID[row["entry"]], *more])
        output.say(output.printable(f"{output.human_time(row['time'])}  {row['label']}: {what} (by {row['by']})"))
    return ExitCode.OK


# -- how a medium is told ----------------------------------------------------------------------------------------------


def _done(one: Medium, *, as_json: bool) -> ExitCode:
    now = time.time()
    if as_json:
        output.print_json({"medium": _row(one, now)})
        return ExitCode.OK
    output.print_table(_lines(one, now), indent="")
    return ExitCode.OK


def _row(one: Medium, now: float) -> dict[str, Any]:
    """What docs/json.md has of a medium."""
    return {
        "label": one.label,
        "kind": str(one.kind),
        "state": str(one.state),
        "since": one.since,
        "holder": one.holder or None,
        "place": one.place or None,
        "due": one.due,
        "overdue": media.is_overdue(one, now),
        "lost_at": one.lost_at,
        "serial": one.serial or None,
        "filesystem": one.filesystem or None,
        "volumes": list(one.volumes),
    }


def _move(entry: Entry) -> dict[str, Any]:
    """What docs/json.md has of a line of the register."""
    data = {name: value for name, value in entry.data.items() if value not in ("", None, [])}
    return {"seq": entry.seq, "time": entry.at, "by": targets.user_name(entry.uid), "entry": entry.kind, **data}


def _for_table(row: dict[str, Any]) -> dict[str, Any]:
    """Times as people read them, lists with spaces."""
    times = {name: output.human_time(row[name]) for name in ("since", "due", "lost_at", "time") if row.get(name)}
    return {**row, **times, "volumes": " ".join(row.get("volumes", ()))}


def _lines(one: Medium, now: float) -> Sequence[tuple[str, str]]:
    """How it stands; then what it is and what is on it."""
    more = [str(one.kind), *([f"serial {one.serial}"] if one.serial else []), *_contents(one.volumes)]
    return [(output.printable(one.label), _standing(one, now)), ("", output.printable(", ".join(more)))]


def _standing(one: Medium, now: float) -> str:
    since = output.human_date(one.since)
    who = f" with {output.printable(one.holder)}" if one.holder else ""
    where = f" ({output.printable(one.place)})" if one.place else ""
    if one.state is MediumState.IN:
        return f"in{who}{where} since {since}"
    if one.state is MediumState.OUT:
        due = "" if one.due is None else f", due {output.human_date(one.due)}"
        late = output.coloured(" OVERDUE", "red") if media.is_overdue(one, now) else ""
        return f"out{who}{where} since {since}{due}{late}"
    if one.state is MediumState.LOST:
        return f"LOST since {output.human_time(one.lost_at or one.since)}; last{who or ' in'}{where}"
    return f"destroyed on {since}"


def _contents(ids: Iterable[str]) -> list[str]:
    return [f"volume {path}" for path in medium_facts.paths_of(ids)]


for _one in (add, check_out, check_in, lost, found, destroyed, list_, history):
    command.add_command(_one)
