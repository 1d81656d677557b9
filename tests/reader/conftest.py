"""The reader, built once for all tests of a module, and volumes for it to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encfs.format.recovery_key import encode_recovery_key
from tests.support.portable_reader import PACKAGES, Reader, builder, clean_environment, names_of_windows
from tests.support.volumes import RECOVERY_KEY, LowerVolume


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``cloakfs-reader.pyz``, alone in its folder."""
    path: Path = tmp_path_factory.mktemp("dist") / "cloakfs-reader.pyz"
    builder.build(path, builder.pins())
    return path


@pytest.fixture(scope="module")
def reader(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The reader in an environment that has the packages of its wheels and nothing else."""
    return Reader(clean_environment(tmp_path_factory.mktemp("clean") / "env", PACKAGES), archive)


@pytest.fixture(scope="module")
def on_windows(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The same in the stand-in for Windows."""
    return Reader(reader.python, reader.archive, names_of_windows(tmp_path_factory.mktemp("names") / "names"))


@pytest.fixture(params=["here", "windows"])
def either(request: pytest.FixtureRequest, reader: Reader, on_windows: Reader) -> Reader:
    """One after the other."""
    return on_windows if request.param == "windows" else reader


@pytest.fixture
def recovery(tmp_path: Path) -> tuple[str, str]:
    """The option that opens every volume of :class:`LowerVolume`, without Argon2id."""
    path = tmp_path / "recovery"
    path.write_text(f"# a remark\n{encode_recovery_key(RECOVERY_KEY)}\n")
    return "--recovery-file", os.fspath(path)


@pytest.fixture
def lower(tmp_path: Path) -> LowerVolume:
    """A volume with a bit of everything."""
    made = LowerVolume(tmp_path / "volume")
    with made.unlock() as volume:
        volume.make_directory(b"letters")
        volume.make_directory(b"letters/2026", 0o750)
        volume.write_file(b"letters/2026/a.txt", b"Dear colleague\n", mode=0o640)
        volume.write_file(b"letters/long.bin", bytes(range(256)) * 40)
        volume.make_symlink(b"letters/link", b"2026/a.txt")
        volume.write_file(b"empty", b"")
    return made
