"""The portable reader that is put beside a volume on a stick.

Owns: where it is looked for, and what goes with it. Must not know: what it does (``tools/build-reader`` makes it).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from encfs.stick.layout import READER_NAME, WHEELS_NAME

# A checkout; an installed package; a Debian package.
PLACES: Final = (
    Path(__file__).resolve().parents[2] / "dist",
    Path(sys.prefix) / "share" / "cloakfs",
    Path("/usr/share/cloakfs"),
)


def find(places: Sequence[Path] = PLACES) -> Path | None:
    """The reader, from the first of the directories that has it; None if none has."""
    return next((place / READER_NAME for place in places if (place / READER_NAME).is_file()), None)


def files(reader: Path) -> list[Path]:
    """The reader and the wheels that lie beside it, relative to their directory."""
    wheels = sorted((reader.parent / WHEELS_NAME).glob("*"))
    return [Path(READER_NAME), *(Path(WHEELS_NAME, one.name) for one in wheels if one.is_file())]
