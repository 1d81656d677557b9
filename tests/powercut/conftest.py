"""Where recordings are made and disks are rebuilt; nothing of it stays mounted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.blockdev import unmount


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them make real mounts, but for those of the log itself."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name != "test_logbook.py":
            item.add_marker(pytest.mark.mount)


def _mounts_below(directory: Path) -> list[Path]:
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [Path(target) for target in (line.split(" ")[4] for line in table) if Path(target).is_relative_to(directory)]


def _loops_below(directory: Path) -> list[Path]:
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if Path(backing.read_text(encoding="utf-8").strip()).is_relative_to(directory):
                found.append(backing)
        except OSError:
            continue  # Another test's device went away.
    return found


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """An empty directory in memory where there is one: flushes are what this makes most of."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="cloakfs-powercut-", dir=memory if memory.is_dir() else None)).resolve()
    try:
        yield directory
        assert _mounts_below(directory) == []
        assert _loops_below(directory) == []
    finally:
        for target in reversed(_mounts_below(directory)):
            unmount(target)
        shutil.rmtree(directory)
