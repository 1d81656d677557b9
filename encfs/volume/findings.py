"""What can be found wrong in a volume: stable codes, and what each means for the data (docs/findings.md).

Owns: codes, severities, their meaning in one sentence. Must not know: how damage is found or repaired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for the data."""

    INFO = "info"
    """Nothing is lost."""
    WARNING = "warning"
    """Nothing is lost yet; somebody should look."""
    ERROR = "error"
    """Something cannot be read, or is not what was written."""


class Code(StrEnum):
    """Kinds of findings. Codes are never renamed or reused; scripts may rely on them."""

    ENTRY_DAMAGED = "entry-damaged"
    LOWER_IO = "lower-io"
    FOREIGN = "foreign"
    TEMPORARY = "temporary"
    DIRECTORY_MOVED = "directory-moved"
    DIRECTORY_SIZE = "directory-size"
    DIRECTORY_DAMAGED = "directory-damaged"
    FILE_MOVED = "file-moved"
    FILE_SIZE = "file-size"
    FILE_DAMAGED = "file-damaged"
    FILE_ROLLBACK = "file-rollback"
    CELL_DAMAGED = "cell-damaged"
    SYMLINK_MOVED = "symlink-moved"
    SYMLINK_DAMAGED = "symlink-damaged"
    ATTRIBUTES_DAMAGED = "attributes-damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. ``path`` is the plain path if it is known, ``lower_path`` where it is below."""

    severity: Severity
    code: str
    path: bytes = field(repr=False)
    lower_path: bytes
    detail: str
