"""Paths in a volume, as somebody types them on whatever system.

Owns: that they mean the same everywhere. Must not know: what is there.
"""

from __future__ import annotations

import os

from encfs.errors import UsageError


def path_inside(text: str) -> bytes:
    """A path from the root of the volume, without slashes at its ends; the root is empty.

    On Windows a backslash parts a path as well.

    Raises:
        UsageError: ``..`` is in it.
    """
    raw = text.encode("utf-8", "surrogateescape") if os.name == "nt" else os.fsencode(text)
    parts = [part for part in raw.replace(os.sep.encode(), b"/").split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise UsageError("'..' cannot be in a path of the volume", hint="Give the path from the volume's root.")
    return b"/".join(parts)
