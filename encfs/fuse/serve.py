"""Serving one mount from first request to the CLEAN record.

Owns: the main loop, signals, the order of the end: no more requests, everything on the disk, keys gone, then the
word to whoever asked, and why it ended to this host's memory. Must not know: how the process was started
(``daemon.py``), what makes a mount end by itself (``idle.py``, ``logind.py``, ``medium.py``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict

import pyfuse3
import trio

from encfs.errors import CloakfsError, LowerIOError, MountBusyError, MountpointError
from encfs.fuse import removal
from encfs.fuse.control import ControlServer, Reply
from encfs.fuse.errnos import logger
from encfs.fuse.file_events import FileObserver
from encfs.fuse.idle import IdleWatch
from encfs.fuse.logind import LogindWatch
from encfs.fuse.mount import MountOptions, libfuse_options, mount_as_root, raise_read_ahead, unmount
from encfs.fuse.operations import Operations
from encfs.fuse.polling import Poller
from encfs.fuse.rotating import Rotating
from encfs.fuse.state import MountState
from encfs.locking import LockReason, MountJournal
from encfs.memory import leftovers, process, swap
from encfs.volume.sessions import as_dict
from encfs.volume.volume import Volume

# When no descriptor is left for a connection, programs get time to give some back.
_ACCEPT_PAUSE_SECONDS = 0.2
_REMEMBER_SECONDS = 60.0
_DROP_SECONDS = 2.0
_MOVES_SECONDS = 1.0
# After one that could not be written: a disk that is full stays so for a while.
_MOVES_PAUSE_SECONDS = 10.0


async def aside(work: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Work beside the requests: a fault in it is logged, and programs keep the mount."""
    try:
        await work(*arguments)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it may not end the mount
        logger.error("unexpected error beside the requests; this is not done any more", exc_info=exc)


