"""Names of files in what the audit log shows: found by whoever knows them, and by nobody else (FORMAT.md section 16).

Owns: which records are about a path, and that the key of names stays out of what is shown. Must not know: how a log is
read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

from encfs.core.names_hashed import path_hash
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import FormatError
from encfs.format.audit_body import AuditBody
from encfs.units import VolumeId

KEY_RECORD: Final = "file.names"
_KEPT_BACK: Final = "kept back"


class NameKeys:
    """The keys that were met while the log was read.

    Args:
        path: what is looked for, within a volume; None for nothing.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else os.fsencode(path)
        self._wanted: set[tuple[str, str]] = set()

    def see(self, volume_id: VolumeId, body: AuditBody) -> None:
        """Take what a record says of names, before it is shown."""
        if body.action != KEY_RECORD or self._path is None:
            return
        try:
            key = bytes.fromhex(str(body.detail.get("key", "")))
        except ValueError as exc:
            raise FormatError("a key of names in the audit log is none") from exc
        self._wanted.add((volume_id.hex(), path_hash(CLOAKFS_1, key, self._path)))

    def only_named(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those about the path; all where none is looked for."""
        if self._path is None:
            return list(rows)
        return [row for row in rows if self._is_named(row)]

    def _is_named(self, row: dict[str, Any]) -> bool:
        places = (row["object"], row["detail"].get("to"))
        return any((row["volume_id"], place) in self._wanted for place in places)


def shown_detail(body: AuditBody) -> dict[str, str | int]:
    """The details of a record without the key of names: with that, everybody could try which names are in the log."""
    detail = dict(body.detail)
    return detail | {"key": _KEPT_BACK} if body.action == KEY_RECORD else detail
