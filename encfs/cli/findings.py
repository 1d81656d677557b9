"""How a finding is shown: as a line, as JSON, and back from the daemon's JSON.

Owns: where it is, and the way back, for every command that finds things; line and JSON are those of
``encfs/volume/told.py``. Must not know: which command that is.
"""

from __future__ import annotations

import os
from typing import Any

from encfs.cli import output
from encfs.volume.told import finding_json as as_json
from encfs.volume.told import finding_line as line
from encfs.volume.verify import Code, Finding, Severity

__all__ = ["as_json", "from_reply", "line", "where"]


def where(finding: Finding) -> str:
    """The plain path, or where it is below if only the directory has one."""
    if finding.code in (Code.FOREIGN, Code.ENTRY_DAMAGED):
        return output.printable(finding.lower_path)
    return output.printable(finding.path) or "/"


def from_reply(fields: dict[str, Any]) -> Finding:
    """A finding as the daemon sends it (docs/control.md)."""
    names = {key: os.fsencode(fields[key]) for key in ("path", "lower_path")}
    code, severity = Code.named(fields["code"]), Severity(fields["severity"])
    return Finding(**{**fields, **names, "code": code, "severity": severity})
