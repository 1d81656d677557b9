"""The config and the session records, changed by somebody who has no key (THREAT_MODEL.md, "Attack by attack")."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.core.slots import new_argon2id
from encfs.errors import CloakfsError, NewerFormatError
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support import evidence
from tests.support.attack_batch import OTHER_SECRET, Mount
from tests.support.corruption import ATTACKS, Attack, Outcome, Target
from tests.support.mounting import cloakfs, is_mounted
from tests.support.volumes import SECRET, LowerVolume, pattern, verify

CONTENT = {b"qzx-a": pattern(9000), b"qzx-b": b"qzx-content"}
REFUSED = [one for one in ATTACKS.values() if one.outcome is Outcome.REFUSED]
SESSIONS = [one for one in ATTACKS.values() if one.name.startswith("session-") and not one.needs]
OFFSETS = {
    "config-flip": (0, 8, 15, 16, 17, 30, 300, 1200, 3000, -2, -1),
    "config-cut": (0, 1, 16, 17, 300, -60, -2, -1),
    "config-mac-flip": (0, 15, 31),
    "config-checksum-flip": (0, 15),
}
CASES = [(one.name, offset) for one in REFUSED for offset in OFFSETS.get(one.name, (0,))]
# Of these attacks the quick run has one offset in each part of the file.
SLOW_OFFSETS = {"config-flip": (8, 15, 17, 30, 300, 3000, -2), "config-cut": (1, 17, -60, -2)}
QUICK_AND_SLOW = [
    pytest.param(name, offset, marks=[pytest.mark.slow] * (offset in SLOW_OFFSETS.get(name, ())))
    for name, offset in CASES
]
# A process begins with the peak of the one that forked it, so it is forked from a small one.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
KDF_MEMORY_MAX = 256 << 10  # KiB; what refusing a KDF parameter may take at most


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with a passphrase above the floor of Argon2id and a recovery key, and another volume."""
    base = tmp_path_factory.mktemp("config")
    kdf = new_argon2id(memory_kib=69632, passes=4, lanes=1)
    Volume.create(os.fsencode(base / "volume"), secret=SECRET, kdf=kdf, recovery_key=bytes(range(32)))
    Volume.create(os.fsencode(base / "foreign"), secret=OTHER_SECRET)
    for _ in range(2):
        with Volume.unlock(os.fsencode(base / "volume"), bytes(range(32)), SlotKind.RECOVERY) as volume:
            for name, content in CONTENT.items():
                volume.write_file(name, content)
    return base


@pytest.fixture
def victim(template: Path, tmp_path: Path) -> Iterator[Mount]:
    """A copy of it; whatever happens, no mount stays."""
    shutil.copytree(template / "volume", tmp_path / "volume", symlinks=True)
    made = Mount(tmp_path, tmp_path / "volume")
    yield made
    if is_mounted(made.path):
        made.kill()


def open_with_recovery_key(victim: Mount) -> Volume:
    """Fast: it needs no Argon2id."""
    return Volume.unlock(os.fsencode(victim.lower), bytes(range(32)), SlotKind.RECOVERY, read_only=True)


def snapshot(path: Path) -> object:
    """All there is to see below."""
    seen = LowerVolume.__new__(LowerVolume)
    seen.path = path
    return seen.snapshot()


def target(victim: Mount, template: Path, offset: int = 0, **more: object) -> Target:
    """The whole volume."""
    return Target(victim.lower, victim.lower, None, template / "foreign", 0, offset, abs(offset), **more)


def mount(victim: Mount) -> tuple[int, str, int]:
    """Try to mount: exit code, what it says, and the most memory that it took, in KiB."""
    arguments = ["mount", str(victim.lower), str(victim.path), "--passphrase-file", str(victim.secret_file)]
    command = [sys.executable, "-m", "encfs", *arguments, "--log", str(victim.log)]
    measured = [sys.executable, "-c", MEASURE, *command]
    result = subprocess.run(measured, capture_output=True, text=True, check=False, **victim.user)
    return result.returncode, result.stderr, int(result.stdout)


