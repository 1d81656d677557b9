"""A run of ``copy`` that is killed, or loses its power, at any step (FORMAT.md section 18, "Target of `copy`").

What was complete is complete; nothing torn has its name; the next run, or the next pruning, repairs the rest.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.manifest import Manifest
from encfs.store.local import LocalStore
from tests.support.model_disk import Disk
from tests.support.model_store import ModelStore, disk_of
from tests.support.sealed_backups import Sealed, allow, contents, nothing_torn, tree_is
from tests.support.stores import CHANGES
from tests.support.tree_backups import Silent
from tests.support.volumes import pattern

_STEPS = frozenset({*CHANGES, "fsync", "syncfs", "fdatasync"})
_MOST = 300


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in memory: what is synced thousands of times is to be quick, and a kill does not ask for a disk."""
    where = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=where if where.is_dir() else None) as base:
        monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", f"{base}/host-state")
        yield Path(base)


class _Killing(LocalStore):
    """The process is killed before this many changes have been made."""

    left = 0

    def __getattribute__(self, name: str) -> Any:
        if name in _STEPS:
            if _Killing.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            _Killing.left -= 1
        return super().__getattribute__(name)


def _killed(work: Callable[[], object], after: int) -> bool:
    """Do it in a process that is killed after so many changes of the target; whether it came that far."""
    child = os.fork()
    if child == 0:
        try:
            _Killing.left = after
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the process that was to be killed failed"
    return status == signal.SIGKILL


def _dying(sealed: Sealed) -> DirectoryTarget:
    return DirectoryTarget(os.fsencode(sealed.target), store_on=_Killing)


def _two_states(memory: Path) -> tuple[Sealed, Manifest, dict[bytes, bytes], dict[bytes, bytes]]:
    """A volume with one run, changed since: with a new file, one less, one written to, two that changed places."""
    sealed = Sealed(memory)
    before = {b"kept": pattern(300, 1), b"gone": b"gone", b"edit": pattern(5000, 2), b"a/x": b"x", b"b/x": b"other"}
    with sealed.volume.unlock() as volume:
        volume.make_directory(b"a")
        volume.make_directory(b"b")
        volume.changes.link(_file(volume, b"kept", before[b"kept"]), volume.tree.root, b"twin")
        for path in (b"gone", b"edit", b"a/x", b"b/x"):
            volume.write_file(path, before[path])
    before[b"twin"] = before[b"kept"]
    first = sealed.run().manifest
    with sealed.volume.unlock() as volume:
        volume.remove(b"gone")
        with volume.open(b"edit", writable=True) as file:
            file.write(100, b"edited")
        volume.make_directory(b"new")
        volume.write_file(b"new/one", pattern(4500, 3))
        for path, to in ((b"a", b"t"), (b"b", b"a"), (b"t", b"b")):
            volume.rename(path, to)
    after = {**before, b"a/x": b"other", b"b/x": b"x", b"new/one": pattern(4500, 3)}
    after[b"edit"] = before[b"edit"][:100] + b"edited" + before[b"edit"][106:]
    del after[b"gone"]
    return sealed, first, before, after


def _file(volume: Any, path: bytes, content: bytes) -> Any:
    volume.write_file(path, content)
    return volume.resolve(path)


def _fresh(sealed: Sealed, base: Path) -> None:
    """The target as it was after the first run."""
    shutil.rmtree(sealed.target)
    shutil.copytree(base, sealed.target, symlinks=True, copy_function=shutil.copy2)


def test_kill_at_every_step_of_a_run(memory: Path) -> None:
    """After each the first run verifies, and opens as it was; the next run is right, and its tree."""
    sealed, first, before, after = _two_states(memory)
    base = memory / "base"
    shutil.copytree(sealed.target, base, symlinks=True)
    step, complete = 0, 0
    while True:
        _fresh(sealed, base)
        killed = _killed(lambda: sealed.engine(target=_dying(sealed)).run(allow, Silent()), step)
        nothing_torn(sealed.target)
        engine = sealed.engine()
        runs = engine.runs()
        assert runs[0].run == first.head.run
        for head in runs:
            assert engine.verify(head.run, Silent()).damaged == (), f"step {step}"
        assert contents(engine, first.head.run) == before, f"step {step}"
        if len(runs) > 1:
            complete += 1
            assert contents(engine, runs[1].run) == after, f"step {step}"
        made = engine.run(allow, Silent())
        assert contents(engine, made.manifest.head.run) == after
        tree_is(sealed.target, made.manifest)
        assert not list(sealed.target.rglob("*.part"))
        if not killed:
            break
        step += 1
        assert step < _MOST
    assert step > 30
    assert complete > 10


