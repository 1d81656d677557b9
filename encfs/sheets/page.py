"""One page of A4, filled from top to bottom: title, facts, numbered cells, QR code, steps, lines to sign on.

Owns: where things stand and how they look. Must not know: what a key or share is, where the page goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final, Self

from encfs.errors import UsageError
from encfs.sheets import fonts, parts

if TYPE_CHECKING:
    from fpdf import FPDF

# Millimetres.
_WIDTH: Final = 210.0
_HEIGHT: Final = 297.0
_MARGIN: Final = 20.0
_RIGHT: Final = _WIDTH - _MARGIN
_QR_SIZE: Final = 46.0
_LABEL_WIDTH: Final = 32.0
_SIGNATURE_HEIGHT: Final = 29.0

_INK, _FAINT, _LINE, _SHADE = (24, 34, 40), (92, 107, 117), (150, 160, 166), (243, 245, 246)


class Page:
    """A page that is being filled. As a context it closes its fonts at the end.

    Args:
        title: stands on top, and is the title of the document.
        day: the date of the document. With the same date the same calls make the same bytes.

    Raises:
        CloakfsError: a package is not installed.
    """

    def __init__(self, title: str, day: date) -> None:
        parts.check()
        from fpdf import FPDF  # noqa: PLC0415 - an optional part, and slow to load

        self._pdf: FPDF = FPDF(format="A4")
        fonts.load(self._pdf)
        self._pdf.set_creation_date(datetime.combine(day, time(), UTC))
        self._pdf.set_title(title)
        self._pdf.set_lang("en")
        self._pdf.set_margins(_MARGIN, _MARGIN, _MARGIN)
        self._pdf.set_auto_page_break(False)
        self._pdf.c_margin = 0
        self._pdf.add_page()
        self._write("cloakfs", size=9, colour=_FAINT)
        self._write(title, size=22, style="B")
        self._pdf.ln(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        fonts.close(self._pdf)

    def paragraph(self, text: str) -> None:
        """Plain lines over the whole width."""
        self._write(text, size=10)
        self._pdf.ln(2)

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """A row for each name and value, between two lines. Values are what users wrote.

        Raises:
            UsageError: a value has a letter that cannot be printed.
        """
        self._rule()
        for name, value in rows:
            shown = fonts.printable(self._pdf, value, f"the {name.lower()}")
            top = self._pdf.get_y()
            self._pdf.set_xy(_MARGIN, top + 0.5)
            self._write(name, size=9, colour=_FAINT, width=_LABEL_WIDTH)
            self._pdf.set_xy(_MARGIN + _LABEL_WIDTH, top)
            self._write(shown, size=10.5, style="B")
            self._pdf.ln(0.8)
        self._rule()
        self._pdf.ln(3)

    def cells(self, texts: Sequence[str], *, columns: int, rows: int, size: float, down: bool, qr: str) -> None:
        """Numbered cells in a shaded box, counted down the columns or along the rows; a QR code right of it.

        Args:
            texts: what is typed, at most ``columns * rows``.
            columns: of the box.
            rows: of the box.
            size: of the letters, in points.
            down: counted down the columns.
            qr: the text of the code.
        """
        pdf = self._pdf
        top = pdf.get_y()
        width = _RIGHT - _MARGIN - _QR_SIZE - 4
        height = max(_QR_SIZE, rows * size * 0.6 + 6)
        pdf.set_fill_color(*_SHADE)
        pdf.rect(_MARGIN, top, width, height, style="F")
        step_x, step_y = (width - 6) / columns, (height - 6) / rows
        for place, text in enumerate(texts):
            column, row = (place // rows, place % rows) if down else (place % columns, place // columns)
            x, y = _MARGIN + 3 + column * step_x, top + 3 + row * step_y
            self._cell(f"{place + 1}", x, y, step_y, width=5, family=fonts.TEXT, size=7, colour=_FAINT)
            self._cell(text, x + 6.5, y, step_y, width=step_x - 6.5, family=fonts.MONO, size=size, colour=_INK)
        self._qr(qr, _RIGHT - _QR_SIZE, top + (height - _QR_SIZE) / 2)
        pdf.set_xy(_MARGIN, top + height + 5)

    def steps(self, heading: str, steps: Sequence[tuple[str, str]]) -> None:
        """Numbered sentences, each with the command that it speaks of (or none)."""
        self._write(heading, size=12, style="B")
        self._pdf.ln(1)
        for number, (sentence, command) in enumerate(steps, start=1):
            top = self._pdf.get_y()
            self._write(f"{number}.", size=10, width=6)
            self._pdf.set_xy(_MARGIN + 6, top)
            self._write(sentence, size=10, indent=6)
            if command:
                self._pdf.set_x(_MARGIN + 6)
                self._write(command, size=9.5, family=fonts.MONO, indent=6)
            self._pdf.ln(1.6)

    def signature(self, who: str) -> None:
        """The foot of the page: lines for a place, a date and a signature.

        Raises:
            UsageError: what stands above has left no room.
        """
        pdf = self._pdf
        if pdf.get_y() > _HEIGHT - _MARGIN - _SIGNATURE_HEIGHT:
            raise UsageError("the names are too long for a sheet of one page", hint="Give shorter ones.")
        y = _HEIGHT - _MARGIN - 6
        self._line_to_fill("Kept at (place)", _MARGIN, _RIGHT, y - 16)
        self._line_to_fill("Date", _MARGIN, _MARGIN + 45, y)
        self._line_to_fill(f"Signature of the {who}", _MARGIN + 52, _RIGHT, y)
        pdf.set_y(y + 6)

    def output(self) -> bytes:
        """The PDF."""
        return bytes(self._pdf.output())

    def _write(
        self,
        text: str,
        *,
        size: float,
        style: str = "",
        family: str = fonts.TEXT,
        colour: tuple[int, int, int] = _INK,
        width: float = 0,
        indent: float = 0,
    ) -> None:
        """Lines from here to the right margin, or of a width; then the next line, ``indent`` from the left."""
        pdf = self._pdf
        pdf.set_font(family, style, size)
        pdf.set_text_color(*colour)
        pdf.multi_cell(width, size * 0.48, text, align="L", new_x="LMARGIN", new_y="NEXT")
        if indent:
            pdf.set_x(_MARGIN + indent)

    def _cell(
        self,
        text: str,
        x: float,
        y: float,
        height: float,
        *,
        width: float,
        family: str,
        size: float,
        colour: tuple[int, int, int],
    ) -> None:
        pdf = self._pdf
        pdf.set_xy(x, y)
        pdf.set_font(family, "", size)
        pdf.set_text_color(*colour)
        pdf.cell(width, height, text, align="R" if family == fonts.TEXT else "L")

    def _qr(self, text: str, x: float, y: float) -> None:
        """Squares of one row that touch are drawn as one."""
        import segno  # noqa: PLC0415 - an optional part

        code = segno.make_qr(text, error="m")
        modules = [bytes(row) for row in code.matrix]
        side = _QR_SIZE / len(modules)
        self._pdf.set_fill_color(0, 0, 0)
        for row, dark in enumerate(modules):
            start = 0
            while (start := dark.find(1, start)) >= 0:
                end = dark.find(0, start)
                end = end if end >= 0 else len(dark)
                self._pdf.rect(x + start * side, y + row * side, (end - start) * side, side, style="F")
                start = end

    def _rule(self) -> None:
        y = self._pdf.get_y()
        self._pdf.set_draw_color(*_LINE)
        self._pdf.set_line_width(0.2)
        self._pdf.line(_MARGIN, y, _RIGHT, y)
        self._pdf.ln(1.5)

    def _line_to_fill(self, what: str, left: float, right: float, y: float) -> None:
        self._pdf.set_draw_color(*_INK)
        self._pdf.set_line_width(0.2)
        self._pdf.line(left, y, right, y)
        self._pdf.set_xy(left, y + 0.8)
        self._write(what, size=8, colour=_FAINT)
