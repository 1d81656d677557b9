"""Restores into a new volume that are not done, so that the next one goes on with them (FORMAT.md section 18).

Owns: a file for each in the state directory. Must not know: what is restored, volumes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from encfs.registers import folder
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.local import LocalStore
from encfs.units import VolumeId

_FOLDER: Final = "restores"


@dataclass(frozen=True, slots=True)
class Begun:
    """What is restored into a new volume: ids of the backup and the run, hexadecimal."""

    plan: str
    run: str


def note(volume_id: VolumeId, begun: Begun) -> None:
    """It begins. Raises: OSError, RuntimeError (a user without a home directory)."""
    name = _name(volume_id)
    with folder.opened(_FOLDER, LocalStore, shared=False) as (store, dirfd):
        replace_file(store, dirfd, name, f"{begun.plan} {begun.run}\n".encode("ascii"), temporary=name + b".new")


def begun(volume_id: VolumeId) -> Begun | None:
    """What was begun and is not done; None if nothing was. Raises: as :func:`note`."""
    with folder.opened(_FOLDER, LocalStore, shared=True) as (store, dirfd):
        words = (folder.read_whole(store, dirfd, _name(volume_id)) or b"").decode("ascii", "replace").split()
    return Begun(*words) if len(words) == 2 else None


def done(volume_id: VolumeId) -> None:
    """It is done. Raises: as :func:`note`."""
    with folder.opened(_FOLDER, LocalStore, shared=False) as (store, dirfd):
        try:
            os.unlink(_name(volume_id), dir_fd=dirfd)
        except FileNotFoundError:
            return
        sync_directory(store, dirfd)


def _name(volume_id: VolumeId) -> bytes:
    return volume_id.hex().encode("ascii")
