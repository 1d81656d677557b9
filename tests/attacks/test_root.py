"""The root directory's record, and the config of the owner's other volume (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from encfs.volume import Volume
from tests.support import evidence
from tests.support.attack_batch import Mount, errno_of
from tests.support.corruption import ATTACKS, Target
from tests.support.mounting import is_mounted
from tests.support.volumes import SECRET

pytestmark = pytest.mark.mount
NAMES = ("config-of-your-other-volume", "record-flip", "record-zero", "record-cut", "record-delete")
CONTENT = b"qzx-content"


@pytest.fixture
def victim(tmp_path: Path) -> Mount:
    """A volume with a file, and ``other``, another one of the same owner with the same passphrase."""
    for name in ("volume", "other"):
        Volume.create(os.fsencode(tmp_path / name), secret=SECRET)
        with Volume.unlock(os.fsencode(tmp_path / name), SECRET) as volume:
            volume.write_file(b"qzx-file", CONTENT)
    shutil.copytree(tmp_path / "volume", tmp_path / "kept", symlinks=True)
    return Mount(tmp_path, tmp_path / "volume")


@pytest.mark.parametrize("name", NAMES)
def test_root(victim: Mount, name: str) -> None:
    """Nothing can be read or made, an event says why, ``verify`` names the root, nothing is lost (FORMAT.md 8)."""
    attack = ATTACKS[name]
    (hit,) = attack.run(Target(victim.lower, victim.lower, None, victim.base / "other", offset=100))
    try:
        victim.mount()
        assert errno_of(lambda: os.listdir(victim.path)) == "EIO"
        assert errno_of((victim.path / "qzx-file").read_bytes) == "EIO"
        assert errno_of(lambda: (victim.path / "qzx-new").write_bytes(b"x")) == "EIO"
        victim.lock()
    finally:
        if is_mounted(victim.path):
            victim.kill()
    assert {(one.code, one.path) for one in victim.findings()} == {(hit.code, b"")}
    log = victim.log.read_text()
    assert "integrity: directory inode=1 " in log
    assert "qzx" not in log
    _put_back(victim)
    evidence.record("attacks", name, note=attack.outcome)


def _put_back(victim: Mount) -> None:
    """With what was damaged put back from a backup, all is there."""
    for name in ("cloakfs.volume", "cloakfs.volume.bak", "cloakfs.d"):
        shutil.copyfile(victim.base / "kept" / name, victim.lower / name)
    assert victim.findings() == []
    with Volume.unlock(os.fsencode(victim.lower), SECRET, read_only=True) as volume:
        assert b"".join(volume.read_file(b"qzx-file")) == CONTENT
