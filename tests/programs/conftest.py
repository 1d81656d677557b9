"""Fixtures of the tests with real programs: a mounted volume that is checked at the end of every test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume, is_mounted
from tests.support.programs import MARKER, Maker, finish

Outcome = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself went well: the end check of a failed test would only repeat it."""
    report = yield
    if call.when == "call":
        item.stash[Outcome] = report.passed
    return report


@pytest.fixture
def base() -> Iterator[Path]:
    """A new directory that every user may enter (pytest's own are closed to PostgreSQL's user)."""
    path = Path(tempfile.mkdtemp(prefix="cloakfs-programs-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_volume(base: Path, request: pytest.FixtureRequest) -> Iterator[Maker]:
    """Make and mount volumes; each is checked at the end (tests/support/programs.py, ``finish``)."""
    volumes: list[MountedVolume] = []

    def make(*, cell_size: int = 4096, options: tuple[str, ...] = (), witness: bool = True) -> MountedVolume:
        place = base / f"at{len(volumes)}"
        place.mkdir()
        volume = MountedVolume(place, cell_size=cell_size, options=options)
        volumes.append(volume)
        volume.mount()
        if witness:
            (volume.path / f"{MARKER}.txt").write_text(f"{MARKER}\n")
        return volume

    yield make
    try:
        if request.node.stash.get(Outcome, False):
            for volume in volumes:
                finish(volume)
    finally:
        for volume in volumes:
            _clear_away(volume)


def _clear_away(volume: MountedVolume) -> None:
    """Whatever has happened, nothing of the mount stays, and the machine goes on."""
    if volume.log.exists() and volume.log.stat().st_size:
        # pytest shows it with a failed test only.
        print(f"log of the daemon:\n{volume.log.read_text()}")
    if is_mounted(volume.path):
        try:
            os.kill(volume.pid, 9)
        except ProcessLookupError:
            pass
        unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*unmount, str(volume.path)], check=False)


@pytest.fixture
def volume(make_volume: Callable[[], MountedVolume]) -> MountedVolume:
    """A volume with cells of 4 KiB, mounted."""
    return make_volume()


@pytest.fixture
def mnt(volume: MountedVolume) -> Path:
    """The mount point of ``volume``."""
    return volume.path
