"""Sheets of paper as somebody reads them, and as a scanner does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pypdfium2
import zxingcpp

A4 = (595, 842)  # points


@contextmanager
def _page(pdf: bytes) -> Iterator[pypdfium2.PdfPage]:
    """The only page."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        assert len(document) == 1
        page = document[0]
        assert tuple(round(side) for side in page.get_size()) == A4
        yield page
    finally:
        document.close()


def words_on(pdf: bytes) -> str:
    """The words with one space between them."""
    with _page(pdf) as page:
        return " ".join(page.get_textpage().get_text_range().split())


def codes_on(pdf: bytes) -> list[str]:
    """What the QR codes say."""
    with _page(pdf) as page:
        return [code.text for code in zxingcpp.read_barcodes(page.render(scale=3).to_pil())]
