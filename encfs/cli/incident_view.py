"""How incidents are told on a screen, and whether one of them waits for somebody.

Owns: the words and the JSON rows (docs/json.md). Must not know: what is true, how it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final

from encfs.checks import Checked, Light
from encfs.cli import output
from encfs.errors import RegisterError
from encfs.evidence.deadlines import next_due
from encfs.evidence.incident import deadlines_of
from encfs.registers.incidents import Incident, incidents
from encfs.wording import NOT_LEGAL_ADVICE

SOON_DAYS: Final = 14
_COLOURS: Final = {"locked, key elsewhere": "green", "open at the time": "red"}


def row(one: Incident) -> dict[str, Any]:
    """What docs/json.md has of an incident in a list."""
    due = next_due(deadlines_of(one))
    medium = one.record["medium"]
    return {
        "id": one.id,
        "kind": one.record["kind"],
        "medium": None if medium is None else medium["label"],
        "lost": one.record["lost"]["text"],
        "discovered": one.record["discovered"],
        "verdict": one.record["verdict"],
        "proof": one.record["proof"],
        "people": one.people,
        "open": one.decision is None,
        "next_due": None if one.decision is not None else due.due.isoformat(),
    }


def show_list(found: list[Incident]) -> None:
    """One line for each."""
    for one in found:
        told = row(one)
        what = told["medium"] or f"{output.plural(len(one.record['volumes']), 'volume')}"
        state = f"open, next date {told['next_due']}" if told["open"] else "closed"
        verdict = output.coloured(told["verdict"], _COLOURS.get(told["verdict"], "yellow"))
        output.say(f"{one.id}  {output.printable(what)}, {told['kind']} {told['lost']}: {verdict} ({state})")


def show(one: Incident, body: dict[str, Any]) -> None:
    """The record for people: verdict, why, dates, what is still to be done."""
    record = one.record
    verdict = record["verdict"]
    output.say(
        output.bold(f"Incident {one.id}: ") + output.coloured(record["headline"], _COLOURS.get(verdict, "yellow"))
    )
    output.say()
    if not record["volumes"]:
        output.say("No volume of cloakfs is known to be on it. Nothing here shows that anything on it was encrypted.")
    for volume in record["volumes"]:
        output.say(output.printable(volume["path"] or volume["volume_id"]))
        output.say(f"  {output.printable(volume['sentence'])}")
        for note in volume["notes"]:
            output.say(f"  Also: {output.printable(note['text'])}.")
        output.print_table(_key_rows(volume["keys"]))
    output.say()
    output.say(record["sealed_always"])
    output.say()
    for line in body["deadlines"]["rows"]:
        hangs = "" if line["applies"] else " (hangs on the number of people)"
        output.say(f"  {line['due']}  {line['what']}, {line['citation']}{hangs}")
    output.say(f"{body['deadlines']['if_a_breach']} {body['deadlines']['state_law']}")
    output.say()
    _show_added(one, body)
    output.say(NOT_LEGAL_ADVICE)


def _key_rows(keys: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            "opens with" if not position else "",
            f"{slot['kind']} {output.printable(slot['label'])!r}: {slot['where']}; {slot['remark']}",
        )
        for position, slot in enumerate(keys["slots"])
    ]
    look = keys["looked"]
    if look is None:
        return [*rows, ("searched", "nobody has searched its medium for keys before the loss")]
    found = ", ".join(look["found"]) or "nothing that opens a volume"
    all_ = "all of it" if look["complete"] else "not all of it"
    return [*rows, ("searched", f"{output.human_time(look['at'])}, {all_}: {found}")]


def _show_added(one: Incident, body: dict[str, Any]) -> None:
    for factor in body["factors"]:
        answers = factor["answers"]
        output.say(factor["asks"])
        for answer in answers:
            output.say(f"  {output.human_time(answer['at'])}: {output.printable(answer['text'])}")
        if not answers:
            output.say(f"  -> cloakfs incident note {one.id} --factor {factor['factor']} TEXT")
    for note in body["notes"]:
        people = "" if note["people"] is None else f" People concerned: {note['people']:,}."
        output.say(f"Note of {output.human_time(note['at'])}: {output.printable(note['text'])}{people}")
    decision = body["decision"]
    if decision is None:
        output.say(f"Not closed. When it is decided: cloakfs incident close {one.id} --decision TEXT")
    else:
        output.say(f"Closed {output.human_time(decision['at'])}: {output.printable(decision['text'])}")


def checks(today: date) -> list[Checked]:
    """One for each incident that is open, for ``cloakfs status`` and ``cloakfs doctor``."""
    try:
        return list(_checks(incidents(), today))
    except RegisterError as exc:
        found, remedy = str(exc), exc.hint
    except (OSError, RuntimeError) as exc:
        found, remedy = f"the register of incidents cannot be read: {exc}", "see whether the disk can be read"
    return [Checked(code="register", title="register", light=Light.RED, found=found, remedy=remedy)]


def waiting() -> list[Checked]:
    """Those of today that somebody has to do something about."""
    return [one for one in checks(datetime.now().astimezone().date()) if one.light is not Light.GREEN]


def _checks(found: list[Incident], today: date) -> Iterator[Checked]:
    for one in found:
        if one.decision is None:
            due = next_due(deadlines_of(one))
            left = (due.due - today).days
            light = Light.RED if left < 0 else Light.AMBER if left <= SOON_DAYS else Light.GREEN
            when = f"was {due.due}" if left < 0 else f"is {due.due}"
            yield Checked(
                code="incident-open",
                title="incident",
                light=light,
                found=f"incident {one.id} is open ({one.record['verdict']}); its next date {when}: {due.what}",
                remedy=f"cloakfs incident show {one.id}",
            )
