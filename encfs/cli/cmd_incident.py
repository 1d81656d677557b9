"""``cloakfs incident``: a stick or a computer is lost: what can be shown, who has to be told, what was decided.

Owns: the commands, what is asked and in which order it is written. Must not know: what can be claimed
(``encfs.evidence``), what stands in the register.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from datetime import date, datetime
from typing import Final

import click

from encfs.audit import anchoring, journal
from encfs.audit.home import AUDITOR_KEY, host_signer
from encfs.cli import incident_view, lost_volumes, options, output, progress, secret_files
from encfs.cli.secrets import read_file
from encfs.core.documents import sign_document
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, CloakfsError, ExitCode, UsageError
from encfs.evidence import incident_pages, log_read, words
from encfs.evidence.examine import examine
from encfs.evidence.incident import KIND, Loss, body, record
from encfs.evidence.when import Span, day_of, parse_span
from encfs.format.audit import NO_VOLUME, CheckpointReason
from encfs.format.audit_body import AuditBody, Outcome
from encfs.registers import incidents, media
from encfs.registers.incidents import FACTORS, Incident, IncidentKind
from encfs.registers.media import Medium, MediumState
from encfs.sheets import parts
from encfs.sheets.report import render
from encfs.units import VolumeId

_MS: Final = 1000
_STDOUT: Final = "-"

_pdf_option = click.option("--pdf", metavar="FILE", help="Write the record as a new PDF.")
_file_option = click.option("--json", "json_file", metavar="FILE", help='Write the signed document; "-" prints it.')


@click.group("incident", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """A stick or a computer is lost: write down what can be shown, who has to be told, and what was decided.

    docs/incident.md is to be read first. This is not legal advice.
    """


@options.command(
    "new",
    example="""
cloakfs incident new --medium 'Blue 1' --lost-at '2026-11-20 14:30' --pdf incident.pdf
cloakfs incident new --volume ~/practice.vault --lost-at 2026-11-20 --kind stolen""",
)
@click.option("--medium", "label", metavar="LABEL", help="As it is in the register: cloakfs media list.")
@click.option("--volume", "volumes", multiple=True, metavar="VOLUME", help="Where it is or was, or its id.")
@click.option("--lost-at", metavar="TIME", help="When it was lost, or the day; else as cloakfs media lost has it.")
@click.option("--discovered", metavar="DAY", help="When that was known first; without it: today.")
@click.option(
    "--kind",
    type=click.Choice([one.value for one in IncidentKind]),
    default=IncidentKind.LOST.value,
    show_default=True,
)
@click.option("--people", type=click.IntRange(0, 10**9), metavar="N", help="Whose information it is: how many.")
@_pdf_option
@_file_option
@click.option("--auditor-key", "key_file", metavar="FILE", help="The auditor's key, where it is not on this computer.")
@click.option("--anchors", metavar="FILE", help='What "cloakfs audit anchor" has written elsewhere.')
def new(
    *,
    label: str | None,
    volumes: tuple[str, ...],
    lost_at: str | None,
    discovered: str | None,
    kind: str,
    people: int | None,
    pdf: str | None,
    json_file: str | None,
    key_file: str | None,
    anchors: str | None,
) -> ExitCode:
    """Write down that a medium or a volume is lost, and what this computer can show of it.

    The record says one of three things of the time of the loss: locked, key elsewhere; open at the time; cannot be
    told. It says what that rests on. It is signed, stays, and is not changed by what is found later.
    """
    _check_files(pdf, json_file)
    medium = None if label is None else media.medium(label)
    ids = dict.fromkeys([*(medium.volumes if medium is not None else ()), *map(lost_volumes.volume_id, volumes)])
    if medium is None and not ids:
        raise UsageError("say what is lost", hint="Give --medium LABEL or --volume VOLUME.")
    span = _lost_at(lost_at, medium)
    loss = Loss(
        kind=IncidentKind(kind), span=span, discovered=_discovered(discovered, span), people=people, medium=medium
    )
    key = None if key_file is None else AUDITOR_KEY.decode(read_file(key_file))
    kept = None if anchors is None else anchoring.read_back(anchors)
    found_at = None if medium is None else _found_at(medium, span)
    _mark_now()
    with progress.activity("Reading the audit log"):
        log = log_read.read(key, kept)
        examined = [examine(VolumeId(bytes.fromhex(one)), span, log, found_at=found_at) for one in ids]
    made = _register(record(loss, examined, log, asked_at=int(time.time())))
    if medium is not None and medium.state in {MediumState.IN, MediumState.OUT} and found_at is None:
        _mark_lost(medium, span)
    _tell(made, pdf, json_file, action="incident.new")
    return ExitCode.OK


@options.command("list", example="cloakfs incident list --json")
@options.json_option
def list_(*, as_json: bool) -> ExitCode:
    """Show all incidents, the oldest first."""
    found = incidents.incidents()
    if as_json:
        output.print_json({"incidents": [incident_view.row(one) for one in found]})
    elif not found:
        output.say("No incident is written down here.")
    else:
        incident_view.show_list(found)
    return ExitCode.OK


@options.command("show", example="cloakfs incident show 2026-001 --pdf incident.pdf")
@click.argument("id_", metavar="ID")
@_pdf_option
@_file_option
def show(*, id_: str, pdf: str | None, json_file: str | None) -> ExitCode:
    """Show an incident with everything that was added to it; or write it down, signed anew, as it is now."""
    _check_files(pdf, json_file)
    _tell(incidents.incident(id_), pdf, json_file, action="incident.show")
    return ExitCode.OK


@options.command(
    "note",
    example="""
