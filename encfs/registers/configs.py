"""The register ``configs``: what the config of each volume said when it was last opened here (FORMAT.md section 17).

Owns: when an entry is made. Must not know: what a config is, the terminal.

A volume on a lost stick cannot be asked any more which keys open it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from encfs.errors import FormatError
from encfs.format.canonical import Fields
from encfs.registers.ledger import Entry, Ledger, damaged
from encfs.units import VolumeId

NAME: Final = "configs"
_KIND: Final = "opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedConfig:
    """What a config said.

    Attributes:
        volume_id: hexadecimal.
        at: since when it is known to have said so, seconds since 1970.
        config: as it was given to :func:`note`.
    """

    volume_id: str
    at: int
    config: Mapping[str, Any]


def remembered(volume_id: str, at: float | None = None) -> RememberedConfig | None:
    """The latest of a volume, or the latest that was written down by ``at``; None if there is none.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    found = [
        one for one in _replay(Ledger(NAME).entries()) if one.volume_id == volume_id and (at is None or one.at <= at)
    ]
    return found[-1] if found else None


def note(volume_id: str, config: Mapping[str, Any]) -> None:
    """Somebody with the keys has opened it and vouches for this: an entry, unless it is the same as the last one.

    Args:
        volume_id: hexadecimal.
        config: as a document has it; without any key.

    Raises:
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    if _is_known(Ledger(NAME).entries(), volume_id, config):
        return

    def check(entries: Sequence[Entry]) -> None:
        if _is_known(entries, volume_id, config):
            raise _KnownError

    try:
        data = {"volume_id": volume_id, "config": dict(config)}
        Ledger(NAME).append(_KIND, data, volume_id=VolumeId(bytes.fromhex(volume_id)), check=check)
    except _KnownError:
        return


class _KnownError(Exception):
    """Somebody else has written it meanwhile."""


def _is_known(entries: Iterable[Entry], volume_id: str, config: Mapping[str, Any]) -> bool:
    known = [one.config for one in _replay(entries) if one.volume_id == volume_id]
    return bool(known) and known[-1] == config


def _replay(entries: Iterable[Entry]) -> list[RememberedConfig]:
    found = []
    for entry in entries:
        fields = Fields(entry.data)
        try:
            if entry.kind != _KIND:
                raise FormatError("an entry is of a kind that this version does not know")
            one = RememberedConfig(volume_id=fields.text("volume_id"), at=entry.at, config=fields.mapping("config"))
            fields.finish()
        except FormatError as exc:
            raise damaged(NAME, entry.seq) from exc
        found.append(one)
    return found