class MountServer:
    """One mounted volume in this process. ``locks``: who records what happens to it, and why it ended."""

    def __init__(self, volume: Volume, options: MountOptions, locks: MountJournal | None) -> None:
        self._volume = volume
        self._options = options
        self._locks = locks
        self._since = int(time.time())
        self._events_told = 0
        poller = Poller()
        poller.install()
        self._state = MountState(volume, poller)
        self._rotating = Rotating(self._state, locks)
        self._control = ControlServer(self._state, self._describe, self._lock, self._rotating)
        self._idle = None if options.idle is None else IdleWatch(options.idle, self._uses, self._lock_idle)
        self._logind = LogindWatch(self._lock_now, os.getuid())
        self._attached = False
        self._failed = True
        self._taking_off = trio.Lock()
        self._is_off = False
        self._reason: LockReason | None = None

    def run(self, ready: Callable[[], None]) -> None:
        """Mount, call ``ready`` when requests are answered, serve until unmounted, close the volume.

        Raises:
            MountpointError: mounting failed; the volume is closed.
            LowerIOError: the volume could not be closed cleanly.
        """
        failure: CloakfsError | None = None
        self._begin_journal()
        try:
            self._attach()
            trio.run(self._main, ready)
            self._failed = False
        finally:
            try:
                self._close()
            except CloakfsError as exc:
                failure = exc
            self._end_journal(failed=self._failed or failure is not None)
            trio.run(self._control.tell_locked, failure)
            self._logind.release()
        if failure is not None:
            raise failure

    def _begin_journal(self) -> None:
        journal = self._locks
        if journal is not None:
            journal.started()
            if journal.files is not None:
                self._state.events = FileObserver(self._state.tree, journal.files)
                journal.files.begin()

    def _end_journal(self, *, failed: bool) -> None:
        journal = self._locks
        if journal is not None:
            if journal.files is not None:
                journal.files.end()
            self._rotating.tell_interrupted()
            if not self._failed:
                self._tell_journal(journal)
                journal.locked(self._why())
            journal.stopped(failed=failed)

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
            nursery.start_soon(aside, self._remember)
            nursery.start_soon(aside, self._keep_journal)
            nursery.start_soon(self._settle_moves)
            nursery.start_soon(aside, self._rotating.serve)
            nursery.start_soon(self._watch_medium)
            nursery.start_soon(aside, removal.watch, self._state.medium.look)
            nursery.start_soon(aside, self._logind.watch)
            if self._idle is not None:
                nursery.start_soon(aside, self._idle.watch)
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
        if self._locks is not None:
            await trio.to_thread.run_sync(self._locks.mounted)
        ready()
        if self._volume.rollback is not None:
            logger.warning("rollback: the volume is older than what this host has seen: %s", self._volume.rollback)
        self._tell_of_memory()
        logger.info("mounted volume=%s read_only=%s", self._volume.config.volume_id.hex(), self._volume.ctx.read_only)

    @staticmethod
    def _tell_of_memory() -> None:
        exposed = [os.fsdecode(one.path) for one in swap.swaps() if one.is_exposed]
        if exposed:
            logger.warning("swap is not encrypted, or cannot be looked at: %s", ", ".join(exposed))
        if not process.is_locked():
            logger.warning("memory is not locked: RLIMIT_MEMLOCK is not unlimited")

    async def _remember(self) -> None:
        """Now and then what this host remembers goes to its disk, so that a crash costs little of it."""
        memory = self._volume.memory
        while memory is not None:
            await trio.sleep(_REMEMBER_SECONDS)
            await trio.to_thread.run_sync(memory.flush)

    async def _keep_journal(self) -> None:
        while self._locks is not None:
            await trio.sleep(_REMEMBER_SECONDS)
            await trio.to_thread.run_sync(self._tell_journal, self._locks)

    def _tell_journal(self, journal: MountJournal) -> None:
        ctx = self._volume.ctx
        count, latest = ctx.events - self._events_told, list(ctx.latest_events)
        self._events_told += count
        told = latest[max(0, len(latest) - count) :] if count else []
        journal.meanwhile(told, count - len(told))

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
            logger.info("signal %d", number)
            # Ctrl-C in the foreground is somebody's wish.
            await self._lock_now(LockReason.ASKED if number == signal.SIGINT else LockReason.SIGNAL)

    async def _watch_medium(self) -> None:
        await self._state.medium.watch()
        if self._locks is not None:
            await trio.to_thread.run_sync(self._locks.locked, self._why(), abandon_on_cancel=True)

    def _why(self) -> LockReason:
        """Where the medium went away the keys went with it, however the mount then ends."""
        return LockReason.MEDIUM_GONE if self._state.medium.gone else self._reason or LockReason.UNMOUNTED

    async def _lock_now(self, reason: LockReason) -> None:
        """Lock whoever uses the mount; what they have written is saved. Where that fails the log says so."""
        try:
            await self._lock(True, reason)  # noqa: FBT003 - as the control socket calls it
        except OSError as exc:
            logger.error("locking failed: errno %s", exc.errno)

    def _uses(self) -> int:
        return self._state.uses

    async def _lock_idle(self, force: bool) -> None:  # noqa: FBT001 - a callback
        await self._lock(force, LockReason.IDLE)

    async def _lock(self, force: bool, reason: LockReason) -> None:  # noqa: FBT001 - a callback
        """Take the mount off; :func:`pyfuse3.main` then returns. Who comes second waits for the first.

        Raises:
            MountBusyError: programs use it, and ``force`` is false.
        """
        # Shielded: the first one's success cancels whoever waits, who has been served by it.
        with trio.CancelScope(shield=True):
            await self._taking_off.acquire()
        try:
            if not self._is_off:
                await self._take_off(force=force)
                self._is_off = True
                self._reason = reason
                logger.info("locking: %s", reason)
        finally:
            self._taking_off.release()

    async def _take_off(self, *, force: bool) -> None:
        mountpoint = self._options.mountpoint
        # In threads that requests do not share: those may all be waiting for a medium that hangs.
        try:
            await trio.to_thread.run_sync(unmount, mountpoint)
        except MountBusyError:
            if not force:
                raise
            await trio.to_thread.run_sync(self._write_back)
            await trio.to_thread.run_sync(lambda: unmount(mountpoint, detach=True))
            if not self._state.medium.gone:
                # Else whoever has a file open could go on reading what the kernel has of it. It waits for reads that
                # are under way, which a medium that hangs never ends.
                with trio.move_on_after(_DROP_SECONDS):
                    await self._state.medium.drop_from_kernel()
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
            "elsewhere": [as_dict(one) for one in volume.elsewhere],
            "rotation": self._describe_rotation(),
            "memory_locked": process.is_locked(),
            "medium": "gone" if self._state.medium.gone else "present",
            "idle": None
            if self._idle is None
            else {
                "seconds": self._idle.rule.seconds,
                "when_open": self._idle.rule.when_open,
                "held": self._idle.held,
            },
            "lock_on": list(self._logind.reasons),
        }

    def _describe_rotation(self) -> Reply | None:
        """The rotation that is under way, with how far it is; None if there is none."""
        config, progress = self._volume.config, self._rotating.progress
        if not config.rotating:
            return None
        latest = config.rotations[-1]
        return {
            "epoch": latest.epoch,
            "reason": str(latest.reason),
            "data": config.data_epoch > 0,
            "started": latest.started,
            "progress": None if progress is None else asdict(progress),
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
            finally:
                leftovers.overwrite()
        logger.info("locked volume=%s", self._volume.config.volume_id.hex())
