"""The file that says of one volume when it was open (FORMAT.md section 17, heartbeat): bytes to sessions and back.

Owns: its fields. Must not know: which sessions are kept, when one is written.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from encfs.core.documents import Document, open_document, sign_document
from encfs.crypto.signing import Signer
from encfs.errors import ConfigError, DataError, FormatError, RegisterError
from encfs.format.canonical import Fields
from encfs.registers.folder import path_of, text_of

_KIND: Final = "heartbeat"


class Use(StrEnum):
    """What a volume was opened for: a mount, or a command that works without one."""

    MOUNT = "mount"
    COMMAND = "command"


class State(StrEnum):
    """How a volume was last seen."""

    OPEN = "open"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One use of a volume; the fields are those of FORMAT.md section 17."""

    token: str
    use: Use
    state: State
    at: int
    since: int
    slot: str
    label: str
    path: str
    mountpoint: str
    read_only: bool
    reason: str
    boot: str
    pid: int
    started: int


def encode(signer: Signer, volume_id: str, sessions: Iterable[Session], now: int) -> bytes:
    """The file, signed. Raises: FormatError: a text of it cannot be written."""
    return sign_document(
        signer,
        kind=_KIND,
        made_at=now,
        host=socket.gethostname(),
        body={"volume_id": volume_id, "sessions": [_fields_of(one) for one in sessions]},
    )


def _fields_of(one: Session) -> dict[str, Any]:
    return {
        "token": one.token,
        "use": str(one.use),
        "state": str(one.state),
        "at": one.at,
        "since": one.since,
        "slot": one.slot,
        "label": one.label,
        "path": text_of(one.path),
        "mountpoint": text_of(one.mountpoint),
        "read_only": int(one.read_only),
        "reason": one.reason,
        "boot": one.boot,
        "pid": one.pid,
        "started": one.started,
    }


def _session(value: object) -> Session:
    """The inverse. Raises: FormatError."""
    fields = Fields(value)
    try:
        session = Session(
            token=fields.text("token"),
            use=Use(fields.text("use")),
            state=State(fields.text("state")),
            at=fields.integer("at"),
            since=fields.integer("since"),
            slot=fields.text("slot"),
            label=fields.text("label"),
            path=path_of(fields.text("path")),
            mountpoint=path_of(fields.text("mountpoint")),
            read_only=bool(fields.integer("read_only")),
            reason=fields.text("reason"),
            boot=fields.text("boot"),
            pid=fields.integer("pid"),
            started=fields.integer("started"),
        )
    except ValueError as exc:
        raise FormatError("a session is used or stands in a way that this version does not know") from exc
    fields.finish()
    return session


def decode(data: bytes, volume_id: str) -> tuple[list[Session], Document]:
    """The inverse, at least one session.

    Raises:
        RegisterError: it is no heartbeat of this volume, or was changed.
    """
    try:
        document = open_document(data, _KIND)
        fields = Fields(document.body)
        named = fields.text("volume_id")
        sessions = [_session(one) for one in fields.list("sessions")]
        fields.finish()
        if named != volume_id or not sessions:
            raise FormatError("a heartbeat is of another volume, or says nothing")
    except (DataError, ConfigError) as exc:
        raise RegisterError(
            f"what this computer wrote down of when the volume {volume_id} was open is damaged, or was changed",
            hint=f"Look at heartbeat/{volume_id} in the state directory. The next use of the volume keeps it under"
            " another name, and begins anew.",
        ) from exc
    return sessions, document
