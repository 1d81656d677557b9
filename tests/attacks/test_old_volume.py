"""The whole volume, its config or its sessions put back to older selves, mounted on two hosts (THREAT_MODEL.md, A4)."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.core.config import seal_config, unlock
from encfs.core.sources import KnownSecret
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.skeleton import read_copies, write_config
from tests.support import evidence
from tests.support.attack_batch import Mount
from tests.support.corruption import ATTACKS, Outcome, Target
from tests.support.mounting import cloakfs, is_mounted
from tests.support.volumes import SECRET, LowerVolume

pytestmark = pytest.mark.mount
NAMES = [one.name for one in ATTACKS.values() if one.outcome is Outcome.FRESHNESS and one.exit_code]
# Session records are compared one by one: what one of these proves holds for the others.
SLOW = ("session-zero", "session-cut", "session-rename")
CASES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NAMES]
OLD, NEW = b"qzx-old content", b"qzx-new content"


def snapshot(path: Path) -> object:
    """All there is to see below."""
    seen = LowerVolume.__new__(LowerVolume)
    seen.path = path
    return seen.snapshot()


def elsewhere(mount: Mount) -> dict[str, Any]:
    """Another host: it has a memory, but of nothing."""
    return {"env": {**os.environ, "CLOAKFS_STATE_DIRECTORY": str(mount.base / "elsewhere")}}


def renew_config(volume: Path) -> None:
    """A change of the config, as its owner makes it."""
    with Volume.unlock(os.fsencode(volume), SECRET, read_only=True) as opened:
        copies = read_copies(opened.ctx.store, opened.root_fd)
        unlocked = unlock(copies, KnownSecret.of(SlotKind.PASSPHRASE, SECRET))
        config = replace(unlocked.config, seq=unlocked.config.seq + 1)
        write_config(opened.ctx.store, opened.root_fd, seal_config(opened.ctx.suite, config, unlocked.root_key))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume that this host has mounted three times; ``old`` is a copy from the middle of the second time."""
    base = tmp_path_factory.mktemp("aged")
    Volume.create(os.fsencode(base / "volume"), secret=SECRET)
    mount = Mount(base, base / "volume")
    try:
        mount.mount()
        (mount.path / "qzx-file").write_bytes(OLD)
        mount.remount()
        shutil.copytree(mount.lower, base / "old", symlinks=True)
        mount.lock()
        renew_config(mount.lower)
        mount.mount()
        (mount.path / "qzx-file").write_bytes(NEW)
        mount.lock()
    finally:
        if is_mounted(mount.path):
            mount.kill()
    return base


@pytest.fixture
def aged(template: Path, tmp_path: Path) -> Mount:
    """A copy of it, with the memory that the host has of it."""
    for part in ("volume", "old", "state"):
        shutil.copytree(template / part, tmp_path / part, symlinks=True)
    return Mount(tmp_path, tmp_path / "volume")


@pytest.mark.parametrize("name", CASES)
def test_older(aged: Mount, name: str) -> None:
    """The host that saw newer state refuses, and writes nothing; another one cannot know (FORMAT.md section 13)."""
    attack = ATTACKS[name]
    attack.run(Target(aged.lower, aged.lower, None, aged.base / "old"))
    before = snapshot(aged.lower)
    refused = cloakfs(
        "mount", str(aged.lower), str(aged.path), "--passphrase-file", str(aged.secret_file), check=False, **aged.user
    )
    assert refused.returncode == attack.exit_code, refused.stderr
    assert not is_mounted(aged.path)
    assert snapshot(aged.lower) == before
    assert "qzx" not in refused.stderr
    arguments = ("verify", str(aged.lower), "--json", "--passphrase-file", str(aged.secret_file))
    verified = cloakfs(*arguments, check=False, **aged.user)
    assert verified.returncode == 3
    assert {one["code"] for one in json.loads(verified.stdout)["findings"]} == set(attack.codes)
    assert snapshot(aged.lower) == before
    evidence.record("attacks", name, note=f"host memory: refused, exit {attack.exit_code}")
    _mount_elsewhere(aged, name)
    evidence.record("attacks", name, note="limit: never saw the newer state")


def _mount_elsewhere(aged: Mount, name: str) -> None:
    """Where nobody saw the newer state it mounts, and shows what it once was or what it is."""
    aged.user = elsewhere(aged)
    try:
        aged.mount()
        assert (aged.path / "qzx-file").read_bytes() == (OLD if name == "volume-older" else NEW)
        status = json.loads(cloakfs("status", str(aged.path), "--json", **aged.user).stdout)["volumes"][0]
        assert (status["mount"]["recovery"] is not None) == (name in ("session-older", "volume-older"))
        aged.lock()
    finally:
        if is_mounted(aged.path):
            aged.kill()
    assert aged.findings() == []


@pytest.mark.parametrize("name", ["volume-older", "config-older", "session-older"])
def test_accepted(aged: Mount, name: str) -> None:
    """``cloakfs accept`` takes older state on purpose; then it mounts here too (FORMAT.md section 13)."""
    ATTACKS[name].run(Target(aged.lower, aged.lower, None, aged.base / "old"))
    secret = ("--passphrase-file", str(aged.secret_file))
    cloakfs("accept", str(aged.lower), "--reason", "a backup was put back", "--yes", *secret, **aged.user)
    try:
        aged.mount()
        assert (aged.path / "qzx-file").read_bytes() == (OLD if name == "volume-older" else NEW)
        aged.lock()
    finally:
        if is_mounted(aged.path):
            aged.kill()
    assert aged.findings() == []
