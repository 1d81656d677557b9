"""Programs that a benchmark wants, from Debian packages.

Owns: what is installed and what is not. Must not know: what a program is for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable

_APT_GET = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300")


def install_missing(programs: Iterable[str], *, besides: Collection[str] = ()) -> None:
    """Install programs by the packages that have their names, if root may; says what it does, and never fails.

    ``besides``: packages that they need and do not name.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    wanted = sorted({*missing, *besides})
    print(f"installing with apt-get: {' '.join(wanted)}", file=sys.stderr)
    for command in (("update",), ("install", "-y", "--no-install-recommends", *wanted)):
        result = subprocess.run(
            [*_APT_GET, *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            said = result.stderr.strip().splitlines() or ["no message"]
            print(f"apt-get {command[0]} failed: {said[-1]}", file=sys.stderr)
            return
