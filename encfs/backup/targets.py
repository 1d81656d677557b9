"""Targets of backups: what a user may type, and what is none (FORMAT.md section 18).

Owns: the kinds of targets, where a backup must not lie. Must not know: what lies there (:mod:`encfs.backup.markers`),
engines, the terminal.

Rules: nothing goes over a network in clear text. No backup lies on the medium of its volume.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.errors import UsageError
from encfs.stick import storage
from encfs.wording import printable


class TargetKind(StrEnum):
    """Where a backup goes."""

    DIRECTORY = "directory"
    SFTP = "sftp"
    RCLONE = "rclone"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup goes, as a user typed it.

    Attributes:
        text: what is written down of it; a directory is absolute.
        location: for the program that goes there: the path of a directory, ``sftp:...`` as restic takes it,
            ``REMOTE:PATH`` as rclone takes it.
    """

    kind: TargetKind
    text: str
    location: str


# -- what a user types -----------------------------------------------------------------------------------------------

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)")
_OVER_SSH: Final = re.compile(r"[^/:@]+@[^/:]+:")
_REMOTE: Final = re.compile(r"[\w.+@][\w .+@-]*")
_INSTEAD: Final = (
    "Give a directory, sftp:USER@HOST:PATH, or rclone:REMOTE:PATH for a remote of rclone that is encrypted on its way."
)
_CLEAR: Final = frozenset({"ftp", "http", "webdav", "dav", "rest", "rsync", "telnet", "tftp", "ws"})
_SHARES: Final = frozenset({"smb", "cifs", "nfs", "afp"})
_BY_RCLONE: Final = frozenset(
    {"https", "webdavs", "davs", "s3", "b2", "azure", "gs", "swift", "ftps", "ftpes", "dropbox", "onedrive", "drive"}
)


def parse(text: str) -> Target:
    """What somebody means by ``text``. Nothing is looked at: neither a disk nor a network.

    Raises:
        UsageError: it is no target, or one to which everything would go in clear text; with what to use instead.
    """
    if not text.strip() or any(ord(one) < 32 or ord(one) == 127 for one in text):
        raise UsageError("the target of a backup is empty, or no single line", hint=_INSTEAD)
    found = None if text[0] in "/." else _SCHEME.fullmatch(text)
    if found is None:
        return _directory(text)
    scheme, rest = found[1].lower(), found[2]
    if scheme == "sftp":
        return _sftp(text, rest)
    if scheme == "rclone":
        return _rclone(rest)
    raise _refused(scheme, rest)


def _refused(scheme: str, rest: str) -> UsageError:
    # restic calls its own server rest:https://...; what counts is how that is reached.
    if scheme in _CLEAR and not rest.lower().startswith("https:"):
        return UsageError(f"{scheme} sends everything in clear text: no backup goes there", hint=_INSTEAD)
    if scheme in _SHARES:
        return UsageError(
            f"{scheme}: is a share, and cloakfs goes through no share by itself",
            hint="Mount the share, and give the directory at which it is mounted.",
        )
    if scheme in (*_BY_RCLONE, "rest"):
        return UsageError(
            f"{scheme}: is reached through rclone",
            hint="Set it up once as a remote: rclone config. Then give rclone:REMOTE:PATH",
        )
    if scheme == "file":
        return UsageError("a directory is given by its path alone, without file:")
    return UsageError(
        f"{printable(scheme)}: is no kind of target", hint=f"{_INSTEAD} A directory with a colon in its name: ./NAME"
    )


def _directory(text: str) -> Target:
    if text.startswith("\\\\"):
        raise _refused("smb", "")
    if _OVER_SSH.match(text) and not os.path.isdir(text):
        raise UsageError("this looks like a directory on another computer", hint=f"Give it as sftp:{printable(text)}")
    if text.startswith("~"):
        raise UsageError("~ stands for nothing here", hint="Give the whole path of the directory.")
    path = "/" + os.path.abspath(text).lstrip("/")  # Two slashes in front would stay.
    if path == "/":
        raise UsageError("the top of the whole computer is no target", hint="Give a directory on another disk.")
    return Target(TargetKind.DIRECTORY, path, path)


def _sftp(text: str, rest: str) -> Target:
    """``sftp:USER@HOST:PATH`` or ``sftp://USER@HOST:PORT/PATH``; with ``//`` before a PATH from the top."""
    if rest.startswith("//"):
        place, slash, path = rest[2:].partition("/")
        good = bool(slash)
        user, at, host = place.rpartition("@")
        port = re.sub(r"\[[0-9A-Fa-f:.]+\]|[^:\[\]]+", "", host, count=1)
        good = good and (port == "" or re.fullmatch(r":[0-9]{1,5}", port) is not None)
        if ":" in user:
            raise UsageError("a password is no part of a target", hint="Use a key of SSH: ssh-copy-id USER@HOST")
    else:
        place, colon, path = rest.partition(":")
        good = bool(colon)
        user, at, host = place.rpartition("@")
    # Whoever begins with a dash would be an option of ssh.
    named = [host, user] if at else [host]
    if not good or not path.strip("/") or not all(_is_host_part(one) for one in named):
        raise UsageError(
            "a target over sftp is sftp:USER@HOST:PATH or sftp://USER@HOST:PORT//PATH",
            hint="PATH is a directory on that computer; it is made if it is not there.",
        )
    return Target(TargetKind.SFTP, text, text)


def _is_host_part(text: str) -> bool:
    return bool(text) and not text.startswith("-") and not any(one.isspace() or one in "'\"\\$`;|&<>" for one in text)


def _rclone(rest: str) -> Target:
    remote, colon, path = rest.partition(":")
    if rest.startswith(":") or "," in remote or remote.startswith("/"):
        # A remote that is told on the spot has its password in a command line, which everybody on the computer sees.
        raise UsageError(
            "the remote of rclone has to have a name", hint="Set it up: rclone config. Then give rclone:REMOTE:PATH"
        )
    if not colon or not _REMOTE.fullmatch(remote) or ".." in path.split("/"):
        raise UsageError(
            "a target of rclone is rclone:REMOTE:PATH", hint="See which remotes there are: rclone listremotes"
        )
    location = f"{remote}:{path.rstrip('/') or path[:1]}"
    return Target(TargetKind.RCLONE, f"rclone:{location}", location)


# -- where it must not lie -------------------------------------------------------------------------------------------


def check_not_own_medium(target: bytes, volume: bytes, mountpoints: Iterable[bytes] = ()) -> None:
    """Make sure that what takes the volume does not take the backup with it. The target need not be there yet.

    Args:
        target: a directory.
        volume: the directory of the volume.
        mountpoints: where that is mounted.

    Raises:
        UsageError: they are one in the other, or on one disk.
        OSError: the volume is not there.
    """
    place, own = os.path.realpath(target), os.path.realpath(volume)
    if _is_inside(place, own) or any(_is_inside(place, os.path.realpath(one)) for one in mountpoints):
        raise UsageError("the backup would lie in the volume itself", hint=_ELSEWHERE)
    if _is_inside(own, place):
        raise UsageError("the volume lies in the target of its backup", hint=_ELSEWHERE)
    above = place
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    same = os.stat(above).st_dev == os.stat(own).st_dev
    if same or storage.disks_below(os.fsdecode(above)) & storage.disks_below(os.fsdecode(own)):
        raise UsageError(
            "the backup would lie on the same disk as the volume: what takes one takes both", hint=_ELSEWHERE
        )


_ELSEWHERE: Final = "Give a directory on another disk or stick, or on another computer."


def _is_inside(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
