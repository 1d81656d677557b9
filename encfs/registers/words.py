"""Texts and numbers that people give for a register.

Owns: which ones can stand there. Must not know: of which register.
"""

from __future__ import annotations

from typing import Final

from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields

TEXT_MAX: Final = 1000


def check_text(name: str, text: str, *, needed: bool = False) -> None:
    """Raises: UsageError: ``text`` is empty where it is needed, too long, or no single line of printable text."""
    if needed and not text.strip():
        raise UsageError(f"the {name} is empty")
    if len(text) > TEXT_MAX or not text.isprintable() or text != text.strip():
        raise UsageError(
            f"the {name} must be one line of at most {TEXT_MAX} characters, with no space before or behind it",
            hint="Nothing was written.",
        )


def text_list(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of texts in an entry. Raises: FormatError: it is something else."""
    found = fields.list(name)
    texts = tuple(one for one in found if isinstance(one, str))
    if len(texts) != len(found):
        raise FormatError("a list in a register has something that is no text")
    return texts