cloakfs incident note 2026-001 --factor 1 'Letters and findings, with names and dates of birth'
cloakfs incident note 2026-001 --people 212 'Counted from the appointment book'""",
)
@click.argument("id_", metavar="ID")
@click.argument("text", default="")
@click.option("--factor", type=click.IntRange(1, FACTORS), help="It answers one of the four factors (164.402(2)).")
@click.option("--people", type=click.IntRange(0, 10**9), metavar="N", help="How many people it is about.")
def note(*, id_: str, text: str, factor: int | None, people: int | None) -> ExitCode:
    """Add a note. It stays, with its time and who wrote it. Write no name of a patient."""
    made = incidents.note(id_, text, factor=factor, people=people)
    _note_in_log("incident.note", made, seq=len(made.notes))
    output.say(f"Noted for incident {id_}.")
    output.remark(words.NO_NAMES)
    return ExitCode.OK


@options.command("close", example="cloakfs incident close 2026-001 --decision 'No breach: locked, key elsewhere.'")
@click.argument("id_", metavar="ID")
@click.option("--decision", required=True, metavar="TEXT", help="What was decided, by whom, and why.")
def close(*, id_: str, decision: str) -> ExitCode:
    """Close an incident with what was decided. The record and its notes stay; notes can still be added."""
    made = incidents.close(id_, decision)
    _note_in_log("incident.close", made)
    output.say(f"Incident {id_} is closed.")
    output.remark(words.NO_NAMES)
    return ExitCode.OK


# -- what was told ---------------------------------------------------------------------------------------------


def _lost_at(text: str | None, medium: Medium | None) -> Span:
    """When it was lost; nothing that is still to come.

    Raises:
        UsageError: nobody said when, or it is to come.
    """
    if text is not None:
        span = parse_span(text)
    elif medium is not None and medium.state is MediumState.LOST and medium.lost_at is not None:
        span = _of_register(medium.lost_at)
    else:
        raise UsageError("say when it was lost", hint="Give --lost-at '2026-11-20 14:30', or the day.")
    now = time.time_ns() // 1_000_000
    if span.first > now:
        raise UsageError(f"{span.text} is still to come", hint="Nothing was written.")
    return replace(span, last=min(span.last, now))


def _of_register(seconds: int) -> Span:
    """A time in the register of media has lost how exactly it was known: midnight was a day, a full minute a minute."""
    local = datetime.fromtimestamp(seconds).astimezone()
    if (local.hour, local.minute, local.second) == (0, 0, 0):
        return parse_span(local.strftime("%Y-%m-%d"))
    return parse_span(local.strftime("%Y-%m-%d %H:%M" if not local.second else "%Y-%m-%d %H:%M:%S"))


def _discovered(text: str | None, span: Span) -> date:
    """The first day on which it was known. Raises: UsageError: it is before the loss, or to come."""
    today = datetime.now().astimezone().date()
    if text is None:
        return today
    day = day_of(parse_span(text))
    if day > today or day < day_of(span):
        raise UsageError("it was discovered before the loss, or is still to come", hint="Nothing was written.")
    return day


def _found_at(medium: Medium, span: Span) -> int | None:
    """When it turned up again after the loss, as the register has it."""
    entries = media.history(medium.label)
    return next((one.at for one in entries if one.kind == "found" and one.at * _MS > span.last), None)


# -- what is written -------------------------------------------------------------------------------------------


def _check_files(*names: str | None) -> None:
    """Before anything is written down: what can be refused is refused now."""
    pdf, json_file = names
    if pdf is not None:
        parts.check()
        secret_files.check_free(pdf)
    if json_file is not None and json_file != _STDOUT:
        secret_files.check_free(json_file)


def _mark_now() -> None:
    """A signed mark in the log after the loss, so that nothing before it can be missing unseen."""
    try:
        journal.checkpoint(CheckpointReason.ASKED)
    except AuditError as exc:
        output.warn(str(exc))


def _register(found: dict[str, object]) -> Incident:
    return incidents.begin(incidents.next_id(datetime.now().astimezone().year), found)


def _mark_lost(medium: Medium, span: Span) -> None:
    try:
        media.lost(medium.label, lost_at=span.seconds)
    except (CloakfsError, OSError) as exc:
        output.warn(f"the incident is written down, but the medium is not marked as lost: {exc}")


def _tell(one: Incident, pdf: str | None, json_file: str | None, *, action: str) -> None:
    """Sign it as it is now, write it where it was asked for, and show it where it was not."""
    signer, made_at, host = host_signer(), int(time.time()), socket.gethostname()
    content = body(one)
    document = sign_document(signer, kind=KIND, made_at=made_at, host=host, body=content)
    _note_in_log(action, one, digest=CLOAKFS_1.digest(document).hex(), verdict=str(one.record["verdict"]))
    try:
        if json_file == _STDOUT:
            sys.stdout.write(document.decode("ascii"))
        elif json_file is not None:
            secret_files.write_new(json_file, document)
        if pdf is not None:
            fingerprint = signer.public.fingerprint()
            pages = incident_pages.report(content, host=host, made_at=made_at, signer=fingerprint, document=document)
            secret_files.write_new(pdf, render(pages))
    except OSError as exc:
        hint = f"The incident is written down all the same. Try again: cloakfs incident show {one.id} --pdf FILE"
        raise CloakfsError(f"incident {one.id} could not be written there: {exc.strerror}", hint=hint) from exc
    if json_file == _STDOUT:
        return
    incident_view.show(one, content)
    for name in (pdf, json_file):
        if name is not None:
            output.say(f"Written: {output.printable(name)}")


def _note_in_log(action: str, one: Incident, **detail: str | int) -> None:
    """Beside what the register tells the log: which document was handed out."""
    try:
        note_ = AuditBody(action=action, outcome=Outcome.DONE, uid=os.getuid(), object=one.id, detail=detail)
        journal.record(note_, NO_VOLUME)
    except AuditError as exc:
        output.warn(str(exc))


for _one in (new, list_, show, note, close):
    command.add_command(_one)
