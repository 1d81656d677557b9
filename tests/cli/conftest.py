"""Volumes for the tests of the command."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.cli.media import same_medium
from encfs.format.recovery_key import encode_recovery_key
from encfs.volume import Volume
from tests.support.command import PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume, is_mounted


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with the passphrase."""
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def volume(tmp_path: Path, secret_file: Path) -> Made:
    """A locked volume with letters, a symlink, a directory, and a file of three cells."""
    key = os.urandom(32)
    recovery_file = tmp_path / "recovery"
    recovery_file.write_text(f"# a remark\n{encode_recovery_key(key).lower()}\n")
    recovery_file.chmod(0o600)
    made = Made(tmp_path / "volume", secret_file, recovery_file)
    Volume.create(os.fsencode(made.path), secret=PASSPHRASE.encode(), recovery_key=key)
    with Volume.unlock(os.fsencode(made.path), PASSPHRASE.encode()) as opened:
        opened.make_directory(b"letters", 0o750)
        opened.write_file(b"letters/a.txt", b"Dear colleague\n", mode=0o640)
        opened.write_file(b"letters/long.bin", bytes(range(256)) * 40, mode=0o600)
        opened.make_symlink(b"letters/link", b"a.txt")
        opened.write_file(b"empty", b"")
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another medium than the volume."""
    for base in ("/dev/shm", "/run"):
        if os.access(base, os.W_OK) and not same_medium(base, str(tmp_path)):
            with tempfile.TemporaryDirectory(dir=base) as found:
                yield Path(found)
            return
    pytest.skip("there is no second filesystem to write to")


@pytest.fixture
def mounted() -> Iterator[MountedVolume]:
    """A mounted volume with one file; afterwards neither mount nor process is left."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse")
    base = Path(tempfile.mkdtemp(prefix="cloakfs-cli-")).resolve()
    made = MountedVolume(base)
    made.secret_file.chmod(0o600)
    try:
        made.mount()
        (made.path / "a.txt").write_text("Dear colleague\n")
        yield made
    finally:
        if is_mounted(made.path):
            run("lock", made.path, "--force")
        assert not is_mounted(made.path), "a mount was left behind"
        shutil.rmtree(base)
