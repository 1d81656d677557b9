"""Checkpoints of a volume: which there are, reading one, and finding a lost header in it (FORMAT.md section 12).

Owns: the folder ``cloakfs.c``, the order and authenticity of what is read from a checkpoint. Must not know: how one is
made (``checkpoint_make.py``) or what is compared with it (``checkpoint_compare.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from encfs.core import checkpoint as core_checkpoint
from encfs.errors import DataError, FormatError, NotFoundError
from encfs.format import checkpoint as form
from encfs.format.checkpoint import FileEntry, Head, RecordKind
from encfs.format.header import FileHeader
from encfs.format.limits import CHECKPOINT_HEAD_SIZE, CHECKPOINT_ID_SIZE, CHECKPOINTS_NAME
from encfs.store.base import Store
from encfs.units import DirId
from encfs.volume.context import Context
from encfs.volume.findings import Code, Finding

if TYPE_CHECKING:
    from encfs.volume.volume import Volume

_NAME_SIZE: Final = 2 * CHECKPOINT_ID_SIZE
_HINT: Final = "Make one with: cloakfs checkpoint VOLUME"


def checkpoint_names(store: Store, root_fd: int) -> list[bytes]:
    """Names in ``cloakfs.c`` that can be checkpoints, the newest first. Nothing vouches for them yet."""
    try:
        folder = store.open_directory(root_fd, CHECKPOINTS_NAME)
    except OSError:
        return []
    try:
        names = store.list(folder)
    finally:
        store.close(folder)
    return sorted((name for name in names if _is_id(name)), reverse=True)


def _is_id(name: bytes) -> bool:
    return len(name) == _NAME_SIZE and not name.strip(b"0123456789abcdef")


class Checkpoint:
    """One checkpoint, open for reading. Close it, or use it in a ``with`` statement.

    Attributes:
        head: the clear head; authentic once a record has been read.
        size: bytes of the checkpoint.

    Raises:
        FormatError: it is no checkpoint, or one of another volume.
    """

    def __init__(self, ctx: Context, fd: int) -> None:
        self._ctx = ctx
        self._fd = fd
        try:
            self.size = ctx.store.fstat(fd).st_size
            self.head: Head = form.parse_head(ctx.store.pread(fd, CHECKPOINT_HEAD_SIZE, 0))
            if self.head.volume_id != ctx.ring.volume_id:
                raise FormatError("this is the checkpoint of another volume")
        except BaseException:
            ctx.store.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ctx.store.close(self._fd)

    def records(self) -> Iterator[bytes]:
        """All records; raises as :func:`encfs.core.checkpoint.open_records` does."""
        return core_checkpoint.open_records(self._ctx.ring, self.head, self._chunks())

    def _chunks(self) -> Iterator[tuple[bytes, bool]]:
        at, store = CHECKPOINT_HEAD_SIZE, self._ctx.store
        while at < self.size:
            prefix = store.pread(self._fd, core_checkpoint.PREFIX_SIZE, at)
            size = core_checkpoint.chunk_size(prefix)
            at += len(prefix) + size
            yield store.pread(self._fd, size, at - size), at == self.size


def open_named(ctx: Context, root_fd: int, name: bytes) -> Checkpoint:
    """One of :func:`checkpoint_names`.

    Raises:
        FormatError: it is no checkpoint of this volume, or not the one that its name says.
        OSError: it cannot be read.
    """
    folder = ctx.store.open_directory(root_fd, CHECKPOINTS_NAME)
    try:
        found = Checkpoint(ctx, ctx.store.open(folder, name, os.O_RDONLY))
    finally:
        ctx.store.close(folder)
    if found.head.checkpoint_id.hex().encode() != name:
        found.__exit__()
        raise FormatError("a checkpoint stands under the name of another one")
    return found


def open_copy(ctx: Context, path: bytes) -> Checkpoint:
    """A checkpoint that is kept elsewhere.

    Raises:
        FormatError: it is no checkpoint of this volume.
        OSError: it cannot be read.
    """
    return Checkpoint(ctx, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def open_newest(ctx: Context, root_fd: int) -> Checkpoint:
    """The newest checkpoint in the volume.

    Raises:
        NotFoundError: there is none.
        FormatError, OSError: as :func:`open_named`. An older one is never taken in the place of a damaged one.
    """
    names = checkpoint_names(ctx.store, root_fd)
    if not names:
        raise NotFoundError("the volume holds no checkpoint", hint=_HINT)
    return open_named(ctx, root_fd, names[0])


def newest_is_missing(ctx: Context, root_fd: int) -> Finding | None:
    """The finding where this host made a checkpoint later than all that are in the volume."""
    known = b"" if ctx.freshness is None else ctx.freshness.newest_checkpoint()
    names = checkpoint_names(ctx.store, root_fd)
    if not known or (names and names[0] >= known.hex().encode()):
        return None
    detail = f"{known.hex()}, which this host made, is missing"
    return Finding.of(Code.CHECKPOINT_ROLLBACK, b"", CHECKPOINTS_NAME, detail)


def newest_authentic_id(ctx: Context, root_fd: int) -> bytes:
    """The id of the newest checkpoint whose first record opens; empty if there is none."""
    for name in checkpoint_names(ctx.store, root_fd):
        with suppress(DataError, OSError), open_named(ctx, root_fd, name) as found:
            next(found.records())
            return found.head.checkpoint_id
    return b""


@contextmanager
def _each_record(volume: Volume, name: bytes) -> Iterator[Iterator[bytes]]:
    with open_named(volume.ctx, volume.root_fd, name) as found:
        yield found.records()


def find_header(volume: Volume, parent: DirId, name: bytes) -> FileHeader | None:
    """What a checkpoint knows of the header of the file at a place, the newest checkpoint first.

    With its content keys the cells of a file whose header was destroyed can be read again. Its size is that of the
    checkpoint's time: the lower size tells the present one (FORMAT.md section 9.3). ``generation`` and ``cells_sealed``
    have grown since: a rebuilt header has to leave room for that. Not the header of an earlier file at that place
    whose cells do not open under it: the caller finds out by opening one.
    """
    for checkpoint_name in checkpoint_names(volume.ctx.store, volume.root_fd):
        with suppress(DataError, OSError), _each_record(volume, checkpoint_name) as records:
            found = _find_entry(records, parent, name)
            if found is not None:
                return found.header
    return None


def _find_entry(records: Iterator[bytes], parent: DirId, name: bytes) -> FileEntry | None:
    best: FileEntry | None = None
    for raw in records:
        if raw[0] == RecordKind.FILE and raw.find(name) > 0 and raw.find(parent) > 0:
            entry = form.parse(raw)
            if isinstance(entry, FileEntry) and (entry.parent, entry.name) == (parent, name):
                best = entry
    return best
