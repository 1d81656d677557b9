"""Where the files of a share lie on this host.

Owns: these paths. Must not know: what is in the files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_VARIABLE: Final = "CLOAKFS_SHARE_ETC"


@dataclass(frozen=True, slots=True)
class Places:
    """Below ``etc``: what Samba and systemd read.

    Attributes:
        etc: ``/etc``; tests have one of their own.
    """

    etc: Path = Path("/etc")

    @property
    def smb_conf(self) -> Path:
        """What smbd reads. A distribution may have made it a link."""
        return Path(os.path.realpath(self.etc / "samba/smb.conf"))

    @property
    def included(self) -> Path:
        """What smb.conf includes, with one line: settings for all, and the files of the shares."""
        return self.etc / "samba/cloakfs.conf"

    @property
    def shares(self) -> Path:
        """The directory with a file for each share."""
        return self.etc / "samba/cloakfs"

    def share(self, name: str) -> Path:
        """The definition of a share."""
        return self.shares / f"{name}.conf"

    def unit(self, unit: str) -> Path:
        """The systemd unit of a share."""
        return self.etc / "systemd/system" / unit

    def wanted(self, unit: str) -> Path:
        """The link that ``systemctl enable`` makes."""
        return self.etc / "systemd/system/multi-user.target.wants" / unit


def places() -> Places:
    """Those of this host; a test names another ``/etc`` in the environment."""
    return Places(Path(os.environ.get(_VARIABLE) or "/etc").absolute())
