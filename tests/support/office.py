"""An office: a share as a user gets it, over a mounted volume, and the same share over a plain folder beside it."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encfs.cli.share_folder import default_acl
from encfs.share.definition import ShareSpec
from encfs.volume import acl
from tests.support.media import clear_away
from tests.support.mounting import MountedVolume, wait_for
from tests.support.programs import MARKER, finish
from tests.support.samba import STAFF, Server, bare_share, serving, share
from tests.support.smb import Desk

SHARE, BARE = "practice", "bare"


@dataclass
class Office:
    """A share over a mounted volume, and the same share over a plain folder.

    Attributes:
        folder: what is shared, as the machine itself sees it.
        bare: the plain folder.
    """

    server: Server
    volume: MountedVolume
    folder: Path
    bare: Path

    def desk(self, user: str | None = None) -> Desk:
        """One more client."""
        return Desk(self.server, SHARE) if user is None else Desk(self.server, SHARE, user)

    def smbclient(self, *lines: str, **kwargs: object) -> str:
        """Commands of smbclient on the share."""
        return self.server.client(SHARE, *lines, **kwargs)  # type: ignore[arg-type]

    def nobody_is_inside(self) -> None:
        """Wait until the processes of clients that have gone are gone too."""
        wait_for(lambda: not self.server.is_inside(self.volume.path), "smbd leaves the mount")

    def remount(self) -> None:
        """What is seen afterwards came from the disk."""
        self.nobody_is_inside()
        self.volume.remount()


def _open_to_group(path: Path) -> None:
    """What ``cloakfs share init`` makes of a folder that it shares."""
    group = grp.getgrnam(STAFF).gr_gid
    path.mkdir(0o700)
    os.chown(path, -1, group)
    os.setxattr(path, acl.DEFAULT, default_acl(group))
    path.chmod(0o2770)


@contextmanager
def opened(base: Path, lower: Path | None = None) -> Iterator[Office]:
    """An office in a directory that every user may enter; at the end it is checked and nothing of it stays."""
    volume = MountedVolume(base, options=("--allow-other",), lower=lower)
    try:
        volume.mount()
        volume.path.chmod(0o755)
        spec = ShareSpec(name=SHARE, volume=str(volume.lower), mountpoint=str(volume.path), group=STAFF)
        plain = ShareSpec(name=BARE, volume=spec.volume, mountpoint=spec.mountpoint, group=STAFF)
        folder, bare = Path(spec.folder), base / "plain"
        for path in (folder, bare):
            _open_to_group(path)
        (folder / f"{MARKER}.txt").write_text(f"{MARKER}\n")
        with serving(base / "smb", share(spec), bare_share(plain, bare)) as server:
            office = Office(server, volume, folder, bare)
            yield office
            office.nobody_is_inside()
        finish(volume)
    finally:
        clear_away(volume)
