"""The filesystems that are compared, each in a directory of its own on the same backing store.

Owns: making, mounting and taking off; which process serves a mount, what CPU time and memory it used. Must not know:
what is done on the mount, and what each of the filesystems wants to be told (``filesystems.py``).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encfs.fuse.mount import is_mounted

_PATIENCE_SECONDS = 120.0  # CryFS derives its key for 20 s on a slow core.
_IDLE_SECONDS = 0.02
_IDLE_CPU_SECONDS = 0.0004
_LOOK_SECONDS = 0.001
_RESET_PEAK = "5"  # proc(5), clear_refs


class PeerError(Exception):
    """A peer cannot be mounted; the text says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """A peer that is mounted.

    Attributes:
        path: its plain side.
        pid: the process that serves it (None: the kernel alone).
        mount_seconds: from the command until it answered.
    """

    peer: str
    path: Path
    pid: int | None = None
    mount_seconds: float = 0.0

    def cpu_seconds(self) -> float:
        """CPU time of the process that serves the mount; 0 where none does."""
        if self.pid is None:
            return 0.0
        # CPUCLOCK_SCHED of another process: clock_getcpuclockid(3) makes the same number.
        return time.clock_gettime(~self.pid << 3 | 2)

    def reset_peak(self) -> None:
        """From now on :meth:`peak_bytes` counts anew."""
        if self.pid is not None:
            Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")

    def peak_bytes(self) -> int:
        """The most memory that the process has had (VmHWM); 0 where none serves."""
        if self.pid is None:
            return 0
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        raise PeerError(f"{self.peer}: its process is gone")


@dataclass(frozen=True, slots=True)
class Peer:
    """How to make one. A home is an empty directory of its own; it is mounted at ``mnt`` in there.

    Attributes:
        name: of the peer, and of its home.
        version: as its package or the program says it.
        settings: what it was told besides its own defaults.
        create: makes the encrypted directory of a home; most do that when they mount first.
        start: mounts it and returns when that answers: the process that serves in the foreground, or None.
        find_pid: who serves it, where that is no process of ours.
        stop: takes a home's mount off.
        cheap_kdf: whether its key derivation can be made so cheap that mount times can be compared.
    """

    name: str
    version: str
    settings: str = ""
    create: Callable[[Path], None] | None = None
    start: Callable[[Path], subprocess.Popen[bytes] | None] | None = None
    find_pid: Callable[[Path], int] | None = None
    stop: Callable[[Path], object] | None = None
    cheap_kdf: bool = True

    @contextmanager
    def home(self, base: Path) -> Iterator[Path]:
        """A fresh home below ``base``, with nothing mounted yet.

        Raises:
            PeerError: it cannot be made.
        """
        home = base / self.name
        (home / "mnt").mkdir(parents=True)
        if self.create is not None:
            self.create(home)
        yield home

    @contextmanager
    def serving(self, home: Path) -> Iterator[Site]:
        """Mount it, and take it off at the end, whatever happens.

        Raises:
            PeerError: it does not mount, or cannot be taken off.
        """
        plain = home / "mnt"
        if self.start is None:
            yield Site(self.name, plain)
            return
        started = time.perf_counter()
        process = self.start(home)
        elapsed = time.perf_counter() - started
        pid = None if process is None else process.pid
        try:
            pid = pid or self._find_server(home)
            yield Site(self.name, plain, pid, elapsed)
            self._take_off(home)
        finally:
            if is_mounted(str(plain)):
                subprocess.run([*_unmount_command(lazy=True), str(plain)], check=False)
            if pid is not None:
                _await_end(self.name, process, pid)

    def _find_server(self, home: Path) -> int:
        if self.find_pid is None:
            raise AssertionError("internal error: nobody knows who serves the mount")
        return self.find_pid(home)

    def _take_off(self, home: Path) -> None:
        if self.stop is not None:
            self.stop(home)
            return
        # go-fuse holds a file of its own mount open for a moment after it answers.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                run(self.name, [*_unmount_command(), str(home / "mnt")])
            except PeerError as exc:
                if "busy" not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    @contextmanager
    def mounted(self, base: Path) -> Iterator[Site]:
        """A fresh one below ``base``, mounted, and taken off at the end.

        Raises:
            PeerError: it does not mount.
        """
        with self.home(base) as home, self.serving(home) as site:
            yield site


def _await_end(name: str, process: subprocess.Popen[bytes] | None, pid: int) -> None:
    """A process whose mount was taken off ends by itself; one that does not is not left behind."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None if process is not None else Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise PeerError(f"{name}: its process did not end")
        time.sleep(_LOOK_SECONDS)


def run(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a peer's command; what it prints. It is in a session of its own, as :func:`start_in_foreground` says.

    Raises:
        PeerError: it failed, in its own words.
    """
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    if result.returncode != 0:
        raise PeerError(f"{name}: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def start_in_foreground(
    home: Path,
    command: Sequence[str],
    *,
    secret: bytes = b"",
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that serves ``home / "mnt"`` as long as it runs; ``secret`` is what it reads from its input.

    It is in a session of its own: Ctrl-C ends the benchmark, which then takes it off in good order.

    Raises:
        PeerError: it ended, or did not mount in time.
    """
    entered = home / "secret"
    entered.write_bytes(secret)
    with entered.open("rb") as source, (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
        )
    outside, deadline = home.stat().st_dev, time.monotonic() + _PATIENCE_SECONDS
    while (home / "mnt").stat().st_dev == outside:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = (home / "log").read_text(encoding="utf-8", errors="replace").strip()
            raise PeerError(f"{home.name} does not mount. {said}")
        time.sleep(_LOOK_SECONDS)
    os.listdir(home / "mnt")
    return process


def _unmount_command(*, lazy: bool = False) -> list[str]:
    """Takes off a mount point that follows."""
    if os.geteuid() == 0:
        return ["umount", *(["-l"] if lazy else [])]
    return ["fusermount3" if shutil.which("fusermount3") else "fusermount", "-uz" if lazy else "-u"]


def settle(sites: Sequence[Site]) -> None:
    """Wait until no daemon has anything left to do: what an earlier step left behind is not this one's time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = sum(site.cpu_seconds() for site in sites)
    while any(site.pid is not None for site in sites) and time.monotonic() < deadline:
        time.sleep(_IDLE_SECONDS)
        now = sum(site.cpu_seconds() for site in sites)
        if now - before < _IDLE_CPU_SECONDS:
            return
        before = now
