"""``cloakfs evidence --check``: whether a signed document is as it was signed, and by whom, on any computer.

Owns: the words and the JSON object (docs/json.md). Must not know: how it is found out (``encfs.evidence.checking``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from encfs.backup import drills
from encfs.backup.drill_record import parse
from encfs.cli import output, secret_files
from encfs.core.documents import Document
from encfs.errors import AuthenticationError, ExitCode, FormatError, UsageError
from encfs.evidence import certificate, checking, drill_document, incident, pack, receipt
from encfs.evidence.checking import FILE_MAX, Genuine, Pages

_FINGERPRINT: Final = re.compile(r"(?:[0-9a-f]{4}-){7}[0-9a-f]{4}")
_NOTE_MAX: Final = 4096
_KINDS: Final = {
    pack.KIND: "evidence pack",
    incident.KIND: "record of an incident",
    certificate.KIND: "certificate of destruction",
    receipt.KIND: "receipt of a handover",
    drills.KIND: "record of a trial of a backup",
    "review": "review of an audit log",
    "register": "entry of a register",
    "heartbeat": "heartbeat of a volume",
}
_PAGES: Final = {
    Pages.NONE: "there are none: this is the document itself",
    Pages.SAME: "exactly those that belong to the document",
    Pages.DIFFERENT: "NOT those of the document",
    Pages.UNKNOWN: "NOT PROVED: other versions have made them",
}
_OTHER_PAGES: Final = "its pages are not those that belong to the document inside: they were changed"
_STATUS: Final = {Pages.UNKNOWN: ExitCode.FAILURE, Pages.DIFFERENT: ExitCode.FINDINGS}


def command(file: str, signer: str | None, pdf: str | None, *, as_json: bool) -> ExitCode:
    """Check it, and tell.

    Args:
        file: a document, or a PDF with one inside.
        signer: whose key it has to be: a fingerprint, or a file as :func:`_fingerprint_of` takes it.
        pdf: a new file for the pages that belong to the document.
        as_json: whether one object is printed.

    Raises:
        UsageError: ``signer`` is no fingerprint. NotEmptyError: ``pdf`` is there already.
        NewerFormatError: a later version wrote it. CloakfsError: there are no pages of it. OSError.
    """
    wanted = None if signer is None else _fingerprint_of(signer)
    if pdf is not None:
        secret_files.check_free(pdf)
    with open(file, "rb") as opened:
        data = opened.read(FILE_MAX + 1)
    try:
        found = checking.check(data)
    except (FormatError, AuthenticationError) as exc:
        return _tell_wrong(file, f"{exc}", None, as_json=as_json)
    made_by = found.document.signer.fingerprint()
    if wanted is not None and wanted != made_by:
        return _tell_wrong(file, f"it is signed with another key: {made_by}", found, as_json=as_json)
    if pdf is not None:
        secret_files.write_new(pdf, checking.pages_of(found.document, found.signed))
    elif found.pages is Pages.DIFFERENT:
        return _tell_wrong(file, _OTHER_PAGES, found, as_json=as_json)
    if as_json:
        why = _OTHER_PAGES if found.pages is Pages.DIFFERENT else None
        output.print_json({"genuine": why is None, "why": why, **_as_json(found)})
    else:
        _tell(found, known=wanted is not None, pdf=pdf)
    return ExitCode.OK if pdf is not None else _STATUS.get(found.pages, ExitCode.OK)


def _fingerprint_of(signer: str) -> str:
    """Of a key: the fingerprint itself, a file in which it was written down, or a document that the key has signed.

    Raises:
        UsageError: it is none of these. OSError.
    """
    if _FINGERPRINT.fullmatch(signer.lower()):
        return signer.lower()
    if os.path.exists(signer):
        with open(signer, "rb") as opened:
            data = opened.read(FILE_MAX + 1)
        noted: set[str] = set(_FINGERPRINT.findall(data.decode("utf-8", "replace").lower()))
        try:
            return checking.check(data).document.signer.fingerprint()
        except (FormatError, AuthenticationError):
            if len(noted) == 1 and len(data) <= _NOTE_MAX:
                return noted.pop()
    raise UsageError(
        "this is no fingerprint, and no file with one",
        hint="It has eight groups of four digits: 3f2a-...   Printed by: cloakfs evidence --fingerprint",
    )


def _tell_wrong(file: str, why: str, found: Genuine | None, *, as_json: bool) -> ExitCode:
    if as_json:
        told: dict[str, Any] = {} if found is None else _as_json(found)
        output.print_json({"genuine": False, "why": why, **told})
    else:
        output.say(output.bold(f"NOT GENUINE: {output.printable(file)}: {why}."))
        if found is not None and found.pages is Pages.DIFFERENT:
            output.say("The document inside is as it was signed. To read its own pages instead: --check FILE --pdf NEW")
        else:
            output.say("It was changed after it was signed, is damaged, or was never signed as this. Ask for it again.")
    return ExitCode.FINDINGS


def _as_json(found: Genuine) -> dict[str, Any]:
    document = found.document
    return {
        "kind": document.kind,
        "made_at": document.made_at,
        "host": document.host,
        "signer": document.signer.fingerprint(),
        "pages": str(found.pages),
        "body": dict(document.body),
    }


def _tell(found: Genuine, *, known: bool, pdf: str | None) -> None:
    document = found.document
    kind = _KINDS.get(document.kind, document.kind)
    what = f"this {output.printable(kind)} is as it was signed"
    sure = found.pages in {Pages.SAME, Pages.NONE}
    output.say(output.bold(f"Genuine: {what}." if sure else f"Genuine inside: {what}."))
    fingerprint = document.signer.fingerprint()
    rows = [
        ("signed with", fingerprint),
        ("", "as you asked for" if known else "compare that with the fingerprint that the practice has given you"),
        (
            "on",
            f"{output.human_time(document.made_at)}, by the clock of the computer {output.printable(document.host)}",
        ),
        ("pages", _PAGES[found.pages]),
    ]
    if pdf is not None:
        rows.append(("made anew", f"from the document: {output.printable(pdf)}"))
    elif found.pages is Pages.UNKNOWN:
        rows.append(("", "-> make them anew with --pdf FILE, and read those"))
    output.print_table([*rows, *_claims(document)])


def _claims(document: Document) -> list[tuple[str, str]]:
    """The one sentence that counts."""
    body = document.body
    try:
        match document.kind:
            case pack.KIND:
                return [("says", output.printable(str(body["verdict"])))]
            case incident.KIND:
                return [("says", output.printable(str(body["record"]["headline"])))]
            case certificate.KIND:
                return [("says", f"the keys of volume {output.printable(str(body['volume']['id']))} were destroyed")]
            case drills.KIND:
                return [("says", output.printable(drill_document.verdict(parse(body["record"]))))]
            case receipt.KIND:
                return [("says", "a complete copy was made and read back; hold it against the copy: handover --check")]
            case "review":
                return [("reviewed by", output.printable(str(body["reviewer"]))), *_reviewed(body)]
    except (LookupError, TypeError, ValueError, FormatError):
        pass  # Of another version: its signature counts all the same.
    return []


def _reviewed(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    since, until = (output.human_date(int(body["summary"][name])) for name in ("since", "until"))
    findings = [output.printable(str(one)) for one in body["findings"]]
    return [("of", f"{since} to {until}"), *(("finding", one) for one in findings or ["none"])]
