"""A practice that makes backups: a volume, sticks that take turns at one place, and the commands, in this process.

Owns: making them. Must not know: what a test does with them. Sticks are filesystems in memory, which need root.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encfs.backup import plans
from encfs.backup.plans import Plan, Run
from encfs.cli import cmd_backup
from encfs.errors import CloakfsError, ExitCode
from encfs.format.recovery_key import encode_recovery_key
from encfs.outcomes import of
from encfs.volume import read_config
from tests.support import blockdev
from tests.support.volumes import RECOVERY_KEY, LowerVolume, pattern

_SIZE = "64m"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


class Stick:
    """A medium, plugged in at ``path`` or not."""

    def __init__(self, name: str, base: Path, path: Path) -> None:
        # What is in memory goes with its mount: it is kept at a place of its own, and shown at another.
        self.held = base / f"held-{name}"
        self.path = path

    def make(self, size: str = _SIZE) -> None:
        self.held.mkdir()
        blockdev.mount("tmpfs", self.held, "tmpfs", f"size={size}")

    def plug(self) -> None:
        subprocess.run(["mount", "--bind", self.held, self.path], check=True)

    def pull(self) -> None:
        blockdev.unmount(self.path)

    def read_only(self, *, on: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,bind,{'ro' if on else 'rw'}", self.path], check=True)


class Office:
    """All of it below ``base``. Use :meth:`close`."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base = base
        self.volume = LowerVolume(base / "practice.vault")
        self.place = base / "BACKUP"
        self.place.mkdir()
        self._capsys = capsys
        self.secret = base / "recovery"
        self.secret.write_text(encode_recovery_key(RECOVERY_KEY))
        self.secret.chmod(0o600)
        self._made: list[Stick] = []

    def stick(self, name: str, size: str = _SIZE) -> Stick:
        """A new one, which is not plugged in."""
        one = Stick(name, self.base, self.place)
        one.make(size)
        self._made.append(one)
        return one

    def write(self, count: int, seed: object = 0, *, size: int = 500, start: int = 0) -> None:
        """Files of the volume, new or replaced."""
        with self.volume.unlock() as volume:
            for number in range(start, start + count):
                volume.write_file(b"%03d" % number, pattern(size, f"{seed} {number}"))

    def call(self, *words: str | os.PathLike[str]) -> Said:
        """``cloakfs backup WORDS``, as :func:`encfs.cli.main.run` would end it."""
        self._capsys.readouterr()
        try:
            code = cmd_backup.command.main([os.fspath(one) for one in words], standalone_mode=False)
            assert isinstance(code, ExitCode)
            told = ""
        except (CloakfsError, OSError) as exc:
            code, told = of(exc).code, of(exc).text
        said = self._capsys.readouterr()
        return Said(int(code), said.out, said.err + told)

    def good(self, *words: str | os.PathLike[str]) -> Said:
        """The same, which succeeds."""
        said = self.call(*words)
        assert said.code == 0, said
        return said

    def init(self, *more: str) -> Said:
        return self.good("init", self.volume.path, self.place, *more)

    @property
    def plan(self) -> Plan:
        """The only one."""
        (one,) = plans.plans()
        return one

    @property
    def plans(self) -> list[Plan]:
        return plans.plans()

    @property
    def volume_id(self) -> str:
        """Hexadecimal."""
        return read_config(os.fsencode(self.volume.path)).volume_id.hex()

    @property
    def last(self) -> Run:
        """What the register has of its last run."""
        return self.plan.runs[-1]

    def close(self) -> None:
        """Everything is unmounted."""
        while os.path.ismount(self.place):
            blockdev.unmount(self.place)
        for one in self._made:
            blockdev.unmount(one.held)


def tree(path: Path) -> dict[str, bytes | None]:
    """Everything below a directory: contents of files, None for directories."""
    return {str(one.relative_to(path)): one.read_bytes() if one.is_file() else None for one in sorted(path.rglob("*"))}
