"""The letters on a page: Noto Sans for text, Cascadia Mono for what is typed.

Owns: which letters can be printed right. Must not know: what is on the page.

The fonts go into the PDF, so that it looks the same everywhere. They come from a locked package and not from the
machine, so that the same sheet has the same bytes. Scripts whose letters have to be joined or put in another order
(Arabic, Hebrew, Devanagari) are refused: printed letter by letter they would be wrong.
"""

from __future__ import annotations

import tempfile
import unicodedata
import zlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from encfs.errors import UsageError

if TYPE_CHECKING:
    from fpdf import FPDF
    from fpdf.fonts import TTFFont

TEXT: Final = "Noto"
MONO: Final = "Mono"
# M: marks that would stand beside their letter, as NFC found no letter with them; C: nothing that can be seen.
_REFUSED_CATEGORIES: Final = ("M", "C", "Zl", "Zp")
_LATIN_END: Final = 0x250  # Letters without case: in Latin they are such as ª, elsewhere they are joined or ideographs.
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})


def _files() -> list[tuple[str, str, bytes]]:
    """Family, style and content of each.

    Raises:
        ImportError: the package is not installed.
    """
    from pymupdf_fonts import (  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional part
        CascadiaMono_Regular,
        NotoSans_Bold,
        NotoSans_Regular,
    )

    return [
        (TEXT, "", NotoSans_Regular.fontbuffer),
        (TEXT, "B", NotoSans_Bold.fontbuffer),
        (MONO, "", CascadiaMono_Regular.fontbuffer),
    ]


def checksum() -> str:
    """Tells these fonts from those of another version, which their package does not say; eight hexadecimal digits.

    Raises:
        ImportError: the package is not installed.
    """
    return f"{zlib.crc32(b''.join(content for _, _, content in _files())):08x}"


def load(pdf: FPDF) -> None:
    """Add the fonts to a document: ``TEXT`` in regular and bold, ``MONO`` in regular."""
    # fpdf takes fonts from files only; it keeps them open, so that they may go at once.
    with tempfile.TemporaryDirectory(prefix="cloakfs-") as directory:
        for family, style, content in _files():
            path = Path(directory, f"{family}{style}.ttf")
            path.write_bytes(content)
            pdf.add_font(family, style, path)
    for font in _ours(pdf):
        if "TTFA" in font.ttfont:  # A note of the hinting program, which fontTools would complain about.
            del font.ttfont["TTFA"]


def close(pdf: FPDF) -> None:
    """Close the files of the fonts, when the document is made."""
    for font in _ours(pdf):
        font.ttfont.close()


def _ours(pdf: FPDF) -> list[TTFFont]:
    from fpdf.fonts import TTFFont  # noqa: PLC0415 - an optional part

    return [font for font in pdf.fonts.values() if isinstance(font, TTFFont)]


def printable(pdf: FPDF, text: str, what: str) -> str:
    """The text as it is printed, in composed letters (NFC).

    Args:
        pdf: has the fonts.
        text: what somebody called something.
        what: its name in the error.

    Raises:
        UsageError: it has a letter that would not come out right.
    """
    composed = unicodedata.normalize("NFC", text)
    known = _known(pdf)
    for letter in composed:
        if not _printed(letter, known):
            raise UsageError(
                f"{what} has a character that cannot be printed on a sheet: U+{ord(letter):04X}",
                hint="Latin, Greek and Cyrillic letters can be printed, digits, and common signs.",
            )
    return composed


def shown(pdf: FPDF, text: str) -> str:
    """The text as a report shows it: in composed letters, and those that would not come out right as their number."""
    known = _known(pdf)
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if c == "\n" or _printed(c, known) else f"[U+{ord(c):04X}]" for c in composed)


def _known(pdf: FPDF) -> list[Container[int]]:
    return [font.cmap for font in _ours(pdf) if font.fontkey.startswith(TEXT.lower())]


def _printed(letter: str, known: Sequence[Container[int]]) -> bool:
    return all(ord(letter) in cmap for cmap in known) and _stands_alone(letter)


def _stands_alone(letter: str) -> bool:
    category = unicodedata.category(letter)
    return (
        not category.startswith(_REFUSED_CATEGORIES)
        and (category != "Lo" or ord(letter) < _LATIN_END)
        and unicodedata.bidirectional(letter) not in _RIGHT_TO_LEFT
    )
