"""The process dies before any one change of the backing store: what comes back is the state before or after.

A killed process leaves every change that the kernel has taken, and nothing else (a power cut, which may lose some of
those, is another matter). So each library call below is either done or not done afterwards, nothing that was done
before it is lost, and verify is clean (FORMAT.md section 11, writing order).
"""

from __future__ import annotations

import os
import shutil
import stat as stat_module
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from encfs.errors import DataError
from encfs.volume import Volume
from encfs.volume.attributes import Setattr
from tests.support.stores import DyingStore
from tests.support.volumes import LONG, ROOT, LowerVolume, open_file, pattern, read

LONGER = b"M" * 220


class Seen(NamedTuple):
    """All a program sees of one object."""

    mode: int
    links: int
    content: bytes
    attributes: str


State = dict[bytes, Seen]


def state(volume: Volume, path: bytes = b"") -> State:
    """The whole plain tree."""
    seen: State = {}
    for entry in volume.list_directory(path):
        full = path + b"/" + entry.name if path else entry.name
        node = volume.resolve(full, follow=False)
        attributes = str(sorted(volume.attributes.get_all(node).items()))
        content, links = b"", entry.links
        if stat_module.S_ISDIR(entry.mode):
            links = 0
            seen |= state(volume, full)
        elif stat_module.S_ISLNK(entry.mode):
            content = volume.read_link(full)
        elif stat_module.S_ISREG(entry.mode):
            content = read(volume, full)
        seen[full] = Seen(entry.mode, links, content, attributes)
    return seen


Step = Callable[[Volume], object]


def write(path: bytes, offset: int, data: bytes, *, sync: bool = False) -> Step:
    """A step that writes."""

    def step(volume: Volume) -> None:
        with open_file(volume, path) as file:
            file.write(offset, data)
            if sync:
                file.sync()

    return step


def truncate(path: bytes, size: int) -> Step:
    """A step that sets a size."""

    def step(volume: Volume) -> None:
        with open_file(volume, path) as file:
            file.truncate(size)

    return step


def link(path: bytes, to: bytes) -> Step:
    """A step that makes a hard link."""

    def step(volume: Volume) -> None:
        parent, _, name = to.rpartition(b"/")
        volume.changes.link(volume.resolve(path, follow=False), volume.resolve(parent), name)

    return step


def exchange(one: bytes, two: bytes) -> Step:
    """A step that lets two names swap what they name."""

    def step(volume: Volume) -> None:
        (p1, _, n1), (p2, _, n2) = one.rpartition(b"/"), two.rpartition(b"/")
        volume.changes.exchange(volume.resolve(p1), n1, volume.resolve(p2), n2)

    return step


def attribute(path: bytes, value: bytes) -> Step:
    """A step that sets an extended attribute."""
    return lambda volume: volume.attributes.set(volume.resolve(path), b"user.x", value)


def rename(path: bytes, to: bytes) -> Step:
    """A step that renames."""
    return lambda volume: volume.rename(path, to)


def fifo(path: bytes) -> Step:
    """A step that makes a named pipe."""
    return lambda volume: volume.changes.mknod(volume.tree.root, path, stat_module.S_IFIFO | 0o600, 0, ROOT)


def create(path: bytes) -> Step:
    """A step that makes an empty file."""
    return lambda volume: volume.open(path, create=True).close()


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


def padded(seen: Seen) -> bytes:
    """The content, and zero bytes behind it: a file may have grown by a hole only."""
    return seen.content + bytes(400_000 - len(seen.content))


def either(before: State, after: State, seen: State) -> bool:
    """Whether each object is as before or as after the step; a file that grows may have grown in part."""
    if seen in (before, after):
        return True
    if seen.keys() not in (before.keys(), after.keys()):
        return False
    for path, now in seen.items():
        old, new = before.get(path), after.get(path)
        if now in (old, new):
            continue
        if old is None or new is None or now._replace(content=b"") != new._replace(content=b""):
            return False
        shorter, longer = sorted((len(old.content), len(new.content)))
        if not shorter <= len(now.content) <= longer:
            return False
        if any(byte not in known for byte, *known in zip(now.content, padded(old), padded(new))):
            return False
    return True


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
