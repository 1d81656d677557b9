"""What a retired epoch still seals: every lower file is looked at, whether or not names lead to it.

Owns: the walk over lower directories, and telling what opens from what is damaged. Must not know: plain names, the
tree, what is done about it.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from encfs.core import frames
from encfs.errors import DataError, FormatError
from encfs.format.frame import Frame, FrameKind, parse_frame
from encfs.format.limits import CHECKPOINTS_NAME, FRAME_SIZE, TEMP_PREFIX
from encfs.volume.checkpoint import checkpoint_names, open_named
from encfs.volume.context import Context

_OPEN = {
    FrameKind.FILE: frames.open_header,
    FrameKind.SYMLINK: frames.open_header,
    FrameKind.DIRECTORY: frames.open_directory,
    FrameKind.SESSION: frames.open_session,
}


@dataclass(slots=True)
class Census:
    """How many headers, records and checkpoints name a retired epoch.

    Attributes:
        sealed: they open under it: its key is still needed.
        damaged: they do not open, under any key.
        unread: could not be read, or not listed; what they name is not known.
    """

    sealed: int = 0
    damaged: int = 0
    unread: int = 0


def take_census(ctx: Context, root_fd: int, retired: Collection[int]) -> Census:
    """Look at every lower file, once under whatever names, but unfinished ones (``cloakfs.t.…``), which are nobody's.

    Any thread may do it.
    """
    census = Census()
    seen: set[int] = set()
    device = ctx.store.fstat(root_fd).st_dev
    _look_at_checkpoints(ctx, root_fd, retired, census)
    pending = [ctx.store.open_directory(root_fd, b".")]
    try:
        while pending:
            dirfd = pending.pop()
            try:
                _look_into(ctx, dirfd, device, retired, census, pending, seen)
            finally:
                ctx.store.close(dirfd)
    finally:
        for dirfd in pending:
            ctx.store.close(dirfd)
    return census


def _look_into(
    ctx: Context,
    dirfd: int,
    device: int,
    retired: Collection[int],
    census: Census,
    pending: list[int],
    seen: set[int],
) -> None:
    store = ctx.store
    try:
        names = store.list(dirfd)
    except OSError:
        census.unread += 1
        return
    for name in names:
        if name.startswith(TEMP_PREFIX):
            continue
        try:
            stat = store.stat(dirfd, name)
            if stat_module.S_ISDIR(stat.st_mode) and stat.st_dev == device:
                if name != CHECKPOINTS_NAME:
                    pending.append(store.open_directory(dirfd, name))
            elif stat_module.S_ISREG(stat.st_mode) and stat.st_size >= FRAME_SIZE:
                if stat.st_nlink > 1:
                    if stat.st_ino in seen:
                        continue
                    seen.add(stat.st_ino)
                _look_at(ctx, _read(ctx, dirfd, name), retired, census)
        except FileNotFoundError:
            continue  # Removed since it was listed.
        except OSError:
            census.unread += 1


def _read(ctx: Context, dirfd: int, name: bytes) -> bytes:
    store = ctx.store
    try:
        fd = store.open(dirfd, name, os.O_RDONLY)
    except PermissionError:
        fd = store.open_writable(dirfd, name)  # Its owner may have taken the right to read away.
    try:
        return store.pread(fd, FRAME_SIZE, 0)
    finally:
        store.close(fd)


def _look_at(ctx: Context, raw: bytes, retired: Collection[int], census: Census) -> None:
    frame = _frame_of(raw)
    if frame is None or frame.epoch not in retired:
        return
    try:
        _OPEN[frame.kind](ctx.ring, raw)
    except DataError:
        census.damaged += 1
    else:
        census.sealed += 1


def _frame_of(raw: bytes) -> Frame | None:
    with suppress(FormatError):
        return parse_frame(raw)[0]
    return None


def _look_at_checkpoints(ctx: Context, root_fd: int, retired: Collection[int], census: Census) -> None:
    for name in checkpoint_names(ctx.store, root_fd):
        try:
            with open_named(ctx, root_fd, name) as found:
                if found.head.epoch in retired:
                    for _ in found.records():
                        pass
                    census.sealed += 1
        except DataError:
            census.damaged += 1
        except OSError:
            census.unread += 1
