"""What can be found wrong in a volume: stable codes, and what each means for the data (docs/findings.md).

Owns: codes, severities, their meaning in one sentence. Must not know: how damage is found or repaired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Severity(StrEnum):
    """What a finding means for the data."""

    INFO = "info"
    """Nothing is lost."""
    WARNING = "warning"
    """Nothing is lost yet; somebody should look."""
    ERROR = "error"
    """Something cannot be read, or is not what was written."""


_I, _W, _E = Severity.INFO, Severity.WARNING, Severity.ERROR
_REPAIR = "`cloakfs verify --repair`"
_BACKUP = "take it from a backup"
_ACCEPT = "if a backup was put back on purpose: `cloakfs accept`; else take it from a backup and ask who had the disk"


class Code(StrEnum):
    """Kinds of findings. Codes are never renamed or reused; scripts may rely on them.

    Attributes:
        severity: that of every finding of this kind.
        meaning: what was found, in one sentence.
        loss: what that means for the data.
        advice: what to do.

    A new kind is one member here and its row in docs/findings.md (a test prints it).
    """

    severity: Severity
    meaning: str
    loss: str
    advice: str

    def __new__(cls, value: str, severity: Severity, meaning: str, loss: str, advice: str) -> Self:
        made = str.__new__(cls, value)
        made._value_ = value
        made.severity, made.meaning, made.loss, made.advice = severity, meaning, loss, advice
        return made

    @classmethod
    def named(cls, text: str) -> Code:
        """The code that ``text`` spells.

        Raises:
            KeyError: there is none.
        """
        return {code.value: code for code in cls}[text]

    CELL_DAMAGED = (
        "cell-damaged", _E,
        "a piece of a file does not authenticate",
        "up to one cell of that file (4 KiB unless the volume was made with larger ones); the rest is readable",
        f"{_BACKUP}; `cloakfs rescue` saves the rest; {_REPAIR} puts the file aside",
    )  # fmt: skip
    FILE_DAMAGED = (
        "file-damaged", _E,
        "the header of a file does not authenticate",
        "the whole file, unless a checkpoint knows its header",
        f"{_BACKUP}; {_REPAIR} rebuilds the header from a checkpoint or puts the bytes aside",
    )  # fmt: skip
    FILE_SIZE = (
        "file-size", _E,
        "a file is longer or shorter below than its header says",
        "what was cut off; nothing where something was appended",
        f"{_REPAIR} keeps all that is good; then compare with a backup",
    )  # fmt: skip
    FILE_MOVED = (
        "file-moved", _E,
        "a file is not where its own header says: renamed, swapped or copied below",
        "nothing; it cannot be read until it is back at its place",
        _REPAIR,
    )  # fmt: skip
    FILE_ROLLBACK = (
        "file-rollback", _E,
        "a file is older than what this host has seen of it, or than a checkpoint has it",
        "what was written since",
        _ACCEPT,
    )  # fmt: skip
    VOLUME_ROLLBACK = (
        "volume-rollback", _E,
        "the whole volume, or its config, is older than what this host has seen of it",
        "what was written since; which files that are is not checked",
        _ACCEPT,
    )  # fmt: skip
    DIRECTORY_DAMAGED = (
        "directory-damaged", _E,
        "the record of a directory does not authenticate",
        "nothing, as a rule: its entries tell what the record held; they cannot be read until it is rebuilt",
        _REPAIR,
    )  # fmt: skip
    DIRECTORY_SIZE = (
        "directory-size", _E,
        "the record of a directory is missing or has the wrong length",
        "nothing, as a rule: its entries tell what the record held; they cannot be read until it is rebuilt",
        _REPAIR,
    )  # fmt: skip
    DIRECTORY_MOVED = (
        "directory-moved", _E,
        "a directory is not where its own record says: renamed, swapped or copied below",
        "nothing; what is in it cannot be read until it is back at its place",
        _REPAIR,
    )  # fmt: skip
    SYMLINK_DAMAGED = (
        "symlink-damaged", _E,
        "a symlink does not authenticate",
        "where it led to",
        f"make it anew; {_REPAIR} puts the damaged one aside",
    )  # fmt: skip
    SYMLINK_MOVED = (
        "symlink-moved", _E,
        "a symlink is not where its sealed target says: renamed, swapped or copied below",
        "nothing, or where another symlink led to",
        f"{_REPAIR} puts it aside; make it anew",
    )  # fmt: skip
    ATTRIBUTES_DAMAGED = (
        "attributes-damaged", _E,
        "the extended attributes of an object do not authenticate",
        "its attributes and ACLs; not its content",
        f"set them anew; {_REPAIR} puts the damaged ones aside",
    )  # fmt: skip
    ENTRY_DAMAGED = (
        "entry-damaged", _E,
        "an entry with a long name does not open: the header or record that holds its name is damaged or of another",
        "the name; what is in it only if its header is gone too",
        _REPAIR,
    )  # fmt: skip
    LOWER_IO = (
        "lower-io", _E,
        "the disk failed when this was read",
        "what the disk no longer gives; perhaps more soon",
        "copy what you can to another disk, then look at this one",
    )  # fmt: skip
    FOREIGN = (
        "foreign", _W,
        "something in the volume directory is not cloakfs's, or lies where it does not belong",
        "nothing of the volume, unless it was renamed or moved below",
        f"{_REPAIR} brings back what belongs to the volume; look at the rest and move it away",
    )  # fmt: skip
    TEMPORARY = (
        "temporary", _I,
        "an unfinished operation left something behind",
        "nothing",
        "nothing; the next recovery removes it",
    )  # fmt: skip
    CELL_REPLAYED = (
        "cell-replayed", _E,
        "cells of a file are authentic, but not those that its header stood for at the checkpoint: old ones put back",
        "what was written over them; which cells cannot be told",
        f"{_BACKUP}, and ask who had the disk; writing the file anew ends the finding",
    )  # fmt: skip
    FILE_REPLAYED = (
        "file-replayed", _E,
        "a file is authentic and older than the checkpoint, but was not there then: deleted or replaced, then put back",
        "what had replaced it, if anything had",
        f"{_BACKUP}, or delete it; ask who had the disk",
    )  # fmt: skip
    FILE_DELETED = (
        "file-deleted", _E,
        "a file of the checkpoint is gone, and nobody has opened the volume for writing since",
        "the file",
        f"{_BACKUP}, and ask who had the disk",
    )  # fmt: skip
    FILE_MISSING = (
        "file-missing", _W,
        "a file of the checkpoint is gone, and this host knows of no deletion (a crash can make it forget one)",
        "nothing if somebody deleted it on purpose, else the file",
        f"if nobody did, {_BACKUP}; the next checkpoint ends the warning",
    )  # fmt: skip
    DIRECTORY_ROLLBACK = (
        "directory-rollback", _E,
        "the record of a directory is older than at the checkpoint: put back",
        "nothing but its later names and places",
        "rename it to what it should be called; ask who had the disk",
    )  # fmt: skip
    DIRECTORY_REPLAYED = (
        "directory-replayed", _E,
        "a directory is authentic and older than the checkpoint, but was not there then: deleted, then put back",
        "nothing",
        "delete it, or move out what is wanted; ask who had the disk",
    )  # fmt: skip
    DIRECTORY_DELETED = (
        "directory-deleted", _E,
        "a directory of the checkpoint is gone, and nobody has opened the volume for writing since",
        "what was in it",
        f"{_BACKUP}, and ask who had the disk",
    )  # fmt: skip
    SYMLINK_REPLAYED = (
        "symlink-replayed", _E,
        "a symlink is not the one of the checkpoint, and nobody has opened the volume for writing since",
        "where it led to",
        "make it anew; ask who had the disk",
    )  # fmt: skip
    SYMLINK_DELETED = (
        "symlink-deleted", _E,
        "a symlink of the checkpoint is gone, and nobody has opened the volume for writing since",
        "where it led to",
        "make it anew; ask who had the disk",
    )  # fmt: skip
    NODE_REPLACED = (
        "node-replaced", _E,
        "a pipe, socket or device node is not as at the checkpoint, and nobody has opened the volume for writing since",
        "nothing, unless it stands in the place of a file",
        "delete it or make it anew; ask who had the disk",
    )  # fmt: skip
    CHECKPOINT_CRASH = (
        "checkpoint-crash", _I,
        "cells of a file are not those of the checkpoint, as a crash since then can leave them",
        "at most what was not synced before the crash",
        "nothing if there was a crash; the next checkpoint takes the file as it is",
    )  # fmt: skip
    CHECKPOINT_ROLLBACK = (
        "checkpoint-rollback", _E,
        "the newest checkpoint that this host made is not in the volume",
        "nothing by itself, but an older checkpoint cannot tell what was put back since",
        "verify against a copy of it, if there is one: `cloakfs verify --checkpoint-file`; ask who had the disk",
    )  # fmt: skip
    CHECKPOINT_DAMAGED = (
        "checkpoint-damaged", _W,
        "the newest checkpoint of the volume does not open",
        "nothing, but what happened since the one before it cannot be told",
        "verify against a copy of it, if there is one: `cloakfs verify --checkpoint-file`",
    )  # fmt: skip
    KEPT_DAMAGED = (
        "kept-damaged", _I,
        "a damaged file that a repair has put into `lost+found`",
        "nothing more than its `report.txt` says",
        "`cloakfs rescue` copies what is good; delete the file when it is no longer needed",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. ``path`` is the plain path if it is known, ``lower_path`` where it is below."""

    severity: Severity
    code: Code
    path: bytes = field(repr=False)
    lower_path: bytes
    detail: str

    @classmethod
    def of(cls, code: Code, path: bytes, lower_path: bytes, detail: str) -> Self:
        """A finding with the severity that its code has."""
        return cls(code.severity, code, path, lower_path, detail)
