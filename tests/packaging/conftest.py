"""A clean Debian in a folder, with the package that was built from this checkout beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clean_debian import CleanDebian

TOP = Path(__file__).resolve().parents[2]
EPOCH = "1767225600"
"""The time of everything in the package that the tests make."""


@pytest.fixture(scope="session")
def package() -> Path:
    """What ``tools/build-deb`` makes."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no Debian")
    return build(TOP)


def build(checkout: Path) -> Path:
    """The package that a checkout's ``tools/build-deb`` makes."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
    done = subprocess.run([checkout / "tools/build-deb"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    assert made.parent == checkout / "dist"
    return made


@pytest.fixture(scope="module")
def debian(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanDebian]:
    """A minimal Debian of this machine's release in which nothing of ours is installed yet."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("debootstrap needs root, and has to be installed")
    with CleanDebian(tmp_path_factory.mktemp("debian") / "root") as made:
        shutil.copy(package, made.root / "root")
        yield made
