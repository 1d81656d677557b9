"""A register: documents of this host, each chained to the one before (FORMAT.md section 17).

Owns: the file, its order of writing. Must not know: what is registered.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from encfs.audit import journal
from encfs.audit.home import host_signer
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import PublicKey, Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, ConfigError, DataError, FormatError, RegisterError
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import AuditBody, Outcome
from encfs.format.canonical import Fields
from encfs.format.limits import DIGEST_SIZE
from encfs.registers.folder import opened, read_whole
from encfs.store.atomic import replace_file
from encfs.store.base import Store
from encfs.store.local import LocalStore
from encfs.units import VolumeId

_KIND: Final = "register"
_BEFORE_THE_FIRST: Final = bytes(DIGEST_SIZE).hex()
_FOLDER: Final = "registers"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a register.

    Attributes:
        seq: its number, from 0.
        at: seconds since 1970.
        uid: who did it.
        host: the name of the computer then.
        kind: what was done.
        data: more of it.
        signer: the key that signed it; another one than before only where the key of this host was lost.
        digest: SHA-256 of the line, hexadecimal.
    """

    seq: int
    at: int
    uid: int
    host: str
    kind: str
    data: Mapping[str, Any]
    signer: PublicKey
    digest: str


Check = Callable[[Sequence[Entry]], None]


class Ledger:
    """The register with this name. It begins with its first entry.

    Args:
        signer: whose key signs; for tests. This host's, made on first use.
        store_on: the store of a directory; for tests.
    """

    def __init__(
        self,
        name: str,
        *,
        signer: Callable[[], Signer] = host_signer,
        store_on: Callable[[int], Store] = LocalStore,
    ) -> None:
        self.name = name
        self._file = name.encode("ascii")
        self._made = self._file + b".new"
        self._signer = signer
        self._store_on = store_on

    def entries(self) -> list[Entry]:
        """All of them, the oldest first.

        Raises:
            RegisterError: the register is damaged or was changed; the hint says what to do.
            OSError, RuntimeError (a user without a home directory).
        """
        with opened(_FOLDER, self._store_on, shared=True) as (store, dirfd):
            return self._read(store, dirfd)[0]

    def append(
        self, kind: str, data: Mapping[str, Any], *, volume_id: VolumeId = NO_VOLUME, check: Check | None = None
    ) -> Entry:
        """One more entry; it is on the medium when this returns, and in the audit log.

        Args:
            kind: what was done.
            data: more of it, as a document has it.
            volume_id: for the record in the audit log.
            check: is given all entries, while nobody else can write; what it raises keeps this one from being written.

        Raises:
            RegisterError: as :meth:`entries`; nothing was appended.
            AuditError: it is in the register, but the audit log could not take it; or the key to sign with is lost.
            FormatError: ``data`` cannot be written, or is too long.
            OSError: it is not in the register; what was there before is.
        """
        signer = self._signer()
        with opened(_FOLDER, self._store_on, shared=False) as (store, dirfd):
            entries, content = self._read(store, dirfd)
            if check is not None:
                check(entries)
            line = self._line(signer, entries[-1] if entries else None, kind, data)
            if self._made in store.list(dirfd):
                store.unlink(dirfd, self._made)
            replace_file(store, dirfd, self._file, content + line, temporary=self._made)
        entry = _parse(self.name, line)[0]
        body = AuditBody(
            action=f"register.{self.name}",
            outcome=Outcome.DONE,
            uid=entry.uid,
            object=kind,
            detail={"seq": entry.seq, "head": entry.digest},
        )
        try:
            journal.record(body, volume_id)
        except AuditError as exc:
            raise AuditError(f"it is registered, but {exc}", hint=exc.hint) from exc
        return entry

    def _read(self, store: Store, dirfd: int) -> tuple[list[Entry], bytes]:
        content = read_whole(store, dirfd, self._file) or b""
        entries: list[Entry] = []
        for line in content.splitlines(keepends=True):
            entries.append(self._next(line, entries[-1] if entries else None))
        return entries, content

    def _next(self, line: bytes, before: Entry | None) -> Entry:
        seq, previous = (0, _BEFORE_THE_FIRST) if before is None else (before.seq + 1, before.digest)
        try:
            entry, stated = _parse(self.name, line)
        except (DataError, ConfigError) as exc:
            raise damaged(self.name, seq) from exc
        if (entry.seq, stated) != (seq, previous):
            raise damaged(self.name, seq)
        return entry

    def _line(self, signer: Signer, before: Entry | None, kind: str, data: Mapping[str, Any]) -> bytes:
        return sign_document(
            signer,
            kind=_KIND,
            made_at=int(time.time()),
            host=socket.gethostname(),
            body={
                "register": self.name,
                "seq": 0 if before is None else before.seq + 1,
                "previous": _BEFORE_THE_FIRST if before is None else before.digest,
                "uid": os.getuid(),
                "entry": kind,
                "data": dict(data),
            },
        )


def damaged(name: str, seq: int) -> RegisterError:
    """The error for an entry that cannot be what was written, of the register ``name``."""
    return RegisterError(
        f'the register "{name}" of this computer is damaged, or was changed by something else, at entry {seq}',
        hint=f"Restore registers/{name} in the state directory from a backup of this computer. Until then"
        " nothing is read from it and nothing added.",
    )


def _parse(name: str, line: bytes) -> tuple[Entry, str]:
    """An entry, and what it says of the one before it.

    Raises:
        FormatError, NewerFormatError, AuthenticationError: it is none of this register.
    """
    document = open_document(line, _KIND)
    fields = Fields(document.body)
    if fields.text("register") != name:
        raise FormatError("an entry is of another register")
    entry = Entry(
        seq=fields.integer("seq"),
        at=document.made_at,
        uid=fields.integer("uid"),
        host=document.host,
        kind=fields.text("entry"),
        data=fields.mapping("data"),
        signer=document.signer,
        digest=CLOAKFS_1.digest(line).hex(),
    )
    stated = fields.text("previous")
    fields.finish()
    return entry, stated
