"""What the figures come to, in a sentence or two: is it the medium or the encryption that limits the work here?

Owns: the judgement. Must not know: how figures were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from encfs.bench.figures import BARE, CLOAKFS, Figure, Part

# Of the bare directory's rate: from here on nobody will notice the encryption.
_UNNOTICED: Final = 0.85
_BULK: Final = ("write", "read")
_SMALL: Final = ("create", "read_small")


def verdict(figures: Sequence[Figure]) -> list[str]:
    """Sentences for the user, the most important first; empty if nothing was compared."""
    mounted = {figure.name: figure for figure in figures if figure.part is Part.MOUNTED}
    said = []
    for names, what in ((_BULK, "large files"), (_SMALL, "small files")):
        shares = [share for name in names if name in mounted and (share := mounted[name].share) is not None]
        if shares:
            said.append(_of(what, min(shares)))
    rates = [mounted[name].rates[CLOAKFS] for name in _BULK if name in mounted]
    if rates:
        said.append(_in_words(mounted, min(rates)))
    return said


def _of(what: str, share: float) -> str:
    percent = f"{min(share, 1.0):.0%}"
    if share >= _UNNOTICED:
        return f"With {what} your medium, not the encryption, is the limit: {percent} of the bare directory's speed."
    return f"With {what} the encryption is the limit: {percent} of the bare directory's speed."


def _in_words(mounted: dict[str, Figure], rate: float) -> str:
    """What that means for the work of a day; the bare directory's figure where the medium is slower still."""
    bare = min(mounted[name].rates[BARE] for name in _BULK if name in mounted)
    seconds = 100 / rate
    return f"A scan of 100 MB takes {_seconds(seconds)} to write or read, {_seconds(100 / bare)} without encryption."


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 0.1 else f"{value:.2f} s"
