"""Which files are likely to hold what belongs to patients, by their first 4 KiB, their name and their size.

Owns: the kinds of such files, and the signs of each. Must not know: where a file lies, what is done about it.

It is a guess, made to find what was forgotten, not to prove that nothing is there. Files that say what they are are
told from those that only could hold something: a letter in Word shows nothing in its first bytes. Not seen at all are
archives and encrypted files, pictures but JPEG, TIFF and HEIC, JPEG and HEIC below 16 KiB (icons, previews), databases
of servers that keep their files without an ending, and texts in another language than English or German.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

HEAD: Final = 4096
"""So much of the beginning of a file is looked at."""
_TEXT_LOOKED_AT: Final = 1024
_PICTURE_MIN: Final = 16 << 10


class Kind(StrEnum):
    """What a file is."""

    DICOM = "dicom"
    HL7 = "hl7"
    CDA = "cda"
    FHIR = "fhir"
    XDT = "xdt"
    CLAIM = "claim"
    TEXT = "text"
    DATABASE = "database"
    MAIL = "mail"
    DOCUMENT = "document"
    SPREADSHEET = "spreadsheet"
    IMAGE = "image"
    DICTATION = "dictation"


CLINICAL: Final = frozenset({Kind.DICOM, Kind.HL7, Kind.CDA, Kind.FHIR, Kind.XDT, Kind.CLAIM, Kind.TEXT})
"""Those that say so themselves; the others could hold anything."""

TITLES: Final = {
    Kind.DICOM: "DICOM images",
    Kind.HL7: "HL7 messages",
    Kind.CDA: "CDA documents",
    Kind.FHIR: "FHIR resources",
    Kind.XDT: "BDT, GDT or LDT files",
    Kind.CLAIM: "X12 claims",
    Kind.TEXT: "texts about patients",
    Kind.DATABASE: "databases",
    Kind.MAIL: "mail",
    Kind.DOCUMENT: "documents",
    Kind.SPREADSHEET: "spreadsheets",
    Kind.IMAGE: "pictures and scans",
    Kind.DICTATION: "dictations",
}
"""For people."""

# -- what says so itself ------------------------------------------------------------------------------------------

_HL7: Final = re.compile(rb"(?:\xef\xbb\xbf)?[\x0b\s]*(?:MSH|FHS|BHS)\|[^\w\s]{3,5}\|")
_CDA: Final = re.compile(rb"<(?:\w+:)?(?:ClinicalDocument|ContinuityOfCareRecord)\b")
_FHIR: Final = re.compile(rb'"resourceType"\s*:\s*"[A-Z][A-Za-z]+"|xmlns\s*=\s*"http://hl7\.org/fhir"')
# The first line of each: length, field 8000 (kind of the record), and which one.
_XDT: Final = re.compile(rb"(?:\xef\xbb\xbf)?\d{3}8000[0-9A-Za-z]{4}\r?\n\d{7}")
_CLAIM: Final = re.compile(rb"ISA[^\w\s]\d\d[^\w\s].*?\WST[^\w\s](?:27[0-8]|820|834|835|837)\W", re.DOTALL)


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


_SAYS_SO: Final[tuple[tuple[Kind, Callable[[bytes], object]], ...]] = (
    (Kind.DICOM, _is_dicom),
    (Kind.HL7, _HL7.match),
    (Kind.XDT, _XDT.match),
    (Kind.CLAIM, _CLAIM.match),
    (Kind.CDA, _CDA.search),
    (Kind.FHIR, _FHIR.search),
)

# -- texts ------------------------------------------------------------------------------------------------------------

# A number that the Social Security Administration can have given: not 000, 666 or 9xx, no group of zeros.
_SSN: Final = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_SIGNS: Final = tuple(
    re.compile(text, re.IGNORECASE)
    for text in (
        # Whose it is.
        r"\b(?:MRN|medical[ _-]?record|chart[ _-]?(?:no|number|id))\b|\bpatient(?:en)?(?:\b|_|id|name|no|nr|num)",
        r"\b(?:DOB|date[ _-]?of[ _-]?birth|birth[ _-]?date|geburtsdatum|geb\.)",
        # What it is about: a code of ICD-10 with its dot, or a word for one.
        r"\b(?-i:[A-TV-Z])\d[0-9AB]\.[0-9A-Z]{1,4}\b",
        r"\b(?:diagnos[ei]\w*|prescri(?:bed|ption)s?|medications?|allerg(?:y|ies)|befund|arztbrief|anamnese)\b",
        r"\b(?:insurance|member|policy|versicherten)[ _-]?(?:id|no|nr|number|nummer)\b",
    )
)
_SIGNS_NEEDED: Final = 2
_CONTROLS: Final = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


def _text_of(head: bytes) -> str | None:
    """The first KiB as text; None if it is none."""
    head = head[:_TEXT_LOOKED_AT]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    # HL7 and others begin with a control character of their own; a picture or a program has many.
    return None if len(_CONTROLS.findall(head)) * 100 > len(head) else head.decode("utf-8", "replace")


def _is_about_patients(head: bytes) -> bool:
    """A social security number, or two different signs."""
    text = _text_of(head)
    if text is None:
        return False
    return bool(_SSN.search(text)) or sum(bool(sign.search(text)) for sign in _SIGNS) >= _SIGNS_NEEDED


# -- what could hold anything ---------------------------------------------------------------------------------------

_MAGIC: Final = (
    (b"SQLite format 3\x00", Kind.DATABASE),
    (b"\x00\x01\x00\x00Standard Jet DB", Kind.DATABASE),
    (b"\x00\x01\x00\x00Standard ACE DB", Kind.DATABASE),
    (b"!BDN", Kind.MAIL),
    (b"\xcf\xad\x12\xfe", Kind.MAIL),
    (b"%PDF-", Kind.DOCUMENT),
    (b"{\\rtf", Kind.DOCUMENT),
    (b"II*\x00", Kind.IMAGE),
    (b"MM\x00*", Kind.IMAGE),
    (b"\x02dss", Kind.DICTATION),
    (b"\x03ds2", Kind.DICTATION),
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP: Final = b"PK\x03\x04"
_DUMP: Final = re.compile(rb"-- (?:MySQL|MariaDB|PostgreSQL database) dump|PGDMP")
_MAIL: Final = re.compile(
    rb"(?:From \S+ .*\n)?(?:(?:Return-Path|Received|Delivered-To|X-[\w-]+|From|Date|Subject):[ \t])", re.IGNORECASE
)
_MAIL_TOO: Final = re.compile(rb"^Message-ID:", re.IGNORECASE | re.MULTILINE)
_BY_ENDING: Final = {
    # What begins with the bytes of a container is told by the name.
    **dict.fromkeys(("doc", "dot", "ppt", "wps"), (Kind.DOCUMENT, _OLE)),
    **dict.fromkeys(("xls", "xlt"), (Kind.SPREADSHEET, _OLE)),
    "msg": (Kind.MAIL, _OLE),
    **dict.fromkeys(("docx", "docm", "dotx", "odt", "pptx", "odp", "pages"), (Kind.DOCUMENT, _ZIP)),
    **dict.fromkeys(("xlsx", "xlsm", "xlsb", "ods", "numbers"), (Kind.SPREADSHEET, _ZIP)),
    # Their beginnings are those of much else.
    **dict.fromkeys(("mdf", "fdb", "gdb", "ibd", "myd"), (Kind.DATABASE, b"")),
    **dict.fromkeys(("csv", "tsv"), (Kind.SPREADSHEET, b"")),
}
_DBASE: Final = frozenset({0x02, 0x03, 0x30, 0x31, 0x32, 0x43, 0x63, 0x83, 0x8B, 0xCB, 0xF5, 0xFB})


def kind_of(name: str, head: bytes, size: int) -> Kind | None:
    """What a file likely is; None if it is nothing that belongs to patients, as far as this shows.

    Args:
        name: its last part; only the ending counts.
        head: its first :data:`HEAD` bytes, or all it has.
        size: in bytes.
    """
    for kind, says_so in _SAYS_SO:
        if says_so(head):
            return kind
    if _is_about_patients(head):
        return Kind.TEXT
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if size >= _PICTURE_MIN and (head.startswith(b"\xff\xd8\xff") or head[4:11] in (b"ftyphei", b"ftypmif")):
        return Kind.IMAGE
    if _DUMP.match(head[:256].lstrip()):
        return Kind.DATABASE
    if _MAIL.match(head) and _MAIL_TOO.search(head):
        return Kind.MAIL
    return _by_ending(name.rpartition(".")[2].lower(), head)


def _by_ending(ending: str, head: bytes) -> Kind | None:
    if ending == "dbf":
        return Kind.DATABASE if head[:1] and head[0] in _DBASE else None
    kind, begins = _BY_ENDING.get(ending, (None, b""))
    return kind if head and head.startswith(begins) else None
