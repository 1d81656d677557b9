"""Restores that are not done, so that the next one goes on with them (FORMAT.md section 18).

Owns: a file for each in the state directory, by the volume or the place into which it goes. Must not know: what is
restored, volumes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from encfs.crypto.suite import CLOAKFS_1
from encfs.registers import folder
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.local import LocalStore
from encfs.units import VolumeId

_FOLDER: Final = "restores"
_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Begun:
    """What is restored: ids of the backup and the run, hexadecimal."""

    plan: str
    run: str


def of_volume(volume_id: VolumeId) -> str:
    """What stands for a new volume."""
    return volume_id.hex()


def of_place(path: bytes) -> str:
    """What stands for a directory."""
    return "back-" + CLOAKFS_1.digest(os.path.realpath(path)).hex()[:_DIGITS]


def note(where: str, begun: Begun) -> None:
    """It begins. Raises: OSError, RuntimeError (a user without a home directory)."""
    name = where.encode("ascii")
    with folder.opened(_FOLDER, LocalStore, shared=False) as (store, dirfd):
        replace_file(store, dirfd, name, f"{begun.plan} {begun.run}\n".encode("ascii"), temporary=name + b".new")


def begun(where: str) -> Begun | None:
    """What was begun and is not done; None if nothing was. Raises: as :func:`note`."""
    with folder.opened(_FOLDER, LocalStore, shared=True) as (store, dirfd):
        words = (folder.read_whole(store, dirfd, where.encode("ascii")) or b"").decode("ascii", "replace").split()
    return Begun(*words) if len(words) == 2 else None


def done(where: str) -> None:
    """It is done. Raises: as :func:`note`."""
    with folder.opened(_FOLDER, LocalStore, shared=False) as (store, dirfd):
        try:
            os.unlink(where.encode("ascii"), dir_fd=dirfd)
        except FileNotFoundError:
            return
        sync_directory(store, dirfd)
