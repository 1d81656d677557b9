"""Whether a signed document is as it was signed: a file of its own, or inside of a PDF (FORMAT.md section 17).

Owns: which files are taken, and what is proved of the pages. Must not know: whose key it should be, the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.backup import drills
from encfs.core.documents import Document, open_document
from encfs.errors import CloakfsError, FormatError
from encfs.evidence import (
    certificate,
    certificate_report,
    drill_document,
    incident,
    incident_pages,
    made,
    pack,
    pack_pages,
    receipt,
)
from encfs.format import limits
from encfs.sheets.report import render
from encfs.wording import YEAR_10000

FILE_MAX: Final = limits.DOCUMENT_MAX + (16 << 20)
"""Bytes of a file that is looked at: a document, with pages around it."""
_PDF: Final = b"%PDF-"
# As encfs/sheets/report.py puts them there: with their size, not compressed.
_ATTACHED: Final = re.compile(rb"<<\n/Length (\d{1,9})\n(?:/[^\n]{1,400}\n){0,8}/Type /EmbeddedFile\n>>\nstream\n")


class Pages(StrEnum):
    """What is known of the pages that people read."""

    NONE = "none"
    """There are none: it is the document alone."""
    SAME = "same"
    """They are those that this version makes of the document, byte for byte."""
    DIFFERENT = "different"
    """They are not, although the same versions as here have made them: somebody has changed them."""
    UNKNOWN = "unknown"
    """It cannot be told: other versions have made them, or this installation makes none of this kind of document."""


@dataclass(frozen=True, slots=True)
class Genuine:
    """A document that is as it was signed.

    Attributes:
        pages: what that says of the pages around it.
        signed: the document as bytes.
    """

    document: Document
    pages: Pages
    signed: bytes


def check(data: bytes) -> Genuine:
    """Take a document, or a PDF that has one inside.

    Raises:
        FormatError: it is none, or was changed. AuthenticationError: it was changed.
        NewerFormatError: a later version wrote it.
    """
    signed = document_in(data)
    document = open_document(signed)
    pages = _pages(document, signed, data) if data.startswith(_PDF) else Pages.NONE
    return Genuine(document, pages, signed)


def document_in(data: bytes) -> bytes:
    """The bytes of a document: ``data`` itself, or what is inside of a PDF; nothing of it is proved yet.

    Raises:
        FormatError: there is none.
    """
    if len(data) > FILE_MAX:
        raise FormatError("the file is longer than any document of cloakfs")
    return _inside(data) if data.startswith(_PDF) else data


def pages_of(document: Document, signed: bytes) -> bytes:
    """The pages that belong to a document.

    Raises:
        FormatError: there are none, or it is not shaped as this version makes it. CloakfsError: a package is missing.
    """
    make = _MAKERS.get(document.kind)
    if make is None:
        raise FormatError("this version makes no pages of such a document")
    if not 0 <= document.made_at < YEAR_10000:
        raise FormatError("a document was made in no year that a calendar has")
    try:
        return make(document, signed)
    # Whoever has a key can sign what no version makes.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
        raise FormatError("this version makes no pages of a document that is shaped so") from exc


def _inside(pdf: bytes) -> bytes:
    """The only file that is attached to a PDF of ours."""
    found = list(_ATTACHED.finditer(pdf))
    if len(found) != 1:
        raise FormatError("this PDF has no signed document of cloakfs inside" if not found else "this PDF has several")
    size = int(found[0][1])
    signed = pdf[found[0].end() : found[0].end() + size]
    if len(signed) != size:
        raise FormatError("this PDF ends in the middle of its document")
    return signed


def _pages(document: Document, signed: bytes, pdf: bytes) -> Pages:
    try:
        ours = pages_of(document, signed)
    except CloakfsError:
        return Pages.UNKNOWN
    if ours == pdf:
        return Pages.SAME
    return Pages.DIFFERENT if document.body.get("pages") == made.made_with() else Pages.UNKNOWN


def _of_pack(document: Document, signed: bytes) -> bytes:
    return render(pack_pages.report(document, signed))


def _of_incident(document: Document, signed: bytes) -> bytes:
    return render(
        incident_pages.report(
            document.body,
            host=document.host,
            made_at=document.made_at,
            signer=document.signer.fingerprint(),
            document=signed,
        )
    )


_MAKERS: Final[Mapping[str, Callable[[Document, bytes], bytes]]] = {
    pack.KIND: _of_pack,
    incident.KIND: _of_incident,
    certificate.KIND: lambda _, signed: certificate_report.pdf(signed),
    receipt.KIND: lambda _, signed: receipt.pdf(signed),
    drills.KIND: lambda _, signed: drill_document.pdf(signed),
}
