"""``cloakfs evidence --check``: whether a signed document is as it was signed, and by whom, on any computer.

Owns: the words and the JSON object (docs/json.md). Must not know: how it is found out (``encfs.evidence.checking``).
"""

from __future__ import annotations

import re
from typing import Any, Final

from encfs.cli import output
from encfs.core.documents import Document
from encfs.errors import AuthenticationError, ExitCode, FormatError, UsageError
from encfs.evidence import certificate, checking, incident, pack, receipt
from encfs.evidence.checking import FILE_MAX, Genuine, Pages

_FINGERPRINT: Final = re.compile(r"(?:[0-9a-f]{4}-){7}[0-9a-f]{4}")
_KINDS: Final = {
    pack.KIND: "evidence pack",
    incident.KIND: "record of an incident",
    certificate.KIND: "certificate of destruction",
    receipt.KIND: "receipt of a handover",
    "review": "review of an audit log",
    "register": "entry of a register",
    "heartbeat": "heartbeat of a volume",
}
_PAGES: Final = {
    Pages.NONE: "there are none: this is the document itself",
    Pages.SAME: "exactly those that belong to the document",
    Pages.DIFFERENT: "NOT PROVED: this version makes other ones. What counts is the document inside",
    Pages.UNKNOWN: "not looked at: what counts is the document inside",
}


def command(file: str, signer: str | None, *, as_json: bool) -> ExitCode:
    """Check it, and tell.

    Raises:
        UsageError: ``signer`` is no fingerprint. NewerFormatError: a later version wrote it. OSError.
    """
    if signer is not None and not _FINGERPRINT.fullmatch(signer.lower()):
        raise UsageError("this is no fingerprint", hint="It has eight groups of four digits: 3f2a-...")
    with open(file, "rb") as opened:
        data = opened.read(FILE_MAX + 1)
    try:
        found = checking.check(data)
    except (FormatError, AuthenticationError) as exc:
        return _tell_wrong(file, f"{exc}", None, as_json=as_json)
    made_by = found.document.signer.fingerprint()
    if signer is not None and signer.lower() != made_by:
        return _tell_wrong(file, f"it is signed with another key: {made_by}", found, as_json=as_json)
    if as_json:
        output.print_json({"genuine": True, "why": None, **_as_json(found)})
        return ExitCode.OK
    _tell(found, known=signer is not None)
    return ExitCode.OK


def _tell_wrong(file: str, why: str, found: Genuine | None, *, as_json: bool) -> ExitCode:
    if as_json:
        told: dict[str, Any] = {} if found is None else _as_json(found)
        output.print_json({"genuine": False, "why": why, **told})
    else:
        output.say(output.bold(f"NOT GENUINE: {output.printable(file)}: {why}."))
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


def _tell(found: Genuine, *, known: bool) -> None:
    document = found.document
    kind = _KINDS.get(document.kind, document.kind)
    output.say(output.bold(f"Genuine: this {output.printable(kind)} is as it was signed."))
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
            case receipt.KIND:
                return [("says", "a complete copy was made and read back; hold it against the copy: handover --check")]
    except (KeyError, TypeError):
        pass  # Of another version: its signature counts all the same.
    return []
