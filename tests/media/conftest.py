"""Fixtures of the tests on media that are full, pulled out, or poor in what they can do."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import media
from tests.support.mounting import MountedVolume, is_mounted

FUSE = Path("/dev/fuse")

Rig = tuple[media.Lower, MountedVolume]
Maker = Callable[..., Rig]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need a mount."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.mount)
            if not FUSE.exists():
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse"))


@pytest.fixture
def base() -> Iterator[Path]:
    """A new directory, looked at in the end: no mount may be left in it."""
    path = Path(tempfile.mkdtemp(prefix="cloakfs-media-")).resolve()
    yield path
    left = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {path}" in line]
    for line in reversed(left):
        subprocess.run(["umount", "-l", line.split(" ")[4]], check=False)
    shutil.rmtree(path)
    assert not left


@pytest.fixture
def make(base: Path) -> Iterator[Maker]:
    """Make a lower filesystem with a volume on it, mounted; both are gone after the test, whatever happens."""
    with ExitStack() as stack:

        def make(kind: str, *, flaky: bool = False, options: tuple[str, ...] = ()) -> Rig:
            lower = stack.enter_context(media.lower_filesystem(kind, base, flaky=flaky))
            (base / "at").mkdir()
            volume = MountedVolume(base / "at", lower=lower.path / "volume", options=options)
            stack.callback(_end, volume)
            volume.mount()
            return lower, volume

        yield make


def _end(volume: MountedVolume) -> None:
    if volume.log.exists():
        # pytest shows it with a failed test only.
        print(f"log of the daemon:\n{volume.log.read_text()}")
    if is_mounted(volume.path) or not volume.is_dead():
        media.clear_away(volume)
