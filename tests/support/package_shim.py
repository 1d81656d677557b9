"""``apt install`` on a scratch machine, where nothing is fetched: what is asked for must be on the machine already.

So a page that names a package which does not exist, or which ``tools/setup --tests`` does not install, fails. A package
of our own (``./cloakfs_*.deb``) is taken as installed: what builds it has its own tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_OURS = Path("/etc/systemd/system")


def main(arguments: list[str]) -> int:
    """The exit status of ``apt``."""
    words = [word for word in arguments if not word.startswith("-")]
    if words == ["update"]:
        return 0
    if not words or words[0] != "install":
        print(f"E: the scratch machine knows 'update' and 'install', not {words[:1]}", file=sys.stderr)
        return 100
    for name in words[1:]:
        if name.startswith("./cloakfs_") and name.endswith(".deb"):
            continue
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True, check=False
        )
        if asked.stdout != "installed":
            print(f"E: {name} is not on this machine; tools/setup --tests has to install it", file=sys.stderr)
            return 100
        _unmask(name)
        print(f"{name} is already the newest version.")
    return 0


def _unmask(package: str) -> None:
    """A package that is just installed has its units on from the next start; ``tools/setup`` masks some of them."""
    listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=True).stdout
    for unit in (Path(line) for line in listed.splitlines() if line.endswith(".service")):
        link = _OURS / unit.name
        if not link.is_symlink() or os.readlink(link) != os.devnull:
            continue
        link.unlink()
        for line in unit.read_text(encoding="utf-8").splitlines():
            if line.startswith("WantedBy="):
                wants = _OURS / f"{line.removeprefix('WantedBy=')}.wants"
                wants.mkdir(exist_ok=True)
                if not (wants / unit.name).is_symlink():
                    (wants / unit.name).symlink_to(unit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
