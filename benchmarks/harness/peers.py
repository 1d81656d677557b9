"""The filesystems that are compared, each in a directory of its own on the same backing store.

Owns: making, mounting and taking off; which process serves a mount and what CPU time it used. Must not know: what
is done on the mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encfs.volume import Volume

_SECRET = b"a passphrase for benchmarks"
_PATIENCE_SECONDS = 60.0
_IDLE_SECONDS = 0.05
_IDLE_CPU_SECONDS = 0.001


class PeerError(Exception):
    """A peer cannot be mounted; the text says why."""


@dataclass(slots=True)
class Site:
    """Where a peer is seen: ``path`` is its plain side, ``process`` what serves it (None: the kernel alone)."""

    peer: str
    path: Path
    process: subprocess.Popen[bytes] | None = None

    def cpu_seconds(self) -> float:
        """CPU time of the process that serves the mount; 0 where none does."""
        if self.process is None:
            return 0.0
        # CPUCLOCK_SCHED of another process: clock_getcpuclockid(3) makes the same number.
        return time.clock_gettime(~self.process.pid << 3 | 2)


@dataclass(frozen=True, slots=True)
class Peer:
    """How to make one: ``attach`` gets an empty directory and gives back what serves ``mnt`` in it."""

    name: str
    version: str
    attach: Callable[[Path], subprocess.Popen[bytes]] | None = None
    detach: Callable[[Path], list[str]] | None = None

    @contextmanager
    def mounted(self, base: Path) -> Iterator[Site]:
        """A fresh one below ``base``, taken off at the end.

        Raises:
            PeerError: the mount did not come up.
        """
        home, plain = base / self.name, base / self.name / "mnt"
        plain.mkdir(parents=True)
        if self.attach is None:
            yield Site(self.name, plain)
            return
        process = self.attach(home)
        try:
            _await_mount(self.name, home, process)
            yield Site(self.name, plain, process)
        finally:
            self._take_off(plain, process)

    def _take_off(self, plain: Path, process: subprocess.Popen[bytes]) -> None:
        if self.detach is not None and process.poll() is None:
            subprocess.run(self.detach(plain), capture_output=True, check=False)
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if os.path.ismount(plain):
            subprocess.run([*_unmount_command(), str(plain)], check=False)


def _await_mount(name: str, home: Path, process: subprocess.Popen[bytes]) -> None:
    outside = home.stat().st_dev
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = (home / "log").read_text(encoding="utf-8", errors="replace").strip()
            raise PeerError(f"{name} did not mount: {said}")
        if (home / "mnt").stat().st_dev != outside:
            return
        time.sleep(0.01)
    raise PeerError(f"{name} did not mount in {_PATIENCE_SECONDS:.0f} s")


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
    """``cloakfs mount`` of the Python that runs this."""

    def attach(home: Path) -> subprocess.Popen[bytes]:
        secret, lower = home / "passphrase", home / "lower"
        secret.write_bytes(_SECRET)
        Volume.create(os.fsencode(lower), secret=_SECRET, cell_size=cell_size)
        return _start(
            _cloakfs("mount", str(lower), str(home / "mnt"), "--foreground", "--passphrase-file", str(secret)), home
        )

    return Peer("cloakfs", version, attach, lambda plain: _cloakfs("lock", str(plain)))


def _cloakfs(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "encfs", *arguments]


def gocryptfs() -> Peer | None:
    """The gocryptfs that is installed, with its own defaults; None if there is none."""
    program = shutil.which("gocryptfs")
    if program is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout

    def attach(home: Path) -> subprocess.Popen[bytes]:
        secret, lower = home / "passphrase", home / "lower"
        secret.write_bytes(_SECRET)
        lower.mkdir()
        # The cost of unlocking is not measured, so it may be the least there is.
        subprocess.run(
            [program, "-q", "-init", "-scryptn", "10", "-passfile", str(secret), str(lower)],
            check=True,
            capture_output=True,
        )
        return _start([program, "-q", "-fg", "-passfile", str(secret), str(lower), str(home / "mnt")], home)

    return Peer("gocryptfs", version.strip(), attach, lambda plain: [*_unmount_command(), str(plain)])


def _start(command: list[str], home: Path) -> subprocess.Popen[bytes]:
    with (home / "log").open("w+b") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _unmount_command() -> list[str]:
    if os.geteuid() == 0:
        return ["umount"]
    return ["fusermount3" if shutil.which("fusermount3") else "fusermount", "-u"]
