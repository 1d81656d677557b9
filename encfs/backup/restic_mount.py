"""A repository of restic as a directory, through its own mount: how contents are read back and restored.

Owns: making that mount and taking it off, whatever happens; that no read waits for ever. Must not know: manifests.

A read of a mount of restic cannot be interrupted once restic has it; it ends when restic is killed. So another thread
looks on: a restic that says that it tries in vain (:mod:`encfs.backup.restic`) or that is silent for minutes is killed.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from encfs.backup.kernel_mounts import topmost
from encfs.backup.restic import Restic, Running, ended, raise_if_failed
from encfs.backup.restic_words import Trouble, error_of
from encfs.stick import programs

PREFIX: Final = "mnt-"
_IDS: Final = "ids"
SILENCE: Final = 300.0
"""Seconds for which one read may take, or the beginning of a mount. A slow line needs a few for one pack of 16 MiB."""
_POLL: Final = 0.02
_MOMENT: Final = 10.0
_ENDED: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV})


class Mounted:
    """A mount that is there.

    Attributes:
        top: path of the directory that has a directory for each snapshot, by its id.
    """

    def __init__(self, top: bytes, running: Running, silence: float) -> None:
        self.top = top
        self._running = running
        self._silence = silence
        self._since: float | None = None
        self._stop = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around each call that may wait for restic.

        Raises:
            ResticError: restic was ended, since it waited for nothing. OSError: as the call.
        """
        self._since = time.monotonic()
        try:
            yield
        except OSError as exc:
            if exc.errno in _ENDED:
                with suppress(subprocess.TimeoutExpired):  # Its mount ends a moment before it does.
                    self._running.process.wait(_MOMENT)
            self.check()
            raise
        finally:
            self._since = None

    def check(self) -> None:
        """Raises: ResticError: restic does not run any more."""
        if self._silent:
            raise error_of(Trouble.GONE)
        if self._running.hopeless is not None or self._running.process.poll() is not None:
            raise_if_failed(self._running, self._running.wait() or 1)

    def stop(self) -> None:
        """Nobody looks on any more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            since = self._since
            if since is not None and time.monotonic() - since > self._silence:
                self._silent = True
                self._running.process.kill()
                return


class Remounting:
    """Mounts of one repository, one after the other: a new one where the last one had to be ended. Use it in ``with``.

    Args:
        restic: of the repository.
        place: see :func:`mounted`.
        silence: see :func:`mounted`.

    Attributes:
        restic: as it was given.
    """

    def __init__(self, restic: Restic, place: Path, *, silence: float = SILENCE) -> None:
        self.restic = restic
        self._place = place
        self._silence = silence
        self._stack = ExitStack()
        self._current: Mounted | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def current(self) -> Mounted:
        """The mount, made if there is none. Raises: ResticError, OSError."""
        if self._current is None:
            self._current = self._stack.enter_context(mounted(self.restic, self._place, silence=self._silence))
        return self._current

    def drop(self) -> None:
        """Take it off."""
        self._current = None
        self._stack.close()


@contextmanager
def mounted(restic: Restic, place: Path, *choice: str, silence: float = SILENCE) -> Iterator[Mounted]:
    """The repository as a directory, read past restic's cache.

    Args:
        restic: of the repository.
        place: directory of this user alone, in which the mount point is made.
        choice: options that choose snapshots: ``--tag``.
        silence: seconds for which one read may take.

    Raises:
        ResticError: it cannot be mounted. OSError.
    """
    clear(place)
    at = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    try:
        with ended(_begin(restic, at, choice)) as running:
            _wait(running, at, silence)
            one = Mounted(os.fsencode(os.path.join(at, _IDS)), running, silence)
            try:
                yield one
            finally:
                one.stop()
                take_off(at)
    finally:
        take_off(at)
        os.rmdir(at)


def _begin(restic: Restic, at: str, choice: Sequence[str]) -> Running:
    template = ("--path-template", f"{_IDS}/%I")
    # It locks nothing: so it can be read from a medium that is read-only, and beside whatever else goes on.
    return restic.start("mount", at, *template, *choice, "--no-lock", cached=False)


def _wait(running: Running, at: str, silence: float) -> None:
    """Until it is there. Raises: ResticError."""
    limit = time.monotonic() + silence
    while not is_mounted(at):
        try:
            status = running.process.wait(_POLL)
        except subprocess.TimeoutExpired:
            if time.monotonic() < limit:
                continue
            running.process.kill()
            raise error_of(Trouble.GONE) from None
        running.wait()
        raise_if_failed(running, status or 1)


def is_mounted(path: str) -> bool:
    """Whether the kernel's table names it. Asking the mount itself could wait for ever."""
    return topmost(os.fsencode(path)) is not None


def take_off(at: str) -> None:
    """Whether it is in use or dead: nothing is written through it."""
    if is_mounted(at):
        programs.run("fusermount3" if programs.find("fusermount3") else "fusermount", "-uz", at)


def clear(place: Path) -> None:
    """What a killed process has left. Raises: OSError."""
    for left in place.glob(PREFIX + "*"):
        if not _is_in_use(left):
            take_off(str(left))
            os.rmdir(left)


def _is_in_use(path: Path) -> bool:
    """Whether a restic that lives serves it: it has the path as an argument."""
    wanted = os.fsencode(path)
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if wanted in words:
                return True
    return False
