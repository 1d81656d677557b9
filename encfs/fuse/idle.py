"""Locking a mount that nobody uses.

Owns: when it counts as idle. Must not know: what a use is (``errnos.py`` counts them), how a mount is taken off.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from encfs.errors import MountBusyError
from encfs.fuse.errnos import logger
from encfs.locking import IdleRule, WhenOpen

# The mount is looked at so often in the time of the rule, which is then kept to within a twentieth ...
_LOOKS: Final = 20
# ... but not more often than this.
_LOOK_SECONDS: Final = 0.25


def boot_seconds() -> float:
    """A clock that goes on while the machine sleeps: sleep is idleness too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class IdleWatch:
    """Ends one mount when its rule says so.

    Args:
        rule: the rule.
        uses: how often the mount has been used.
        lock: takes the mount off, also under programs that use it if the argument is true.
        clock: seconds.

    Attributes:
        held: it is idle, but programs have files open.
    """

    def __init__(
        self,
        rule: IdleRule,
        uses: Callable[[], int],
        lock: Callable[[bool], Awaitable[None]],
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.rule = rule
        self.held = False
        self._uses = uses
        self._lock = lock
        self._clock = clock

    async def watch(self) -> None:
        """Watch until the mount is gone, which cancels this."""
        used, since = self._uses(), self._clock()
        while True:
            await trio.sleep(max(_LOOK_SECONDS, self.rule.seconds / _LOOKS))
            if self._uses() != used:
                used, since = self._uses(), self._clock()
                self.held = False
            elif self._clock() - since >= self.rule.seconds:
                await self._end()

    async def _end(self) -> None:
        try:
            await self._lock(self.rule.when_open is WhenOpen.FORCE)
        except MountBusyError:
            if self.rule.when_open is WhenOpen.WARN and not self.held:
                logger.warning("idle, but not locked: programs have files open")
            self.held = True
        except OSError as exc:
            logger.error("locking an idle mount failed: errno %s", exc.errno)
