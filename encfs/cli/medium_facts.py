"""What is known of a medium that is plugged in, and which volumes somebody means, for the register of media.

Owns: how they are named on the command line. Must not know: the register.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from encfs.cli import mounts, output, targets
from encfs.cli.unlocking import config_of
from encfs.errors import CloakfsError, UsageError
from encfs.registers import media, volumes
from encfs.stick import devices
from encfs.stick.devices import Device

_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a medium says of itself; empty where it does not."""

    serial: str = ""
    filesystem: str = ""


def of_device(device: Device) -> Facts:
    """Of a device, or of a part of it."""
    uuids = [one.uuid for one in device.all() if one.uuid]
    return Facts(devices.disk_of(device).serial, uuids[0] if uuids else "")


def of_path(path: str) -> Facts:
    """Of the medium that ``path`` is on, or is the device of.

    Raises:
        UsageError: it is on no medium of its own.
        CloakfsError, OSError: the system does not tell.
    """
    return of_device(_device_at(path))


def of_volume(path: str) -> Facts:
    """Of the medium on which a volume lies, if that can be taken out; else nothing, and nothing is said."""
    try:
        device = _device_at(path)
        disk = devices.disk_of(device)
    except (CloakfsError, OSError):
        return Facts()
    return of_device(device) if disk.removable and not devices.holds_system(disk) else Facts()


def label_of(path: str) -> str:
    """What the register calls the medium on which a volume lies, if that can be taken out; empty if it does not.

    Raises:
        RegisterError, OSError, RuntimeError.
    """
    filesystem = of_volume(path).filesystem
    return next((one.label for one in media.media() if filesystem and one.filesystem == filesystem), "")


def _device_at(path: str) -> Device:
    if stat.S_ISBLK(os.stat(path).st_mode):
        return devices.look(path)
    kernel = mounts.holding(os.path.realpath(path), mounts.all_mounts())
    if kernel is None:
        raise UsageError(f"{output.printable(path)}: the system does not tell on which medium that is")
    return devices.look(mounts.node_of(kernel))


def volume_id(text: str) -> str:
    """The id of the volume that a user names: by its directory, mount point or id.

    Raises:
        UsageError: this computer has never seen a volume with this id.
        ConfigError, OSError: the directory is no volume, or cannot be read.
    """
    if _ID.fullmatch(text) and not os.path.lexists(text):
        if volumes.known_volume(text) is None:
            raise UsageError(
                "this computer has never seen a volume with this id", hint="Give the directory of the volume."
            )
        return text
    return config_of(targets.find(text).volume).volume_id.hex()


def paths_of(ids: Iterable[str]) -> list[str]:
    """Where volumes were last on this computer; the id of one that it has never seen."""
    known = {one.volume_id: one.path for one in volumes.known_volumes()}
    return [known.get(one, one) for one in ids]
