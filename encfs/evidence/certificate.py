"""The certificate of a destruction: what NIST SP 800-88 asks for, and what was proved and what was not.

Owns: its fields, the conditions of a purge and what follows from them. Must not know: how keys are destroyed, who is
asked, where it is kept.

It says "purge" only where each condition of that standard which a program can see holds. What only people know, they
sign for.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import encfs
from encfs.audit.home import host_signer
from encfs.core.documents import sign_document
from encfs.evidence import made
from encfs.evidence.key_holders import KeyHolder
from encfs.format.config import Config
from encfs.registers.folder import text_of
from encfs.stick.storage import Storage
from encfs.units import VolumeId
from encfs.volume.key_copies import Survey
from encfs.wording import plural, printable

KIND: Final = "destruction"
NOT_CLAIMED: Final = "not claimed"
# What no program can know.
_SIGNED_FOR: Final = "no-copies-elsewhere"
STANDARD: Final = "NIST SP 800-88 Rev. 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """What the one who does it says of it; all but ``login`` may be empty."""

    login: str
    name: str = ""
    reason: str = ""
    witness: str = ""
    destination: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was looked at around the erasure.

    Attributes:
        opened_with: the slot that opened the volume before, as a proof; empty where nobody gave a secret.
        resumed: an earlier run was broken off, and this one has finished it.
    """

    opened_with: str = ""
    resumed: bool = False


def begun(
    *,
    volume_id: VolumeId | None,
    config: Config | None,
    path: str,
    identity: bytes,
    copies: int,
    size: int,
    storage: Storage,
    holders: Sequence[KeyHolder],
    people: People,
) -> dict[str, Any]:
    """What is registered before the first byte is overwritten: later nothing can tell it any more."""
    return {
        "volume": _volume(volume_id, config, path),
        "identity": identity.hex(),
        "copies": copies,
        "bytes": size,
        "medium": _medium(storage, people.label),
        "holders": [one.as_dict() for one in holders],
        "people": {
            "login": people.login,
            "uid": os.getuid(),
            "name": people.name,
            "witness": people.witness,
            "reason": people.reason,
            "destination": people.destination,
        },
    }


def _volume(volume_id: VolumeId | None, config: Config | None, path: str) -> dict[str, Any]:
    told: dict[str, Any] = {"id": None if volume_id is None else volume_id.hex(), "path": text_of(path)}
    if config is None:
        return told | {"created": None, "suite": None, "cell_size": None, "config_written": None, "slots": []}
    return told | {
        "created": config.created,
        "suite": config.suite,
        "cell_size": config.cell_size,
        "config_written": config.seq,
        "slots": [
            {"id": slot.id.hex(), "kind": slot.kind, "label": slot.label, "created": slot.created}
            for slot in config.slots
        ],
    }


def _medium(storage: Storage, label: str) -> dict[str, Any]:
    return {
        "label": label,
        "source": f"computer {socket.gethostname()}",
        "filesystem": storage.filesystem,
        "survives": storage.survives,
        "disks": [
            {
                "name": disk.name,
                "manufacturer": printable(disk.manufacturer),
                "model": printable(disk.model),
                "serial": printable(disk.serial),
                "type": str(disk.kind),
                "bytes": disk.size,
            }
            for disk in storage.disks
        ],
    }


def body(before: Mapping[str, Any], started: int, left: Survey, verified: Verification) -> dict[str, Any]:
    """The body of the certificate.

    Args:
        before: what :func:`begun` gave.
        started: when, seconds since 1970.
        left: what lies in the directory now.
        verified: what was looked at.
    """
    conditions = _conditions(before, left)
    return {
        **{name: before[name] for name in ("volume", "medium", "holders", "people")},
        "identity": before["identity"],
        "standard": STANDARD,
        "sanitization": {
            "technique": "cryptographic erase",
            "method": "purge" if _is_purge(conditions) else NOT_CLAIMED,
            "tool": "cloakfs",
            "version": encfs.__version__,
            "started": started,
            "ended": int(time.time()),
        },
        "verification": {
            "method": "full: every copy was read back from the medium after it was overwritten, and the whole directory"
            " was searched for others",
            "copies": before["copies"],
            "bytes": before["bytes"],
            "copies_left": len(left.copies),
            "resumed": verified.resumed,
            "opened_before_with": verified.opened_with,
            "opens_now": "nothing: there is no config, which every slot is in",
        },
        "conditions": conditions,
        "left": {
            "sealed_files": left.sealed,
            "sealed_bytes": left.sealed_bytes,
            "other_files": left.foreign,
            "not_searched": left.unsearched,
        },
    }


def _is_purge(conditions: Sequence[Mapping[str, Any]]) -> bool:
    return all(one["holds"] or (one["holds"] is None and one["code"] == _SIGNED_FOR) for one in conditions)


def _conditions(before: Mapping[str, Any], left: Survey) -> list[dict[str, Any]]:
    """Of a purge by cryptographic erase. ``holds`` is null where only people can know."""
    written, suite = before["volume"]["config_written"], before["volume"]["suite"]
    survives = str(before["medium"]["survives"])
    copies = [one for one in before["holders"] if one["kind"] == "copy"]
    return [
        _condition(
            "encrypted-from-the-start",
            "Everything in the volume was encrypted before it was written, from its first day on.",
            holds=True,
        ),
        _condition(
            "nothing-in-clear",
            "Nothing lies in its directory that is not encrypted."
            if not left.foreign
            else f"{plural(left.foreign, 'other file')} in its directory, not encrypted by cloakfs, and there still.",
            holds=not left.foreign,
        ),
        _condition(
            "strength",
            "AES-256, with keys of 256 random bits."
            if suite
            else "What it was encrypted with could not be read any more.",
            holds=True if suite else None,
        ),
        _condition(
            "copies-found-are-destroyed",
            "Every copy of the keys that was found was overwritten, read back from the medium, and removed.",
            holds=not left.copies,
        ),
        _condition(
            "all-searched",
            "All of the directory was searched for copies."
            if not left.unsearched
            else f"{plural(left.unsearched, 'entry', 'entries')} of the directory could not be searched for copies.",
            holds=not left.unsearched,
        ),
        _condition("overwritten-in-place", survives or "The medium writes over the old bytes.", holds=not survives),
        _condition("no-freed-copies", _freed(written), holds=None if written is None else written == 1),
        _condition(
            _SIGNED_FOR,
            "Whoever signs below confirms that there are no copies elsewhere, or that they were destroyed."
            if not copies
            else f"This computer knows of {plural(len(copies), 'copy', 'copies')} of the volume elsewhere.",
            holds=False if copies else None,
        ),
    ]


def _freed(written: int | None) -> str:
    if written is None:
        return "How often the keys were changed could not be read any more."
    if written == 1:
        return "The keys were never changed, so the filesystem freed no older copy of them."
    return (
        f"The keys were changed {plural(written - 1, 'time')}. Each time the filesystem freed the older copy, and"
        " what it freed was not overwritten."
    )


def _condition(code: str, text: str, *, holds: bool | None) -> dict[str, Any]:
    return {"code": code, "holds": holds, "text": text}


def sign(body_of: Mapping[str, Any], made_at: int) -> bytes:
    """The certificate as a signed document. Raises: AuditError, FormatError, OSError, RuntimeError."""
    body_now = {**body_of, **made.fields()}
    return sign_document(host_signer(), kind=KIND, made_at=made_at, host=socket.gethostname(), body=body_now)
