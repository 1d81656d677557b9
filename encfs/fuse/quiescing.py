"""Bringing what programs wrote onto the lower files while they go on (docs/control.md; FORMAT.md section 18).

Owns: which files are settled, in which order, and which of them the kernel may still hold something of. Must not
know: who asks, what is done with the lower files then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from encfs.errors import DataError
from encfs.fuse.state import MountState
from encfs.volume.node import Node
from encfs.volume.tree import Tree

# So many files are settled before other requests get a turn: about a millisecond of work.
_FILES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Writing:
    """A file that programs have open for writing: the kernel may hold what they wrote, or be just sending it.

    Attributes:
        inode: as stat(2) shows it.
        path: the plain path from the root of the volume.
    """

    inode: int
    path: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Quiesced:
    """What was done.

    Attributes:
        settled: files whose lower file was brought in line.
        durable: everything below is on the medium.
        session: of this mount (FORMAT.md section 11); empty if none is recorded.
        config_seq: the generation of the config.
        refused_writes: since the mount was made.
        writing: files that are open for writing.
    """

    settled: int
    durable: bool
    session: bytes
    config_seq: int
    refused_writes: int
    writing: tuple[Writing, ...] = field(repr=False)


async def quiesce(state: MountState, *, durable: bool) -> Quiesced:
    """Bring every lower file in line with what its mount was told of it before this call.

    Each file is settled between two requests for it; nobody waits for the medium. Done twice with nothing written in
    between, it writes nothing the second time.

    Args:
        state: the mount.
        durable: bring it to the medium too; no program waits for that either.

    Raises:
        OSError: a header or a size could not be written; all others were settled all the same.
    """
    failure: OSError | None = None
    settled = len(state.tree.moves)
    try:
        await state.settle_moves()
    except OSError as exc:
        failure = exc
    for count, node in enumerate(state.tree.open_nodes(), start=1):
        try:
            settled += await _settle(state, node)
        except OSError as exc:
            failure = failure or exc
        if count % _FILES_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    if failure is not None:
        raise failure
    volume = state.volume
    writing = _writing(state)
    if durable and not volume.ctx.read_only:
        await state.thread(lambda: volume.ctx.store.syncfs(volume.root_fd))
    return Quiesced(settled, durable, bytes(volume.ctx.session), volume.config.seq, state.refused_writes, writing)


async def _settle(state: MountState, node: Node) -> bool:
    file = node.file
    if file is None:
        return False
    if state.needs_turn(file):
        await state.turn(file)
    if node.file is not file or node.ghost is not None or not file.writable or not file.dirty:
        return False  # Closed meanwhile, which settled it; or deleted, and no name leads to it.
    file.settle()
    return True


def _writing(state: MountState) -> tuple[Writing, ...]:
    found = {state.files[handle] for handle in state.writers}
    named = ((node, _path(state.tree, node)) for node in found if node.ghost is None)
    return tuple(sorted((Writing(node.inode, path) for node, path in named if path), key=lambda one: one.inode))


def _path(tree: Tree, node: Node) -> bytes:
    """From the root of the volume; empty where no name leads to it, or one on the way is damaged."""
    names: list[bytes] = []
    while node is not tree.root:
        if node.parent is None:
            return b""
        try:
            names.append(tree.read_name(node.parent, node.lower_name))
        except (DataError, OSError):
            return b""
        node = node.parent
    return b"/".join(reversed(names))
