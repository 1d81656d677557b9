"""The register ``scans``: directories that are watched, and what scans for patient files found (FORMAT.md section 17).

Owns: what may follow what, how the last scan of each directory stands. Must not know: what a likely file is, the disk.

Counts alone are kept. A directory is named only where somebody has said that it is to be watched: other paths that are
scanned may tell of patients, and are not written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields
from encfs.registers.folder import path_of, text_of
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.wording import printable

NAME: Final = "scans"
_WATCH, _FORGET, _SCAN = "watch", "forget", "scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCounts:
    """What a scan came to.

    Attributes:
        files: likely files outside of volumes; ``clinical``: those of them that say so themselves.
        bytes: their size together.
        inside: likely files in open volumes.
        kinds, ages: of those outside, how many of each.
        looked_at: files whose beginning was read, outside.
        folders: that were gone into.
        unreadable: folders and files that could not be read.
        left_out: folders that were not gone into, for whatever reason.
        disk: what the directory lies on: ``encrypted``, ``plain``, ``memory`` or ``unknown``.
    """

    files: int
    clinical: int
    bytes: int
    inside: int
    kinds: Mapping[str, int]
    ages: Mapping[str, int]
    looked_at: int
    folders: int
    unreadable: int
    left_out: int
    disk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastScan:
    """A scan, and when it ended, seconds since 1970."""

    at: int
    counts: ScanCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A directory in which patient files lie or may come to lie; ``last``: None if it was not scanned since."""

    path: str
    since: int
    last: LastScan | None


@dataclass(slots=True)
class Scans:
    """All that the register says: watched directories, and the last scan of anything else."""

    watched: dict[str, Watched] = field(default_factory=dict)
    elsewhere: LastScan | None = None


def scans() -> Scans:
    """How all stand.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return _replay(Ledger(NAME).entries())


def watch(path: str) -> None:
    """A directory is watched from now on; nothing happens if it is already.

    Raises:
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    if path not in scans().watched:
        Ledger(NAME).append(_WATCH, {"path": text_of(path)})


def forget(path: str) -> None:
    """It is no longer watched. Raises: as :func:`watch`, and UsageError: it was not."""

    def check(entries: Sequence[Entry]) -> None:
        if path not in _replay(entries).watched:
            raise UsageError(
                f"{printable(path)} is not watched", hint="See what is: cloakfs inventory. Nothing was changed."
            )

    Ledger(NAME).append(_FORGET, {"path": text_of(path)}, check=check)


def note(path: str, counts: ScanCounts) -> None:
    """A scan has ended.

    Args:
        path: of a watched directory; empty for anything else.
        counts: what it came to.

    Raises:
        As :func:`watch`.
    """
    data = {
        "path": text_of(path),
        **{name: getattr(counts, name) for name in _NUMBERS},
        "kinds": dict(counts.kinds),
        "ages": dict(counts.ages),
        "disk": counts.disk,
    }
    Ledger(NAME).append(_SCAN, data)


_NUMBERS: Final = ("files", "clinical", "bytes", "inside", "looked_at", "folders", "unreadable", "left_out")


def _replay(entries: Iterable[Entry]) -> Scans:
    """What all entries say together. Raises: RegisterError: one says what it cannot."""
    found = Scans()
    for entry in entries:
        fields = Fields(entry.data)
        try:
            path = path_of(fields.text("path"))
            _take(found, entry, path, fields)
            fields.finish()
        except (FormatError, KeyError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return found


def _take(found: Scans, entry: Entry, path: str, fields: Fields) -> None:
    """Raises: FormatError, KeyError: it does not fit."""
    match entry.kind:
        case "watch":
            found.watched.setdefault(path, Watched(path=path, since=entry.at, last=None))
        case "forget":
            del found.watched[path]
        case "scan":
            last = LastScan(at=entry.at, counts=_counts(fields))
            before = found.watched.get(path)
            if before is not None:
                found.watched[path] = Watched(path=path, since=before.since, last=last)
            elif not path:
                found.elsewhere = last
        case _:
            raise FormatError("an entry is of a kind that this version does not know")


def _counts(fields: Fields) -> ScanCounts:
    numbers = {name: fields.integer(name) for name in _NUMBERS}
    kinds, ages = fields.object("kinds"), fields.object("ages")
    return ScanCounts(
        **numbers,
        kinds={name: kinds.integer(name) for name in kinds.names()},
        ages={name: ages.integer(name) for name in ages.names()},
        disk=fields.text("disk"),
    )
