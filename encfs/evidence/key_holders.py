"""What may open a volume still after its own keys were destroyed: copies elsewhere, and what goes with them.

Owns: the list, in words for people. Must not know: what is done about it.

A secret alone opens nothing: not a passphrase, not a recovery sheet. Together with an old copy of the config, as it is
in every backup of the volume's directory, it opens all that was sealed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from encfs.doctor.near import Search
from encfs.format.slots import Slot, SlotKind, decode_share_set
from encfs.registers.media import MediumState, media_of
from encfs.registers.volumes import known_volume
from encfs.units import VolumeId
from encfs.wording import printable


class Holder(StrEnum):
    """What kind of thing it is."""

    COPY = "copy"
    BACKUP = "backup"
    RECOVERY = "recovery-key"
    SHARES = "shares"
    KEY_FILE = "key-file"
    TOKEN = "token"  # noqa: S105 - a kind of thing
    IDENTITY = "identity"
    PASSPHRASE = "passphrase"  # noqa: S105 - the same


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """One line of the list.

    Attributes:
        what: what it is.
        advice: what to do with it.
        known: it is known to exist; else it is to be asked for.
    """

    kind: Holder
    what: str
    advice: str
    known: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For documents and scripts."""
        return {"kind": str(self.kind), "what": self.what, "advice": self.advice, "known": self.known}


_PAPER: Final = (
    "Destroy the paper (shred it), and files it was printed from. Without a copy of the volume it is worth nothing."
)
_BACKUPS: Final = KeyHolder(
    Holder.BACKUP,
    "backups and snapshots of the directory, of its disk, or of the whole computer",
    "Each holds the keys as they were then. Destroy it, or let it expire and write down when.",
    known=False,
)


def of_slots(slots: Iterable[Slot]) -> Iterator[KeyHolder]:
    """What the slots of the volume opened with."""
    for slot in slots:
        name = printable(slot.label) or slot.id.hex()
        if slot.kind == SlotKind.RECOVERY:
            yield KeyHolder(Holder.RECOVERY, f"the recovery key {name!r}, on paper or in a file", _PAPER)
        elif slot.kind == SlotKind.SHARES:
            shares = decode_share_set(slot.data)
            yield KeyHolder(
                Holder.SHARES,
                f"{shares.count} shares {name!r}, set {shares.set_id:05}; any {shares.threshold} of them",
                "Collect and destroy them. " + _PAPER.partition(". ")[2],
            )
        elif slot.kind in (SlotKind.KEY_FILE, SlotKind.PASSPHRASE_AND_KEY_FILE):
            yield KeyHolder(
                Holder.KEY_FILE,
                f"the key file of {name!r}",
                "Delete it, if it opens no other volume. Alone it opens nothing.",
            )
        elif slot.kind == "pkcs11":
            yield KeyHolder(
                Holder.TOKEN, f"the key on the token of {name!r}", "Delete that key, if it opens no other volume."
            )
        elif slot.kind == SlotKind.PASSPHRASE:
            yield KeyHolder(
                Holder.PASSPHRASE,
                f"the passphrase {name!r}, which somebody knows",
                "Nothing to do, where no copy of the volume is left.",
            )
        else:
            yield KeyHolder(
                Holder.IDENTITY, f"the key of {name!r} ({printable(slot.kind)})", "It may stay. Alone it opens nothing."
            )


def near(found: Search) -> Iterator[KeyHolder]:
    """Files on the same medium that look like keys, whatever they open."""
    for secret in found.secrets:
        yield KeyHolder(
            Holder.KEY_FILE,
            f"{printable(secret.path)}: a {secret.kind}, on the medium of the volume",
            "Delete it, if it is of this volume and opens no other.",
        )


def elsewhere(volume_id: VolumeId, path: str, label: str) -> Iterator[KeyHolder]:
    """Copies of the volume that this host remembers, then the backups that nobody here knows of.

    Args:
        volume_id: of the volume.
        path: the directory whose keys are destroyed.
        label: of the medium that this is on, as its owner calls it; may be empty.

    Raises:
        RegisterError, OSError, RuntimeError.
    """
    known = known_volume(volume_id.hex())
    places = {os.path.realpath(one) for one in (() if known is None else known.paths)}
    for place in sorted(places - {os.path.realpath(path)}):
        yield KeyHolder(
            Holder.COPY,
            f"{printable(place)}: this computer has used the volume there",
            "If it is there still, or on a medium that lies elsewhere, destroy it too: cloakfs destroy",
        )
    for medium in media_of(volume_id.hex()):
        if medium.label.casefold() != label.casefold() and medium.state is not MediumState.DESTROYED:
            yield KeyHolder(
                Holder.COPY,
                f"the medium {printable(medium.label)}, which the register has as {medium.state}",
                "If the volume was copied onto it, destroy it there too: cloakfs destroy",
            )
    yield _BACKUPS
