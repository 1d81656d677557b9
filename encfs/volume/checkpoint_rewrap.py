"""Checkpoints of a retired epoch, sealed under the active one (FORMAT.md sections 12 and 14).

Owns: writing a checkpoint again beside itself. Must not know: what its records mean, when it is done.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

from encfs.core.checkpoint import Sealer
from encfs.errors import DataError
from encfs.format import checkpoint as form
from encfs.format.checkpoint import End
from encfs.format.limits import CHECKPOINTS_NAME
from encfs.store.atomic import sync_directory
from encfs.volume.checkpoint import Checkpoint, checkpoint_names, open_named
from encfs.volume.context import Context
from encfs.volume.places import temporary_name


def rewrap_checkpoints(ctx: Context, root_fd: int) -> None:
    """Write each checkpoint of a retired epoch anew, durably; one that does not open stays as it is.

    Raises:
        OSError: the lower error; the checkpoint is as it was.
    """
    for name in checkpoint_names(ctx.store, root_fd):
        with suppress(DataError), open_named(ctx, root_fd, name) as found:
            if found.head.epoch != ctx.ring.active.epoch:
                _rewrap(ctx, root_fd, found, name)


def _rewrap(ctx: Context, root_fd: int, found: Checkpoint, name: bytes) -> None:
    store, temporary = ctx.store, temporary_name()
    fd = store.open(root_fd, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            _copy(ctx, found, fd)
            store.fsync(fd)
        finally:
            store.close(fd)
        folder = store.open_directory(root_fd, CHECKPOINTS_NAME)
        try:
            store.rename(root_fd, temporary, folder, name)
            sync_directory(store, folder)
        finally:
            store.close(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            store.unlink(root_fd, temporary)
        raise


def _copy(ctx: Context, found: Checkpoint, fd: int) -> None:
    head = replace(found.head, epoch=ctx.ring.active.epoch)
    sealer, packed = Sealer(ctx.ring, head), head.pack()
    ctx.store.pwrite(fd, packed, 0)
    at = len(packed)
    for raw in found.records():
        record = form.parse(raw) if form.kind_of(raw) is form.RecordKind.END else None
        if isinstance(record, End):
            counts = {name: getattr(record, name) for name in ("directories", "files", "symlinks", "others", "damaged")}
            data = sealer.finish(counts | {"size": record.size})
        else:
            data = sealer.add_raw(len(raw).to_bytes(2, "big") + raw)
        ctx.store.pwrite(fd, data, at)
        at += len(data)
