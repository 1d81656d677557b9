"""Fixtures of the tests on sticks: real filesystems on loop devices, and two machines that use one stick."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from encfs.cli.mounts import cloakfs_mounts
from tests.media.conftest import base as base  # noqa: PLC0414 - the fixture, for this directory too
from tests.support import blockdev, media
from tests.support.command import CHEAP, PASSPHRASE, run

Inserted = Callable[..., media.Lower]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that need a mount are marked so."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "base" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mount)
            if not Path("/dev/fuse").exists():
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse"))


@pytest.fixture
def state(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this machine remembers, for this test alone."""
    place = base / "state"
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(place))
    return place


@pytest.fixture
def secret(base: Path, state: Path) -> tuple[str, str]:
    """The options that open a stick of these tests."""
    del state
    path = base / "passphrase"
    path.write_text(PASSPHRASE)
    path.chmod(0o600)
    return ("--passphrase-file", str(path))


@pytest.fixture
def making(secret: tuple[str, str]) -> tuple[str, ...]:
    """The options with which ``stick create`` asks nothing."""
    return (*secret, "--no-recovery", "--yes", *CHEAP)


@pytest.fixture
def inserted(base: Path) -> Iterator[Inserted]:
    """Put a stick with a filesystem into the machine; it is taken out afterwards, whatever happens on it."""
    with ExitStack() as stack:

        def insert(kind: str, *, flaky: bool = False) -> media.Lower:
            lower = stack.enter_context(media.lower_filesystem(kind, base, flaky=flaky))
            stack.callback(_lock_all, base)
            return lower

        yield insert


def _lock_all(base: Path) -> None:
    """No mount stays; a test that ends well has none left."""
    for kernel in cloakfs_mounts():
        if kernel.mountpoint.startswith(f"{base}/"):
            run("lock", kernel.mountpoint, "--force")


@contextmanager
def plugged(image: Path) -> Iterator[str]:
    """A stick without a filesystem that is mounted: its device. Nobody has it open for writing."""
    path, fd = blockdev.attach(image)
    holder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    try:
        yield path
    finally:
        os.close(holder)


@pytest.fixture
def empty_stick(base: Path) -> Iterator[str]:
    """The device of a new stick of 64 MiB; its bytes are in ``base/stick image``."""
    image = base / "stick image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    with plugged(image) as device:
        yield device
