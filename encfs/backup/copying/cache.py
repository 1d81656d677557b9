"""What this computer remembers of the last run of a backup: so that what has not changed is not read again.

Owns: the file in the state directory. Must not know: the target. No promise depends on it: without it everything is
read once more. It has no plain name; whoever can write it can write to the state directory of this user.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from encfs import runtime
from encfs.backup.copying.scanning import Seen, Signature
from encfs.backup.copying.target import Stored
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import FormatError
from encfs.format import base64url
from encfs.format.canonical import b64
from encfs.format.limits import DIGEST_SIZE
from encfs.store.atomic import replace_file
from encfs.store.local import LocalStore

_FOLDER: Final = "backup-copy"
_VERSION: Final = 1
_NEW: Final = b".new"


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was when it was taken."""

    signature: Signature
    digest: bytes
    fid: bytes


@dataclass(slots=True)
class Cache:
    """What is remembered of one backup.

    Attributes:
        files: by path.
        damaged: by the label of a medium, what was found to be damaged there.
    """

    plan: str
    volume: str
    files: dict[bytes, Known] = field(default_factory=dict, repr=False)
    damaged: dict[str, list[Stored]] = field(default_factory=dict, repr=False)
    _by_signature: dict[Signature, bytes] = field(default_factory=dict, repr=False)

    def digest_of(self, seen: Seen) -> bytes | None:
        """SHA-256 of a file that is as it was when it was taken, wherever it was then; None: it has to be read."""
        if not self._by_signature:
            self._by_signature = {known.signature: known.digest for known in self.files.values()}
        return self._by_signature.get(seen.signature)

    def keep(self, files: Iterable[tuple[Seen, bytes]], *, others: bool) -> None:
        """Remember these; ``others``: and what was remembered before."""
        new = {seen.path: Known(seen.signature, digest, seen.fid) for seen, digest in files}
        self.files = {**self.files, **new} if others else new
        self._by_signature = {}

    def save(self) -> None:
        """Raises: OSError, RuntimeError (a user without a home directory)."""
        rows = [
            [b64(path), *known.signature[:4], b64(known.signature[4]), b64(known.digest), b64(known.fid)]
            for path, known in self.files.items()
        ]
        damaged = {label: [_row(one) for one in found] for label, found in self.damaged.items() if found}
        told = {"version": _VERSION, "volume": self.volume, "files": rows, "damaged": damaged}
        content = zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 1)
        dirfd = _open()
        try:
            name = self.plan.encode()
            store = LocalStore(dirfd)
            if name + _NEW in store.list(dirfd):
                store.unlink(dirfd, name + _NEW)
            replace_file(store, dirfd, name, CLOAKFS_1.digest(content) + content, temporary=name + _NEW)
        finally:
            os.close(dirfd)


def load(plan: str, volume: str) -> Cache:
    """What is remembered; nothing where the file is missing, damaged or another volume's.

    Raises:
        OSError, RuntimeError (a user without a home directory).
    """
    dirfd = _open()
    try:
        fd = os.open(plan.encode(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dirfd)
    except FileNotFoundError:
        return Cache(plan, volume)
    finally:
        os.close(dirfd)
    with open(fd, "rb") as file:
        content = file.read()
    try:
        return _parse(plan, volume, content)
    except (FormatError, ValueError, LookupError, TypeError, AttributeError, zlib.error, RecursionError):
        return Cache(plan, volume)


def _parse(plan: str, volume: str, content: bytes) -> Cache:
    """Raises: whatever is not as :meth:`Cache.save` wrote it."""
    checksum, packed = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if CLOAKFS_1.digest(packed) != checksum:
        raise FormatError("what is remembered of a backup is damaged")
    told: dict[str, Any] = json.loads(zlib.decompress(packed))
    if told["version"] != _VERSION or told["volume"] != volume:
        raise FormatError("what is remembered is of another backup")
    files = {
        _bytes(path): Known((inode, size, mtime, ctime, _bytes(header)), _bytes(digest), _bytes(fid))
        for path, inode, size, mtime, ctime, header, digest, fid in told["files"]
    }
    damaged: Mapping[str, list[list[Any]]] = told["damaged"]
    return Cache(plan, volume, files, {label: [_stored(row) for row in rows] for label, rows in damaged.items()})


def _open() -> int:
    folder = runtime.private_directory(runtime.state_directory() / _FOLDER)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _row(one: Stored) -> list[Any]:
    return [b64(one.digest), one.size, None if one.path is None else b64(one.path)]


def _stored(row: list[Any]) -> Stored:
    digest, size, path = row
    return Stored(_bytes(digest), size, None if path is None else _bytes(path))


def _bytes(text: str) -> bytes:
    return base64url.decode(text.encode())
