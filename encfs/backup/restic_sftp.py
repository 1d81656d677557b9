"""How restic reaches a repository on another computer: over sftp, by a command line of ssh.

Owns: that command line, made of what was given as the target, and why the other computer lets nobody in. Must not know:
restic's own command lines, keys.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Final

from encfs.backup.restic_words import Trouble, trouble_in
from encfs.errors import UsageError

_SFTP: Final = re.compile(r"sftp:(?://(?P<at>[^/]+)/(?P<url>.*)|(?P<host>[^:]+):(?P<path>.*))\Z", re.DOTALL)
# A dead network is noticed after a minute; nobody is there to type a password or to say yes.
_OPTIONS: Final = ("BatchMode=yes", "ConnectTimeout=30", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_SECONDS: Final = 60


def command(location: str, ssh: Sequence[str]) -> list[str]:
    """The words of a command line that speaks sftp; none for a repository on this computer.

    Args:
        location: ``sftp:USER@HOST:PATH``, ``sftp://USER@HOST:PORT/PATH``, or a directory.
        ssh: the words with which it begins.

    Raises:
        UsageError: the location is none.
    """
    if not location.startswith("sftp:"):
        return []
    found = _SFTP.match(location)
    at = (found["at"] or found["host"]) if found else ""
    user, _, host = at.rpartition("@")
    port = ""
    if found and found["at"]:
        host, _, port = host.partition(":")
    # A name that begins with a dash would be an option of ssh.
    if not host or host.startswith("-") or user.startswith("-") or (port and not port.isdecimal()):
        raise UsageError("this is no target over sftp", hint="It looks like this: sftp:USER@HOST:/DIRECTORY")
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return [*ssh, *options, *(("-l", user) if user else ()), *(("-p", port) if port else ()), "-s", host, "sftp"]


def trouble(words: Sequence[str]) -> Trouble | None:
    """Why the other computer lets nobody in, as ssh tells it; None if it does, or if that is not the reason."""
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = trouble_in(done.stderr) if done.returncode else None
    return found if found in (Trouble.HOST_KEY, Trouble.REFUSED) else None
