"""What a directory lies on: filesystem and disks, and whether what is overwritten there is gone.

Owns: what the system says of it, and what follows. Must not know: volumes, what is overwritten.

``findmnt`` and ``lsblk`` say it. What they do not say stays empty: nothing is guessed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from encfs.errors import CloakfsError
from encfs.stick import programs

_COLUMNS: Final = "NAME,PATH,TYPE,SIZE,ROTA,VENDOR,MODEL,SERIAL,TRAN"
_IN_PLACE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "jfs", "vfat", "msdos", "exfat", "ntfs3", "ntfs"})
_COPIES_ON_WRITE: Final = frozenset({"btrfs", "zfs", "bcachefs", "f2fs", "nilfs2", "overlay"})
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
# A stick says of itself that it rotates as often as not; only these buses are believed.
_DISK_BUSES: Final = frozenset({"sata", "ata", "sas"})
_FLASH_BUSES: Final = frozenset({"usb", "mmc", "nvme"})
_OURS: Final = "fuse.cloakfs"  # Its source is the volume.
_UPPER: Final = "upperdir="
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "fuse.sshfs"})
_BLOCK: Final = Path("/sys/block")
_VOID: Final = frozenset({"", "0x1af4", "unknown", "none"})


class MediaType(StrEnum):
    """What a disk is, as far as the system tells."""

    FLASH = "flash (SSD, stick or card)"
    MAGNETIC = "magnetic disk"
    UNKNOWN = "unknown, such as a virtual disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk; texts are empty where it does not tell. ``size`` in bytes."""

    name: str
    manufacturer: str
    model: str
    serial: str
    size: int
    bus: str
    kind: MediaType


@dataclass(frozen=True, slots=True)
class Storage:
    """What a directory lies on.

    Attributes:
        filesystem: such as ``ext4``; empty if the system does not tell.
        disks: none where it does not tell, or where there are none, as in memory and on a network.
    """

    filesystem: str
    disks: tuple[Disk, ...]

    @property
    def survives(self) -> str:
        """Why bytes that are overwritten may lie there still, as a sentence; empty where that is not to be expected."""
        if self.filesystem in _MEMORY:
            return ""
        if self.filesystem in _COPIES_ON_WRITE:
            return (
                f"The filesystem {self.filesystem} writes to another place instead of over the old bytes, and a"
                " snapshot may hold them."
            )
        if self.filesystem not in _IN_PLACE:
            return "It is not known whether this filesystem writes over the old bytes or to another place."
        if any(disk.kind is MediaType.FLASH for disk in self.disks):
            return (
                "The medium is flash: its controller writes to another place instead of over the old bytes, and may"
                " keep those where only a laboratory reads them."
            )
        if not self.disks or any(disk.kind is MediaType.UNKNOWN for disk in self.disks):
            return "It is not known what kind of medium this is, so old bytes may be kept in it."
        return ""


def storage_of(path: str) -> Storage:
    """What a path lies on; what the system does not tell is left empty."""
    source, filesystem, _ = _mount_of(path)
    return Storage("" if filesystem == "fuseblk" else filesystem, tuple(_disks(source.partition("[")[0])))


def _mount_of(path: str) -> tuple[str, str, str]:
    """Source, filesystem and options of the mount that a path is on; empty where the system does not tell."""
    try:
        found = programs.run("findmnt", "--json", "--target", path, "--output", "SOURCE,FSTYPE,OPTIONS")
        mount = json.loads(found.stdout)["filesystems"][0]
    except (CloakfsError, ValueError, LookupError):
        return "", "", ""
    return str(mount["source"] or ""), str(mount["fstype"] or ""), str(mount.get("options") or "")


def disks_below(path: str) -> frozenset[str]:
    """What a path lies on in the end: names of whole disks, or of a share or pool, or of the filesystem if it has none.

    That is looked for through partitions, LVM, RAID, encryption, images (loop), mounts of ours and overlays. What the
    system does not tell is left out.
    """
    found: set[str] = set()
    pending, seen = [path], set[str]()
    while pending:
        one = pending.pop()
        if one not in seen and os.path.exists(one):
            seen.add(one)
            names, deeper = _one_below(one)
            found |= names
            pending += deeper
    return frozenset(found)


def _one_below(path: str) -> tuple[set[str], list[str]]:
    """What a path lies on, and paths of which the same has to be asked."""
    source, filesystem, options = _mount_of(path)
    if filesystem == _OURS:
        return set(), [source]
    if filesystem == "overlay":
        return set(), [each[len(_UPPER) :] for each in options.split(",") if each.startswith(_UPPER)]
    if filesystem == "zfs":
        return {f"zfs {source.partition('/')[0]}"}, []
    if filesystem in _NETWORK:
        return {f"share {source}"}, []
    disks = {disk.name: _backing_file(disk.name) for disk in _disks(source.partition("[")[0])}
    names = {name for name, backing in disks.items() if not backing}
    return names if disks else {f"filesystem {os.stat(path).st_dev}"}, [one for one in disks.values() if one]


def _backing_file(name: str) -> str:
    """The file that a loop device shows; empty for any other disk, and where that file cannot be seen from here."""
    try:
        path = (_BLOCK / name / "loop/backing_file").read_text(errors="surrogateescape").rstrip("\n")
    except OSError:
        return ""
    return path if os.path.exists(path) else ""


def _disks(source: str) -> Iterator[Disk]:
    """The disks that a block device is on: through partitions, LVM, RAID and encryption."""
    if not source.startswith("/dev/"):
        return
    try:
        told = programs.run("lsblk", "--json", "--bytes", "--inverse", "--output", _COLUMNS, source)
        pending = list(json.loads(told.stdout)["blockdevices"])
    except (CloakfsError, ValueError, LookupError):
        return
    seen = set()
    while pending:
        one = pending.pop(0)
        pending += one.get("children", ())
        if not one.get("children") and one["name"] not in seen:
            seen.add(one["name"])
            yield _disk(one)


def _disk(told: dict[str, Any]) -> Disk:
    bus = str(told["tran"] or "")
    if bus in _FLASH_BUSES or (told["rota"] is False and told["type"] == "disk"):
        kind = MediaType.FLASH
    elif told["rota"] and bus in _DISK_BUSES:
        kind = MediaType.MAGNETIC
    else:
        kind = MediaType.UNKNOWN
    return Disk(
        name=str(told["name"]),
        manufacturer=_text(told["vendor"]),
        model=_text(told["model"]),
        serial=_text(told["serial"]),
        size=int(told["size"] or 0),
        bus=bus,
        kind=kind,
    )


def _text(told: object) -> str:
    text = " ".join(str(told or "").split())
    return "" if text.lower() in _VOID else text
