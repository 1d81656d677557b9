"""The last config of a rotation: without the retired epochs, whose keys are gone with it (FORMAT.md section 14).

Owns: what has to be durable before, and that nobody else changes the config at the same time. Must not know: whether
everything is under the active epoch; the caller has made sure.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from encfs.core import config as core_config
from encfs.core import key_changes
from encfs.errors import ConfigForgedError, VolumeInUseError
from encfs.store.atomic import sync_directory
from encfs.volume.skeleton import read_copies, write_config_proved

if TYPE_CHECKING:
    from encfs.volume.volume import Volume


def make_durable(volume: Volume) -> None:
    """Bring everything that was written to the medium. A filesystem that a program serves is not told of syncfs.

    Raises:
        OSError: the lower error.
    """
    volume.ctx.store.syncfs(volume.root_fd)
    sync_directory(volume.ctx.store, volume.root_fd)


def end_rotation(volume: Volume, files: int, directories: int, cells: int) -> None:
    """Write the config without the retired epochs, in both copies, and drop their keys here too.

    Raises:
        VolumeInUseError: somebody is changing the keys; try again later.
        ConfigError, LowerIOError, OSError: it could not be written; the config is as it was, or as it shall be.
    """
    store, suite = volume.ctx.store, volume.ctx.suite
    key = volume.config_key
    if key is None:
        return  # There is no retired epoch.
    dirfd = store.open(volume.root_fd, b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not store.try_lock_directory(dirfd):
            raise VolumeInUseError(
                "the keys of this volume are being changed by another process", hint="The rotation ends after that."
            )
        try:
            config, _ = core_config.check(read_copies(store, dirfd), suite, key)
        except ConfigForgedError as exc:
            raise VolumeInUseError("the keys of this volume were changed", hint="The rotation begins again.") from exc
        if config.active.epoch != volume.ctx.ring.active.epoch:
            raise VolumeInUseError("another rotation has begun", hint="Both end together.")
        retired = [entry.epoch for entry in config.epochs if not entry.active]
        ended = key_changes.end_rotation(
            config, files=files, directories=directories, cells=cells, now=int(time.time())
        )
        write_config_proved(store, dirfd, core_config.seal_with(suite, ended, key))
        volume.take_config(*core_config.check(read_copies(store, dirfd), suite, key))
        volume.ctx.ring.retire(retired)
    finally:
        store.close(dirfd)
