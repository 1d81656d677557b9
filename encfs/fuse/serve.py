"""Serving one mount from first request to the CLEAN record.

Owns: the main loop, signals, the order of the end: no more requests, everything on the disk, keys gone, then the
word to whoever asked. Must not know: how the process was started (``daemon.py``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pyfuse3
import trio

from encfs.errors import CloakfsError, LowerIOError, MountBusyError, MountpointError
from encfs.fuse.control import ControlServer, Reply
from encfs.fuse.errnos import logger
from encfs.fuse.mount import MountOptions, libfuse_options, mount_as_root, raise_read_ahead, unmount
from encfs.fuse.operations import Operations
from encfs.fuse.polling import Poller
from encfs.fuse.state import MountState
from encfs.volume.volume import Volume

# When no descriptor is left for a connection, programs get time to give some back.
_ACCEPT_PAUSE_SECONDS = 0.2
_REMEMBER_SECONDS = 60.0
_MOVES_SECONDS = 1.0
# After one that could not be written: a disk that is full stays so for a while.
_MOVES_PAUSE_SECONDS = 10.0


class MountServer:
    """One mounted volume in this process."""

    def __init__(self, volume: Volume, options: MountOptions) -> None:
        self._volume = volume
        self._options = options
        self._since = int(time.time())
        poller = Poller()
        poller.install()
        self._state = MountState(volume, poller)
        self._control = ControlServer(self._state, self._describe, self._lock)
        self._attached = False
        self._failed = True

    def run(self, ready: Callable[[], None]) -> None:
        """Mount, call ``ready`` when requests are answered, serve until unmounted, close the volume.

        Raises:
            MountpointError: mounting failed; the volume is closed.
            LowerIOError: the volume could not be closed cleanly.
        """
        failure: CloakfsError | None = None
        try:
            self._attach()
            trio.run(self._main, ready)
            self._failed = False
        finally:
            try:
                self._close()
            except CloakfsError as exc:
                failure = exc
            trio.run(self._control.tell_locked, failure)
        if failure is not None:
            raise failure

    def _attach(self) -> None:
        operations = Operations(self._state)
        try:
            if os.geteuid() == 0:
                fd = mount_as_root(self._options)
                pyfuse3.init(operations, f"/dev/fd/{fd}", {"default_permissions"})
            else:
                pyfuse3.init(operations, self._options.mountpoint, libfuse_options(self._options))
        except RuntimeError as exc:
            raise MountpointError(
                f"mounting on {self._options.mountpoint} failed",
                hint="With --allow-other an ordinary user needs user_allow_other in /etc/fuse.conf."
                if self._options.allow_other
                else "",
            ) from exc
        self._attached = True

    async def _main(self, ready: Callable[[], None]) -> None:
        # The receiver is there before the first request is answered: whoever sees the mount may end it.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            await self._serve(ready, signals)

    async def _serve(self, ready: Callable[[], None], signals: AsyncIterator[int]) -> None:
        async with trio.open_nursery() as nursery:
            listener = self._control.listen()
            nursery.start_soon(self._serve_control, listener)
            nursery.start_soon(self._end_on, signals)
            nursery.start_soon(self._remember)
            nursery.start_soon(self._settle_moves)
            nursery.start_soon(self._state.medium.watch)
            nursery.start_soon(self._announce, ready)
            await pyfuse3.main()
            self._control.remove()
            nursery.cancel_scope.cancel()

    async def _serve_control(self, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as exc:
                    logger.error("control socket: errno %s", exc.errno)
                    await trio.sleep(_ACCEPT_PAUSE_SECONDS)
                    continue
                nursery.start_soon(self._control.serve, stream)

    async def _announce(self, ready: Callable[[], None]) -> None:
        """The mount answers when a request has come back."""
        await trio.to_thread.run_sync(os.stat, self._options.mountpoint)
        # In a thread, like every call on our own mount: it may need an answer from this loop.
        await trio.to_thread.run_sync(raise_read_ahead, self._options.mountpoint)
        ready()
        if self._volume.rollback is not None:
            logger.warning("rollback: the volume is older than what this host has seen: %s", self._volume.rollback)
        logger.info("mounted volume=%s read_only=%s", self._volume.config.volume_id.hex(), self._volume.ctx.read_only)

    async def _remember(self) -> None:
        """Now and then what this host remembers goes to its disk, so that a crash costs little of it."""
        memory = self._volume.memory
        while memory is not None:
            await trio.sleep(_REMEMBER_SECONDS)
            await trio.to_thread.run_sync(memory.flush)

    async def _settle_moves(self) -> None:
        """The header of a renamed file names its new place after a second (FORMAT.md section 11)."""
        moves, wanted = self._volume.tree.moves, trio.Event()

        def want() -> None:
            wanted.set()

        moves.on_first = want
        while True:
            await wanted.wait()
            wanted = trio.Event()
            while (oldest := moves.oldest()) is not None and not self._state.medium.gone:
                await trio.sleep(max(0.0, oldest[1] + _MOVES_SECONDS - time.monotonic()))
                try:
                    await self._state.settle_moves(older_than=_MOVES_SECONDS)
                except OSError as exc:
                    logger.error("the header of a renamed file could not be written: errno %s", exc.errno)
                    self._state.medium.suspect(exc)
                    await trio.sleep(_MOVES_PAUSE_SECONDS)

    async def _end_on(self, signals: AsyncIterator[int]) -> None:
        """A service manager's stop is a forced lock: everything is written, programs lose the mount."""
        async for number in signals:
            logger.info("locking on signal %d", number)
            try:
                await self._lock(force=True)
            except OSError as exc:
                logger.error("locking failed: errno %s", exc.errno)

    async def _lock(self, force: bool) -> None:  # noqa: FBT001 - a callback
        """Take the mount off; :func:`pyfuse3.main` then returns.

        Raises:
            MountBusyError: programs use it, and ``force`` is false.
        """
        mountpoint = self._options.mountpoint
        # In threads that requests do not share: those may all be waiting for a medium that hangs.
        try:
            await trio.to_thread.run_sync(unmount, mountpoint)
        except MountBusyError:
            if not force:
                raise
            await trio.to_thread.run_sync(self._write_back)
            await trio.to_thread.run_sync(lambda: unmount(mountpoint, detach=True))
            self._state.poller.end()
            pyfuse3.terminate()

    def _write_back(self) -> None:
        """Push what the kernel still holds of the mount down to us. Without a medium there is nowhere to push it."""
        try:
            self._sync_mount()
        except OSError as exc:
            logger.error("writing back before a forced lock: errno %s", exc.errno)

    def _sync_mount(self) -> None:
        fd = os.open(self._options.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._volume.ctx.store.syncfs(fd)
        finally:
            os.close(fd)

    def _describe(self) -> Reply:
        volume, options = self._volume, self._options
        recovery = volume.recovery
        return {
            "volume": options.volume,
            "volume_id": volume.config.volume_id.hex(),
            "mountpoint": options.mountpoint,
            "pid": os.getpid(),
            "uid": os.getuid(),
            "since": self._since,
            "read_only": volume.ctx.read_only,
            "allow_other": options.allow_other,
            "cell_size": volume.config.cell_size,
            "config_digest": volume.config_digest.hex(),
            "slots": [
                {"id": slot.id.hex(), "kind": str(slot.kind), "label": slot.label} for slot in volume.config.slots
            ],
            "session": "read-only" if volume.ctx.read_only else "open",
            "recovery": None
            if recovery is None
            else {"objects": recovery.objects, "repaired": recovery.repaired, "failed": recovery.failed},
            "open_files": len(volume.tree.open_nodes()),
            "known_inodes": len(volume.tree.nodes),
            "integrity_events": volume.ctx.events,
            "host_memory": None if volume.memory is None else volume.memory.state,
            "rollback": volume.rollback,
            "medium": "gone" if self._state.medium.gone else "present",
        }

    def _close(self) -> None:
        try:
            if self._attached:
                pyfuse3.close(unmount=os.geteuid() != 0)
                if self._failed:
                    unmount(self._options.mountpoint, detach=True)
        finally:
            try:
                self._volume.close()
            except OSError as exc:
                raise LowerIOError(f"the volume could not be closed cleanly: {exc.strerror}") from exc
        logger.info("locked volume=%s", self._volume.config.volume_id.hex())
