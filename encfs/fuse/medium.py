"""What a mount does when the medium below it goes away.

Owns: noticing it, once; then no request reaches the volume any more, the keys go, the kernel forgets what it holds.
Must not know: how the medium is asked (``encfs/volume/medium.py``), how the mount ends.

It is noticed when the kernel says that a disk was taken out, or at the first request that the medium fails, so an idle
mount costs nothing. The mount stays until it is locked: without it programs would write plain text into the bare mount
point.
"""

from __future__ import annotations

from errno import ENOENT
from typing import Final

import pyfuse3
import trio
from pyfuse3 import InodeT

from encfs.fuse.errnos import logger
from encfs.memory import leftovers
from encfs.volume.medium import may_be_gone
from encfs.volume.volume import Volume

# After the medium has answered: errors of one bad sector, read again and again, do not ask it each time.
_PAUSE_SECONDS: Final = 1.0


class MediumWatch:
    """Watches the medium of one mount.

    Attributes:
        gone: it went away; every request ends with EIO.
    """

    def __init__(self, volume: Volume) -> None:
        self.gone = False
        self._volume = volume
        self._wanted = trio.Event()
        # Of its own: threads that wait for the medium may have taken all others.
        self._limiter = trio.CapacityLimiter(1)

    def suspect(self, failure: BaseException) -> None:
        """A request has failed. The question is put elsewhere: the request need not wait for the answer."""
        if may_be_gone(failure):
            self.look()

    def look(self) -> None:
        """Have the medium asked, soon."""
        self._wanted.set()

    async def watch(self) -> None:
        """Ask the medium whenever something is suspect; returns when it is gone and the keys are dropped."""
        while not self.gone:
            await self._wanted.wait()
            self._wanted = trio.Event()
            asked = self._volume.medium_is_gone
            # Where the medium hangs instead of failing, the end of the mount does not wait for it.
            if await trio.to_thread.run_sync(asked, limiter=self._limiter, abandon_on_cancel=True):
                await self._lose()
            else:
                await trio.sleep(_PAUSE_SECONDS)

    async def _lose(self) -> None:
        self.gone = True
        self._volume.lose_medium()
        leftovers.overwrite()
        logger.critical("medium gone volume=%s", self._volume.config.volume_id.hex())
        await self.drop_from_kernel()

    async def drop_from_kernel(self) -> None:
        """Let the kernel forget the plain content and attributes that it holds of the mount."""
        known = [InodeT(node.inode) for node in self._volume.tree.nodes]
        # In a thread: the kernel may want to write dirty pages first, which the main loop has to answer.
        await trio.to_thread.run_sync(_drop_from_kernel, known, abandon_on_cancel=True)


def _drop_from_kernel(inodes: list[InodeT]) -> None:
    for inode in inodes:
        try:
            pyfuse3.invalidate_inode(inode)
        except OSError as exc:
            if exc.errno != ENOENT:
                return  # The connection is at its end, and with it all that the kernel held.
