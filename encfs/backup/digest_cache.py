"""What the last run found files to be, so that the next one reads only those that changed.

Owns: its file in the state directory. Must not know: restic, the manifest.

No name, no content and no digest without a key is in it: for each entry the first 16 bytes of
MAC(K_manifest, "path" || path), its inode (that of the sealed file, which everybody sees), the first 16 bytes of
MAC(K_manifest, "state" || path || what of it would change with its content), and the keyed digest of its content. A
file that is not whole, or of another key, is none: then everything is read again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from encfs.backup.plain_tree import Seen
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.limits import DIGEST_SIZE

_MAGIC: Final = b"cloakfs backup cache 1\n"
# Each longer than a digest: no MAC here is ever that of a content.
_PATH: Final = b"cloakfs/1 backup cache: the path of an entry\0"
_STATE: Final = b"cloakfs/1 backup cache: the state of an entry\0"
_ALL: Final = b"cloakfs/1 backup cache: all of it\0"
_ENTRY: Final = struct.Struct(">16sQ16s32s")
_RUN: Final = 16
_SEEN: Final = struct.Struct(">IIIQqqQQ")
SETTLED_NS: Final = 2_000_000_000
"""An entry that was changed so shortly before it was looked at could change again without showing it: some
filesystems count time in steps of two seconds."""


@dataclass(frozen=True, slots=True)
class Known:
    """An entry of the run before. ``digest``: keyed; 32 zeros of what is no file."""

    inode: int
    state: bytes = field(repr=False)
    digest: bytes = field(repr=False)


class DigestCache:
    """The file, read.

    Args:
        path: of the file; it need not be there.
        key: K_manifest.

    Attributes:
        run: id of the run that wrote it, hexadecimal; empty if there is none.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key
        self.run = ""
        self._known: dict[bytes, Known] = {}
        try:
            self._parse(path.read_bytes())
        except FileNotFoundError:
            pass

    def before(self, path: bytes) -> Known | None:
        """What there was at a path, whether or not it changed."""
        return self._known.get(self._name(path))

    def digest(self, path: bytes, seen: Seen) -> bytes | None:
        """The keyed digest of what is there, if it did not change."""
        known = self.before(path)
        return known.digest if known is not None and known.state == self._state(path, seen) else None

    def write(self, run: str, entries: Iterable[tuple[bytes, Seen, bytes]], looked_at: int) -> None:
        """Replace the file.

        Args:
            run: id of the run.
            entries: path, state, keyed digest (empty of what is no file).
            looked_at: when looking at them began, ns since 1970.

        Raises:
            OSError: the one before is still there.
        """
        body = b"".join(
            _ENTRY.pack(self._name(path), seen.inode, self._state(path, seen), digest or bytes(DIGEST_SIZE))
            for path, seen, digest in entries
            if seen.newest < looked_at - SETTLED_NS
        )
        content = _MAGIC + bytes.fromhex(run) + body
        new = self._path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(content + self._seal(content))
            file.flush()
            os.fsync(fd)
        os.replace(new, self._path)

    def _parse(self, data: bytes) -> None:
        content, seal = data[:-DIGEST_SIZE], data[-DIGEST_SIZE:]
        start = len(_MAGIC) + _RUN
        if not content.startswith(_MAGIC) or (len(content) - start) % _ENTRY.size or self._seal(content) != seal:
            return
        self.run = content[len(_MAGIC) : start].hex()
        for name, inode, state, digest in _ENTRY.iter_unpack(content[start:]):
            self._known[name] = Known(inode, state, digest)

    def _seal(self, content: bytes) -> bytes:
        return CLOAKFS_1.mac(self._key, _ALL + CLOAKFS_1.digest(content))

    def _name(self, path: bytes) -> bytes:
        return CLOAKFS_1.mac(self._key, _PATH + path)[:16]

    def _state(self, path: bytes, seen: Seen) -> bytes:
        state = _SEEN.pack(
            *(seen.mode, seen.uid, seen.gid, seen.size, seen.mtime_ns, seen.ctime_ns, seen.inode, seen.device)
        )
        return CLOAKFS_1.mac(self._key, _STATE + state + path)[:16]
