"""The kinds of slots whose secret lies elsewhere: with the holder of a public key, on a token.

Owns: the table of them. A kind more is a module here and a line in ``KINDS``; options, prompts, ``key list``, mount(8)
and the contract tests take it from there. Must not know: files, prompts, the command line.
"""

from __future__ import annotations

from typing import Final

from encfs.kinds import age, pkcs11
from encfs.kinds.base import Given, Kind, Made, Option, Read

__all__ = ["KINDS", "Given", "Kind", "Made", "Option", "Read"]

KINDS: Final = {kind.name: kind for kind in (age.KIND, pkcs11.KIND)}
"""By the name that a slot has in its ``kind`` (FORMAT.md section 4)."""
