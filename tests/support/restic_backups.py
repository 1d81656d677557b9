"""A mounted volume and a repository of restic beside it, for tests of what is between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from encfs.backup.engine import Change, Made
from encfs.backup.manifest import content_key, keyed_digest
from encfs.backup.restic_engine import ResticEngine
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.backup import Item
from encfs.format.recovery_key import encode_recovery_key
from tests.support.mounting import MountedVolume, is_mounted, wait_for
from tests.support.restic_repository import make_quick

PLAN = "0a" * 16
VOLUME = "0b" * 16
KEY = bytes(range(32))
PACK_SIZE = 16 << 20


def nothing() -> None:
    """Does it."""


def anything(change: Change) -> None:
    """A guard that lets everything through."""


@dataclass
class Told:
    """Satisfies :class:`encfs.backup.engine.Steps`; ``on``: is called with the phase at each step of it."""

    on: Callable[[str], None] = lambda _: None
    phases: list[tuple[str, int]] = field(default_factory=list)

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def done(self, count: int) -> None:
        del count
        self.on(self.phases[-1][0])

    def total(self, name: str) -> int:
        """The most that a part was said to be."""
        return max(total for one, total in self.phases if one == name)


class Yard:
    """A volume that is mounted, a repository in a directory, and engines between them."""

    def __init__(self, volume: MountedVolume, repository: Path) -> None:
        self.volume = volume
        self.top = volume.path
        self.repository = repository

    def engine(self, *, flush: Callable[[], None] = nothing, **more: Any) -> ResticEngine:
        """One with everything as it should be, but for what is given."""
        at = {"mountpoint": os.fsencode(self.top), "repository": str(self.repository), "key": KEY} | more
        return ResticEngine(PLAN, VOLUME, flush=flush, **at)

    def run(self, **more: Any) -> Made:
        """A run that has to be made."""
        return self.engine(**more).run(anything, Told())

    def runs(self) -> list[str]:
        """Ids of the complete ones."""
        return [head.run for head in self.engine().runs()]

    def packs(self) -> list[Path]:
        """Of the repository, the largest first."""
        found = [path for path in (self.repository / "data").rglob("*") if path.is_file()]
        return sorted(found, key=lambda path: path.stat().st_size, reverse=True)

    def restic(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """restic itself, as a person uses it who has the key."""
        return subprocess.run(
            ["restic", "-r", str(self.repository), "--no-cache", *arguments],
            env={**os.environ, "RESTIC_PASSWORD": encode_recovery_key(KEY)},
            capture_output=True,
            check=True,
        )


def digest(content: bytes) -> bytes:
    """As it stands in a manifest."""
    return keyed_digest(content_key(KEY), CLOAKFS_1.digest(content))


def paths(items: Sequence[Item]) -> list[bytes]:
    """Their paths."""
    return [item.path for item in items]


def flip(path: Path, offset: int) -> None:
    """One bit of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def clear(volume: MountedVolume) -> None:
    """Nothing is in it any more, and it is mounted."""
    if not is_mounted(volume.path):
        wait_for(volume.is_dead, "the daemon ends")
        volume.mount()
    for path in volume.path.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def mounted_volume(base: Path) -> Iterator[MountedVolume]:
    """One for several tests."""
    if shutil.which("restic") is None or not Path("/dev/fuse").exists():
        pytest.skip("no restic, or no FUSE")
    volume = MountedVolume(base)
    volume.mount()
    try:
        yield volume
        volume.finish()
    finally:
        if is_mounted(volume.path):
            volume.kill()


def template(base: Path) -> Path:
    """An empty repository, of which each test has a copy."""
    repository = base / "template"
    engine = ResticEngine(PLAN, VOLUME, None, str(repository), KEY)
    engine.init()
    make_quick(repository, KEY)
    return repository
