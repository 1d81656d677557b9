"""Fixtures of the library tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.model_crash import Model
from tests.support.model_disk import Disk
from tests.support.model_store import disk_of
from tests.support.operations import BYSTANDERS
from tests.support.volumes import LowerVolume, remove_templates

# A deadline would measure how busy the machine is. In CI every run tries the same examples.
settings.register_profile("cloakfs-volume", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("cloakfs-volume")


@pytest.fixture
def lower(tmp_path: Path) -> LowerVolume:
    """An empty volume with cells of 4096 bytes."""
    return LowerVolume(tmp_path / "volume")


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one that keeps attributes: for tests that unlock hundreds of times."""
    try:
        directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="cloakfs-test-"))
    except OSError:
        yield tmp_path
        return
    try:
        os.setxattr(directory, "user.cloakfs", b"")
        yield directory
    except OSError:
        yield tmp_path
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session", autouse=True)
def _templates() -> Iterator[None]:
    yield
    remove_templates()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Model disks under one root."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Model(tmp_path_factory.mktemp("root"), monkeypatch)


@pytest.fixture(scope="module")
def furnished(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A model disk with a volume, and things in it that no test touches."""
    return model.prepare(disk_of(LowerVolume(tmp_path_factory.mktemp("base") / "volume").path), BYSTANDERS)
