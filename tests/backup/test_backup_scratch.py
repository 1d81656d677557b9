"""encfs/backup/scratch.py: what a drill restores is nowhere afterwards, however it ends (FORMAT.md 17, "Drill")."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from encfs.backup.scratch import MEMORY, VOLUME, Scratch, clear_leftovers, room_in_memory
from encfs.volume import Volume
from tests.support.volumes import pattern

PLAIN = b"Anna Mueller, born 1970, penicillin allergy. " * 50_000
SHM = Path("/dev/shm")


def _use(scratch: Scratch, content: bytes) -> bytes:
    with scratch.file(len(content)) as kept:
        for start in range(0, len(content), 1 << 20):
            kept.write(content[start : start + (1 << 20)])
        return b"".join(kept.read())


@pytest.mark.parametrize("room", [0, 1 << 30])
@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_001])
def test_what_is_kept_comes_back(tmp_path: Path, room: int, size: int) -> None:
    """In memory and in a volume, several files after each other; behind it nothing is left."""
    with Scratch(room, os.fsencode(tmp_path)) as scratch:
        for seed in range(2):
            content = pattern(size, seed)
            assert _use(scratch, content) == content
        assert scratch.used == (VOLUME if size > room else MEMORY)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_into_memory_goes_into_a_volume(tmp_path: Path) -> None:
    """The size of each file decides; the record says ``volume`` as soon as one was there."""
    with Scratch(1000, os.fsencode(tmp_path)) as scratch:
        assert scratch.used == ""
        _use(scratch, bytes(1000))
        assert (scratch.used, list(tmp_path.iterdir())) == (MEMORY, [])
        _use(scratch, bytes(1001))
        _use(scratch, b"x")
        assert scratch.used == VOLUME
        (made,) = tmp_path.iterdir()
        assert made.stat().st_mode & 0o777 == 0o700


def test_memory_has_no_name() -> None:
    """Nothing in /dev/shm or the temporary directory, and no descriptor afterwards."""
    before = (set(os.listdir(SHM)), set(os.listdir(tempfile.gettempdir())), len(os.listdir("/proc/self/fd")))
    with Scratch(1 << 30) as scratch, scratch.file(100) as kept:
        kept.write(b"plain")
        assert (set(os.listdir(SHM)), set(os.listdir(tempfile.gettempdir()))) == before[:2]
    assert len(os.listdir("/proc/self/fd")) == before[2]


def test_no_plain_text_in_the_volume(tmp_path: Path) -> None:
    """While the file is there: no bytes of it lie on the disk, and a copy of all of it opens with nothing."""
    with Scratch(0, os.fsencode(tmp_path)) as scratch, scratch.file(len(PLAIN)) as kept:
        kept.write(PLAIN)
        (made,) = tmp_path.iterdir()
        files = [path for path in made.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) > len(PLAIN)
        assert not any(b"Mueller" in path.read_bytes() for path in files)
        with pytest.raises(Exception, match=r"wrong|passphrase"):
            Volume.unlock(os.fsencode(made), b"", read_only=True)


def test_it_is_gone_after_a_failure(tmp_path: Path) -> None:
    """An exception in the middle of a file leaves nothing either."""
    with (
        pytest.raises(RuntimeError),
        Scratch(0, os.fsencode(tmp_path)) as scratch,
        scratch.file(10) as kept,
    ):
        kept.write(b"plain")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from encfs.backup.scratch import Scratch
with Scratch(int(sys.argv[1]), os.fsencode(sys.argv[2])) as scratch, scratch.file(len({plain})) as kept:
    kept.write({plain})
    list(kept.read())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_kill(tmp_path: Path, room: int) -> None:
    """Killed in the middle: nothing of the plain text is anywhere, and the next drill clears what is left."""
    script = KILLED.format(plain=repr(PLAIN[:45]) + " * 1000")
    shm, folder = set(os.listdir(SHM)), tmp_path / "tmp"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", script, str(room), str(folder)], check=False)
    assert done.returncode == -9
    assert set(os.listdir(SHM)) == shm
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert bool(left) == (room == 0)
    assert not any(b"Mueller" in path.read_bytes() for path in left)
    with Scratch(1 << 30, os.fsencode(folder)) as scratch:
        _use(scratch, b"x")
    assert list(folder.iterdir()) == []


def test_only_what_is_left_is_cleared(tmp_path: Path) -> None:
    """The volume of a drill that runs stays, and so does whatever else has such a name."""
    others = (b"cloakfs-drill", b"cloakfs-drill.notes", b"cloakfs-drill.aa.bb.cc.dd", b"cloakfs-drillX.0.1.2.3")
    for name in others:
        (tmp_path / os.fsdecode(name)).mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").write_text("x")
    (tmp_path / "cloakfs-drill.00000000.1.1.ff").symlink_to(elsewhere)
    with Scratch(0, os.fsencode(tmp_path)) as scratch, scratch.file(1) as kept:
        kept.write(b"x")
        assert clear_leftovers(os.fsencode(tmp_path)) == 0
        assert list(kept.read()) == [b"x"]
    (tmp_path / "cloakfs-drill.00000000.1.1.ee").mkdir()
    assert clear_leftovers(os.fsencode(tmp_path)) == 1
    assert {os.fsencode(path.name) for path in tmp_path.iterdir()} >= set(others)
    assert (elsewhere / "keep").exists()


def test_room() -> None:
    """Half of what the kernel says is available."""
    text = Path("/proc/meminfo").read_text()
    total = int(next(line for line in text.splitlines() if line.startswith("MemTotal")).split()[1]) * 1024
    assert 0 < room_in_memory() <= total // 2
