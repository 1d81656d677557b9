"""The process dies before any one change of the backing store: what comes back is the state before or after.

A killed process leaves every change that the kernel has taken, and nothing else (a power cut, which may lose some of
those, is another matter). So each library call below is either done or not done afterwards, nothing that was done
before it is lost, and verify is clean (FORMAT.md section 11, writing order).
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.errors import DataError
from encfs.volume import Volume
from encfs.volume.attributes import Setattr
from tests.support.steps import (
    LONGER,
    State,
    Step,
    attribute,
    create,
    either,
    exchange,
    fifo,
    link,
    rename,
    state,
    truncate,
    write,
)
from tests.support.stores import DyingStore
from tests.support.volumes import LONG, LowerVolume, pattern

FILES: list[Step] = [
    create(b"f"),
    write(b"f", 0, pattern(100), sync=True),
    write(b"f", 100, pattern(9000, 1), sync=True),
    write(b"f", 5, pattern(40, 2)),
    write(b"f", 9000, pattern(20_000, 3)),
    write(b"f", 60_000, b"after a hole", sync=True),
    truncate(b"f", 9_000),
    truncate(b"f", 50_000),
    truncate(b"f", 3552 + 4064),
    write(b"f", 3000, pattern(300_000, 4), sync=True),
    truncate(b"f", 0),
    write(b"f", 0, b"x"),
    create(b"g"),
    write(b"g", 0, pattern(5000, "g"), sync=True),
    rename(b"g", b"f"),
    create(LONG),
    write(LONG, 0, b"long", sync=True),
    rename(LONG, LONGER),
    rename(LONGER, b"short"),
    rename(b"short", LONG),
    lambda volume: volume.set_metadata(LONG, Setattr(mode=0o600, mtime_ns=1)),
    link(LONG, b"linked"),
    rename(LONG, LONGER),
    rename(LONGER, b"back"),
    rename(b"back", LONG),
    write(b"linked", 4, b" and linked", sync=True),
    rename(b"linked", b"renamed"),
    lambda volume: volume.remove(LONG),
    attribute(b"f", b"one"),
    attribute(b"f", b"two"),
    lambda volume: volume.remove(b"f"),
]

TREES: list[Step] = [
    lambda volume: volume.make_directory(b"d"),
    lambda volume: volume.make_directory(b"d/e"),
    lambda volume: volume.make_directory(b"d/" + LONG),
    create(b"d/e/f"),
    write(b"d/e/f", 0, pattern(4000), sync=True),
    create(b"d/" + LONG + b"/g"),
    write(b"d/" + LONG + b"/g", 0, pattern(5000), sync=True),
    attribute(b"d", b"value"),
    rename(b"d/" + LONG, b"d/" + LONGER),
    rename(b"d/" + LONGER, LONG),
    rename(LONG, b"d/e/s"),
    rename(b"d/e/s", b"d/" + LONG),
    rename(b"d/e/f", b"f"),
    exchange(b"f", b"d/" + LONG + b"/g"),
    exchange(b"d/e", b"d/" + LONG),
    exchange(b"f", b"d/e"),
    exchange(b"f", b"d/e"),
    lambda volume: volume.make_directory(LONGER),
    exchange(LONGER, b"d/e"),
    exchange(b"d/e", LONGER),
    exchange(LONGER, b"f"),
    exchange(LONGER, b"f"),
    lambda volume: volume.remove(LONGER),
    lambda volume: volume.make_directory(b"empty"),
    lambda volume: volume.remove(b"empty"),
    fifo(b"pipe"),
    rename(b"pipe", b"pipe2"),
    lambda volume: volume.make_symlink(b"l", b"target"),
    rename(b"l", b"d/l"),
    link(b"d/l", b"l2"),
    rename(b"d/l", b"l3"),
    lambda volume: volume.make_symlink(b"big", b"t" * 4000),
    rename(b"big", LONG),
    exchange(b"l2", b"f"),
    lambda volume: volume.remove(b"l3"),
]

# Calls that no filesystem makes atomic, or that cannot be: what else may be seen if they are cut short.
INEXACT: list[Step] = [
    lambda volume: volume.make_directory(b"from"),
    create(b"from/f"),
    write(b"from/f", 0, b"content", sync=True),
    lambda volume: volume.make_directory(b"to"),
    rename(b"from", b"to"),
    lambda volume: volume.make_symlink(b"l", b"target"),
    rename(b"l", LONG),
]


def run(volume: Volume, steps: list[Step], done: Callable[[], object]) -> None:
    """Take the steps; tell after each."""
    for step in steps:
        step(volume)
        done()


def crash_at(lower: LowerVolume, steps: list[Step], number: int, *, torn: bool) -> int | None:
    """Die before change ``number``; how many steps were done, or None if the process lived to the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            volume = lower.unlock(store=DyingStore)
            volume.ctx.store.torn = torn
            volume.ctx.store.dies_at = number
            run(volume, steps, lambda: os.write(writer, b"."))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        done = len(pipe.read())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 77)
    return None if status == 0 else done


def states_of(lower: LowerVolume, steps: list[Step]) -> list[State]:
    """The state before the first step and after each."""
    with lower.unlock() as volume:
        states = [state(volume)]
        run(volume, steps, lambda: states.append(state(volume)))
    return states


@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
@pytest.mark.parametrize("steps", [FILES, TREES], ids=["files", "trees"])
def test_dying_at_every_change(fast_path: Path, steps: list[Step], torn: bool) -> None:
    """Before or within any lower change: the state before the call or after it, verify clean (FORMAT.md section 11)."""
    states = states_of(LowerVolume(fast_path / "whole"), steps)
    number = 0
    while True:
        lower = LowerVolume(fast_path / f"volume-{number}")
        done = crash_at(lower, steps, number, torn=torn)
        if done is None:
            break
        with lower.unlock() as volume:
            assert volume.recovery is not None
            assert volume.recovery.failed == 0, (number, done)
            try:
                seen = state(volume)
            except DataError as exc:
                raise AssertionError(f"change {number}, step {done}: {exc}") from exc
            assert volume.ctx.events == 0, (number, done)
        assert lower.findings() == [], (number, done)
        assert not list(lower.path.rglob("cloakfs.t.*"))
        assert either(states[done], states[done + 1], seen), f"change {number}, step {done}"
        shutil.rmtree(lower.path)
        number += 1
    assert number > 50, "the store did not count"


def test_dying_where_two_objects_are_changed(fast_path: Path) -> None:
    """A directory renamed over an empty one, a symlink into a file: no data is lost, verify is clean (section 11)."""
    states = states_of(LowerVolume(fast_path / "whole"), INEXACT)
    number = 0
    while True:
        lower = LowerVolume(fast_path / f"volume-{number}")
        done = crash_at(lower, INEXACT, number, torn=False)
        if done is None:
            break
        with lower.unlock() as volume:
            assert volume.recovery is not None
            assert volume.recovery.failed == 0
            seen = state(volume)
        assert lower.findings() == []
        before, after = states[done], states[done + 1]
        if not either(before, after, seen):
            # An empty directory is gone already, or a symlink is there under both names; nothing else differs.
            extra = {path for path in seen if path not in after}
            assert all(seen[path] == before[path] for path in extra)
            missing = {path for path in before if path not in seen and path not in after}
            assert not missing
            assert {path: one.content for path, one in seen.items() if path in after}.items() <= {
                path: one.content for path, one in after.items()
            }.items()
        number += 1
    assert number > 10
