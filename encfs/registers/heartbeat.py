"""When each volume was last seen on this host, open or locked, and by which slot (FORMAT.md section 17, heartbeat).

Owns: which sessions of a volume are kept, what they say together. Must not know: the bytes (``beat_file.py``), when a
mount beats, the audit log, the terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from encfs import runtime
from encfs.audit import clock
from encfs.audit.home import host_signer
from encfs.core.documents import Document
from encfs.crypto import rng
from encfs.crypto.signing import PublicKey, Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import RegisterError
from encfs.registers.beat_file import Session, State, Use, decode, encode
from encfs.registers.folder import opened, read_whole
from encfs.registers.processes import began, has_ended
from encfs.store.atomic import replace_file
from encfs.store.base import Store
from encfs.store.local import LocalStore

_FOLDER: Final = "heartbeat"
_NEW: Final = b".new"
_ID_DIGITS: Final = 32
_TOKEN_SIZE: Final = 16
CRASH: Final = "crash"
"""The reason of a session whose process was found to be gone."""
DONE: Final = "done"
"""The reason of a command that came to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """How a volume was last seen on this host. It says nothing of other hosts, nor of what came after ``at``.

    Attributes:
        volume_id: hexadecimal.
        path: the directory of the volume then.
        host: the name of the computer.
        state: ``open`` if any process had it open.
        at: when it was seen so, seconds since 1970. Of one that is open: the latest time that was written down.
        since: when it was opened.
        slot, slot_label: what opened it; the id is hexadecimal.
        reason: of one that is locked: why (FORMAT.md section 17).
        mountpoint: empty for a command without a mount.
        digest: SHA-256 of the file, hexadecimal, as the audit log has it.
        signer: whose key signed it.
    """

    volume_id: str
    path: str
    host: str
    state: State
    at: int
    since: int
    slot: str
    slot_label: str
    reason: str
    mountpoint: str
    read_only: bool
    digest: str
    signer: PublicKey


class Presence:
    """One use of an open volume by this process, told to the heartbeat.

    Args:
        volume_id: hexadecimal.
        path: the directory of the volume.
        slot, slot_label: what opened it; the id is hexadecimal.
        mountpoint: empty for a command without a mount.
        signer: whose key signs; for tests. This host's, made on first use.
        store_on: the store of a directory; for tests.
    """

    def __init__(
        self,
        volume_id: str,
        *,
        path: str,
        slot: str,
        slot_label: str,
        read_only: bool,
        mountpoint: str = "",
        signer: Callable[[], Signer] = host_signer,
        store_on: Callable[[int], Store] = LocalStore,
    ) -> None:
        self.volume_id = volume_id
        self._path, self._mountpoint = path, mountpoint
        self._slot, self._label = slot, slot_label
        self._read_only = read_only
        self._signer, self._store_on = signer, store_on
        self._token = rng.random_bytes(_TOKEN_SIZE).hex()
        self._since: int | None = None

    def open(self) -> Beat:
        """The volume is open, as of now.

        Raises:
            AuditError: the key to sign with is lost. OSError, RuntimeError: it cannot be written; what was there stays.
        """
        return self._write(State.OPEN, "")

    def locked(self, reason: str) -> Beat:
        """This use of it has ended, as of now. Raises: as :meth:`open`."""
        return self._write(State.LOCKED, reason)

    def _write(self, state: State, reason: str) -> Beat:
        moment = clock.now()
        now = moment.wall_ms // 1000
        if self._since is None:
            self._since = now
        session = Session(
            token=self._token,
            use=Use.MOUNT if self._mountpoint else Use.COMMAND,
            state=state,
            at=now,
            since=self._since,
            slot=self._slot,
            label=self._label,
            path=self._path,
            mountpoint=self._mountpoint,
            read_only=self._read_only,
            reason=reason,
            boot=moment.boot_id.hex(),
            pid=os.getpid(),
            started=began(os.getpid()),
        )
        name = self.volume_id.encode("ascii")
        signer = self._signer()
        with opened(_FOLDER, self._store_on, shared=False) as (store, dirfd):
            before = _read_or_set_aside(store, dirfd, name, self.volume_id)
            kept = _kept([*before, session], moment.boot_id.hex(), now)
            data = encode(signer, self.volume_id, kept, now)
            if name + _NEW in store.list(dirfd):
                store.unlink(dirfd, name + _NEW)
            replace_file(store, dirfd, name, data, temporary=name + _NEW)
        return _beat(data, *decode(data, self.volume_id), self.volume_id)


