"""The programs of the system that make, mount and let go of a filesystem.

Owns: how they are found and run, and what is said when one is missing. Must not know: what they are run for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from encfs.errors import CloakfsError

# Where they lie is not on the path of everybody who becomes root.
_MORE: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_PACKAGES: Final = {"mkfs.exfat": "exfatprogs", "wipefs": "util-linux", "blkid": "util-linux", "lsblk": "util-linux"}
_SHOWN: Final = 300


def find(program: str) -> str | None:
    """The path of a program, None if it is not installed."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE]))


def need(program: str) -> str:
    """The path of a program.

    Raises:
        CloakfsError: it is not installed.
    """
    path = find(program)
    if path is None:
        package = _PACKAGES.get(program, program)
        raise CloakfsError(f"the program {program} is not installed", hint=f"On Debian: apt-get install {package}")
    return path


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; whether it did its work says ``returncode``.

    Raises:
        CloakfsError: it is not installed.
    """
    return subprocess.run(
        [need(program), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said when it failed, in one line."""
    text = " ".join((done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
