"""``copy`` of a volume that is mounted while twenty programs write to it (FORMAT.md section 18).

Every file in the backup is a version that existed, the tree in it is a volume that verifies, and it opens.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.copying.sealed_run import SealedRun
from encfs.backup.flushing import flusher
from encfs.format.slots import SlotKind
from encfs.units import VolumeId
from encfs.volume import Volume
from encfs.volume.verify import Finding, Severity, Verifier
from tests.support.media import clear_away
from tests.support.mounting import SECRET, MountedVolume, wait_for
from tests.support.sealed_backups import PLAN, allow, contents, nothing_torn, tree_is
from tests.support.tree_backups import Silent
from tests.support.volumes import pattern

pytestmark = pytest.mark.mount

# Between two writes of one program; twenty of them leave the disk no rest.
_PACE = 0.02
_SLOWER = 0.2  # In one place: what never holds still for a flush is not in a backup, but listed.
_LINE = 37


def _version(kind: str, number: int, count: int) -> bytes:
    """What a program writes the so-manieth time."""
    size = {"saves": 20_000 + 997 * (count % 7), "page": 1000}[kind]
    return f"{kind} {number} {count}\n".encode().ljust(40) + pattern(size, (kind, number, count))


def _is_version(content: bytes) -> bool:
    kind, number, count = content[:40].split()
    return content == _version(kind.decode(), int(number), int(count))


def _saves(top: Path, number: int) -> None:
    """As offices do: another file, then renamed over the one that was there."""
    count = 0
    while True:
        count += 1
        new = top / f"saves {number}.new"
        new.write_bytes(_version("saves", number, count))
        new.rename(top / f"saves {number}")
        time.sleep(_PACE)


def _overwrites(top: Path, number: int) -> None:
    """One record in place, each by one write."""
    fd = os.open(top / f"page {number}", os.O_RDWR | os.O_CREAT, 0o600)
    count = 0
    while True:
        count += 1
        os.pwrite(fd, _version("page", number, count), 0)
        time.sleep(_SLOWER)


def _appends(top: Path, number: int) -> None:
    """A log."""
    with open(top / f"log {number}", "ab", buffering=0) as file:
        count = 0
        while True:
            file.write(_line(count))
            count += 1
            time.sleep(_SLOWER)


def _moves(top: Path, number: int) -> None:
    """A folder that goes to and fro, with a file in it that never changes."""
    (top / f"new {number}").mkdir()
    (top / f"new {number}" / f"moved {number}").write_bytes(_version("page", number, 0))
    (top / f"new {number}").rename(top / f"here {number}")
    while True:
        (top / f"here {number}").rename(top / f"there {number}")
        time.sleep(_PACE)
        (top / f"there {number}").rename(top / f"here {number}")
        time.sleep(_PACE)


def _line(count: int) -> bytes:
    return f"line {count}".encode().ljust(_LINE - 1, b".") + b"\n"


_PROGRAMS: tuple[Callable[[Path, int], None], ...] = (
    *([_saves] * 8),
    *([_overwrites] * 6),
    *([_appends] * 4),
    *([_moves] * 2),
)


def _all_write(top: Path) -> bool:
    """Whether each program has something there that is whole."""
    names = set(os.listdir(top))
    kinds = ("saves", "page", "log", "here", "there")
    return all(any(f"{kind} {number}" in names for kind in kinds) for number in range(len(_PROGRAMS)))


@contextmanager
def _at_work(top: Path) -> Iterator[None]:
    """Twenty processes; none of them stays."""
    pids = []
    for number, program in enumerate(_PROGRAMS):
        pid = os.fork()
        if pid == 0:
            try:
                program(top, number)
            finally:
                os._exit(1)
        pids.append(pid)
    try:
        wait_for(lambda: _all_write(top), "all of them write")
        yield
        for pid in pids:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a program that was to write has ended"
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _with_passphrase(sealed: SealedRun) -> Volume:
    return sealed.unlock(SECRET)


def _check(found: dict[bytes, bytes]) -> None:
    for path, content in found.items():
        name = path.rpartition(b"/")[2]
        if name.startswith(b"log"):
            count = len(content) // _LINE
            assert content == b"".join(map(_line, range(count))), path
        elif not name.endswith(b".new"):
            assert _is_version(content), path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one: each flush is to be as quick as it can be."""
    where = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=where if where.is_dir() else None) as base:
        yield Path(base)


@pytest.fixture
def mounted(tmp_path: Path, memory: Path) -> Iterator[MountedVolume]:
    """A volume that is mounted; whatever happens, no mount and no daemon stay."""
    made = MountedVolume(tmp_path, lower=memory / "volume")
    made.mount()
    try:
        yield made
    finally:
        clear_away(made)


def test_twenty_programs_write_meanwhile(mounted: MountedVolume, memory: Path) -> None:
    """Three runs: every file in each is a version that existed; the tree verifies as a volume; the mount goes on."""
    target = memory / "target"
    target.mkdir()
    engine = CopyEngine(
        PLAN,
        mounted.volume_id,
        os.fsencode(mounted.lower),
        DirectoryTarget(os.fsencode(target)),
        label="",
        flush=flusher(VolumeId(bytes.fromhex(mounted.volume_id)), os.fsencode(mounted.path)),
        unlock=_with_passphrase,
    )
    runs = []
    with _at_work(mounted.path):
        for _ in range(3):
            made = engine.run(allow, Silent())
            runs.append(made.manifest)
            assert made.manifest.head.mounted
            tree_is(target, made.manifest)
    nothing_torn(target)
    for manifest in runs:
        assert engine.verify(manifest.head.run, Silent()).damaged == ()
        found = contents(engine, manifest.head.run)
        _check(found)
        names = {path.rpartition(b"/")[2] for path in found}
        assert {b"moved 18", b"moved 19"} <= names
        assert len([name for name in names if name.startswith(b"saves") and not name.endswith(b".new")]) == 8
    with Volume.unlock(os.fsencode(target / "volume"), SECRET, SlotKind.PASSPHRASE, read_only=True) as volume:
        steps = list(Verifier(volume).run())
    assert [step for step in steps if isinstance(step, Finding) and step.severity is not Severity.INFO] == []
    mounted.finish()
