"""The register ``volumes``: every volume that was made or opened on this host (FORMAT.md section 17).

Owns: when an entry is made, what all of them say together. Must not know: volumes, the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from encfs.errors import FormatError, RegisterError
from encfs.format.canonical import Fields
from encfs.registers import heartbeat
from encfs.registers.folder import path_of, text_of
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.units import VolumeId

NAME: Final = "volumes"
_MOVED: Final = "moved"
_DESTROYED: Final = "destroyed"


class Origin(StrEnum):
    """How this host came to know a volume."""

    CREATED = "created"
    SEEN = "seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVolume:
    """A volume that was made or opened here.

    Attributes:
        volume_id: hexadecimal. A copy of a volume has the same.
        path: where it was last, as far as this host knows. It may be gone: a stick that is elsewhere.
        paths: everywhere it ever was here.
        kind: ``created`` here, or first ``seen`` here when it was opened.
        first_seen: when that was, seconds since 1970.
        created: when it was made, as its authenticated config says. Everything in it is encrypted since then: a volume
            is sealed from its first byte. None if that is not known.
        destroyed: when its keys were destroyed here; None if they were not, or a copy was opened here afterwards.
    """

    volume_id: str
    path: str
    paths: tuple[str, ...]
    kind: Origin
    first_seen: int
    created: int | None
    destroyed: int | None = None


def known_volumes() -> list[KnownVolume]:
    """All of them, in the order in which they became known, also those that were destroyed.

    The path is that of the heartbeat, where the volume has one that can be read.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return [replace(one, path=_latest_path(one)) for one in _replay(Ledger(NAME).entries()).values()]


def known_volume(volume_id: str) -> KnownVolume | None:
    """The one with this id, hexadecimal; None if it was never made or opened here. Raises: as :func:`known_volumes`."""
    return next((one for one in known_volumes() if one.volume_id == volume_id), None)


def note_created(volume_id: str, path: str, created: int) -> None:
    """It was made here, at ``path``.

    Raises:
        RegisterError: the register is damaged. AuditError: see :meth:`encfs.registers.ledger.Ledger.append`. OSError.
    """
    _append_unless(lambda _: False, Origin.CREATED, {"volume_id": volume_id, "path": text_of(path), "created": created})


def note_opened(volume_id: str, path: str, created: int) -> None:
    """It was opened here, at ``path``: an entry if it was never seen here or there, or was destroyed.

    Raises:
        As :func:`note_created`.
    """
    known = _replay(Ledger(NAME).entries()).get(volume_id)
    data: dict[str, str | int] = {"volume_id": volume_id, "path": text_of(path)}
    if known is None or known.destroyed is not None:
        _append_unless(lambda all_: _lives(all_.get(volume_id)), Origin.SEEN, data | {"created": created})
    elif path not in known.paths:
        _append_unless(lambda all_: path in all_[volume_id].paths, _MOVED, data)


def _lives(known: KnownVolume | None) -> bool:
    return known is not None and known.destroyed is None


def note_destroyed(volume_id: str, path: str) -> None:
    """Its keys are destroyed here. Raises: as :func:`note_created`."""
    _append_unless(lambda _: False, _DESTROYED, {"volume_id": volume_id, "path": text_of(path)})


class _NotNeeded(Exception):  # noqa: N818 - no error
    """Somebody else has written it meanwhile."""


def _append_unless(is_there: Callable[[dict[str, KnownVolume]], bool], kind: str, data: dict[str, str | int]) -> None:
    def check(entries: Sequence[Entry]) -> None:
        if is_there(_replay(entries)):
            raise _NotNeeded

    try:
        Ledger(NAME).append(str(kind), data, volume_id=VolumeId(bytes.fromhex(str(data["volume_id"]))), check=check)
    except _NotNeeded:
        return


def _replay(entries: Iterable[Entry]) -> dict[str, KnownVolume]:
    """What all entries say together. Raises: RegisterError: one says what it cannot."""
    found: dict[str, KnownVolume] = {}
    for entry in entries:
        try:
            _take(found, entry)
        except (FormatError, KeyError, ValueError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return found


def _take(found: dict[str, KnownVolume], entry: Entry) -> None:
    fields = Fields(entry.data)
    volume_id, path = fields.text("volume_id"), path_of(fields.text("path"))
    if entry.kind == _MOVED:
        before = found[volume_id]
        destroyed = before.destroyed
    elif entry.kind == _DESTROYED:
        before = found.get(volume_id) or _first(volume_id, path, entry, Origin.SEEN, None)
        destroyed = entry.at
    else:
        # Opened after its keys were destroyed: that was a copy, and there is the volume again.
        made = _first(volume_id, path, entry, Origin(entry.kind), fields.integer("created"))
        before, destroyed = found.get(volume_id, made), None
        before = replace(before, created=made.created)
    paths = tuple(dict.fromkeys((*before.paths, path)))
    found[volume_id] = replace(before, path=path, paths=paths, destroyed=destroyed)
    fields.finish()


def _first(volume_id: str, path: str, entry: Entry, kind: Origin, created: int | None) -> KnownVolume:
    return KnownVolume(volume_id=volume_id, path=path, paths=(path,), kind=kind, first_seen=entry.at, created=created)


def _latest_path(known: KnownVolume) -> str:
    try:
        beat = heartbeat.beat_of(known.volume_id)
    except RegisterError:
        return known.path
    return known.path if beat is None or known.destroyed is not None else beat.path
