"""The certificate of a destruction as pages to sign.

Owns: which fields stand where, in words. Must not know: how pages look (``encfs/sheets/report.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from encfs.checks import Light
from encfs.core.documents import Document, open_document
from encfs.evidence import made
from encfs.evidence.certificate import KIND, NOT_CLAIMED
from encfs.evidence.signing_lines import sign_here
from encfs.sheets.report import Block, Facts, Heading, NewPage, Paragraph, Report, Table, render
from encfs.wording import NOT_LEGAL_ADVICE, human_date, human_size, human_time, plural

ATTACHMENT: Final = "destruction.json"
_HOLDS: Final = {True: "yes", False: "no", None: "to be signed for"}


def pdf(signed: bytes) -> bytes:
    """The pages, with the signed certificate itself inside.

    Raises:
        FormatError, AuthenticationError: it is no certificate. CloakfsError: a package is not installed.
    """
    document = open_document(signed, KIND)
    with made.shown(document.body) as zone:
        return render(report(document, signed, zone))


def report(document: Document, signed: bytes, zone: str) -> Report:
    """What stands on the pages; ``zone``: that of its times, in words."""
    body = document.body
    return Report(
        title="Certificate of destruction",
        verdict=_verdict(body),
        light=Light.GREEN if body["sanitization"]["method"] != NOT_CLAIMED else Light.AMBER,
        blocks=[*_what(body), *_how(body), *_conditions(body), *_holders(body), *_people(body)],
        footer=f"Signed by the key {document.signer.fingerprint()} of the computer {document.host}. Times: {zone}. "
        + NOT_LEGAL_ADVICE,
        made_at=document.made_at,
        attachments={ATTACHMENT: signed},
    )


def _verdict(body: Mapping[str, Any]) -> str:
    text = "The keys of this volume were destroyed, and no copy of them was found in its directory."
    return text if body["sanitization"]["method"] != NOT_CLAIMED else text + " More may be needed: see the conditions."


def _what(body: Mapping[str, Any]) -> list[Block]:
    volume, medium = body["volume"], body["medium"]
    rows = [
        ("Volume", volume["path"]),
        ("Volume id", volume["id"] or "could not be read any more"),
        ("Made on", "not known" if volume["created"] is None else human_date(volume["created"])),
        ("Medium, your label", medium["label"] or "none given"),
    ]
    for disk in medium["disks"]:
        rows += [
            ("Manufacturer", disk["manufacturer"] or "not told by the medium"),
            ("Model", disk["model"] or "not told by the medium"),
            ("Serial number", disk["serial"] or "not told by the medium"),
            ("Media type", disk["type"]),
            ("Size", human_size(disk["bytes"])),
        ]
    rows += [("Filesystem", medium["filesystem"] or "not known"), ("Source", medium["source"])]
    return [Heading("What was destroyed"), Facts(rows)]


def _how(body: Mapping[str, Any]) -> list[Block]:
    done, proof, left = body["sanitization"], body["verification"], body["left"]
    method = "Purge, once this certificate is signed" if done["method"] != NOT_CLAIMED else "A purge is not claimed"
    rows = [
        ("Standard", body["standard"]),
        ("Method", method),
        ("Technique", "Cryptographic erase: the keys are destroyed, and what they had encrypted is noise"),
        ("Tool", f"{done['tool']} {done['version']}"),
        ("Began", human_time(done["started"])),
        ("Ended", human_time(done["ended"])),
        (
            "Copies of the keys",
            f"{plural(proof['copies'], 'file')}, {human_size(proof['bytes'])}: overwritten, removed",
        ),
        ("Verification", proof["method"]),
        ("Opened it before", proof["opened_before_with"] or "not tried: no secret was given"),
        ("Opens it now", proof["opens_now"]),
        ("Encrypted files", f"{left['sealed_files']:,}, {human_size(left['sealed_bytes'])}: unreadable"),
        ("Other files beside them", f"{left['other_files']:,}"),
    ]
    if proof["resumed"]:
        rows.append(("Interrupted", "Yes; a later run has finished it."))
    return [Heading("How"), Facts(rows)]


def _conditions(body: Mapping[str, Any]) -> list[Block]:
    return [
        Heading("What a purge by cryptographic erase asks for"),
        Table(
            ("Condition", "Met"),
            [(one["text"], _HOLDS[one["holds"]]) for one in body["conditions"]],
            widths=(5, 1),
        ),
    ]


def _holders(body: Mapping[str, Any]) -> list[Block]:
    return [
        Heading("What may still open it, together with a copy of the keys"),
        Table(
            ("What", "What to do with it", "Done, date"),
            [(one["what"], one["advice"], "") for one in body["holders"]],
            widths=(3, 3, 1),
        ),
    ]


def _people(body: Mapping[str, Any]) -> list[Block]:
    people = body["people"]
    return [
        NewPage(),
        Heading("Who"),
        Facts(
            [
                ("Login on the computer", f"{people['login']} (uid {people['uid']})"),
                ("Done by", people["name"] or "see below"),
                ("Reason", people["reason"] or "none given"),
                ("Destination of the medium", people["destination"] or "none given"),
            ]
        ),
        Paragraph(
            "I confirm that no other copy of this volume or of its keys is left, or that each was destroyed as noted"
            " above."
        ),
        sign_here("Performed by", "Verified by" + (f": {people['witness']}" if people["witness"] else "")),
    ]
