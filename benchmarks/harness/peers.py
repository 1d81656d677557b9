"""The filesystems that are compared, each in a directory of its own on the same backing store.

Owns: making, mounting and taking off; which process serves a mount and what CPU time it used. Must not know: what
is done on the mount.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encfs.volume import Volume

_SECRET = b"a passphrase for benchmarks"
_PATIENCE_SECONDS = 30.0
_IDLE_SECONDS = 0.05
_IDLE_CPU_SECONDS = 0.001


class PeerError(Exception):
    """A peer cannot be mounted; the text says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer is seen: ``path`` is its plain side, ``pid`` the process that serves it (None: the kernel alone)."""

    peer: str
    path: Path
    pid: int | None = None

    def cpu_seconds(self) -> float:
        """CPU time of the process that serves the mount; 0 where none does."""
        if self.pid is None:
            return 0.0
        # CPUCLOCK_SCHED of another process: clock_getcpuclockid(3) makes the same number.
        return time.clock_gettime(~self.pid << 3 | 2)


@dataclass(frozen=True, slots=True)
class Peer:
    """How to make one.

    Attributes:
        attach: given an empty directory, mounts at ``mnt`` in it and returns, when that answers, who serves it.
        detach: the command that takes a mount point off.
    """

    name: str
    version: str
    attach: Callable[[Path], int] | None = None
    detach: Callable[[Path], list[str]] | None = None

    @contextmanager
    def mounted(self, base: Path) -> Iterator[Site]:
        """A fresh one below ``base``, taken off at the end.

        Raises:
            PeerError: it does not mount.
        """
        home, plain = base / self.name, base / self.name / "mnt"
        plain.mkdir(parents=True)
        if self.attach is None or self.detach is None:
            yield Site(self.name, plain)
            return
        try:
            pid = self.attach(home)
            yield Site(self.name, plain, pid)
            self._take_off(self.detach(plain), pid)
        finally:
            if os.path.ismount(plain):
                subprocess.run([*_unmount_command(lazy=True), str(plain)], check=False)

    def _take_off(self, command: list[str], pid: int) -> None:
        _run(self.name, command)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


def _run(name: str, command: list[str]) -> str:
    """Run a peer's command; what it prints.

    Raises:
        PeerError: it failed, in its own words.
    """
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PeerError(f"{name}: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def settle(sites: list[Site]) -> None:
    """Wait until no daemon has anything left to do: what an earlier step left behind is not this one's time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = sum(site.cpu_seconds() for site in sites)
    while time.monotonic() < deadline:
        time.sleep(_IDLE_SECONDS)
        now = sum(site.cpu_seconds() for site in sites)
        if now - before < _IDLE_CPU_SECONDS:
            return
        before = now


def bare() -> Peer:
    """The directory itself, without encryption."""
    return Peer("bare", "the backing store itself")


def cloakfs(cell_size: int, version: str) -> Peer:
    """``cloakfs mount`` of the Python that runs this, with its own defaults."""

    def attach(home: Path) -> int:
        secret, lower = home / "passphrase", home / "lower"
        secret.write_bytes(_SECRET)
        Volume.create(os.fsencode(lower), secret=_SECRET, cell_size=cell_size)
        log = str(home / "log")
        where = (str(lower), str(home / "mnt"))
        _run("cloakfs", _cloakfs("mount", *where, "--passphrase-file", str(secret), "--log", log))
        status = json.loads(_run("cloakfs", _cloakfs("status", str(lower), "--json")))
        return int(status["volumes"][0]["mount"]["pid"])

    return Peer("cloakfs", version, attach, lambda plain: _cloakfs("lock", str(plain)))


def _cloakfs(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "encfs", *arguments]


def gocryptfs() -> Peer | None:
    """The gocryptfs that is installed, with its own defaults; None if there is none."""
    program = shutil.which("gocryptfs")
    if program is None:
        return None
    version = _run("gocryptfs", [program, "--version"]).strip()

    def attach(home: Path) -> int:
        secret, lower = home / "passphrase", home / "lower"
        secret.write_bytes(_SECRET)
        lower.mkdir()
        key = ("-passfile", str(secret), "--", str(lower))
        # The cost of unlocking is not measured, so it may be the least there is.
        _run("gocryptfs", [program, "-q", "-init", "-scryptn", "10", *key])
        # In the foreground its process is the one that was started.
        with (home / "log").open("wb") as log:
            started = [program, "-q", "-fg", *key, str(home / "mnt")]
            process = subprocess.Popen(started, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        threading.Thread(target=process.wait, daemon=True).start()
        _await_mount(home)
        return process.pid

    return Peer("gocryptfs", version, attach, lambda plain: [*_unmount_command(), str(plain)])


def _await_mount(home: Path) -> None:
    outside = home.stat().st_dev
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (home / "mnt").stat().st_dev == outside:
        if time.monotonic() > deadline:
            said = (home / "log").read_text(encoding="utf-8", errors="replace").strip()
            raise PeerError(f"gocryptfs does not mount. {said}")
        time.sleep(0.01)


def _unmount_command(*, lazy: bool = False) -> list[str]:
    if os.geteuid() == 0:
        return ["umount", *(["-l"] if lazy else [])]
    return ["fusermount3" if shutil.which("fusermount3") else "fusermount", "-uz" if lazy else "-u"]
