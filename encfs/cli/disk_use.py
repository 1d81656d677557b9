"""What a volume takes on its disk, and what is free there.

Owns: adding it up. Must not know: why somebody asks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from encfs.cli import output, progress

_SHOW_EVERY: Final = 1000
_SECTOR: Final = 512


@dataclass(slots=True)
class DiskUse:
    """What the volume directory holds, and its disk.

    Attributes:
        files: lower files, directories not counted.
        used: bytes that they take on the disk.
        free: bytes that this user may still write there.
        complete: False if a part could not be read.
    """

    files: int = 0
    used: int = 0
    free: int = 0
    total: int = 0
    complete: bool = True

    def as_json(self) -> dict[str, Any]:
        """``sizes`` of docs/json.md."""
        return {
            "lower_files": self.files,
            "lower_bytes": self.used,
            "complete": self.complete,
            "disk_free": self.free,
            "disk_total": self.total,
        }


def measure(volume: str) -> DiskUse:
    """Add up what is in a directory. Raises: OSError: it is gone."""
    sizes = DiskUse()
    pending = [volume]
    with progress.activity("Adding up what is on the disk") as shown:
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        info = entry.stat(follow_symlinks=False)
                        sizes.used += info.st_blocks * _SECTOR
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                            continue
                        sizes.files += 1
                        if sizes.files % _SHOW_EVERY == 0:
                            shown.update(f"Adding up what is on the disk: {output.plural(sizes.files, 'file')}")
            except OSError:
                sizes.complete = False
    disk = os.statvfs(volume)
    sizes.free, sizes.total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return sizes


def free_at(path: str) -> int:
    """Bytes that this user may still write there. Raises: OSError: it is not there."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize
