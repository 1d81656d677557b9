"""What all request handlers share: the volume, handles, attribute replies, and turns on one file.

Owns: file and directory handles, who may use an open file while a thread works on it. Must not know: what requests do.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileHandleT, InodeT, ModeT

from encfs.fuse.file_events import FileObserver
from encfs.fuse.medium import MediumWatch
from encfs.fuse.polling import Poller
from encfs.units import LowerName
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.volume import Volume

_T = TypeVar("_T")

# This mount is the only writer of the volume (an exclusive lock says so), so the kernel may keep what it knows.
CACHE_SECONDS = 3600.0
# A write that took this long inline has blocked every other request: the medium is slow, and writes move to threads ...
_SLOW_WRITE_SECONDS = 0.02
# ... for this long, after which one is tried inline again.
_SLOW_PERIOD_SECONDS = 5.0
# Headers of renamed files that are written before others get a turn: about a millisecond of work.
_MOVES_AT_ONCE = 8
_THREADS = 16


class DirectoryHandle:
    """An open directory: the entries as they were when it was (re)wound, so positions stay true."""

    __slots__ = ("entries", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries: list[LowerName] | None = None


class MountState:
    """One mounted volume, as the request handlers see it.

    Attributes:
        uses: how often programs have used the mount, by requests or by asking for long work on it.
        refused_writes: how many writes of the kernel have failed: what it had kept of a file may be lost.
        events: who is told what programs do with files; None where the policy of the volume does not want it.
    """

    def __init__(self, volume: Volume, poller: Poller) -> None:
        self.volume = volume
        self.tree = volume.tree
        self.poller = poller
        self.medium = MediumWatch(volume)
        self.uses = 0
        self.refused_writes = 0
        self.events: FileObserver | None = None
        self.files: dict[int, Node] = {}
        self.writers: set[int] = set()  # the handles in ``files`` that may write
        self.directories: dict[int, DirectoryHandle] = {}
        self.told_wrong_size: set[int] = set()  # inodes that the kernel has not looked up since
        self._next_handle = 0
        self._busy: dict[OpenFile, tuple[trio.Event, bool]] = {}
        self._slow_until = 0.0
        self._limiter = trio.CapacityLimiter(_THREADS)

    # -- nodes and attributes ------------------------------------------------------------------------

    def node(self, inode: InodeT) -> Node:
        """Raises: FUSEError(ESTALE) for a number that was given back."""
        node = self.tree.nodes.get(inode)
        if node is None:
            raise pyfuse3.FUSEError(errno.ESTALE)
        return node

    def entry(self, node: Node, stat: os.stat_result) -> EntryAttributes:
        """The reply for an object."""
        tree = self.tree
        e = EntryAttributes()
        e.st_ino = InodeT(node.inode)
        e.generation = node.generation
        e.entry_timeout = CACHE_SECONDS
        e.attr_timeout = CACHE_SECONDS
        e.st_mode = ModeT(tree.plain_mode(node, stat))
        e.st_nlink = tree.plain_links(node, stat)
        e.st_uid = stat.st_uid
        e.st_gid = stat.st_gid
        e.st_rdev = stat.st_rdev
        e.st_size = tree.plain_size(node, stat)
        e.st_blksize = 131072
        e.st_blocks = stat.st_blocks
        e.st_atime_ns = stat.st_atime_ns
        e.st_mtime_ns = stat.st_mtime_ns
        e.st_ctime_ns = stat.st_ctime_ns
        return e

    def new_handle(self) -> FileHandleT:
        """A number no open file or directory has."""
        self._next_handle += 1
        return FileHandleT(self._next_handle)

    # -- threads and turns ---------------------------------------------------------------------------------

    async def thread(self, function: Callable[[], _T]) -> _T:
        """Run a call that may wait for the medium in a thread."""
        self.poller.thread_out(1)
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        finally:
            self.poller.thread_out(-1)

    @asynccontextmanager
    async def nobody_at_work(self) -> AsyncIterator[None]:
        """Inside, no call into the volume is under way in a thread. Nothing in there may wait."""
        tokens = [object() for _ in range(_THREADS)]
        taken: list[object] = []
        try:
            for token in tokens:
                await self._limiter.acquire_on_behalf_of(token)
                taken.append(token)
            yield
        finally:
            for token in taken:
                self._limiter.release_on_behalf_of(token)

    async def turn(self, file: OpenFile, *, reading: bool = False) -> None:
        """Wait until no thread works on ``file`` in a way that forbids this use of it."""
        while (busy := self._busy.get(file)) is not None and not (reading and busy[1]):
            await busy[0].wait()

    async def turn_at(self, *places: tuple[Node, bytes]) -> None:
        """:meth:`turn` of the files that have these names, whose headers are about to be rewritten."""
        while (file := self._busy_at(places)) is not None:
            await self.turn(file)

    def _busy_at(self, places: tuple[tuple[Node, bytes], ...]) -> OpenFile | None:
        if self._busy:
            for parent, name in places:
                found = self.tree.find(parent, name)
                node = None if found is None else self.tree.nodes.find(found.stat.st_ino)
                if node is not None and node.file in self._busy:
                    return node.file
        return None

    def needs_turn(self, file: OpenFile) -> bool:
        """Whether :meth:`turn` would have to look; false costs no trip through the scheduler."""
        return bool(self._busy) and file in self._busy

    async def thread_on(self, file: OpenFile, function: Callable[[], _T], *, readers_go_on: bool = False) -> _T:
        """Run a call on ``file`` in a thread while nobody else uses the file (readers may, if told so)."""
        await self.turn(file)
        event = trio.Event()
        self._busy[file] = (event, readers_go_on)
        try:
            return await self.thread(function)
        finally:
            del self._busy[file]
            event.set()

    # -- renamed files ------------------------------------------------------------------------------------

    async def settle_moves(self, *, older_than: float = 0.0) -> None:
        """Bring the headers of renamed files in line, of those that have waited ``older_than`` seconds.

        Raises:
            OSError: as :meth:`~encfs.volume.moves.Moves.write`.
        """
        moves, done = self.tree.moves, 0
        while (oldest := moves.oldest()) is not None and oldest[1] + older_than <= time.monotonic():
            node = oldest[0]
            if node.file is not None:
                await self.turn(node.file)
            moves.write(node)
            done += 1
            if done % _MOVES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def writes_are_slow(self) -> bool:
        """Whether the medium has just shown that a write can block."""
        return self._slow_until > 0.0 and time.monotonic() < self._slow_until

    def note_write_time(self, seconds: float) -> None:
        """Learn from how long a write took inline."""
        if seconds > _SLOW_WRITE_SECONDS:
            self._slow_until = time.monotonic() + _SLOW_PERIOD_SECONDS