def beat_of(volume_id: str) -> Beat | None:
    """How this volume was last seen; None if it never was opened here. ``volume_id``: hexadecimal.

    Raises:
        RegisterError: its file is damaged, or was changed.
        OSError, RuntimeError (a user without a home directory).
    """
    found = document_of(volume_id)
    return None if found is None else _beat(found, *decode(found, volume_id), volume_id)


def last_mount(volume_id: str) -> Session | None:
    """The latest mount of this volume that is remembered, open or locked. Raises: as :func:`beat_of`."""
    found = document_of(volume_id)
    if found is None:
        return None
    mounts = [one for one in reversed(decode(found, volume_id)[0]) if one.use is Use.MOUNT]
    return max(mounts, key=lambda one: (one.state is State.OPEN, one.at), default=None)


def document_of(volume_id: str) -> bytes | None:
    """The signed file itself, for whoever shows it as evidence; None if there is none. It is not checked here.

    It is always replaced as a whole, so no lock is needed.

    Raises:
        OSError, RuntimeError.
    """
    try:
        return (runtime.state_directory() / _FOLDER / volume_id).read_bytes()
    except FileNotFoundError:
        return None


def volume_ids() -> list[str]:
    """Of all volumes that have a heartbeat here, hexadecimal. Raises: OSError, RuntimeError."""
    folder = runtime.state_directory() / _FOLDER
    return sorted(path.name for path in folder.glob("*") if _is_id(path.name))


def beats() -> list[Beat]:
    """Of all of them, the latest first.

    Raises:
        RegisterError: one is damaged; :func:`volume_ids` and :func:`beat_of` give the others.
        OSError, RuntimeError.
    """
    found = [beat_of(volume_id) for volume_id in volume_ids()]
    return sorted((beat for beat in found if beat is not None), key=lambda beat: beat.at, reverse=True)


# -- what is kept ----------------------------------------------------------------------------------------------------


def _kept(sessions: Sequence[Session], boot: str, now: int) -> list[Session]:
    """Those that stay: the last one of each token, all that are open, the latest mount and command that are not."""
    latest = {one.token: one for one in sessions}.values()
    own = sessions[-1]
    judged = [
        replace(one, state=State.LOCKED, reason=CRASH, at=now)
        if one.state is State.OPEN and one is not own and has_ended(one.pid, one.started, same_boot=one.boot == boot)
        else one
        for one in latest
    ]
    ended = [
        max(reversed(some), key=lambda one: (one is own, one.at))
        for use in Use
        if (some := [one for one in judged if one.state is State.LOCKED and one.use is use])
    ]
    return sorted([one for one in judged if one.state is State.OPEN] + ended, key=lambda one: (one is own, one.at))


def _of_all(sessions: Sequence[Session]) -> Session:
    """The one that says how the volume is: an open one, of these a mount, else the latest."""

    def weight(one: Session) -> tuple[bool, bool, int]:
        is_open = one.state is State.OPEN
        return is_open, is_open and one.use is Use.MOUNT, one.at

    # Of two in the same second the one that was written last, which stands last.
    return max(reversed(sessions), key=weight)


def _beat(data: bytes, sessions: Sequence[Session], document: Document, volume_id: str) -> Beat:
    one = _of_all(sessions)
    return Beat(
        volume_id=volume_id,
        path=one.path,
        host=document.host,
        state=one.state,
        at=one.at,
        since=one.since,
        slot=one.slot,
        slot_label=one.label,
        reason=one.reason,
        mountpoint=one.mountpoint,
        read_only=one.read_only,
        digest=CLOAKFS_1.digest(data).hex(),
        signer=document.signer,
    )


def _read_or_set_aside(store: Store, dirfd: int, name: bytes, volume_id: str) -> list[Session]:
    """The sessions that are there. A file that cannot be read is kept under another name."""
    data = read_whole(store, dirfd, name)
    if data is None:
        return []
    try:
        return decode(data, volume_id)[0]
    except RegisterError:
        store.rename(dirfd, name, dirfd, name + b".damaged-%d" % time.time())
        return []


def _is_id(name: str) -> bool:
    return len(name) == _ID_DIGITS and all(c in "0123456789abcdef" for c in name)
