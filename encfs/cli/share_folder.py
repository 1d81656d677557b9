"""The shared folder inside of a volume: made through its mount, or with the passphrase where it is not mounted.

Owns: its owner, mode and ACL, and that everybody may pass through the top directory of the volume to it. Must not know:
Samba.
"""

from __future__ import annotations

import os
from typing import Final

from encfs.cli import targets
from encfs.cli.secrets import SecretOptions
from encfs.cli.unlocking import unlock
from encfs.errors import NotMountedError
from encfs.share.definition import FOLDER
from encfs.volume import acl
from encfs.volume.attributes import Setattr

# Made by the group for the group: what is made in it belongs to who made it, and is open to the group alone.
_MODE: Final = 0o2770
_UNFINISHED: Final = 0o700
_PASS: Final = 0o111


def exists(target: targets.Target) -> bool | None:
    """Whether a volume has the folder; None if it is not mounted, so that nobody can tell."""
    if target.mountpoint is None:
        return None
    try:
        return os.path.isdir(f"{target.mountpoint}/{FOLDER}")
    except OSError:
        return None


def make(target: targets.Target, gid: int, secret: SecretOptions) -> None:
    """Make the folder for a group, or leave one alone that is there.

    Raises:
        CloakfsError: the volume does not unlock. OSError: the folder cannot be made.
    """
    if target.mountpoint is None:
        _in_volume(target.volume, gid, secret)
    elif target.mounted is None:
        raise targets.not_reachable(target)
    elif target.mounted.status["read_only"]:
        raise NotMountedError("the volume is mounted read-only", hint="Lock it, then run this again.")
    else:
        _in_mount(target.mountpoint, gid)


def default_acl(gid: int) -> bytes:
    """What files and folders get that are made in it: all for their owner and for the group, nothing for others."""
    return acl.build(
        (
            acl.Entry(acl.USER_OBJ, 7, 0xFFFFFFFF),
            acl.Entry(acl.GROUP_OBJ, 0, 0xFFFFFFFF),
            acl.Entry(acl.GROUP, 7, gid),
            acl.Entry(acl.MASK, 7, 0xFFFFFFFF),
            acl.Entry(acl.OTHER, 0, 0xFFFFFFFF),
        )
    )


def _in_mount(mountpoint: str, gid: int) -> None:
    path = f"{mountpoint}/{FOLDER}"
    try:
        os.mkdir(path, _UNFINISHED)
    except FileExistsError:
        if os.stat(path).st_mode & 0o7777 != _UNFINISHED:
            return
    os.chown(path, -1, gid)
    os.setxattr(path, acl.DEFAULT, default_acl(gid))
    os.chmod(path, _MODE)
    os.chmod(mountpoint, os.stat(mountpoint).st_mode & 0o7777 | _PASS)


def _in_volume(volume: str, gid: int, secret: SecretOptions) -> None:
    name = FOLDER.encode()
    with unlock(volume, secret, read_only=False) as opened:
        try:
            opened.make_directory(name, _UNFINISHED)
        except FileExistsError:
            if opened.stat(name).mode & 0o7777 != _UNFINISHED:
                return
        opened.attributes.set(opened.resolve(name), acl.DEFAULT, default_acl(gid))
        opened.set_metadata(name, Setattr(gid=gid))
        opened.set_metadata(name, Setattr(mode=_MODE))
        top = opened.stat(b"").mode
        opened.set_metadata(b"", Setattr(mode=top & 0o7777 | _PASS))
