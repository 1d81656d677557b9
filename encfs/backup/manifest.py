"""The manifest of a run: what was taken, signed by the computer that took it (FORMAT.md section 18).

Owns: its two parts, its signature, the key of its digests. Must not know: where it is kept, what is done with it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from encfs.core.documents import Document, open_document, sign_document
from encfs.crypto.kdf import Label, RunningDigest
from encfs.crypto.signing import PublicKey, Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, FormatError
from encfs.format.backup import Item, ItemKind, Taken, pack_items, parse_items
from encfs.format.canonical import Fields

KIND: Final = "backup-run"
RUN_ID_SIZE: Final = 16
_LINE_MAX: Final = 1 << 20
_PIECE: Final = 1 << 16
_ENGINES: Final = frozenset({"copy", "restic"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """What a manifest says of its run.

    Attributes:
        plan: id of the backup, hexadecimal.
        run: id of the run, hexadecimal: u64 milliseconds since 1970 || 8 random bytes, so that they sort by time.
        volume: id of the volume, hexadecimal.
        engine: ``copy`` or ``restic``.
        label: of the medium, empty for a target without one.
        snapshot: what the engine calls it, empty for ``copy``.
        checkpoint: the newest one of the volume that is in it (its name), or empty.
        mounted: whether the volume was open on this computer: then it was flushed before.
        previous: the run on this medium before this one, or empty.
    """

    plan: str
    run: str
    volume: str
    engine: str
    label: str
    snapshot: str
    checkpoint: str
    mounted: bool
    previous: str

    @property
    def made_at(self) -> int:
        """When the run began, seconds since 1970."""
        return int(self.run[:16], 16) // 1000


@dataclass(frozen=True)
class Manifest:
    """A run and all that it took.

    Attributes:
        head: of the run.
        items: all of it, in order of paths.
        signer: who signed; None for one that was just made.
        digest: SHA-256 of its bytes, hexadecimal; empty for one that was just made.
        host: the name of the computer that made it; empty for one that was just made.
    """

    head: RunHead
    items: tuple[Item, ...] = field(repr=False)
    signer: PublicKey | None = None
    digest: str = ""
    host: str = ""

    @cached_property
    def by_path(self) -> Mapping[bytes, Item]:
        return {item.path: item for item in self.items}

    @cached_property
    def files(self) -> int:
        """Files that are in it."""
        return sum(item.kind is ItemKind.FILE and item.taken is not Taken.MISSING for item in self.items)

    @cached_property
    def bytes(self) -> int:
        return sum(item.size for item in self.items if item.taken is not Taken.MISSING)

    def not_whole(self) -> list[Item]:
        """Those that were written to, or are missing."""
        return [item for item in self.items if item.taken is not Taken.WHOLE]


def seal_manifest(manifest: Manifest, signer: Signer, *, made_at: int, host: str) -> bytes:
    """Its bytes: a signed document, then the lines, compressed.

    Raises:
        FormatError: something stands twice, or cannot be written.
    """
    lines = b"".join(pack_items(manifest.items))
    body = {name: getattr(manifest.head, name) for name in _HEAD}
    body |= {"items": len(manifest.items), "size": len(lines), "digest": CLOAKFS_1.digest(lines).hex()}
    return sign_document(signer, kind=KIND, made_at=made_at, host=host, body=body) + zlib.compress(lines)


_HEAD: Final = ("plan", "run", "volume", "engine", "label", "snapshot", "checkpoint", "mounted", "previous")


def open_head(data: bytes) -> tuple[RunHead, Document]:
    """What a manifest says of its run, without the lines.

    Raises:
        FormatError, NewerFormatError: it is no manifest. AuthenticationError: it was changed since it was signed.
    """
    return _split(data)[:2]


def open_manifest(data: bytes) -> Manifest:
    """The inverse of :func:`seal_manifest`. Whose key signed it has to be known from elsewhere.

    Raises:
        As :func:`open_head`.
    """
    head, document, fields, rest = _split(data)
    items, size, digest = fields.integer("items"), fields.integer("size"), fields.text("digest")
    fields.finish()
    running = CLOAKFS_1.running_digest()
    found = tuple(parse_items(_tracked(_lines(rest, size), running)))
    if running.digest().hex() != digest or len(found) != items:
        raise AuthenticationError("the lines of a backup's manifest are not those that were signed")
    return Manifest(head, found, document.signer, CLOAKFS_1.digest(data).hex(), document.host)


def _split(data: bytes) -> tuple[RunHead, Document, Fields, bytes]:
    line, newline, rest = data.partition(b"\n")
    document = open_document(line + newline, KIND)
    fields = Fields(dict(document.body))
    head = RunHead(
        plan=_hex(fields, "plan", 16),
        run=_hex(fields, "run", RUN_ID_SIZE),
        volume=_hex(fields, "volume", 16),
        engine=fields.text("engine"),
        label=fields.text("label"),
        snapshot=fields.text("snapshot"),
        checkpoint=fields.text("checkpoint"),
        mounted=fields.boolean("mounted"),
        previous=fields.text("previous"),
    )
    if head.engine not in _ENGINES:
        raise FormatError("a backup was made in a way that this version does not know")
    return head, document, fields, rest


def _hex(fields: Fields, name: str, size: int) -> str:
    text = fields.text(name)
    if len(text) != 2 * size or text.strip("0123456789abcdef"):
        raise FormatError("an id in a backup's manifest is none")
    return text


def _lines(compressed: bytes, size: int) -> Iterator[bytes]:
    """The lines, of which there are ``size`` bytes; no more is ever unpacked. Raises: FormatError."""
    unpacking, taken, pending = zlib.decompressobj(), 0, compressed
    buffer = io.BytesIO()
    try:
        while pending and not unpacking.eof:
            piece = unpacking.decompress(pending, _PIECE)
            pending = unpacking.unconsumed_tail
            taken += len(piece)
            buffer.write(piece)
            if taken > size:
                break
    except zlib.error as exc:
        raise FormatError("the lines of a backup's manifest cannot be unpacked") from exc
    if taken != size or not unpacking.eof or unpacking.unused_data:
        raise FormatError("the lines of a backup's manifest are cut off, or too many")
    buffer.seek(0)
    while line := buffer.readline(_LINE_MAX):
        yield line


def _tracked(lines: Iterator[bytes], running: RunningDigest) -> Iterator[bytes]:
    for line in lines:
        running.update(line)
        yield line


def content_key(backup_key: bytes) -> bytes:
    """K_manifest, under which digests of plain content are taken, from the 32 bytes of a backup key."""
    return CLOAKFS_1.expand(backup_key, Label.BACKUP_MANIFEST)


def keyed_digest(key: bytes, content_sha256: bytes) -> bytes:
    """The digest of plain content in a manifest: it tells nobody without K_manifest what the content was."""
    return CLOAKFS_1.mac(key, content_sha256)
