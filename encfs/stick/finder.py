"""The note for whoever finds a stick: ``IF-FOUND.txt``.

Owns: its text and its bytes: ASCII with CRLF, which every machine shows, at most 72 characters in a line. Must not
know: how it gets onto the stick.
"""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Final

from encfs.errors import UsageError
from encfs.stick.layout import READER_NAME, VOLUME_NAME

WORDS_MAX: Final = 600
_WIDTH: Final = 72
_SPELLED = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "oe", "Ø": "Oe", "æ": "ae"}
    | {"Æ": "Ae", "å": "aa", "Å": "Aa", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"'}
    | {"\u201d": '"', "\u201e": '"', "\u00a0": " ", "\u202f": " "}
)
_LOST: Final = "If you found it, please give it back. You cannot read what is on it, and nobody can without its key."
_REST: Final = (
    f"The folder '{VOLUME_NAME}' holds only encrypted data. Please do not change, rename or delete anything in it,"
    " and do not format this medium, even if your computer offers to."
)
_OWNER: Final = (
    "For its owner: on Linux open it with cloakfs; on Windows and macOS with"
    f" {READER_NAME}, if that lies beside this file."
)


def note(words: str) -> bytes:
    """The bytes of the note.

    Args:
        words: of the owner, such as a telephone number; several lines are kept; may be empty.

    Raises:
        UsageError: there are characters that cannot be spelled in ASCII, or too many of them.
    """
    paragraphs = ["THIS MEDIUM IS ENCRYPTED", _wrapped(_LOST)]
    if owner := spelled(words):
        paragraphs.append("\n".join(_wrapped(line) for line in owner.splitlines()))
    paragraphs += [_wrapped(_REST), _wrapped(_OWNER)]
    return "\r\n".join("\n\n".join(paragraphs).splitlines()).encode("ascii") + b"\r\n"


def spelled(words: str) -> str:
    """The owner's words in ASCII: umlauts and accents are spelled out.

    Raises:
        UsageError: as :func:`note`.
    """
    composed = unicodedata.normalize("NFC", words).translate(_SPELLED)
    letters = [c for c in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(c)]
    text = "\n".join(line.rstrip() for line in "".join(letters).strip().splitlines())
    strange = sorted({c for c in text if c != "\n" and not " " <= c <= "~"})
    if strange:
        shown = ", ".join(repr(c) if c.isprintable() else f"U+{ord(c):04X}" for c in strange[:5])
        raise UsageError(
            f"the words for the finder have characters that not every computer shows: {shown}",
            hint="Write them with the letters A to Z, digits and ordinary signs.",
        )
    if len(text) > WORDS_MAX:
        raise UsageError(
            f"the words for the finder are {len(text)} characters long",
            hint=f"Use {WORDS_MAX} at most: a name and a telephone number are enough.",
        )
    return text


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH))
