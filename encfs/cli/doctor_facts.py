"""The facts for ``cloakfs doctor`` that only the command line knows: which volumes there are, and what is near them.

Owns: collecting them. Must not know: what is good and what is bad (``encfs.doctor``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encfs.cli import media, mounts, targets
from encfs.doctor.near import ENTRIES_MAX, Search, search
from encfs.doctor.unattended import Given, unattended
from encfs.doctor.volume_checks import Room, VolumeFacts
from encfs.errors import ConfigError, NotAVolumeError, RegisterError
from encfs.format.config import Config
from encfs.host.verified import last_verified
from encfs.registers import volumes
from encfs.volume import read_config
from encfs.volume.skeleton import damaged_copies
from encfs.volume.told import about


@dataclass(frozen=True, slots=True)
class Known:
    """The volumes that this host knows of. ``absent``: directories that are not there now."""

    targets: list[targets.Target]
    absent: list[str]


def known_volumes() -> Known:
    """What this user has mounted, made or opened here, and what fstab and the units of this host mount."""
    found = targets.all_mounted()
    paths = {target.volume for target in found}
    absent = []
    for path in [*_registered(), *(one.volume for one in unattended())]:
        real = os.path.realpath(path)
        if real in paths:
            continue
        paths.add(real)
        if is_volume(real):
            found.append(targets.find(real))
        else:
            absent.append(real)
    return Known(found, sorted(absent))


def _registered() -> list[str]:
    """Where the volumes of the register were last. A register that cannot be read is told by a check of its own."""
    try:
        return [one.path for one in volumes.known_volumes() if one.destroyed is None]
    except (RegisterError, OSError, RuntimeError):
        return []


def is_volume(path: str) -> bool:
    """Whether a volume is there, be it damaged."""
    try:
        read_config(os.fsencode(path))
    except (NotAVolumeError, FileNotFoundError, NotADirectoryError):
        return False
    except (ConfigError, OSError):
        return True
    return True


def volume_facts(target: targets.Target, config: Config) -> VolumeFacts:
    """Of a volume whose config can be read.

    Raises:
        ConfigError, OSError: its directory is gone meanwhile.
    """
    path = os.fsencode(target.volume)
    with about(target.volume):
        damaged = damaged_copies(path)
    last = last_verified(config.volume_id)
    return VolumeFacts(
        volume=target.volume,
        config=config,
        damaged_copies=damaged,
        room=_room(path),
        near=look_near(path),
        unattended=list(_given(target.volume)),
        verified_at=None if last is None else last.at,
        wrong=0 if last is None else last.wrong,
        now=time.time(),
    )


def look_near(path: bytes, *, entries_max: int | None = None) -> Search:
    """What opens a volume and lies on the medium of the one at ``path``. Raises: OSError: it is gone."""
    limit = ENTRIES_MAX if entries_max is None else entries_max
    return search(_places_near(path), os.stat(path).st_dev, mounts=_mount_points(), entries_max=limit)


def _room(path: bytes) -> Room | None:
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return Room(
        free=disk.f_bavail * disk.f_frsize,
        total=disk.f_blocks * disk.f_frsize,
        files_free=disk.f_favail if disk.f_files else None,
        is_read_only=bool(disk.f_flag & os.ST_RDONLY),
    )


def _places_near(path: bytes) -> Iterator[bytes]:
    """Where people put what belongs to a volume: beside it, on top of its medium, or at home."""
    beside = os.path.dirname(os.path.realpath(path))
    yield beside
    top = beside
    device = os.stat(path).st_dev
    while top != b"/" and os.stat(os.path.dirname(top)).st_dev == device:
        top = os.path.dirname(top)
    if top != b"/":
        yield top
        return
    # On the disk of the system most is the system's.
    yield os.fsencode(Path.home())
    yield b"/etc/cloakfs"
    if os.geteuid() == 0:
        yield from (b"/root", b"/home", b"/srv")


def _mount_points() -> frozenset[bytes]:
    return frozenset(os.fsencode(mount.mountpoint) for mount in mounts.all_mounts())


def _given(volume: str) -> Iterator[tuple[Given, str]]:
    """Files on the medium of a volume with which this host opens it."""
    for one in unattended():
        if os.path.realpath(one.volume) == volume:
            yield from ((given, one.source) for given in one.secrets if _is_beside(given, volume))


def _is_beside(given: Given, volume: str) -> bool:
    try:
        return os.path.exists(given.path) and media.same_medium(given.path, volume)
    except OSError:
        return False
