"""What is said about swap: the warning of ``mount``, and the part of ``status``.

Owns: the sentences, and their object in ``--json``. Must not know: how it is found out (``encfs.memory.swap``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from encfs.cli import output
from encfs.memory.swap import Protection, Swap


def warnings(swaps: Sequence[Swap], *, locked: bool) -> list[str]:
    """A sentence for each swap that whoever gets the disk may read. ``locked``: whether the keys are kept out of it."""
    keys = "when the machine hibernates also the keys" if locked else "and so may the keys of the volume"
    danger = f"plain text that programs hold in memory may get onto the disk there, {keys}"
    found = []
    for swap in swaps:
        where = output.printable(swap.path)
        if swap.protection is Protection.PLAIN:
            found.append(f"swap on {where} is not encrypted: {danger}")
        elif swap.protection is Protection.UNKNOWN:
            found.append(f"whether swap on {where} is encrypted cannot be seen from here; if not, {danger}")
    return found


def report(swaps: Sequence[Swap]) -> list[dict[str, str]]:
    """As docs/json.md has it."""
    return [{"path": os.fsdecode(swap.path), "protection": str(swap.protection)} for swap in swaps]
