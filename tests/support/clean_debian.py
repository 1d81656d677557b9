"""A minimal Debian in a folder: made by debootstrap from where this machine has its packages, used by chroot."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self


def _tell(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sources() -> tuple[str, str]:
    """Where apt gets this release's packages from, and the name of the release."""
    release = _tell("sh", "-c", ". /etc/os-release; printf %s $VERSION_CODENAME")
    place = "Created-By: Packages", "Component: main", f"Codename: {release}"
    uris = _tell("apt-get", "indextargets", "--format", "$(REPO_URI)", *place).split()
    return uris[0], release


class CleanDebian:
    """Below ``root``, with /proc, /dev/fuse and /dev/pts; whatever happens, nothing of it stays mounted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        uri, release = sources()
        with self._stack:
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", release, str(self.root), uri],
                capture_output=True,
                text=True,
                check=False,
            )
            assert made.returncode == 0, made.stdout[-3000:] + made.stderr
            fuse = self.root / "dev" / "fuse"
            fuse.touch()
            for arguments, target in (
                (("-t", "proc", "proc"), self.root / "proc"),
                (("--bind", "/dev/fuse"), fuse),
                (("-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts"), self.root / "dev" / "pts"),
            ):
                subprocess.run(["mount", *arguments, str(target)], check=True)
                self._stack.callback(subprocess.run, ["umount", "-l", str(target)], check=True)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        # What a failed test left mounted, the innermost first.
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if line.split(" ")[4].startswith(f"{self.root}/") and " fuse.cloakfs " in line:
                subprocess.run(["umount", "-l", line.split(" ")[4]], check=False)
        self._stack.close()

    def run(self, script: str, *, code: int = 0) -> str:
        """What a script says there, to stdout and stderr. It has to end with ``code``."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["chroot", str(self.root), "bash", "-euo", "pipefail", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment | {"LC_ALL": "C.UTF-8"},
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{script}\nended with {done.returncode}: {done.stdout[-4000:]}"
        return done.stdout
