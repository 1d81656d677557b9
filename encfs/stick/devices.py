"""Block devices: what they are, what is on them, and whether they may be formatted.

Owns: these questions, and the rules of ``cloakfs stick create DEVICE``. Must not know: volumes, who is asked.

``lsblk`` and ``blkid`` say what the kernel and the device say; where there is no udev that is so too.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EACCES, EBUSY, EPERM
from pathlib import Path
from typing import Any, Final

from encfs.errors import CloakfsError, UsageError
from encfs.stick import programs

_COLUMNS: Final = "NAME,PATH,MAJ:MIN,TYPE,SIZE,RM,HOTPLUG,RO,MOUNTPOINTS,PKNAME,TRAN,VENDOR,MODEL,PARTTYPE,SERIAL,UUID"
_WHOLE: Final = ("disk", "loop")
# A disk with one of these is the disk of the machine.
_SYSTEM: Final = frozenset({"/", "/boot", "/boot/efi", "/etc", "/home", "/nix", "/opt", "/usr", "/var", "[SWAP]"})
# Types of partitions in which Windows looks for exFAT: 7 of an MBR, Basic Data of a GPT.
_WINDOWS: Final = ("0x7", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
_SYSFS: Final = Path("/sys/dev/block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A disk, a partition, or what else the kernel shows as a block device.

    Attributes:
        name: of the kernel, such as ``sdb1``.
        path: of its node.
        number: ``major:minor``.
        kind: of ``lsblk``: ``disk``, ``part``, ``loop``, ``crypt``, ``lvm`` and more.
        size: in bytes.
        filesystem, label, uuid: of what is on it; empty if nothing is known.
        removable: it can be taken out of the running machine.
        disk: the name of the disk that a partition is on; empty for others.
        model: what the maker calls it.
        serial: the maker's number of a disk; empty if it does not tell.
        part_type: of a partition.
        sequence: the kernel's number of the medium: another medium in the same reader has another one; 0: unknown.
        mountpoints: where it is mounted, ``[SWAP]`` for swap.
        children: its partitions, and what else was made of it.
    """

    name: str
    path: str
    number: str
    kind: str
    size: int
    filesystem: str = ""
    label: str = ""
    uuid: str = ""
    removable: bool = False
    read_only: bool = False
    disk: str = ""
    model: str = ""
    serial: str = ""
    part_type: str = ""
    sequence: int = 0
    mountpoints: tuple[str, ...] = ()
    children: tuple[Device, ...] = ()

    def all(self) -> Iterator[Device]:
        """This one and everything on it."""
        yield self
        for child in self.children:
            yield from child.all()

    @property
    def in_sight_of_windows(self) -> bool:
        """Whether Windows looks here for a filesystem."""
        return self.kind != "part" or not self.part_type or self.part_type.lower() in _WINDOWS


def look(path: str) -> Device:
    """What there is to know about a device.

    Raises:
        UsageError: it is no block device.
        CloakfsError: the system does not tell.
        OSError: it is not there.
    """
    if not stat.S_ISBLK(os.stat(path).st_mode):
        raise UsageError(f"{path} is neither a directory nor a block device")
    done = programs.run("lsblk", "--json", "--bytes", "--output", _COLUMNS, path)
    if done.returncode:
        raise CloakfsError(f"the system does not tell what {path} is: {programs.complaint(done)}")
    return _device(json.loads(done.stdout)["blockdevices"][0], os.path.realpath(path))


def disk_of(device: Device) -> Device:
    """The whole disk that a device is on: itself, if it is one. Raises as :func:`look`."""
    return look(f"/dev/{device.disk}") if device.kind == "part" and device.disk else device


def _device(told: dict[str, Any], path: str = "") -> Device:
    path = path or str(told["path"])
    content = _content(path)
    return Device(
        name=str(told["name"]),
        path=path,
        number=str(told["maj:min"]).strip(),
        kind=str(told["type"]),
        size=int(told["size"] or 0),
        filesystem=content.get("TYPE", ""),
        label=content.get("LABEL", ""),
        # Only root may read the device; udev has told the system what is on it.
        uuid=content.get("UUID", "") or str(told["uuid"] or ""),
        removable=bool(told["rm"] or told["hotplug"]) or told["type"] == "loop",
        read_only=bool(told["ro"]),
        disk=str(told["pkname"] or ""),
        model=" ".join(f"{told['vendor'] or ''} {told['model'] or ''}".split()),
        serial=str(told["serial"] or "").strip(),
        part_type=str(told["parttype"] or ""),
        sequence=sequence_of(str(told["maj:min"]).strip()),
        mountpoints=tuple(str(one) for one in told["mountpoints"] if one),
        children=tuple(_device(child) for child in told.get("children", ())),
    )


def _content(path: str) -> dict[str, str]:
    """What the device says of its filesystem. ``blkid -p`` reads it now; no cache says what was there before."""
    done = programs.run("blkid", "-p", "-o", "export", path)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def sequence_of(number: str) -> int:
    """The kernel's number of the medium that a device stands for just now; 0 if it does not tell."""
    try:
        place = (_SYSFS / number).resolve(strict=True)
        disk = place.parent if (place / "partition").exists() else place
        return int((disk / "diskseq").read_text())
    except (OSError, ValueError):
        return 0


# -- may it be formatted? ------------------------------------------------------------------------------------------


def holds_system(disk: Device) -> bool:
    """Whether this machine runs from that disk, or swaps to it."""
    return any(point in _SYSTEM for one in disk.all() for point in one.mountpoints)


def check_formattable(device: Device, disk: Device) -> None:
    """Refuse everything but a medium that can be taken out and that nobody uses; ``disk``: the whole one.

    Raises:
        UsageError: with the reason.
    """
    what = device.path
    if device.kind not in (*_WHOLE, "part"):
        raise UsageError(
            f"{what} is no disk and no partition, but {device.kind}", hint="Give the stick itself: lsblk shows it."
        )
    if holds_system(disk):
        raise UsageError(
            f"{what} belongs to the disk that this machine runs from", hint="See which one is the stick: lsblk"
        )
    used = [one for one in device.all() if one.mountpoints]
    if used:
        where = used[0].mountpoints[0]
        raise UsageError(
            f"{used[0].path} is mounted at {where}",
            hint=f"Without formatting: cloakfs stick create {where}   To format it, unmount it first: umount {where}",
        )
    strange = [one for one in device.children if one.kind != "part"]
    if strange:
        raise UsageError(f"{what} is in use: {strange[0].name} ({strange[0].kind}) is made of it")
    if not disk.removable:
        raise UsageError(
            f"{what} does not look like something that is taken out: the disk is built into this machine",
            hint="Format and mount it yourself, and give the directory: cloakfs stick create DIRECTORY",
        )
    if not device.size:
        raise UsageError(f"{what} is empty: there is no medium in it", hint="Put the stick or card in.")
    if device.read_only:
        raise UsageError(f"{what} is write-protected", hint="Look for a small switch on it.")


def check_unused(path: str) -> None:
    """Make sure that neither the kernel nor another program has the device for itself. It is not changed.

    Raises:
        UsageError: somebody has, or this user may not write to it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
    except OSError as exc:
        if exc.errno == EBUSY:
            raise UsageError(f"{path} is in use", hint="Unmount what is on it; see: lsblk") from exc
        if exc.errno in (EACCES, EPERM):
            raise UsageError(f"this user may not write to {path}", hint="Run it as root: sudo cloakfs ...") from exc
        raise
