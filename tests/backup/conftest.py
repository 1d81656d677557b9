"""Fixtures for backups: with restic one mounted volume for each module and one repository for each test; a practice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backup_office import Office
from tests.support.mounting import MountedVolume
from tests.support.restic_backups import Yard, clear, mounted_volume, template


@pytest.fixture(scope="module")
def restic_volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedVolume]:
    """Mounted as long as the module takes."""
    with mounted_volume(tmp_path_factory.mktemp("volume")) as volume:
        yield volume


@pytest.fixture(scope="module")
def restic_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository."""
    return template(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def yard(restic_volume: MountedVolume, restic_template: Path, tmp_path: Path) -> Yard:
    """An empty volume and an empty repository."""
    clear(restic_volume)
    repository = tmp_path / "repository"
    shutil.copytree(restic_template, repository)
    return Yard(restic_volume, repository)


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Office]:
    """A volume with 30 files, and a place for sticks."""
    if os.geteuid() != 0:
        pytest.skip("mounts filesystems")
    made = Office(tmp_path, capsys)
    made.write(30)
    try:
        yield made
    finally:
        made.close()
