"""encfs/sheets/report.py: what is on the pages, read back from the PDF."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pypdfium2
import pytest
from pymupdf_fonts import NotoSans_Regular  # type: ignore[import-untyped]

from encfs.checks import Light
from encfs.sheets import fonts
from encfs.sheets.report import Block, Facts, Form, Heading, NewPage, Paragraph, Report, Table, render

# Points: US Letter is so high, and prints from a quarter of an inch on.
LETTER_HEIGHT, LETTER_EDGE, A4_HEIGHT = 792.0, 18.0, 841.89


def report(blocks: Sequence[Block] = (), **changed) -> Report:
    """A report with these blocks."""
    made = Report("The title", "The verdict.", blocks, "Signed by 1234. Not advice.", 1_764_252_000, Light.GREEN)
    return replace(made, **changed)


def pages(pdf: bytes) -> list[str]:
    """The words of each page, with one space between them."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [" ".join(page.get_textpage().get_text_bounded().split()) for page in document]
    finally:
        document.close()


EVERY: list[Block] = [
    Heading("Part one"),
    Paragraph("Some words.\nA second line."),
    Facts([("Volume", "/srv/practice.vault"), ("Kept by", "Dr. Müller, Łódź")]),
    Heading("Part of it", small=True),
    Table(["Slot", "Kind"], [["anna", "passphrase"], ["bert", ""]], widths=(1, 2)),
    Form([("Nature of the data", 2), ("Signature", 1)]),
    NewPage(),
    Paragraph("The end."),
]


def test_all_that_was_given_is_there_in_its_order():
    """Each block, and the foot with the number on every page."""
    first, second = pages(render(report(EVERY)))
    assert first == (
        "cloakfs The title The verdict. Part one Some words. A second line. Volume /srv/practice.vault "
        "Kept by Dr. Müller, Łódź Part of it Slot Kind anna passphrase bert Nature of the data Signature "
        "Signed by 1234. Not advice. Page 1 of 2"
    )
    assert second == "The end. Signed by 1234. Not advice. Page 2 of 2"


@pytest.mark.parametrize("light", [None, *Light])
def test_the_same_report_has_the_same_bytes(light: Light | None):
    """Also in another process: whoever has what it was made of can make it again and compare."""
    made = render(report(EVERY, light=light, attachments={"a.json": b"{}\n"}))
    assert made == render(report(EVERY, light=light, attachments={"a.json": b"{}\n"}))
    if light is Light.GREEN:
        program = (
            "import sys; from tests.sheets.test_report import *;"
            'sys.stdout.buffer.write(render(report(EVERY, attachments={"a.json": b"{}\\n"})))'
        )
        again = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        assert again.stdout == made


def test_attachments_are_in_it_as_they_are():
    """Found by a PDF program under their name, and by whoever looks for their bytes."""
    content = b'{"body":' + b"x" * 3000 + b"}\n"
    pdf = render(report(attachments={"evidence.json": content}))
    assert pdf.count(content) == 1
    document = pypdfium2.PdfDocument(pdf)
    try:
        attachment = document.get_attachment(0)
        assert (document.count_attachments(), attachment.get_name()) == (1, "evidence.json")
        assert bytes(attachment.get_data()) == content
    finally:
        document.close()


def test_a_long_table_has_its_head_on_each_page():
    """No row is lost or cut, over as many pages as it takes."""
    rows = [[f"row{number}", "word " * (number % 40)] for number in range(150)]
    found = pages(render(report([Table(["Name", "Words"], rows)])))
    assert len(found) > 3
    for page in found:
        assert "Name Words" in page
    words = " ".join(found).split()
    assert [word for word in words if word.startswith("row")] == [f"row{number}" for number in range(150)]
    assert words.count("word") == sum(number % 40 for number in range(150))


@pytest.mark.parametrize(
    "block",
    [
        Paragraph("word " * 3000),
        Facts([("Name", "word " * 3000)]),
        Facts([(f"Name {number}", "value") for number in range(120)]),
        Facts([("N" * 300, "x" * 5000)]),
        Table(["A", "B"], [["x" * 400, "y" * 400]] * 12),
        Form([(f"Field {number}", 3) for number in range(30)]),
    ],
    ids=["paragraph", "long fact", "many facts", "no spaces", "no spaces in a table", "form"],
)
def test_all_stands_where_a4_and_letter_print(block: Block):
    """Whatever breaks over pages: nothing beyond the edges of either paper, and nothing in the foot."""
    document = pypdfium2.PdfDocument(render(report([Heading("Part"), block])))
    try:
        for page in document:
            text = page.get_textpage()
            for number in range(text.count_rects()):
                left, bottom, right, top = text.get_rect(number)
                assert left > LETTER_EDGE
                assert right < 595.3 - LETTER_EDGE
                assert top < A4_HEIGHT - LETTER_EDGE
                assert bottom > A4_HEIGHT - LETTER_HEIGHT + LETTER_EDGE
    finally:
        document.close()


def test_letters_that_cannot_be_printed_are_numbers():
    """A report comes out whatever people are called, and nothing in it is wrong."""
    text = "Müller \N{CJK UNIFIED IDEOGRAPH-4E2D} \N{ARABIC LETTER ALEF}\x1b[2J"
    (page,) = pages(render(report([Paragraph(text)], title="", verdict="")))
    assert page.startswith("cloakfs Müller [U+4E2D] [U+0627][U+001B][2J Signed")
    (page,) = pages(render(report([Heading(text), Facts([(text, text)]), Table([text], [[text]]), Form([(text, 1)])])))
    assert page.count("[U+4E2D]") == 6
    assert "\x1b" not in page


def test_a_heading_is_not_the_last_thing_on_a_page():
    """It goes to the next page with what it stands above."""
    for lines in range(35, 60):
        found = pages(render(report([*[Paragraph("line")] * lines, Heading("The heading"), Paragraph("What follows")])))
        page = next(page for page in found if "The heading" in page)
        assert "What follows" in page


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch):
    """Said with what to install, before anything is done."""
    from encfs.errors import CloakfsError

    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(CloakfsError, match="need fpdf"):
        render(report())


def test_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that is drawn in another way tells the fonts apart; nothing else is needed for that."""
    before = fonts.checksum()
    assert fonts.checksum() == before
    regular = NotoSans_Regular.fontbuffer
    monkeypatch.setattr(NotoSans_Regular, "fontbuffer", regular[:-1] + bytes([regular[-1] ^ 1]))
    assert fonts.checksum() != before