def test_kill_at_every_step_of_a_first_run(memory: Path) -> None:
    """There is no run, or a complete one; the next one brings the rest."""
    sealed = Sealed(memory)
    files = {b"one": pattern(5000, 1), b"two": b"2"}
    sealed.write(files)
    step = 0
    while True:
        killed = _killed(lambda: sealed.engine(target=_dying(sealed)).run(allow, Silent()), step)
        nothing_torn(sealed.target)
        engine = sealed.engine()
        for head in engine.runs():
            assert engine.verify(head.run, Silent()).damaged == ()
            assert contents(engine, head.run) == files
        if not killed:
            break
        if step % 4 == 0:
            made = engine.run(allow, Silent())
            tree_is(sealed.target, made.manifest)
        shutil.rmtree(sealed.target)
        sealed.target.mkdir()
        step += 1
        assert step < _MOST
    assert step > 20


def test_kill_at_every_step_of_pruning(memory: Path) -> None:
    """Runs that stay are whole; once more takes the rest."""
    sealed, first, _, after = _two_states(memory)
    second = sealed.run().manifest
    with sealed.volume.unlock() as volume:
        volume.write_file(b"edit", b"third")
    third = sealed.run().manifest
    base = memory / "base"
    shutil.copytree(sealed.target, base, symlinks=True)
    sealed.engine().prune([second.head.run], Silent())
    wanted = {path.name for path in (sealed.target / "objects").glob("??/*")}
    step, killed = 0, True
    while killed:
        _fresh(sealed, base)
        keep = [second.head.run]
        killed = _killed(lambda: sealed.engine(target=_dying(sealed)).prune(keep, Silent()), step)  # noqa: B023
        engine = sealed.engine()
        assert {head.run for head in engine.runs()} >= {second.head.run, third.head.run}
        for head in engine.runs():
            assert engine.verify(head.run, Silent()).damaged == (), f"step {step}"
        assert contents(engine, second.head.run) == after
        engine.prune(keep, Silent())
        assert {path.name for path in (sealed.target / "objects").glob("??/*")} == wanted
        assert [head.run for head in engine.runs()] == [second.head.run, third.head.run]
        tree_is(sealed.target, third)
        step += 1
    assert step > 4
    assert first.head.run not in {head.run for head in sealed.engine().runs()}


@pytest.mark.parametrize("lost", ["previous", "mark"])
def test_tree_that_was_broken_off_is_repaired_without_what_tells_where_it_was(memory: Path, lost: str) -> None:
    """Without the manifest of the run before, all of the tree is read; nothing is taken for what it is not."""
    sealed, first, _, after = _two_states(memory)
    base = memory / "base"
    shutil.copytree(sealed.target, base, symlinks=True)
    for step in range(0, _MOST, 3):
        _fresh(sealed, base)
        killed = _killed(lambda: sealed.engine(target=_dying(sealed)).run(allow, Silent()), step)
        if len(sealed.engine().runs()) == 2:
            if lost == "previous":
                (sealed.target / "runs" / first.head.run).unlink()
            else:
                (sealed.target / "volume.run").write_bytes(b"nonsense")
            made = sealed.engine().run(allow, Silent())
            tree_is(sealed.target, made.manifest)
            assert contents(sealed.engine(), made.manifest.head.run) == after
        if not killed:
            return
    raise AssertionError("it never ended")


# -- power -------------------------------------------------------------------------------------------------------------


def _on(sealed: Sealed, store: ModelStore) -> DirectoryTarget:
    return DirectoryTarget(os.fsencode(sealed.target), store_on=lambda _: store, forget=lambda _: None)


def _disks(sealed: Sealed, start: Disk, work: Callable[[DirectoryTarget], object]) -> list[Disk]:
    """What the target may be if the power goes while this is done: just before each sync, and after the last."""
    store, chance = ModelStore(start), random.Random(18)
    found: dict[Hashable, Disk] = {}

    def cut() -> None:
        for disk in store.medium.crashes(6, chance):
            found.setdefault(disk.identity(), disk)

    store.before_sync = cut
    work(_on(sealed, store))
    cut()
    return list(found.values())


def test_power_that_goes_at_any_step_of_a_run(memory: Path) -> None:
    """On each disk that may be left every run that is there verifies; a choice of them is repaired by the next run."""
    sealed, first, before, after = _two_states(memory)
    start = disk_of(sealed.target)
    remembered = memory / "host-state" / "backup-copy" / ("0b" * 16)
    known = remembered.read_bytes()
    disks = _disks(sealed, start, lambda target: sealed.engine(target=target).run(allow, Silent()))
    assert len(disks) > 100
    complete = 0
    for number, disk in enumerate(disks):
        engine = sealed.engine(target=_on(sealed, ModelStore(disk)))
        runs = engine.runs()
        assert runs[0].run == first.head.run
        assert engine.damaged_runs() == []
        complete += len(runs) > 1
        for head in runs:
            assert engine.verify(head.run, Silent()).damaged == (), f"disk {number}"
        if number % 8 == 0:
            remembered.write_bytes(known)
            made = engine.run(allow, Silent())
            assert contents(engine, made.manifest.head.run) == after
            assert contents(engine, first.head.run) == before
            assert engine.verify(made.manifest.head.run, Silent()).damaged == ()
    assert complete > 20
