"""A report of several pages: headings, paragraphs, facts, tables, lines to fill in, and files that travel with it.

Owns: where things stand and how they look. Must not know: what the report is about, where it goes.

All stands where A4 and US Letter both print. With the same report the same bytes come out, so whoever has what a report
was made of can make it again and compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from encfs.checks import Light
from encfs.sheets import fonts, parts

if TYPE_CHECKING:
    from fpdf import FPDF

# Millimetres.
_MARGIN: Final = 20.0
_BOTTOM: Final = 41.0  # US Letter ends 17.6 mm before A4; the foot has up to three lines.
_FOOT: Final = 37.0
_WIDTH: Final = 170.0
_NAME_WIDTH: Final = 52.0
_FORM_STEP: Final = 9.0
_HEIGHT_KEPT: Final = 100.0  # What is higher may break over pages.

_INK, _FAINT, _LINE, _SHADE = (24, 34, 40), (92, 107, 117), (150, 160, 166), (243, 245, 246)
_TONES: Final = {Light.GREEN: (24, 110, 62), Light.AMBER: (160, 96, 0), Light.RED: (170, 32, 32)}


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part; ``small``: a part of one."""

    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain lines over the whole width."""

    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, a row for each."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many texts as there are columns; the head stands on each page that the table reaches.

    Attributes:
        widths: of the columns, relative; equal ones if there are none.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    widths: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """Lines to fill in by hand: a name for each, and how many lines it gets."""

    fields: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class NewPage:
    """What follows begins on another page."""


Block = Heading | Paragraph | Facts | Table | Form | NewPage


@dataclass(frozen=True, slots=True)
class Report:
    """What is printed.

    Attributes:
        title: stands on top, and is the title of the document.
        verdict: the one sentence to read if no other is.
        blocks: the rest, in its order.
        footer: stands on each page, with its number.
        made_at: seconds since 1970: the date in the file.
        light: colours the verdict.
        attachments: files by name, as they are and not compressed, inside of the PDF.
    """

    title: str
    verdict: str
    blocks: Sequence[Block]
    footer: str
    made_at: int
    light: Light | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)


def render(report: Report) -> bytes:
    """The PDF. Letters that the fonts lack are shown as their number, such as ``[U+4E2D]``.

    Raises:
        CloakfsError: a package is not installed.
    """
    parts.check()
    pdf = _begin(report)
    try:
        _write(pdf, "cloakfs", size=9, colour=_FAINT)
        _write(pdf, report.title, size=20, style="B")
        pdf.ln(2)
        _verdict(pdf, report)
        for block in report.blocks:
            _block(pdf, block)
        made = datetime.fromtimestamp(report.made_at, UTC)
        for name, content in report.attachments.items():
            pdf.embed_file(bytes=content, basename=name, creation_date=made, modification_date=made, compress=False)
        return bytes(pdf.output())
    finally:
        fonts.close(pdf)


def _begin(report: Report) -> FPDF:
    from fpdf import FPDF  # noqa: PLC0415 - an optional part, and slow to load

    pdf = FPDF(format="A4")
    fonts.load(pdf)
    pdf.set_creation_date(datetime.fromtimestamp(report.made_at, UTC))
    pdf.set_title(report.title)
    pdf.set_lang("en")
    pdf.set_margins(_MARGIN, _MARGIN, _MARGIN)
    pdf.set_auto_page_break(True, margin=_BOTTOM)
    pdf.c_margin = 0
    pdf.footer = partial(_footer, pdf, report.footer)  # type: ignore[method-assign]
    pdf.add_page()
    return pdf


def _footer(pdf: FPDF, text: str) -> None:
    pdf.set_y(-_FOOT)
    pdf.set_draw_color(*_LINE)
    pdf.set_line_width(0.2)
    pdf.line(_MARGIN, pdf.get_y(), _MARGIN + _WIDTH, pdf.get_y())
    pdf.ln(1.5)
    _write(pdf, text, size=7.5, colour=_FAINT)
    _write(pdf, f"Page {pdf.page_no()} of {{nb}}", size=7.5, colour=_FAINT)


def _verdict(pdf: FPDF, report: Report) -> None:
    """A bar in the colour of the light beside the sentence."""
    if not report.verdict:
        return
    top = pdf.get_y()
    pdf.set_left_margin(_MARGIN + 5)
    pdf.set_x(_MARGIN + 5)
    colour = _INK if report.light is None else _TONES[report.light]
    _write(pdf, report.verdict, size=13, style="B", colour=colour)
    pdf.set_left_margin(_MARGIN)
    pdf.set_fill_color(*colour)
    pdf.rect(_MARGIN, top, 1.6, pdf.get_y() - top, style="F")
    pdf.ln(4)


def _block(pdf: FPDF, block: Block) -> None:
    match block:
        case Heading(text, small):
            _heading(pdf, text, small=small)
        case Paragraph(text):
            _write(pdf, text, size=10)
            pdf.ln(2)
        case Facts(rows):
            _facts(pdf, rows)
        case Table():
            _table(pdf, block)
        case Form(fields):
            _form(pdf, fields)
        case NewPage():
            pdf.add_page()


def _heading(pdf: FPDF, text: str, *, small: bool) -> None:
    """Never the last thing on a page."""
    pdf.ln(1 if small else 3)
    if pdf.will_page_break(24 if small else 44):
        pdf.add_page()
    _write(pdf, text, size=11 if small else 14, style="B")
    pdf.ln(1)


def _facts(pdf: FPDF, rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        if pdf.will_page_break(min(_height(pdf, value, _WIDTH - _NAME_WIDTH), _HEIGHT_KEPT)):
            pdf.add_page()
        top, page = pdf.get_y(), pdf.page
        pdf.set_xy(_MARGIN, top + 0.2)
        _write(pdf, name, size=9, colour=_FAINT, width=_NAME_WIDTH - 3)
        below = pdf.get_y()
        pdf.set_xy(_MARGIN + _NAME_WIDTH, top)
        _write(pdf, value, size=10, width=_WIDTH - _NAME_WIDTH)
        if pdf.page == page:
            pdf.set_y(max(pdf.get_y(), below))
        pdf.ln(1)
    pdf.ln(2)


def _height(pdf: FPDF, text: str, width: float) -> float:
    pdf.set_font(fonts.TEXT, "", 10)
    height = pdf.multi_cell(width, 4.8, fonts.shown(pdf, text), align="L", dry_run=True, output="HEIGHT")
    assert isinstance(height, float)
    return height


def _table(pdf: FPDF, table: Table) -> None:
    from fpdf.fonts import FontFace  # noqa: PLC0415 - an optional part

    pdf.set_font(fonts.TEXT, "", 8.5)
    pdf.set_text_color(*_INK)
    pdf.set_draw_color(*_LINE)
    pdf.set_line_width(0.15)
    pdf.set_fill_color(255, 255, 255)  # Cells are filled with what is set.
    with pdf.table(
        width=_WIDTH,
        align="LEFT",
        text_align="LEFT",
        v_align="TOP",
        line_height=4.2,
        padding=(0.9, 1.4),
        borders_layout="HORIZONTAL_LINES",
        col_widths=tuple(table.widths) or None,
        headings_style=FontFace(emphasis="BOLD", color=_INK, fill_color=_SHADE),
    ) as made:
        for texts in (table.columns, *table.rows):
            row = made.row()
            for text in texts:
                row.cell(fonts.shown(pdf, text))
    pdf.ln(4)


def _form(pdf: FPDF, fields: Sequence[tuple[str, int]]) -> None:
    for name, count in fields:
        if pdf.will_page_break(_FORM_STEP * count + 6):
            pdf.add_page()
        _write(pdf, name, size=9, colour=_FAINT)
        pdf.set_draw_color(*_INK)
        pdf.set_line_width(0.2)
        for _ in range(count):
            pdf.ln(_FORM_STEP)
            pdf.line(_MARGIN, pdf.get_y(), _MARGIN + _WIDTH, pdf.get_y())
        pdf.ln(3)


def _write(
    pdf: FPDF,
    text: str,
    *,
    size: float,
    style: str = "",
    colour: tuple[int, int, int] = _INK,
    width: float = 0,
) -> None:
    pdf.set_font(fonts.TEXT, style, size)
    pdf.set_text_color(*colour)
    pdf.multi_cell(width, size * 0.48, fonts.shown(pdf, text), align="L", new_x="LMARGIN", new_y="NEXT")
