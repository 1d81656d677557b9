"""Steps of a program in an unlocked volume, and what it sees of the whole tree: for tests that crash between them."""

from __future__ import annotations

import itertools
import stat as stat_module
from collections.abc import Callable
from typing import NamedTuple

from encfs.volume import Volume
from tests.support.volumes import ROOT, open_file, read

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


def do(*steps: Step) -> Step:
    """Several steps as one."""

    def step(volume: Volume) -> None:
        for one in steps:
            one(volume)

    return step


def mkdir(path: bytes) -> Step:
    """A step that makes a directory."""
    return lambda volume: volume.make_directory(path)


def symlink(path: bytes, target: bytes) -> Step:
    """A step that makes a symlink."""
    return lambda volume: volume.make_symlink(path, target)


def remove(path: bytes) -> Step:
    """A step that removes a file or an empty directory."""
    return lambda volume: volume.remove(path)


def sync_directory(path: bytes) -> Step:
    """A step that fsyncs a directory."""

    def step(volume: Volume) -> None:
        fd = volume.tree.open_for_sync(volume.resolve(path))
        try:
            volume.ctx.store.fsync(fd)
        finally:
            volume.ctx.store.close(fd)

    return step


def rename(path: bytes, to: bytes) -> Step:
    """A step that renames."""
    return lambda volume: volume.rename(path, to)


def fifo(path: bytes) -> Step:
    """A step that makes a named pipe."""
    return lambda volume: volume.changes.mknod(volume.tree.root, path, stat_module.S_IFIFO | 0o600, 0, ROOT)


def create(path: bytes) -> Step:
    """A step that makes an empty file."""
    return lambda volume: volume.open(path, create=True).close()


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


def allowed(states: list[State], seen: State) -> bool:
    """Whether every object is as some of the steps left it, or between two of these."""
    return any(either(one, two, seen) for one, two in itertools.combinations_with_replacement(states, 2))
