"""Real mounts for tests: made by the real command, taken off again, checked for what they leave behind."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from encfs.crypto import suite
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.verify import Finding, Severity, Verifier

SECRET = b"a passphrase for tests"


# No command takes that long even on a busy machine; one that hangs fails its test instead of the whole run.
_COMMAND_SECONDS = 300


def cloakfs(
    *arguments: str, check: bool = True, prefix: tuple[str, ...] = (), **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, behind ``prefix``; unless told not to, fail with what it said when it fails."""
    command = [*prefix, sys.executable, "-m", "encfs", *arguments]
    kwargs.setdefault("timeout", _COMMAND_SECONDS)
    result = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert not check or result.returncode == 0, f"{arguments} ended with {result.returncode}: {result.stderr}"
    return result


def wait_for(condition: object, what: str, seconds: float = 60.0) -> None:
    """Wait until ``condition()`` is true; fail with ``what`` when it never is."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def is_mounted(path: Path) -> bool:
    """Whether the kernel's table names the path."""
    return any(line.split(" ")[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


_argon2id = functools.lru_cache(maxsize=64)(suite.CLOAKFS_1.argon2id)


@contextmanager
def _argon2id_once() -> Iterator[None]:
    """A passphrase and a salt are not put through Argon2id twice: the end of a test unlocks what its beginning made."""
    known = replace(suite.CLOAKFS_1, argon2id=_argon2id)
    with mock.patch.dict(suite._SUITES, {known.name: known}):
        yield


class MountedVolume:
    """A volume in ``base/volume`` (or another place, ``lower``), mounted at ``base/mnt`` by ``cloakfs mount``.

    ``user``: arguments of :func:`cloakfs` that say who runs the command; none for this process' user.
    """

    def __init__(
        self, base: Path, *, cell_size: int = 4096, options: tuple[str, ...] = (), lower: Path | None = None
    ) -> None:
        self.base = base
        self.lower = lower or base / "volume"
        self.path = base / "mnt"
        self.log = base / "daemon.log"
        self.secret_file = base / "passphrase"
        self.options = options
        self.cell_size = cell_size
        self.user: dict[str, Any] = {}
        self.secret_file.write_bytes(SECRET)
        self.path.mkdir()
        with _argon2id_once():
            config = Volume.create(os.fsencode(self.lower), secret=SECRET, cell_size=cell_size)
        self.volume_id = config.volume_id.hex()
        self.pid = 0

    def mount(self, *more: str) -> None:
        """Mount; returns when it answers."""
        result = cloakfs(
            "mount", str(self.lower), str(self.path), "--passphrase-file", str(self.secret_file),
            "--log", str(self.log), "--json", *self.options, *more, **self.user,
        )  # fmt: skip
        self.pid = int(json.loads(result.stdout)["mount"]["pid"])

    def lock(self) -> None:
        """Take the mount off and wait until the daemon is gone."""
        cloakfs("lock", str(self.path), **self.user)
        assert not is_mounted(self.path)
        wait_for(self.is_dead, "the daemon ends")

    def remount(self, *more: str) -> None:
        """Lock and mount again: what is seen afterwards came from the disk."""
        self.lock()
        self.mount(*more)

    def kill(self) -> None:
        """kill -9 the daemon, and clear the dead mount away."""
        self.kill_daemon()
        self.clear_dead_mount()

    def kill_daemon(self) -> None:
        """kill -9 the daemon; the dead mount stays, so nobody can write to the bare mount point."""
        if not self.is_dead():
            os.kill(self.pid, 9)
        wait_for(self.is_dead, "the daemon dies")

    def is_dead(self) -> bool:
        """Whether the daemon has ended. Nobody may have collected its exit status yet."""
        return is_gone(self.pid)

    def clear_dead_mount(self) -> None:
        """Take off what :meth:`kill_daemon` left."""
        unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*unmount, str(self.path)], check=True)

    def findings(self) -> list[Finding]:
        """What ``verify`` finds in the locked volume, information left out."""
        with (
            _argon2id_once(),
            Volume.unlock(os.fsencode(self.lower), SECRET, SlotKind.PASSPHRASE, read_only=True) as volume,
        ):
            steps = list(Verifier(volume).run())
        return [step for step in steps if isinstance(step, Finding) and step.severity is not Severity.INFO]

    def finish(self) -> None:
        """The end of every test with a mount: no mount, no process, no finding, no complaint in the log."""
        if is_mounted(self.path):
            self.lock()
        assert self.findings() == []
        log = self.log.read_text() if self.log.exists() else ""
        assert "Traceback" not in log, log
        assert "integrity" not in log, log


def is_gone(pid: int) -> bool:
    """Whether a process has ended, also when nobody has collected its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
