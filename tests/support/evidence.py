"""What tests tell the trust report (``docs/trust-report.md``, made by ``tools/trust-report``).

A test that proves a promise says so, after its last assertion, with :func:`record`. Outside of a report run that does
nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def record(table: str, row: str, *, cases: int = 1, note: str = "", **figures: int | str) -> None:
    """One row of a table of the report held in ``cases`` cases.

    Args:
        table: ``attacks``, ``crashes``, ``faults``, ``media``, ``limits``, ``fuzz``, ``freshness``, ``checkpoint``,
            ``repair``, ``audit`` or ``mutants``.
        row: what was tried, in words that stay the same from run to run. Rows of the same name are added up.
        cases: how many single cases (crash points, failed calls, examples) held.
        note: the outcome in a few words.
        figures: further numbers and words of this row, by name.
    """
    target = os.environ.get("CLOAKFS_EVIDENCE")
    if not target:
        return
    line = json.dumps({"table": table, "row": row, "cases": cases, "note": note, "figures": figures}) + "\n"
    # One line in one write: test processes share the file.
    fd = os.open(Path(target), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)
