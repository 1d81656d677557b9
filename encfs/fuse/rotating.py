"""The rotation of a mounted volume, in the background, while programs go on (FORMAT.md section 14).

Owns: when a run begins and begins again, how much of the time it takes, and who is told of it. Must not know: what a
run does (``encfs/volume/rotation.py``), the wire.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from encfs.errors import CloakfsError, LowerIOError, VolumeInUseError
from encfs.fuse.errnos import logger
from encfs.fuse.state import MountState
from encfs.happenings import RotationJournal
from encfs.memory import leftovers
from encfs.volume.rotation import Outcome, Rotator, Step
from encfs.volume.rotation_told import RotationTale, Told
from encfs.volume.steps import Alone, Turn, Waiting
from encfs.volume.verify import Progress

# A run that could not end (the medium refused, somebody is changing the keys) is tried again after this.
_AGAIN_SECONDS = 60.0
# Whoever changes the keys hands them over, or lets go of them, in less (two Argon2id runs); a run that ends just then
# is not a failure yet.
_HANDOVER_SECONDS = 10.0
_TELL_SECONDS = 0.1
# After each step so much of the time that it took is left to programs.
_REST_PER_WORK = 1.0
_WAITING_NEWS = 64

News = Progress | Outcome | CloakfsError


class Rotating:
    """One for each mount."""

    def __init__(self, state: MountState, journal: RotationJournal | None = None) -> None:
        self._state = state
        self._journal = journal
        self._tale: RotationTale | None = None
        self._begun_here = 0
        self._volume = state.volume
        self._wanted = trio.Event()
        self._listeners: set[trio.MemorySendChannel[News]] = set()
        self.progress: Progress | None = None

    async def begin(self, epoch: int, key: bytes, config_key: bytes) -> None:
        """Go on under a new epoch, which the config on the disk has already, and bring everything under it.

        Raises:
            ConfigError: the config is not of this epoch.
            ReadOnlyError: the volume is not open for writing.
        """
        self._volume.ctx.require_writable()
        async with self._state.nobody_at_work():
            self._volume.begin_epoch(epoch, key, config_key)
        self._begun_here = epoch
        logger.info("rotation: epoch %d begins", epoch)
        self._wanted.set()

    async def serve(self) -> None:
        """Runs as long as the mount; goes on with what an earlier mount has begun."""
        if not self._volume.ctx.read_only:
            self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            handover = False
            while self._volume.config.rotating and not self._state.medium.gone:
                handover = await self._once(patient=not handover)
                if self._volume.config.rotating:
                    with trio.move_on_after(_HANDOVER_SECONDS if handover else _AGAIN_SECONDS):
                        await self._wanted.wait()
                        self._wanted = trio.Event()
            # No key of an old epoch is left, neither in memory that is free.
            leftovers.overwrite()

    async def _once(self, *, patient: bool) -> bool:
        """One run, and the word on how it went; none where another rotation has begun meanwhile, which ends both.

        Args:
            patient: somebody who is changing the keys at its end is waited for, without a word.

        Returns:
            Whether that is so.
        """
        rotator, tale = Rotator(self._volume), self._tale_now()
        try:
            await self._record(tale.begun())
            await self._drive(rotator, tale)
        except VolumeInUseError as exc:
            if patient:
                logger.info("rotation: %s; it goes on after that", exc)
                return True
            await self._failed(exc, tale)
        except CloakfsError as exc:
            await self._failed(exc, tale)
        except OSError as exc:
            await self._failed(LowerIOError(f"the backing store says: {exc.strerror}"), tale)
        except Exception as exc:  # noqa: BLE001 - a fault here may not end the mount
            if not self._state.medium.gone:  # Else the keys went in the middle of it.
                logger.error("rotation: unexpected error", exc_info=exc)
                await self._failed(CloakfsError("internal error; see the log"), tale)
        else:
            assert rotator.outcome is not None
            logger.info("rotation: %s", rotator.outcome)
            await self._record(tale.ended(rotator.outcome) if self._is_current(tale) else tale.superseded())
            self._tell_end(rotator.outcome, tale)
        finally:
            self.progress = None
        return False

    async def _failed(self, exc: CloakfsError, tale: RotationTale) -> None:
        logger.error("rotation: %s; it is tried again", exc)
        await self._record(tale.failed(exc) if self._is_current(tale) else tale.superseded())
        self._tell_end(exc, tale)

    def _is_current(self, tale: RotationTale) -> bool:
        return self._volume.config.active.epoch == tale.epoch

    def _tell_end(self, news: Outcome | CloakfsError, tale: RotationTale) -> None:
        """How a run for an epoch ended. What it left under that epoch is the next run's, where another has begun."""
        if self._is_current(tale):
            self._tell(news)

    # -- the record ------------------------------------------------------------------------------------------

    def _tale_now(self) -> RotationTale:
        epoch = self._volume.config.active.epoch
        if self._tale is None or self._tale.epoch != epoch:
            self._tale = RotationTale(self._volume, again=epoch != self._begun_here)
        return self._tale

    async def _record(self, told: Told | None) -> None:
        if told is not None and self._journal is not None:
            await trio.to_thread.run_sync(self._journal.rotation, *told)

    def tell_interrupted(self) -> None:
        """The mount has ended: a run that was under way goes on with the next one."""
        told = None if self._tale is None else self._tale.interrupted()
        if told is not None and self._journal is not None:
            self._journal.rotation(*told)

    # -- a run -----------------------------------------------------------------------------------------------

    async def _drive(self, rotator: Rotator, tale: RotationTale) -> None:
        steps, told = rotator.run(), 0.0
        try:
            while True:
                started = time.perf_counter()
                step = next(steps, None)
                if step is None:
                    return
                await self._do(step)
                if isinstance(step, Progress):
                    await self._record(tale.on_the_way(step))
                if isinstance(step, Progress) and trio.current_time() - told > _TELL_SECONDS:
                    told = trio.current_time()
                    self.progress = step
                    self._tell(step)
                await trio.sleep((time.perf_counter() - started) * _REST_PER_WORK)
        finally:
            steps.close()

    async def _do(self, step: Step) -> None:
        if isinstance(step, Waiting):
            await self._state.thread(step.call)
        elif isinstance(step, Turn):
            await self._state.turn(step.file)
        elif isinstance(step, Alone):
            await self._state.thread_on(step.file, step.call)

    # -- who listens -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def news(self) -> AsyncIterator[trio.MemoryReceiveChannel[News]]:
        """Progress, and how each run ends, from now on."""
        sender, receiver = trio.open_memory_channel[News](_WAITING_NEWS)
        self._listeners.add(sender)
        try:
            yield receiver
        finally:
            self._listeners.discard(sender)

    def _tell(self, news: News) -> None:
        for listener in list(self._listeners):
            try:
                listener.send_nowait(news)
            except trio.WouldBlock:
                self._listeners.discard(listener)
                listener.close()  # It does not listen any more; if it does after all, its connection ends.
