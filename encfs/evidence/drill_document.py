"""The signed record of a drill, and its pages: a backup was restored for a trial, and a second person has looked at it.

Owns: the document's body (FORMAT.md section 17, "Drill"), which fields stand where, in words. Must not know: how a
drill is made, how pages look (``encfs/sheets/report.py``).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from encfs.audit.home import host_signer
from encfs.backup.drill_record import DrillOutcome, Record, as_json, parse
from encfs.backup.drills import KIND, Drill
from encfs.checks import Light
from encfs.core.documents import Document, open_document, sign_document
from encfs.evidence.signing_lines import sign_here
from encfs.sheets.report import Block, Facts, Heading, NewPage, Paragraph, Report, render
from encfs.wording import NOT_LEGAL_ADVICE, human_date, human_duration, human_size, human_time, plural

ATTACHMENT: Final = "drill.json"
_LIGHTS: Final = {
    DrillOutcome.PASSED: Light.GREEN,
    DrillOutcome.FAILED: Light.RED,
    DrillOutcome.BROKEN_OFF: Light.AMBER,
}
_SCRATCH: Final = {
    "memory": "memory of the computer, overwritten by its end: nothing of it was on a disk",
    "volume": "an encrypted volume of its own, whose key was never stored",
    "": "nowhere",
}


def body(drill: Drill, *, login: str) -> dict[str, Any]:
    """The body of the document.

    Args:
        drill: as the register has it.
        login: name of the account that certified; empty if nobody has.
    """
    certified, action = drill.certified, drill.action
    return {
        "record": as_json(drill.record),
        "certified": None
        if certified is None
        else {
            "by": certified.by,
            "login": login,
            "uid": certified.uid,
            "at": certified.at,
            "note": certified.note,
            "shared": certified.shared,
        },
        "action": None
        if action is None
        else {"text": action.text, "owner": action.owner, "due": action.due, "done": action.done},
    }


def sign(drill: Drill, *, login: str = "") -> bytes:
    """The document, as the drill stands now. Raises: AuditError, FormatError, OSError, RuntimeError."""
    made_at, host = int(time.time()), socket.gethostname()
    return sign_document(host_signer(), kind=KIND, made_at=made_at, host=host, body=body(drill, login=login))


def pdf(signed: bytes) -> bytes:
    """The pages, with the signed document itself inside.

    Raises:
        FormatError, AuthenticationError: it is none. CloakfsError: a package is not installed.
    """
    return render(report(open_document(signed, KIND), signed))


def report(document: Document, signed: bytes) -> Report:
    """What stands on the pages. Raises: FormatError."""
    record = parse(document.body["record"])
    certified, action = document.body["certified"], document.body["action"]
    return Report(
        title="Trial of a backup",
        verdict=verdict(record),
        light=_LIGHTS[record.outcome],
        blocks=[*_what(record), *_how(record), *_came(record), *_after(record, action), *_people(record, certified)],
        footer=f"Signed by the key {document.signer.fingerprint()} of the computer {document.host}. {NOT_LEGAL_ADVICE}",
        made_at=document.made_at,
        attachments={ATTACHMENT: signed},
    )


def verdict(record: Record) -> str:
    """The one sentence to read if no other is."""
    files = plural(record.found.files, "file")
    match record.outcome:
        case DrillOutcome.PASSED if record.method.full:
            return f"All of this backup was restored, and is what was taken: {files}."
        case DrillOutcome.PASSED:
            of = f"{record.method.population:,}"
            return f"A sample of this backup was restored, and is what was taken: {files} of {of}."
        case DrillOutcome.FAILED:
            return f"This backup is NOT as it was taken: {wrong(record)}."
        case _:
            return f"This trial was broken off, and shows nothing: {record.why}."


def wrong(record: Record) -> str:
    """What is not as it has to be."""
    found = record.found
    parts = (
        (found.tag_failures, "file is damaged", "files are damaged"),
        (found.missing, "file is missing or cannot be read", "files are missing or cannot be read"),
        (found.mismatches, "file is another one than was taken", "files are others than were taken"),
        (found.extra or 0, "file was never taken", "files were never taken"),
        (found.metadata, "has other times, modes or attributes", "have other times, modes or attributes"),
    )
    told = [plural(count, one, many) for count, one, many in parts if count]
    return ", ".join(told) or record.why


def _what(record: Record) -> list[Block]:
    manifest, age = record.manifest, record.took.age
    known = "known here: this computer made it, or noted it at the run" if manifest.known else "not known here"
    rows = [
        ("Volume id", record.volume),
        ("Backup", f"{record.plan} ({record.engine})"),
        ("Run", record.run or "none could be found"),
        ("Made", human_time(manifest.made_at) if manifest.made_at else "not known"),
        ("Age at the trial", human_duration(age) if age is not None else "cannot be told: a clock is wrong"),
        ("Target", record.target),
        ("Medium", record.label or "one without a label"),
        ("Serial number", record.serial or "not known"),
        ("Place", record.place or "not known"),
        ("In the backup", f"{plural(manifest.files, 'file')}, {human_size(manifest.bytes)}"),
        ("Not whole in it", f"{plural(manifest.not_whole, 'file')}: written to while the backup was made, or left out"),
        ("Manifest", manifest.digest or "could not be read"),
        ("Signed by", f"{manifest.signer} of the computer {manifest.host}; {known}" if manifest.signer else "nobody"),
    ]
    return [Heading("What was restored"), Facts(rows)]


def _how(record: Record) -> list[Block]:
    method = record.method
    if method.full:
        how = "everything"
    else:
        how = f"{plural(method.picked, 'file')} of {method.population:,}, picked by the seed {method.seed}; the largest"
        how += " and the newest are among them"
    other = "yes" if record.other_host else "no: the computer that made the backup, or one with its name or its key"
    rows = [
        ("Method", how),
        ("Computer", record.host),
        ("Another than the source", other),
        ("Opened with", record.key),
        ("Restored to", _SCRATCH.get(record.scratch, record.scratch)),
        ("Began, ended", f"{human_time(record.took.began)}, {human_time(record.took.ended)}"),
        ("Program", f"cloakfs {record.program}"),
        ("Trial", record.id),
    ]
    return [Heading("How"), Facts(rows)]


def _came(record: Record) -> list[Block]:
    found, took = record.found, record.took
    rows = [
        ("Restored and right", f"{plural(found.files, 'file')}, {human_size(found.bytes)}"),
        ("Damaged", f"{found.tag_failures:,}"),
        ("Missing, or not readable", f"{found.missing:,}"),
        ("Not what was taken", f"{found.mismatches:,}"),
        ("Never taken", "not looked for in a sample" if found.extra is None else f"{found.extra:,}"),
        ("Other times, modes, attributes", f"{found.metadata:,}"),
        ("Time for these", f"{took.ms / 1000:,.1f} s"),
        ("Time for everything", f"{estimate(record)}, of {took.target // 3600:,} hours that it may take"),
    ]
    if record.why:
        rows.append(("Also", record.why))
    return [Heading("What came of it"), Facts(rows)]


def estimate(record: Record) -> str:
    """How long restoring everything takes, by what was measured."""
    if not record.took.ms:
        return "not measured"
    hours = record.took.estimate / 3600
    how = "as measured" if record.method.full else "by what was measured"
    return f"{hours:,.1f} hours {how}" if hours >= 1 else f"{max(1, record.took.estimate // 60):,} min {how}"


def _after(record: Record, action: Mapping[str, Any] | None) -> list[Block]:
    if action is None:
        text = "none was needed" if record.outcome is DrillOutcome.PASSED else "nobody has named one yet"
        return [Heading("What is done about it"), Facts([("Corrective action", text)])]
    done = "not yet" if action["done"] is None else action["done"]
    rows = [
        ("Corrective action", action["text"]),
        ("Owner", action["owner"]),
        ("Due", human_date(action["due"])),
        ("Done", done),
    ]
    return [Heading("What is done about it"), Facts(rows)]


def _people(record: Record, certified: Mapping[str, Any] | None) -> list[Block]:
    people = record.people
    rows = [("Made by", f"{people.name or 'see below'} (account {people.login}, uid {people.uid})")]
    if certified is None:
        rows.append(("Certified by", "nobody yet: cloakfs backup certify, or below"))
    else:
        account = f"account {certified['login']}, uid {certified['uid']}"
        shared = ", the same as above, which both use" if certified["shared"] else ""
        rows.append(("Certified by", f"{certified['by']} ({account}{shared}), {human_time(certified['at'])}"))
        if certified["note"]:
            rows.append(("Note", certified["note"]))
    return [
        NewPage(),
        Heading("Who"),
        Facts(rows),
        Paragraph(
            "I have seen the record of this trial, and opened at least one of the files in the program that it belongs"
            " to; or I have noted why not."
        ),
        sign_here("Made by", "Certified by" + (f": {certified['by']}" if certified else "")),
    ]
