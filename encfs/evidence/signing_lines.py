"""Lines on paper for two people to sign.

Owns: which ones. Must not know: what they sign.
"""

from __future__ import annotations

from typing import Final

from encfs.sheets.report import Table

_LINES: Final = ("Name", "Position", "Date", "Location", "Telephone or other contact", "Signature")
_ROOM: Final = " \n \n "


def sign_here(one: str, other: str) -> Table:
    """A column for each, with what they are called."""
    return Table(("", one, other), [(name, _ROOM, _ROOM) for name in _LINES], widths=(2, 3, 3))
