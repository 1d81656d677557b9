"""Fixtures of the tests on a real mount. Every test ends with a look at what it left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume, is_mounted, wait_for
from tests.support.twin import Twin

FUSE = Path("/dev/fuse")

Maker = Callable[..., MountedVolume]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need a mount."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.mount)
            if not FUSE.exists():
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse"))


# -- volumes ------------------------------------------------------------------------------------------------


def _new_base() -> Path:
    """A new directory that every user may enter; pytest's own are closed to other users."""
    base = Path(tempfile.mkdtemp(prefix="cloakfs-mount-")).resolve()
    base.chmod(0o755)
    return base


def _clear_away(volume: MountedVolume) -> None:
    """Whatever has happened: no mount and no process stay."""
    if not is_mounted(volume.path):
        return
    if volume.pid and Path(f"/proc/{volume.pid}").exists():
        os.kill(volume.pid, 9)
    unmount = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
    subprocess.run([*unmount, str(volume.path)], check=False)


def lower_files_open(volume: MountedVolume) -> list[str]:
    """Lower files that the daemon holds open, but for its lock and session record."""
    found = []
    for entry in os.scandir(f"/proc/{volume.pid}/fd"):
        try:
            target, info = os.readlink(entry.path), entry.stat()
        except FileNotFoundError:
            continue
        inside = target.startswith(f"{volume.lower}/") and not target.startswith(f"{volume.lower}/cloakfs.s/")
        if inside and stat.S_ISREG(info.st_mode):
            found.append(target)
    return found


def check_quiet(volume: MountedVolume) -> None:
    """After a test on a mount that goes on: the daemon lives, holds no file, and has nothing to complain of."""
    log = volume.log.read_text() if volume.log.exists() else ""
    assert "Traceback" not in log, log
    assert "integrity" not in log, log
    assert is_mounted(volume.path), "the mount is gone"
    # The kernel tells the daemon of a close after the program has gone on.
    wait_for(lambda: not lower_files_open(volume), "the daemon closes the lower files", 20)


def finish(volume: MountedVolume) -> None:
    """Check what a test leaves, and leave nothing, whatever the check says."""
    try:
        if is_mounted(volume.path):
            check_quiet(volume)
        volume.finish()
    finally:
        _clear_away(volume)


@pytest.fixture(scope="module")
def make_shared() -> Iterator[Maker]:
    """Make volumes that live as long as the module; checked at its end."""
    yield from _maker()


@pytest.fixture
def make_volume() -> Iterator[Maker]:
    """Make and mount volumes; each is checked at the end of the test."""
    yield from _maker()


def _maker() -> Iterator[Maker]:
    base = _new_base()
    volumes: list[MountedVolume] = []

    def make(*, mount: bool = True, cell_size: int = 4096, options: tuple[str, ...] = ()) -> MountedVolume:
        place = base / str(len(volumes))
        place.mkdir()
        volume = MountedVolume(place, cell_size=cell_size, options=options)
        volumes.append(volume)
        if mount:
            volume.mount()
        return volume

    try:
        yield make
        for volume in volumes:
            finish(volume)
    finally:
        for volume in volumes:
            _clear_away(volume)
        shutil.rmtree(base)


@pytest.fixture
def mounted(make_volume: Maker) -> MountedVolume:
    """A fresh volume, mounted."""
    return make_volume()


@pytest.fixture(scope="module")
def shared(make_shared: Maker) -> MountedVolume:
    """A mounted volume for all tests of a module that keep to their own directory; root lets other users in."""
    volume = make_shared(options=("--allow-other",) if os.geteuid() == 0 else ())
    volume.path.chmod(0o755)
    return volume


@pytest.fixture
def twin(shared: MountedVolume) -> Iterator[Twin]:
    """A new directory on the shared mount, and its like on the machine's own filesystem."""
    yield from make_twin(shared)


def make_twin(volume: MountedVolume) -> Iterator[Twin]:
    """A directory of its own in a mounted volume for a test that is its only user."""
    plain = Path(tempfile.mkdtemp(prefix="plain-", dir=volume.base))
    mounted = Path(tempfile.mkdtemp(prefix="test-", dir=volume.path))
    for directory in (plain, mounted):
        directory.chmod(0o755)
    yield Twin(mounted, plain)
    check_quiet(volume)


# -- the machine ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fuse_for_everybody() -> Iterator[None]:
    """Let ordinary users mount, for as long as the test takes; some machines keep /dev/fuse to root."""
    with Path(tempfile.gettempdir(), "cloakfs-tests-fuse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = stat.S_IMODE(FUSE.stat().st_mode)
        if before & 0o666 != 0o666:
            FUSE.chmod(before | 0o666)
        try:
            yield
        finally:
            FUSE.chmod(before)
