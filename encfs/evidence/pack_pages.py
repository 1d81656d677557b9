"""The pages of an evidence pack: one for whoever runs the office, the details behind it.

Owns: which parts stand where, in words. Must not know: how pages are drawn (``encfs/sheets/report.py``), where facts
come from: all is in the signed document, so that whoever has that can make the same pages, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from encfs.checks import Light
from encfs.core.documents import Document
from encfs.evidence import made
from encfs.evidence.pack_details import at, events, exceptions, log, media, registers, volumes
from encfs.sheets.report import Block, Facts, Heading, NewPage, Paragraph, Report, Table
from encfs.wording import NOT_LEGAL_ADVICE, plural

ATTACHMENT: Final = "evidence-pack.json"
_LIGHTS: Final = {light.name.lower(): light for light in Light}
_WORDS: Final = {"green": "in order", "amber": "look", "red": "ACT NOW"}
_ON_PAGE_ONE: Final = 850
"""Height of the rows of page one that still leaves room for what is in order below, in tenths of millimetres."""
_LINE_HEIGHT, _ROW_PADDING = 42, 18  # As encfs/sheets/report.py draws a table.
_WIDTHS: Final = (2, 5, 7, 6)
_LETTERS: Final = (9, 22, 34, 28)
"""So many letters stand on a line of each column; rather too few."""
_SUBJECTS: Final = 3
_PARTS: Final = {
    "volumes": "Volumes",
    "log": "The audit log",
    "media": "Media",
    "exceptions": "Data that is not encrypted",
}
_REGISTERS_PART: Final = "Other registers"
_READ_ON: Final = (
    "The next page is an index by regulation: for each rule what was looked at, and where the details are. The document"
    " that is signed travels inside this file. Whoever is given it can check it on any computer:"
    " cloakfs evidence --check FILE. Keep it for six years, on another medium than the volumes."
)


def report(document: Document, signed: bytes) -> Report:
    """The pages of a pack.

    Args:
        document: the pack.
        signed: the same as it was signed; it travels in the PDF.

    Raises:
        KeyError, TypeError, ValueError: it is not shaped as this version makes it.
    """
    with made.shown(document.body) as zone:
        return _report(document, signed, zone)


def _report(document: Document, signed: bytes, zone: str) -> Report:
    body = document.body
    return Report(
        title="Evidence of encryption",
        verdict=body["verdict"],
        light=_LIGHTS[body["light"]],
        blocks=[
            *_first_page(document, zone),
            *_index(body),
            *volumes(body),
            *media(body),
            *exceptions(body),
            *log(body),
            *registers(body),
            *_checks(body),
            *_program(body),
            *events(body),
        ],
        footer=f"cloakfs evidence pack, computer {document.host}, {at(document.made_at)} ({zone})."
        f" Signed with the key {document.signer.fingerprint()}. {NOT_LEGAL_ADVICE}",
        made_at=document.made_at,
        attachments={ATTACHMENT: signed},
    )


def _first_page(document: Document, zone: str) -> list[Block]:
    body = document.body
    to_do = [check for check in body["checks"] if check["light"] != "green"]
    if body["everything"]:
        about = "all encrypted volumes that are known to this computer and user"
    else:
        about = "chosen volumes only; there may be others"
    blocks: list[Block] = [
        Facts(
            [
                ("Computer", document.host),
                ("Made", f"{at(document.made_at)} ({zone})"),
                ("About", f"{plural(len(body['volumes']), 'volume')}: {about}"),
            ]
        ),
        Heading("What to do" if to_do else "Nothing is left to do"),
    ]
    if to_do:
        rows, shown = _to_do(to_do)
        blocks.append(Table(("", "What", "Found", "What to do"), rows, widths=_WIDTHS))
        if more := len(to_do) - shown:
            blocks.append(Paragraph(f"And {plural(more, 'more thing')}: see All checks, below."))
    return [*blocks, *_fine(body["checks"]), Paragraph(_READ_ON)]


def _to_do(checks: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, ...]], int]:
    """Rows as far as the page goes, and how many checks they tell; what is the same of several stands there once."""
    same: dict[tuple[str, ...], list[str]] = {}
    for one in checks:
        same.setdefault((one["light"], one["title"], one["found"], one["remedy"]), []).append(one["about"])
    rows: list[tuple[str, ...]] = []
    told, left = 0, _ON_PAGE_ONE
    for (light, title, found, remedy), about in same.items():
        more = [f"and {len(about) - _SUBJECTS} more"] if len(about) > _SUBJECTS else []
        row = (_WORDS[light], "\n".join([title, *about[:_SUBJECTS], *more]), f"{found}.", remedy)
        left -= _height(row)
        if rows and left < 0:
            break
        rows.append(row)
        told += len(about)
    return rows, told


def _height(row: Sequence[str]) -> int:
    """Of a row, in tenths of millimetres."""
    lines = (
        sum(max(1, len(wrap(part, letters))) for part in text.split("\n"))
        for text, letters in zip(row, _LETTERS, strict=True)
    )
    return max(lines) * _LINE_HEIGHT + _ROW_PADDING


def _subject(check: Mapping[str, Any]) -> str:
    return f"{check['title']}\n{check['about']}"


def _fine(checks: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What is in order, in one paragraph."""
    good = Counter(check["title"] for check in checks if check["light"] == "green")
    bad = {check["title"] for check in checks if check["light"] != "green"}
    # What is in order for one volume and not for another stands above.
    words = [title if count == 1 else f"{title} ({count})" for title, count in good.items() if title not in bad]
    return [Heading("What is in order"), Paragraph("; ".join(words) + ".")] if words else []


def _index(body: Mapping[str, Any]) -> list[Block]:
    known = {*_PARTS, *body["registers"]}
    rows = []
    for one in body["citations"]:
        where = [_PARTS.get(name, _REGISTERS_PART) for name in one["shows"] if name in known and _has(body, name)]
        if one["checks"]:
            where.append(f"checks {', '.join(str(number + 1) for number in one['checks'])}")
        state = _WORDS[one["light"]] if one["light"] else ("shown" if where else "nothing known")
        rows.append((one["rule"], one["asks"], state, "; ".join(dict.fromkeys(where)) or "-"))
    return [
        NewPage(),
        Heading("By regulation"),
        Paragraph(
            "What each rule asks for is told in few words here; the text of the rule is what counts. “Nothing known”"
            " means that cloakfs has no record of it, not that nothing was done."
        ),
        Table(("Rule", "Asks that", "State", "Where in this pack"), rows, widths=(4, 6, 2, 5)),
    ]


def _has(body: Mapping[str, Any], part: str) -> bool:
    return bool(body["registers"][part] if part in body["registers"] else body[part])


def _checks(body: Mapping[str, Any]) -> list[Block]:
    rows = [
        (str(number), _WORDS[one["light"]], _subject(one), one["found"], one["remedy"])
        for number, one in enumerate(body["checks"], 1)
    ]
    return [
        Heading("All checks"),
        Table(("No.", "", "What", "Found", "What to do"), rows, widths=(1, 2, 5, 7, 6)),
    ]


def _program(body: Mapping[str, Any]) -> list[Block]:
    pages = [f"{name} {version}" for name, version in body["pages"].items()]
    sources = [(name[:1].upper() + name[1:], text) for name, text in body["sources"].items()]
    return [
        Heading("Programs"),
        Facts([*body["program"].items(), ("made these pages", ", ".join(pages))]),
        Heading("Where each part is from, and how sure it is"),
        Facts(sources),
    ]
