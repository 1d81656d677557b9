"""What commands and mounts tell the heartbeat and the register of volumes of this computer.

Owns: when they are told, and that work goes on where nothing can be written. Must not know: their bytes
(``encfs.registers``), the audit log.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

import click

from encfs.cli import output
from encfs.errors import AuditError
from encfs.format.config import Config
from encfs.format.slots import Slot
from encfs.locking import LockReason
from encfs.registers import volumes
from encfs.registers.heartbeat import DONE, Beat, Presence
from encfs.stick import layout

_R = TypeVar("_R")
# A mount looks each minute whether it is time: so beats are no more than a quarter of an hour apart.
_BEAT_SECONDS: Final = 14 * 60.0
# RuntimeError: a user without a home directory.
_FAILURES: Final = (AuditError, OSError, RuntimeError)
logger: Final = logging.getLogger("cloakfs.audit")
_said: Final[set[str]] = set()


class MountPresence:
    """That a volume is mounted, told by its daemon. Nothing here stops a mount or its end.

    Args:
        boot_time: seconds that pass also while the machine sleeps; for tests.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        boot_time: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._presence = presence
        self._boot_time = boot_time
        self._told_at = boot_time()
        self._is_over = False

    def mounted(self) -> str:
        """It is open now; the digest of the heartbeat, empty where it cannot be written."""
        return self._beat(self._presence.open)

    def is_due(self) -> bool:
        """Whether it is time to say again that it is open. Never after it was locked."""
        return not self._is_over and self._boot_time() - self._told_at >= _BEAT_SECONDS

    def still_open(self) -> str:
        """As :meth:`mounted`."""
        return self._beat(self._presence.open)

    def locked(self, reason: LockReason) -> str:
        """It is locked now, or its keys are gone: what counts is the first time. The digest as above."""
        if self._is_over:
            return ""
        self._is_over = True
        return self._beat(lambda: self._presence.locked(str(reason)))

    def _beat(self, write: Callable[[], Beat]) -> str:
        self._told_at = self._boot_time()
        beat = _goes_on(write, "when this volume was open")
        return "" if beat is None else beat.digest


def for_mount(path: str, config: Config, slot: Slot, *, mountpoint: str, read_only: bool) -> MountPresence:
    """Of a volume in the directory ``path`` that ``slot`` has opened."""
    return MountPresence(_presence(path, config, slot, mountpoint=mountpoint, read_only=read_only))


def opened(path: str, config: Config, slot: Slot, *, mountpoint: str, read_only: bool) -> None:
    """A volume is open in this process: until its command ends, or for a mount, whose daemon tells the rest."""
    real = os.path.realpath(layout.volume_at(path))
    _goes_on(lambda: volumes.note_opened(config.volume_id.hex(), real, config.created), "which volumes are used here")
    context = click.get_current_context(silent=True)
    if mountpoint or context is None:
        return
    presence = _presence(real, config, slot, mountpoint="", read_only=read_only)
    if _goes_on(presence.open, "when this volume was open") is not None:
        # Also after Ctrl-C and SIGTERM. After kill -9 it stays "open, last seen at".
        context.find_root().call_on_close(lambda: _goes_on(lambda: presence.locked(DONE), "when this volume was open"))


def created(path: str, config: Config) -> None:
    """A volume was made, in the directory or on the device ``path``."""
    real = os.path.realpath(path)
    _goes_on(lambda: volumes.note_created(config.volume_id.hex(), real, config.created), "which volumes are used here")


def _presence(path: str, config: Config, slot: Slot, *, mountpoint: str, read_only: bool) -> Presence:
    return Presence(
        config.volume_id.hex(),
        path=path,
        slot=slot.id.hex(),
        slot_label=slot.label,
        read_only=read_only,
        mountpoint=mountpoint,
    )


def _goes_on(write: Callable[[], _R], what: str) -> _R | None:
    """What ``write`` gives. Where it fails this is said once in each process, and None is given."""
    try:
        return write()
    except _FAILURES as exc:
        why = (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else str(exc)
        text = f"{what} cannot be written down on this computer: {why}"
        if text not in _said:
            _said.add(text)
            output.warn(text)
            logger.warning("%s", text)
        return None
