"""Which volume somebody means who does not have it any more.

Owns: how such a volume is named on the command line. Must not know: what is known of it.
"""

from __future__ import annotations

import os
import re
from typing import Final

from encfs.cli import output, targets
from encfs.errors import NotAVolumeError, UsageError
from encfs.registers.volumes import known_volumes
from encfs.stick import layout
from encfs.volume import read_config

_ID: Final = re.compile(r"[0-9a-f]{32}")


def volume_id(text: str) -> str:
    """The id, hexadecimal, of a volume that is or was where ``text`` says, or has this id.

    Raises:
        UsageError: no volume is there now, and this computer knows of none that was.
        ConfigError, OSError: what is there cannot be read.
    """
    known = known_volumes()
    if _ID.fullmatch(text) and not os.path.lexists(text):
        if all(one.volume_id != text for one in known):
            raise _unknown(text)
        return text
    try:
        return read_config(os.fsencode(targets.find(text).volume)).volume_id.hex()
    except (NotAVolumeError, FileNotFoundError, NotADirectoryError):
        path = os.path.realpath(text)
        places = {path, os.path.join(path, layout.VOLUME_NAME)}
        were = {one.volume_id for one in known if places & set(one.paths)}
        if len(were) > 1:
            raise UsageError(
                f"{output.printable(text)}: more than one volume was there",
                hint=f"Give its id: {', '.join(sorted(were))}",
            ) from None
        if not were:
            raise _unknown(text) from None
        return were.pop()


def _unknown(text: str) -> UsageError:
    return UsageError(
        f"{output.printable(text)}: no volume is there, and this computer knows of none that was",
        hint="See which ones are known: cloakfs media list",
    )