@pytest.mark.parametrize(("name", "offset"), QUICK_AND_SLOW, ids=str)
def test_refused(victim: Mount, template: Path, name: str, offset: int) -> None:
    """Both copies attacked: ``mount`` ends with the code of the table, and writes nothing (FORMAT.md 3 to 5)."""
    attack = ATTACKS[name]
    assert attack.run(target(victim, template, offset)) == []
    before = snapshot(victim.lower)
    code, said, memory = mount(victim)
    assert code == attack.exit_code, said
    assert not is_mounted(victim.path)
    assert snapshot(victim.lower) == before
    assert "Traceback" not in said
    assert "qzx" not in said
    if name.startswith("kdf-") and attack.exit_code == 11:
        assert memory < KDF_MEMORY_MAX, "a parameter outside of the limits was worked with"
    evidence.record("attacks", name, note=f"refused, exit {attack.exit_code}")


@pytest.mark.parametrize("copy", ["cloakfs.volume", "cloakfs.volume.bak"])
def test_one_copy(victim: Mount, template: Path, copy: str) -> None:
    """One copy attacked, in every way: the other one opens the volume, and all is there (FORMAT.md section 3).

    But where one says that a later version wrote it, that is believed: to go on could damage what that version wrote.
    """
    whole = (victim.lower / copy).read_bytes()
    for attack in REFUSED:
        attack.run(target(victim, template, copies=(copy,)))
        if attack.exit_code == 14:
            with pytest.raises(NewerFormatError):
                open_with_recovery_key(victim)
        else:
            with open_with_recovery_key(victim) as volume:
                assert b"".join(volume.read_file(b"qzx-a")) == CONTENT[b"qzx-a"], attack.name
        (victim.lower / copy).write_bytes(whole)


@pytest.mark.mount
@pytest.mark.parametrize("name", ["config-zero", "config-delete", "config-seq", "slot-public-key"])
def test_mount_with_one_copy(victim: Mount, template: Path, name: str) -> None:
    """The same through a real mount: it mounts, serves, locks, and ``verify`` finds nothing (FORMAT.md section 3)."""
    ATTACKS[name].run(target(victim, template, copies=("cloakfs.volume",)))
    check_mount(victim)


def check_mount(victim: Mount) -> None:
    """It mounts and everything is there."""
    victim.mount()
    assert {os.fsencode(entry.name): entry.read_bytes() for entry in victim.path.iterdir()} == CONTENT
    victim.lock()
    assert victim.findings() == []
    log = victim.log.read_text()
    assert "integrity" not in log
    assert "qzx" not in log


@pytest.mark.mount
@pytest.mark.parametrize("attack", SESSIONS, ids=lambda attack: attack.name)
def test_session_records(victim: Mount, template: Path, attack: Attack) -> None:
    """A host without memory loses nothing with the records: the strict rule holds (FORMAT.md section 11)."""
    for offset in (0, 16, 100) if attack.name in ("session-flip", "session-cut") else (0,):
        attack.run(target(victim, template, offset))
        with open_with_recovery_key(victim) as volume:
            assert not volume.ctx.tolerant
            assert verify(volume)[0] == []
    check_mount(victim)
    evidence.record("attacks", attack.name, note="no memory: harmless")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config-flip", "config-cut", "config-mac-flip"])
def test_every_byte(victim: Mount, template: Path, name: str) -> None:
    """Every single offset of the config is refused (FORMAT.md section 3)."""
    copies = [victim.lower / name for name in ("cloakfs.volume", "cloakfs.volume.bak")]
    whole = copies[0].read_bytes()
    for offset in range(32 if name == "config-mac-flip" else len(whole) - 1):
        ATTACKS[name].run(target(victim, template, offset))
        with pytest.raises(CloakfsError) as caught:
            open_with_recovery_key(victim)
        assert caught.value.exit_code == ATTACKS[name].exit_code
        for copy in copies:
            copy.write_bytes(whole)
    evidence.record("attacks", name, cases=len(whole), note="every offset")


@pytest.mark.mount
def test_verify_says_the_same(victim: Mount, template: Path) -> None:
    """``verify`` and ``cat`` end with the code that ``mount`` ends with (THREAT_MODEL.md section 3, all)."""
    for name in ("config-flip", "slot-public-key", "slot-add", "config-min-reader", "slot-commit"):
        whole = {copy: (victim.lower / copy).read_bytes() for copy in ("cloakfs.volume", "cloakfs.volume.bak")}
        ATTACKS[name].run(target(victim, template))
        for command in (("verify",), ("cat", "qzx-a")):
            arguments = (command[0], str(victim.lower), *command[1:], "--passphrase-file", str(victim.secret_file))
            assert cloakfs(*arguments, check=False, **victim.user).returncode == ATTACKS[name].exit_code
        for copy, raw in whole.items():
            (victim.lower / copy).write_bytes(raw)
