"""``tools/corrupt.py``, run as a user runs it: it destroys what it was told to, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.corruption import ATTACKS
from tests.support.volumes import LowerVolume, pattern, read

TOOL = Path(__file__).resolve().parents[2] / "tools" / "corrupt.py"
CONTENT = pattern(20000)


def corrupt(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the tool."""
    command = [sys.executable, TOOL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd="/")


@pytest.fixture
def victim(tmp_path: Path) -> LowerVolume:
    """A volume with a file of some cells, another one, and a symlink."""
    lower = LowerVolume(tmp_path / "volume")
    with lower.unlock() as volume:
        volume.write_file(b"a", CONTENT)
        volume.write_file(b"b", CONTENT)
        volume.make_symlink(b"l", b"a")
    return lower


def test_list_names_every_attack() -> None:
    """``list`` has each attack with its sentence, ``table`` is that of THREAT_MODEL.md, ``--help`` explains."""
    listed = corrupt("list")
    assert listed.returncode == 0
    assert all(f"{one.name}" in listed.stdout and one.does in listed.stdout for one in ATTACKS.values())
    assert corrupt("table").stdout in (TOOL.parents[1] / "THREAT_MODEL.md").read_text(encoding="utf-8")
    assert "--yes-destroy" in corrupt("--help").stdout


def test_a_copy_is_attacked_and_the_volume_is_not(victim: LowerVolume, tmp_path: Path) -> None:
    """With ``--copy-to`` the volume stays as it was; ``verify`` finds what the tool said (FORMAT.md section 9.2)."""
    before = victim.snapshot()
    name = victim.lower(b"a").name
    where = ("--file", name, "--cell", 2, "--offset", 99)
    done = corrupt("cell-flip", victim.path, "--copy-to", tmp_path / "copy", *where)
    assert done.returncode == 0, done.stderr
    assert f"hit: {name}, cells [2]" in done.stdout
    assert "cell-damaged in verify" in done.stdout
    assert victim.snapshot() == before
    attacked = LowerVolume.__new__(LowerVolume)
    attacked.path, attacked.cell_size = tmp_path / "copy", 4096
    assert attacked.findings() == [("cell-damaged", b"a")]
    with attacked.unlock(read_only=True) as volume:
        assert read(volume, b"b") == CONTENT


def test_two_objects_and_an_older_copy(victim: LowerVolume, tmp_path: Path) -> None:
    """``--other`` and ``--old`` give attacks what they need, on a scratch copy with ``--yes-destroy``."""
    one, two = victim.lower(b"a").name, victim.lower(b"b").name
    assert corrupt("files-swap", victim.path, "--yes-destroy", "--file", one, "--other", two).returncode == 0
    assert victim.findings() == [("file-moved", b"a"), ("file-moved", b"b")]
    assert corrupt("files-swap", victim.path, "--yes-destroy", "--file", one, "--other", two).returncode == 0
    subprocess.run(["cp", "-a", victim.path, tmp_path / "old"], check=True)
    with victim.unlock() as volume, volume.open(b"a", writable=True) as file:
        file.write(5000, b"newer")
    done = corrupt("cell-older", victim.path, "--yes-destroy", "--file", one, "--cell", 1, "--old", tmp_path / "old")
    assert done.returncode == 0, done.stderr
    assert victim.findings() == []
    with victim.unlock(read_only=True) as volume:
        assert read(volume, b"a") == CONTENT


def test_the_config_of_a_volume(victim: LowerVolume) -> None:
    """Attacks on the config need no ``--file``; ``--one-copy`` leaves the other one, which opens the volume."""
    assert corrupt("config-zero", victim.path, "--yes-destroy", "--one-copy").returncode == 0
    assert victim.findings() == []
    assert "exit 11" in corrupt("config-zero", victim.path, "--yes-destroy").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("no-such-attack", "VOLUME", "--yes-destroy"), 2, "corrupt.py list"),
        (("cell-flip",), 2, "a volume is needed"),
        (("cell-flip", "VOLUME", "--yes-destroy"), 2, "needs --file"),
        (("files-swap", "VOLUME", "--yes-destroy", "--file", "x"), 2, "needs --other"),
        (("cell-flip", "VOLUME", "--yes-destroy", "--file", "no-such-file"), 1, "no such thing"),
        (("symlink-flip", "VOLUME", "--yes-destroy", "--file", "cloakfs.d"), 1, "nothing to work on"),
        (("config-zero", "VOLUME"), 3, "--copy-to DEST"),
        (("config-zero", "/", "--yes-destroy"), 3, "holds no cloakfs volume"),
        (("config-zero", "VOLUME", "--copy-to", "/"), 3, "there already"),
    ],
)
def test_refusals(victim: LowerVolume, arguments: tuple[str, ...], code: int, words: str) -> None:
    """What cannot or may not be done is said, with its own exit code, and nothing is changed."""
    before = victim.snapshot()
    done = corrupt(*(victim.path if word == "VOLUME" else word for word in arguments))
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert victim.snapshot() == before


def test_a_volume_in_use_is_refused(victim: LowerVolume, tmp_path: Path) -> None:
    """While somebody has the volume open, to write or read, it is not touched nor copied (FORMAT.md section 11)."""
    for read_only in (False, True):
        with victim.unlock(read_only=read_only):
            before = victim.snapshot()
            for confirm in (("--yes-destroy",), ("--copy-to", tmp_path / "copy")):
                done = corrupt("config-zero", victim.path, *confirm)
                assert (done.returncode, "in use" in done.stderr) == (3, True)
            assert victim.snapshot() == before
    assert not (tmp_path / "copy").exists()


def test_it_needs_no_key_and_no_cloakfs() -> None:
    """The kit works by FORMAT.md alone: nothing of ``encfs`` is loaded, and any Python will do."""
    script = (
        f"import sys; sys.path.insert(0, {str(TOOL.parents[1])!r}); import tests.support.corruption.table\n"
        "bad = [name for name in sys.modules if name.split('.')[0] in ('encfs', 'cryptography', 'argon2')]\n"
        "sys.exit(bool(bad))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
