"""Records of the audit log for other programs: JSON lines, CSV, CEF.

Owns: the three forms. Must not know: which records, where they go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from encfs import __version__
from encfs.format.audit_body import Outcome

_Row = Mapping[str, Any]
COLUMNS: Final = ("seq", "time", "action", "outcome", "uid", "slot", "volume_id", "object", "detail")
# Severities of CEF go from 0 to 10; 7 and 8 are high, 9 and 10 very high.
_SEVERITY: Final = {Outcome.BEGUN: 3, Outcome.DONE: 3, Outcome.REFUSED: 6, Outcome.FAILED: 7}
_INTEGRITY: Final = "volume.integrity"
_INTEGRITY_SEVERITY: Final = 9


def jsonl(rows: Iterable[_Row]) -> Iterator[str]:
    """One JSON object a line."""
    return (json.dumps(row) for row in rows)


def cef(rows: Iterable[_Row]) -> Iterator[str]:
    """ArcSight Common Event Format, version 0: one line for each record."""
    for row in rows:
        header = ("cloakfs", "cloakfs", __version__, row["action"], f"{row['action']} {row['outcome']}", _severity(row))
        yield "CEF:0|" + "|".join(_cef_header(str(field)) for field in header) + "|" + _cef_extension(row)


def _severity(row: _Row) -> int:
    return _INTEGRITY_SEVERITY if row["action"] == _INTEGRITY else _SEVERITY[Outcome(row["outcome"])]


def _cef_header(text: str) -> str:
    """Pipes and backslashes are escaped, and no line may end in it."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").splitlines())


def _cef_extension(row: _Row) -> str:
    fields = {
        "rt": round(row["time"] * 1000),
        "externalId": row["seq"],
        "act": row["action"],
        "outcome": row["outcome"],
        "suid": row["uid"],
        **_labelled("cs1", "volume", row["volume_id"]),
        **_labelled("cs2", "slot", row["slot"]),
        **_labelled("cs3", "object", row["object"]),
        **_labelled("cs4", "clock", row["clock"]),
        **({"msg": json.dumps(row["detail"])} if row["detail"] else {}),
    }
    return " ".join(f"{name}={_cef_value(str(value))}" for name, value in fields.items())


def _labelled(name: str, label: str, value: object) -> dict[str, object]:
    """A field that CEF leaves to its user, with the name that the user gives it."""
    return {} if value is None else {name: value, f"{name}Label": label}


def _cef_value(text: str) -> str:
    """Backslashes, equals signs and ends of lines are escaped; pipes are not."""
    text = text.replace("\\", "\\\\").replace("=", "\\=")
    return text.replace("\r", "\\r").replace("\n", "\\n")


def table(rows: Iterable[_Row]) -> Iterator[Mapping[str, object]]:
    """The rows of a table with :data:`COLUMNS`; the detail is JSON."""
    for row in rows:
        yield {**row, "detail": json.dumps(row["detail"])}


LINES: Final[Mapping[str, Callable[[Iterable[_Row]], Iterator[str]]]] = {"jsonl": jsonl, "cef": cef}
