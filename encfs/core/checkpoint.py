"""Sealing and opening the chunks of a checkpoint, without I/O.

Owns: the seal of FORMAT.md section 12: what keeps chunks in order, together and complete. Must not know: where
checkpoints are kept, what the records mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from encfs.core.keys import KeyRing
from encfs.errors import FormatError
from encfs.format import checkpoint as form
from encfs.format import limits
from encfs.format.checkpoint import End, Head, Record, RecordKind

_AAD: Final = Struct(">c48sQB")
_PREFIX: Final = Struct(">I")
PREFIX_SIZE: Final = 4
_SEALED_MAX: Final = limits.CHECKPOINT_CHUNK_MAX + limits.CHECKPOINT_CHUNK_OVERHEAD


class Sealer:
    """Takes records in order, gives sealed chunks with their length in front.

    One chunk is always held back, because the last one is sealed as the last. ``digest``: of the whole, once
    :meth:`finish` was called.
    """

    def __init__(self, ring: KeyRing, head: Head) -> None:
        self._suite = ring.suite
        self._key = ring.of(head.epoch).checkpoint_key(head.checkpoint_id)
        self._head = head.pack()
        self._index = 0
        self._pending = bytearray()
        self._digest = ring.suite.running_digest()
        self.digest = form.NO_DIGEST

    def add(self, record: Record) -> bytes:
        """Bytes to append to the checkpoint, often none."""
        return self.add_raw(form.pack(record))

    def add_raw(self, packed: bytes) -> bytes:
        """The same with a record as :func:`~encfs.format.checkpoint.pack` gives it."""
        self._digest.update(packed)
        out = b""
        if len(self._pending) + len(packed) > limits.CHECKPOINT_CHUNK_MAX:
            out = self._seal(last=False)
        self._pending += packed
        return out

    def finish(self, counts: dict[str, int]) -> bytes:
        """The END record and the last chunk."""
        self.digest = self._digest.digest()
        return self.add(End(**counts, digest=self.digest)) + self._seal(last=True)

    def _seal(self, *, last: bool) -> bytes:
        sealed = self._suite.seal(self._key, _AAD.pack(b"M", self._head, self._index, last), bytes(self._pending))
        self._index += 1
        self._pending.clear()
        return _PREFIX.pack(len(sealed)) + sealed


def chunk_size(prefix: bytes) -> int:
    """How many bytes follow a length.

    Raises:
        FormatError: no chunk is that long or short, or the length itself is cut off.
    """
    size = int.from_bytes(prefix, "big")
    if len(prefix) != PREFIX_SIZE or not limits.CHECKPOINT_CHUNK_OVERHEAD < size <= _SEALED_MAX:
        raise FormatError("a chunk of a checkpoint has the wrong length")
    return size


def open_records(ring: KeyRing, head: Head, chunks: Iterable[tuple[bytes, bool]]) -> Iterator[bytes]:
    """All records, each without its length. START is the first, END the last.

    A caller that stops early has seen authentic records, but not that none is missing.

    Args:
        ring: the keys of the volume.
        head: the clear head.
        chunks: each sealed chunk, and whether nothing follows it.

    Raises:
        AuthenticationError: a chunk was changed, moved, is of another checkpoint or volume, or the end is missing.
        FormatError: the records have not the form of section 12, or the digest of the whole is wrong.
    """
    key = ring.of(head.epoch).checkpoint_key(head.checkpoint_id)
    packed, digest = head.pack(), ring.suite.running_digest()
    kind: RecordKind | None = None
    for index, (sealed, last) in enumerate(chunks):
        for raw in form.split(ring.suite.unseal(key, _AAD.pack(b"M", packed, index, last), sealed)):
            before, kind = kind, form.kind_of(raw)
            if (before is None) is not (kind is RecordKind.START) or before is RecordKind.END:
                raise FormatError("the records of a checkpoint are out of order")
            if kind is RecordKind.END:
                _check_end(raw, digest.digest())
            digest.update(len(raw).to_bytes(2, "big") + raw)
            yield raw
    if kind is not RecordKind.END:
        raise FormatError("a checkpoint does not end with its totals")


def _check_end(raw: bytes, digest: bytes) -> None:
    end = form.parse(raw)
    if not isinstance(end, End) or end.digest != digest:
        raise FormatError("the digest of a checkpoint is not that of its records")
