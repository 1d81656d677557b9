"""The receipt of a handover: what was copied for whom, and a digest that whoever can open the copy can check.

Owns: its fields, its pages, the register of handovers (FORMAT.md section 17). Must not know: how a copy is made, who is
asked.

It has no name of a file. The digest is under a key that is in the copy: to others it tells nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import encfs
from encfs.audit.home import host_signer
from encfs.checks import Light
from encfs.core.documents import Document, open_document, sign_document
from encfs.errors import FormatError
from encfs.evidence import made
from encfs.evidence.signing_lines import sign_here
from encfs.format.canonical import Fields
from encfs.format.config import Config
from encfs.registers import volumes
from encfs.registers.folder import text_of
from encfs.registers.ledger import Ledger
from encfs.sheets.report import Block, Facts, Heading, NewPage, Paragraph, Report, render
from encfs.units import VolumeId
from encfs.volume.handing_over import HandedOver
from encfs.wording import NOT_LEGAL_ADVICE, human_size, human_time, plural, printable

KIND: Final = "handover"
REGISTER: Final = "handovers"
ATTACHMENT: Final = "handover.json"
ID_SIZE: Final = 16
_LOST: Final = {
    "attributes": "Extended attributes (such as those of Windows)",
    "hard_links": "Second names of a file (became copies)",
    "modes": "Permissions",
    "owners": "Owners",
    "times": "Times of change, exactly",
    "others": "Pipes and devices (not copied)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who hands over to whom; all but ``login`` may be empty."""

    login: str
    by: str = ""
    to: str = ""
    reason: str = ""


def body(
    *, handover_id: bytes, source: Config, source_path: str, path: str, started: int, done: HandedOver, parties: Parties
) -> dict[str, Any]:
    """The body of the receipt."""
    return {
        "id": handover_id.hex(),
        "source": {"volume_id": source.volume_id.hex(), "path": text_of(source_path), "created": source.created},
        "copy": {
            "volume_id": done.config.volume_id.hex(),
            "path": text_of(path),
            "created": done.config.created,
            "suite": done.config.suite,
            "cell_size": done.config.cell_size,
            "slots": [
                {"id": slot.id.hex(), "kind": slot.kind, "label": slot.label, "created": slot.created}
                for slot in done.config.slots
            ],
        },
        "counts": done.counts.as_dict(),
        "lost": done.lost.as_dict(),
        "digest": done.digest.hex(),
        "verification": "full: all of the copy was read back from its medium with what the receiver has, and compared",
        "tool": "cloakfs",
        "version": encfs.__version__,
        "started": started,
        "parties": {
            "login": parties.login,
            "uid": os.getuid(),
            "by": parties.by,
            "to": parties.to,
            "reason": parties.reason,
        },
    }


def register(data: Mapping[str, Any], volume_id: VolumeId, path: str) -> int:
    """Write it down on this host; when that was. Raises: as :meth:`encfs.registers.ledger.Ledger.append`."""
    copy = data["copy"]
    volumes.note_created(copy["volume_id"], path, copy["created"])
    return Ledger(REGISTER).append("done", data, volume_id=volume_id).at


def sign(data: Mapping[str, Any], made_at: int) -> bytes:
    """The receipt as a signed document. Raises: AuditError, FormatError, OSError, RuntimeError."""
    body_now = {**data, **made.fields()}
    return sign_document(host_signer(), kind=KIND, made_at=made_at, host=socket.gethostname(), body=body_now)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a receipt says of the contents.

    Attributes:
        handover_id: 16 bytes.
        digest: 32 bytes.
    """

    document: Document
    handover_id: bytes
    volume_id: VolumeId
    digest: bytes


def read(data: bytes) -> Stated:
    """What a receipt says, as far as its signature goes.

    Raises:
        FormatError: it is no receipt. NewerFormatError. AuthenticationError: it was changed after it was signed.
    """
    document = open_document(data, KIND)
    fields = Fields(document.body)
    try:
        handover_id, digest = (bytes.fromhex(fields.text(name)) for name in ("id", "digest"))
        volume_id = VolumeId(bytes.fromhex(fields.object("copy").text("volume_id")))
    except ValueError as exc:
        raise FormatError("a receipt has an id or a digest that is none") from exc
    if len(handover_id) != ID_SIZE:
        raise FormatError("a receipt has an id or a digest that is none")
    return Stated(document, handover_id, volume_id, digest)


# -- the pages ---------------------------------------------------------------------------------------------------------


def pdf(signed: bytes) -> bytes:
    """The pages, with the signed receipt itself inside.

    Raises:
        FormatError, AuthenticationError: it is no receipt. CloakfsError: a package is not installed.
    """
    document = open_document(signed, KIND)
    with made.shown(document.body) as zone:
        return render(
            Report(
                title="Receipt of a handover",
                verdict="A complete copy was made, read back and found to be the same.",
                light=Light.GREEN,
                blocks=_blocks(document.body, document.made_at),
                footer=f"Signed by the key {document.signer.fingerprint()} of the computer {document.host}. "
                f"Times: {zone}. {NOT_LEGAL_ADVICE}",
                made_at=document.made_at,
                attachments={ATTACHMENT: signed},
            )
        )


def _blocks(data: Mapping[str, Any], made_at: int) -> list[Block]:
    copy, counts, parties = data["copy"], data["counts"], data["parties"]
    lost = [(text, f"{data['lost'][name]:,}") for name, text in _LOST.items() if data["lost"][name]]
    blocks: list[Block] = [
        Heading("What was handed over"),
        Facts(
            [
                ("Files", f"{counts['files']:,}, {human_size(counts['bytes'])}"),
                ("Folders", f"{counts['directories']:,}"),
                ("Symbolic links, pipes, devices", f"{counts['symlinks'] + counts['others']:,}"),
                ("Copied from", data["source"]["path"]),
                ("Volume id there", data["source"]["volume_id"]),
                ("The copy", copy["path"]),
                ("Volume id of the copy", copy["volume_id"]),
                ("Keys of the copy", "new ones: what opens the one opens nothing of the other"),
                ("Opened by", ", ".join(f"{printable(slot['label'])} ({slot['kind']})" for slot in copy["slots"])),
                ("Verification", data["verification"]),
                ("Began, ended", f"{human_time(data['started'])}, {human_time(made_at)}"),
                ("Tool", f"{data['tool']} {data['version']}"),
                ("Receipt", data["id"]),
                ("Digest of the contents", data["digest"]),
            ]
        ),
        Paragraph("Whoever can open the copy checks the digest with: cloakfs handover --check RECEIPT COPY"),
    ]
    if lost:
        blocks += [
            Heading("What the medium of the copy does not keep", small=True),
            Facts([(text, f"of {count}") for text, count in lost]),
        ]
    return [
        *blocks,
        NewPage(),
        Heading("Who"),
        Facts(
            [
                ("Login on the computer", f"{parties['login']} (uid {parties['uid']})"),
                ("Handed over by", parties["by"] or "see below"),
                ("To", parties["to"] or "see below"),
                ("Reason", parties["reason"] or "none given"),
            ]
        ),
        Paragraph(
            f"The copy with {plural(counts['files'], 'file')} was handed over. What opens it was handed over too, or is"
            " the receiver's own."
        ),
        sign_here("Handed over by", "Received by"),
    ]
