"""The register of destructions: what was begun is gone on with, and what was done is certified again.

Owns: its entries (FORMAT.md section 17), and how a directory is known again. Must not know: how keys are destroyed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from encfs.registers import media, volumes
from encfs.registers.folder import text_of
from encfs.registers.ledger import Entry, Ledger
from encfs.stick import layout
from encfs.units import VolumeId
from encfs.volume.erasing import identity_of

REGISTER: Final = "destructions"
BEGUN: Final = "begun"
DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A destruction that this host has begun.

    Attributes:
        begun: what was registered then.
        at: when, seconds since 1970.
        done: the body of its certificate, once it was done.
        done_at: when that was.
    """

    begun: Mapping[str, Any]
    at: int
    done: Mapping[str, Any] | None = None
    done_at: int = 0

    @property
    def volume_id(self) -> VolumeId | None:
        """None where it could not be read then."""
        text = self.begun["volume"]["id"]
        return None if text is None else VolumeId(bytes.fromhex(text))


def register() -> Ledger:
    """The register itself."""
    return Ledger(REGISTER)


def note(body: Mapping[str, Any], volume_id: VolumeId, path: str) -> None:
    """It is done. The last entry is made last, so what a crash leaves out is made up for by the next run.

    Args:
        body: of the certificate.
        volume_id: of the volume, or 16 zero bytes where nothing tells it.
        path: its directory.

    Raises:
        RegisterError, AuditError, FormatError, OSError, RuntimeError.
    """
    text, label = volume_id.hex(), str(body["medium"]["label"]).casefold()
    if any(volume_id):
        known = volumes.known_volume(text)
        if known is None or known.destroyed is None:
            volumes.note_destroyed(text, path)
        for one in media.media_of(text):
            if one.label.casefold() == label and one.state is not media.MediumState.DESTROYED:
                left = [each for each in one.volumes if each != text]
                media.set_content(one.label, serial=one.serial, filesystem=one.filesystem, volumes=left)
    register().append(DONE, body, volume_id=volume_id)


def earlier(path: str, volume_id: VolumeId | None) -> Earlier | None:
    """A destruction in this directory that is to be gone on with, or, where no config is left, one that was done.

    The directory is known by its root record, wherever it lies now, and where that is gone by its path.

    Args:
        path: the directory, which may be gone too.
        volume_id: what its config says, None if that cannot be read or is not there.

    Raises:
        RegisterError, OSError, RuntimeError.
    """
    try:
        identity = identity_of(os.fsencode(path)).hex()
    except OSError:
        identity = ""
    found: Earlier | None = None
    shown = text_of(path)
    for entry in register().entries():
        if (identity and entry.data["identity"] == identity) or entry.data["volume"]["path"] == shown:
            found = _follow(found, entry)
    if found is None or (volume_id is not None and found.volume_id != volume_id):
        return None
    if found.done is not None and layout.holds_volume(path):
        return None  # A copy of it, or another volume, lies there now.
    return found


def _follow(before: Earlier | None, entry: Entry) -> Earlier:
    if entry.kind == DONE and before is not None:
        return Earlier(before.begun, before.at, entry.data, entry.at)
    return Earlier(entry.data, entry.at)
