"""How a finding is shown: as a line, as JSON, and back from the daemon's JSON.

Owns: these spellings, for every command that finds things. Must not know: which command that is.
"""

from __future__ import annotations

import os
from typing import Any, Final

from encfs.cli import output
from encfs.volume.verify import Code, Finding, Severity

_WORDS: Final = {"info": "note", "warning": "warning", "error": "ERROR"}


def line(finding: Finding) -> str:
    """One line for people."""
    where = output.printable(finding.path) or "/"
    word = _WORDS.get(str(finding.severity), str(finding.severity))
    return f"{word}: {where}: {finding.detail} [{finding.code}, below: {output.printable(finding.lower_path)}]"


def where(finding: Finding) -> str:
    """The plain path, or where it is below if only the directory has one."""
    if finding.code in (Code.FOREIGN, Code.ENTRY_DAMAGED):
        return output.printable(finding.lower_path)
    return output.printable(finding.path) or "/"


def as_json(finding: Finding) -> dict[str, object]:
    """The object of docs/json.md."""
    return {
        "severity": str(finding.severity),
        "code": str(finding.code),
        "path": os.fsdecode(finding.path),
        "lower_path": os.fsdecode(finding.lower_path),
        "detail": finding.detail,
    }


def from_reply(fields: dict[str, Any]) -> Finding:
    """A finding as the daemon sends it (docs/control.md)."""
    names = {key: os.fsencode(fields[key]) for key in ("path", "lower_path")}
    code, severity = Code.named(fields["code"]), Severity(fields["severity"])
    return Finding(**{**fields, **names, "code": code, "severity": severity})
