"""Where the audit log of this user on this host is, and the keys that go with it.

Owns: the files beside the log (FORMAT.md section 16). Must not know: what is recorded.

Until it is taken away the auditor's private key lies here too, so that a practice of one person has a log without being
asked anything; then the log proves less, which is said wherever it is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from encfs import runtime
from encfs.audit.log import STATE, AuditLog, LogKeys
from encfs.crypto import kem
from encfs.crypto.signing import PRIVATE_SIZE, Algorithm, Signer
from encfs.errors import AuditError, UsageError
from encfs.format.key_file import KeyText
from encfs.store.atomic import replace_file
from encfs.store.local import LocalStore

AUDITOR_KEY: Final = KeyText(
    b"cloakfs-auditor-key", kem.PRIVATE_SIZE, "auditor key", "It was written by: cloakfs audit key --out"
)
_PUBLIC: Final = b"auditor.pub"
_PRIVATE: Final = b"auditor.key"
_SIGNER: Final = b"signing.key"
_ANCHORED: Final = b"anchored"
_NEW: Final = b".new"
_RESTORE: Final = (
    "Restore the folder audit of the state directory from a backup of this computer, or begin another log, which keeps"
    " this one: cloakfs audit begin"
)
_LATER: Final = "%Y%m%dT%H%M%S"


class Home:
    """The directory of the log, open. Use it in a ``with`` statement: :func:`home`."""

    def __init__(self, fd: int) -> None:
        self.store = LocalStore(fd)
        self.dirfd = fd

    def log(self) -> AuditLog:
        """The log, begun if there is none.

        Raises:
            AuditError: a key that goes with it is gone or damaged.
            OSError.
        """
        names = self.store.list(self.dirfd)
        signer = self.signer()
        try:
            public = self._read(_PUBLIC)
        except FileNotFoundError as exc:
            raise AuditError("a key of the audit log is missing", hint=_RESTORE) from exc
        if len(public) != kem.PUBLIC_SIZE:
            raise AuditError("a key of the audit log is damaged", hint=_RESTORE)
        log = AuditLog(self.store, self.dirfd, LogKeys(public, signer))
        if STATE not in names:
            log.begin()
        return log

    def signer(self) -> Signer:
        """The key with which this host signs whatever it signs, made on first use together with those of the log.

        Raises:
            AuditError: it is gone or damaged.
            OSError.
        """
        if not {STATE, _PUBLIC} & set(self.store.list(self.dirfd)):
            self._make_keys()
        private = self._read_if_there(_SIGNER)
        if private is None:
            raise AuditError("the key with which this computer signs is missing", hint=_RESTORE)
        if len(private) != PRIVATE_SIZE:
            raise AuditError("the key with which this computer signs is damaged", hint=_RESTORE)
        return Signer(Algorithm.ED25519, private)

    def auditor_key(self) -> bytes | None:
        """The private key of the auditor, if it lies here still.

        Raises:
            UsageError: the file is damaged. OSError.
        """
        try:
            return AUDITOR_KEY.decode(self._read(_PRIVATE))
        except FileNotFoundError:
            return None

    def keys(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Private and public key of the auditor, and the private one of the host: what is there, and whole."""
        private = self._read_if_there(_PRIVATE)
        try:
            private = None if private is None else AUDITOR_KEY.decode(private)
        except UsageError:
            private = None
        public = kem.public_of(private) if private is not None else self._read_if_there(_PUBLIC)
        signer = self._read_if_there(_SIGNER)
        return (
            private,
            public if public is not None and len(public) == kem.PUBLIC_SIZE else None,
            signer if signer is not None and len(signer) == PRIVATE_SIZE else None,
        )

    def take_over(self, private: bytes | None, public: bytes | None, signer: bytes | None) -> None:
        """The keys of an earlier log for a new one; what is None is made. Raises: OSError."""
        if public is None:
            private, public = kem.generate()
        self._write(_SIGNER, signer or Signer.generate().private)
        if private is not None:
            self._write(_PRIVATE, AUDITOR_KEY.encode(private))
        self._write(_PUBLIC, public)

    def anchored(self) -> bytes | None:
        """The note of the last anchors (``anchor_notes.py``), if there is one. Raises: OSError."""
        return self._read_if_there(_ANCHORED)

    def note_anchored(self, content: bytes) -> None:
        """Another note in its place. Raises: OSError: the one before is still there."""
        self._write(_ANCHORED, content)

    def take_auditor_key_away(self) -> None:
        """After it was written elsewhere and read back there. On media that write in place nothing is left of it.

        Raises:
            OSError.
        """
        fd = self.store.open(self.dirfd, _PRIVATE, os.O_WRONLY)
        try:
            self.store.pwrite(fd, bytes(self.store.fstat(fd).st_size), 0)
            self.store.fdatasync(fd)
        finally:
            self.store.close(fd)
        self.store.unlink(self.dirfd, _PRIVATE)
        self.store.fsync(self.dirfd)

    def _make_keys(self) -> None:
        """The public half goes last: where it is, the others are."""
        self.take_over(None, None, None)

    def _write(self, name: bytes, content: bytes) -> None:
        temporary = name + _NEW
        if temporary in self.store.list(self.dirfd):
            self.store.unlink(self.dirfd, temporary)
        replace_file(self.store, self.dirfd, name, content, temporary=temporary)

    def _read_if_there(self, name: bytes) -> bytes | None:
        try:
            return self._read(name)
        except FileNotFoundError:
            return None

    def _read(self, name: bytes) -> bytes:
        fd = self.store.open(self.dirfd, name, os.O_RDONLY)
        try:
            return self.store.pread(fd, 1 << 16, 0)
        finally:
            self.store.close(fd)


def directory() -> Path:
    """``audit`` in the state directory. Raises: OSError, RuntimeError (a user without a home directory)."""
    return runtime.private_directory(runtime.state_directory() / "audit")


def host_signer() -> Signer:
    """The key with which this host signs (:meth:`Home.signer`). Raises: AuditError, OSError, RuntimeError."""
    with home() as here:
        return here.signer()


def begin_anew() -> Path:
    """Another log where the present one cannot go on; where that is kept. Keys that are there are taken over.

    Raises:
        UsageError: the log can go on.
        OSError, RuntimeError.
    """
    with home() as here:
        if STATE not in here.store.list(here.dirfd) or _goes_on(here):
            raise UsageError("the audit log can go on as it is", hint="Nothing was changed.")
        private, public, signer = here.keys()
        old = directory()
        kept = old.with_name(f"audit-{time.strftime(_LATER)}")
        old.rename(kept)
    with home() as here:
        here.take_over(private, public, signer)
    return kept


def _goes_on(here: Home) -> bool:
    try:
        here.log().log_id()
    except AuditError:
        return False
    return True


def kept_homes() -> Iterator[Home]:
    """Those of earlier logs, which :func:`begin_anew` has kept; each is open until the next. Raises: OSError."""
    here = directory()
    for path in sorted(here.parent.glob(f"{here.name}-*")):
        if path.is_dir() and not path.is_symlink():
            with _opened(path) as found:
                yield found


@contextmanager
def home() -> Iterator[Home]:
    """The log's directory, made if it is missing. Raises: OSError, RuntimeError."""
    with _opened(directory()) as here:
        yield here


@contextmanager
def _opened(path: Path) -> Iterator[Home]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Home(fd)
    finally:
        os.close(fd)
