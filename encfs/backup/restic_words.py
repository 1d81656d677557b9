"""What restic says when it fails, in words for whoever has to do something about it.

Owns: which of its texts mean what. Must not know: how it is run, keys.

Rule: a text of restic is never passed on as it is: while it reads a volume, names of files stand in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.errors import BackupError
from encfs.wording import printable

PARTLY_READ: Final = 3
"""Exit status of ``restic backup``: something could not be read, the rest was taken."""


class Trouble(StrEnum):
    """What went wrong, as far as it can be told."""

    LOCKED = "locked"
    KEY = "key"
    MISSING = "missing"
    SNAPSHOT = "snapshot"
    DAMAGED = "damaged"
    GONE = "gone"
    NETWORK = "network"
    HOST_KEY = "host key"
    REFUSED = "refused"
    FULL = "full"
    READ_ONLY = "read-only"
    DENIED = "denied"
    THERE = "there"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds the lock of a repository, as restic tells it."""

    process: int
    host: str
    since: str


class ResticError(BackupError):
    """restic could not do its work.

    Attributes:
        trouble: why.
        pack: the id of the pack that cannot be read, or its beginning; or empty.
    """

    def __init__(self, trouble: Trouble, message: str, *, hint: str = "", pack: str = "") -> None:
        super().__init__(message, hint=hint)
        self.trouble = trouble
        self.pack = pack


_WHOLE: Final = "What was backed up before is still there. "
_SAID: Final[dict[Trouble, tuple[str, str]]] = {
    Trouble.KEY: (
        "the backup key does not open this repository",
        "It belongs to another backup, or was replaced. Type in the key from the recovery sheet of this backup.",
    ),
    Trouble.MISSING: (
        "there is no repository of restic at the target",
        "Is the right medium plugged in? A new backup begins with: cloakfs backup init",
    ),
    Trouble.DAMAGED: (
        "the repository at the target is damaged: parts of it are missing or are not what was written",
        "See what of it is still good: cloakfs backup verify. Keep it, and begin another backup on another medium.",
    ),
    Trouble.SNAPSHOT: (
        "the data of a run are not in the repository any more",
        "Somebody took them away (restic forget). Make another run: cloakfs backup run",
    ),
    Trouble.GONE: (
        "the target went away, or its medium fails",
        _WHOLE + "Plug it in again and repeat: cloakfs backup run",
    ),
    Trouble.NETWORK: (
        "the connection to the target cannot be made, or was lost",
        _WHOLE + "Look whether that computer runs and can be reached, and repeat: cloakfs backup run",
    ),
    Trouble.HOST_KEY: (
        "the computer of the target is not known here, or is another one than before",
        "Connect to it once by hand, as the user who makes the backup, and compare its fingerprint: ssh USER@HOST",
    ),
    Trouble.REFUSED: (
        "the computer of the target does not let this user in",
        "It takes a key of ssh without a passphrase, which lies there in authorized_keys: try ssh USER@HOST",
    ),
    Trouble.FULL: (
        "there is no room left at the target (or in the temporary directory)",
        _WHOLE + "Make room, or plug in a larger medium, and repeat: cloakfs backup run",
    ),
    Trouble.READ_ONLY: (
        "the target cannot be written to: it is read-only",
        "Look for a switch on the medium; a filesystem with errors becomes read-only too: dmesg tells.",
    ),
    Trouble.DENIED: (
        "the target does not let this user write or read there",
        "Look at who owns the directory of the target, or run it as root.",
    ),
    Trouble.THERE: (
        "there is a repository of restic at the target already",
        "Nothing is ever overwritten: choose an empty directory.",
    ),
}

# In this order: the first that is found counts. Texts of restic 0.14 to 0.17, of the kernel, of sftp and of ssh.
_SIGNS: Final[tuple[tuple[Trouble, str], ...]] = (
    (Trouble.LOCKED, r"repository is already locked"),
    (Trouble.SNAPSHOT, r"no matching ID found|no snapshot found"),
    (Trouble.KEY, r"wrong password or no key found"),
    (Trouble.THERE, r"config file already exists|config already exists|already initialized"),
    (Trouble.HOST_KEY, r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED"),
    (Trouble.REFUSED, r"Permission denied \(|Too many authentication failures"),
    (Trouble.FULL, r"no space left on device|disk quota exceeded|sftp: \"Failure\""),
    (Trouble.READ_ONLY, r"read-only file system"),
    (Trouble.NETWORK, r"connection lost|ssh command exited|broken pipe|unexpected EOF|unable to start the sftp"),
    (Trouble.NETWORK, r"Connection (refused|reset|closed|timed out)|No route to host|Network is unreachable"),
    (Trouble.NETWORK, r"Could not resolve hostname"),
    (Trouble.MISSING, r"Is there a repository at the following location|unable to open config file.*not? (such|exist)"),
    (Trouble.GONE, r"input/output error|no such device|transport endpoint is not connected|stale (NFS )?file handle"),
    (Trouble.DAMAGED, r"ciphertext verification failed|repository contains errors|does not exist|no such file or dir"),
    (Trouble.DAMAGED, r"invalid data returned|not found in (repository|index)|unable to load (tree|index)|Load\(<"),
    (Trouble.DAMAGED, r"hash does not match|tree \S+ not found|invalid (index|pack)|load <\w+/|id \S+ not found"),
    (Trouble.DENIED, r"permission denied|operation not permitted"),
)
_RETRY: Final = re.compile(r"returned error, retrying after [^:]*: (?P<why>.*)")
_PACK: Final = re.compile(r"^Load\(<data/([0-9a-f]+)>(?:.*/(\1[0-9a-f]*))?")
_LOCK: Final = re.compile(r"locked.* by PID (\d+) on (\S+) by ")
_SINCE: Final = re.compile(r"lock was created at ([0-9-]+ [0-9:]+)")


def trouble_in(text: str) -> Trouble:
    """What a text of restic tells."""
    for trouble, sign in _SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return trouble
    return Trouble.OTHER


def hopeless(line: str) -> Trouble | None:
    """Why restic will try something again for minutes, if trying again does not help."""
    found = _RETRY.search(line)
    if found is None:
        return None
    trouble = trouble_in(found["why"])
    return None if trouble is Trouble.OTHER else trouble


def pack_in(line: str) -> str:
    """The id of the pack that cannot be read, or its beginning; empty if that is not what a line is about."""
    found = _PACK.search(line)
    return (found[2] or found[1]) if found else ""


def lock_in(text: str) -> Lock | None:
    """Who holds the lock, if that is what a text is about."""
    who, since = _LOCK.search(text), _SINCE.search(text)
    return Lock(int(who[1]), who[2], since[1] if since else "") if who else None


def error_of(trouble: Trouble, text: str = "", status: int = 1) -> ResticError:
    """The error for a trouble that is known, and what restic said."""
    if trouble is Trouble.LOCKED:
        return _locked(lock_in(text))
    if trouble is Trouble.OTHER:
        return ResticError(
            trouble,
            f"restic failed, and says nothing that is known here (status {status})",
            hint="Try again; then look whether the target is well, with: restic check",
        )
    message, hint = _SAID[trouble]
    return ResticError(trouble, message, hint=hint, pack=pack_in(text))


def _locked(lock: Lock | None) -> ResticError:
    who = f" by process {lock.process} on {printable(lock.host)}, since {lock.since}" if lock else ""
    return ResticError(
        Trouble.LOCKED,
        f"the repository at the target is in use{who}",
        hint="Wait until that has ended. Of a computer that is gone for good: restic unlock --remove-all",
    )
