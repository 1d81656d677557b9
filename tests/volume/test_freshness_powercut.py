"""What a host remembers against power cuts: its memory is the newest, the medium has no more than fsync confirmed.

The other half of FORMAT.md section 13: everything that is remembered is true, so there is never a false alarm.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.errors import DataError
from encfs.volume import Volume
from tests.support.evidence import record
from tests.support.host import Host, abandon
from tests.support.medium import Medium, store_on
from tests.support.volumes import LONG, LowerVolume, pattern, verify

NAMES = [b"a", b"b", b"c", b"d/e", LONG]


class Work:
    """A program that does this and that, by chance but the same each time."""

    def __init__(self, volume: Volume, chance: random.Random) -> None:
        self._volume = volume
        self._chance = chance

    def step(self) -> str:
        """One operation; those that the tree does not allow just now do nothing."""
        kind = self._chance.choice(
            ["write", "write", "save", "append", "sync", "empty", "shrink", "rename", "remove", "link", "look"]
        )
        try:
            getattr(self, f"_{kind}")(self._chance.choice(NAMES))
        except (FileNotFoundError, FileExistsError, IsADirectoryError):
            pass  # Not possible just now.
        except OSError as exc:
            if exc.errno != 31:  # EMLINK: a second long name.
                raise
        return kind

    def _write(self, name: bytes) -> None:
        self._volume.write_file(name, pattern(self._chance.choice([10, 3600, 9000]), self._chance.random()))

    def _save(self, name: bytes) -> None:
        """As programs save: a new file, synced, renamed over the old one."""
        self._volume.write_file(b"new", pattern(6000, self._chance.random()))
        self._sync(b"new")
        self._volume.rename(b"new", name)

    def _append(self, name: bytes) -> None:
        with self._volume.open(name, writable=True) as file:
            file.write(file.size, pattern(2000, self._chance.random()))

    def _sync(self, name: bytes) -> None:
        with self._volume.open(name, writable=True) as file:
            file.write(0, b"synced")
            file.sync()

    def _empty(self, name: bytes) -> None:
        self._volume.write_file(name, b"")

    def _shrink(self, name: bytes) -> None:
        with self._volume.open(name, writable=True) as file:
            file.truncate(file.size // 2)

    def _rename(self, name: bytes) -> None:
        self._volume.rename(name, self._chance.choice(NAMES))

    def _remove(self, name: bytes) -> None:
        self._volume.remove(name)

    def _link(self, name: bytes) -> None:
        volume = self._volume
        volume.changes.link(volume.resolve(name), volume.tree.root, b"link%d" % self._chance.randrange(3))

    def _look(self, name: bytes) -> None:
        b"".join(self._volume.read_file(name))


def sessions(host: Host, medium: Medium, chance: random.Random, steps: int) -> Iterator[str]:
    """Work in several sessions, some of which crash; yields after each step, with all that is known in the database."""
    done = 0
    while done < steps:
        with host.here():
            volume = host.unlock_here(medium.root, store=store_on(medium))
            work = Work(volume, chance)
            if volume.tree.find(volume.tree.root, b"d") is None:
                volume.make_directory(b"d")
            for _ in range(chance.randrange(5, 15)):
                done += 1
                kind = work.step()
                assert volume.memory is not None
                volume.memory.flush()
                yield kind
            if chance.random() < 0.3:
                abandon(volume)
            else:
                volume.close()
            yield "end"


def no_alarm(host: Host, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A host that remembers the newest opens what a power cut left, and calls nothing in it older."""
    caplog.clear()
    with host.unlocked(path) as volume:
        assert volume.rollback is None
        found, _ = verify(volume)
        assert [one for one in found if "rollback" in str(one.code)] == []
    assert [line for line in caplog.messages if "rollback" in line] == []
    with host.unlocked(path, read_only=True) as volume:
        assert volume.rollback is None


def run(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, seed: int, steps: int, every: int) -> int:
    """Cut the power after every few steps, in both ways; how many cuts."""
    caplog.set_level(logging.ERROR)
    lower = LowerVolume(tmp_path / "volume")
    host = Host(tmp_path / "state")
    medium = Medium(lower.path)
    cuts = 0
    try:
        for number, _ in enumerate(sessions(host, medium, random.Random(seed), steps)):
            if number % every:
                continue
            for names_kept in (False, True):
                medium.cut(tmp_path / "cut", names_kept=names_kept)
                no_alarm(host.copy(tmp_path / "state-at-cut"), tmp_path / "cut", caplog)
                shutil.rmtree(tmp_path / "cut")
                cuts += 1
    finally:
        medium.close()
    return cuts


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_is_no_rollback(fast_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """FORMAT.md section 13: with the newest memory and no more than fsync confirmed on the medium: no alarm."""
    cuts = run(fast_path, caplog, seed=seed, steps=60, every=4)
    record("freshness", "power cut: newest memory, only fsynced state", cases=cuts, note="no alarm")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_power_cuts_are_no_rollback(fast_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """FORMAT.md section 13: the same after every step of longer work."""
    cuts = run(fast_path, caplog, seed=seed, steps=150, every=1)
    record("freshness", "power cut: newest memory, only fsynced state", cases=cuts, note="no alarm")


def test_what_was_copied_and_never_synced_is_made_durable_first(fast_path: Path) -> None:
    """FORMAT.md section 13: records and config of a copy that is still on its way to the medium are synced first."""
    lower = LowerVolume(fast_path / "volume")
    elsewhere = Host(fast_path / "elsewhere")
    here = Host(fast_path / "here")
    with elsewhere.unlocked(lower) as volume:
        volume.write_file(b"a", b"one")
    shutil.copytree(lower.path, fast_path / "stick")
    medium = Medium(fast_path / "stick")
    with elsewhere.unlocked(lower) as volume:
        volume.write_file(b"a", b"two")
    shutil.copytree(lower.path, medium.root, dirs_exist_ok=True)
    try:
        for read_only in (True, False):
            with here.unlocked(medium.root, read_only=read_only, store=store_on(medium)) as volume:
                assert content(volume, b"a") == b"two"
                medium.cut(fast_path / "cut", names_kept=False)
                after = here.copy(fast_path / "state-at-cut")
            with after.unlocked(fast_path / "cut", read_only=True) as volume:
                assert volume.rollback is None
            shutil.rmtree(fast_path / "cut")
    finally:
        medium.close()


def test_the_medium_model_loses_what_was_not_synced(fast_path: Path) -> None:
    """FORMAT.md section 13: the model of the medium is no friend: without an fsync the work is gone."""
    lower = LowerVolume(fast_path / "volume")
    host = Host(fast_path / "state")
    medium = Medium(lower.path)
    try:
        with host.here():
            volume = host.unlock_here(lower.path, store=store_on(medium))
            volume.write_file(b"a", b"one")
            with volume.open(b"a", writable=True) as file:
                file.sync()
            volume.write_file(b"b", b"two")
            abandon(volume)
        for names_kept, expected in ((False, [None, None]), (True, [b"one", b""])):
            cut = fast_path / f"cut-{names_kept}"
            medium.cut(cut, names_kept=names_kept)
            with host.copy(fast_path / f"state-{names_kept}").unlocked(cut) as opened:
                assert [content(opened, name) for name in (b"a", b"b")] == expected
    finally:
        medium.close()


def content(volume: Volume, name: bytes) -> bytes | None:
    """What a file holds; None if it is not there."""
    try:
        return b"".join(volume.read_file(name))
    except FileNotFoundError:
        return None
    except DataError as exc:
        raise AssertionError("damaged") from exc
