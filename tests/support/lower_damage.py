"""Doing anything at all to the lower files of a volume, and walking what is left with every call counted."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from encfs.errors import CloakfsError
from encfs.store.local import LocalStore
from encfs.volume import Volume
from encfs.volume.verify import Verifier

GIANT = 1 << 50
OURS = (CloakfsError, OSError)
_OUTSIDE = b"a file of the machine\n" * 400
_OUTSIDE_MODE = stat.S_IFREG | 0o644
ODD_NAMES = (
    b"cloakfs.t.0123456789abcdef", b"cloakfs.t.", b"cloakfs.volume", b"cloakfs.d", b"cloakfs.s", b"cloakfs.x",
    b"\xff\n", b"A" * 255, b"A" * 43, b"A" * 43 + b".l", b"~" + b"A" * 43, b"~" + b"A" * 43 + b".l", b"A" * 44,
    b"-" * 235,
    b"00" * 16, b" ", b".l", b".hidden",
)  # fmt: skip
KINDS = (
    "damage", "cut", "giant", "directory", "symlink", "loop", "device-link", "pipe", "device", "socket", "gone", "swap",
    "copy", "odd-name", "unreadable", "attribute", "rename", "link", "zero",
)  # fmt: skip


class TooMuchWork(BaseException):
    """More store calls than any volume of this size can need; nothing may catch it."""


class CountingStore(LocalStore):
    """Counts every call, and ends the test beyond ``budget``."""

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd)
        self.calls = 0
        self.budget = 1 << 60

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found
        self.calls += 1
        if self.calls > self.budget:
            raise TooMuchWork(f"more than {self.budget} calls to the store")
        return found


@contextmanager
def hang_guard(seconds: int) -> Iterator[None]:
    """Interrupts even a system call that never comes back. Minutes: a guard, no measurement."""

    def stop(*_: object) -> None:
        raise TooMuchWork("hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def lower_objects(top: Path) -> list[Path]:
    """Everything below a volume directory, in an order that is the same in every run of one volume."""
    found = [Path(directory, name) for directory, names, files in os.walk(top) for name in (*names, *files)]
    return sorted(found)


def remove(path: Path) -> None:
    """Whatever it is."""
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def damage(path: Path, other: Path, kind: str, content: bytes, odd: bytes) -> None:
    """Do one thing to a lower object; what cannot be done here (no file, no permission) is left."""
    with suppress(OSError):
        _DAMAGES[kind](path, other, content, odd)


def _content(path: Path, _other: Path, content: bytes, _odd: bytes) -> None:
    if path.is_file() and not path.is_symlink():
        path.write_bytes(content)


def _small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 1 << 30


def _zero(path: Path, _other: Path, _content: bytes, _odd: bytes) -> None:
    if _small(path) and not path.is_symlink():
        path.write_bytes(bytes(path.stat().st_size))


def _cut(path: Path, _other: Path, content: bytes, _odd: bytes) -> None:
    if path.is_file() and not path.is_symlink():
        os.truncate(path, path.stat().st_size * (len(content) % 5) // 4)


def _giant(path: Path, _other: Path, _content: bytes, _odd: bytes) -> None:
    if not path.is_file() or path.is_symlink():
        return
    try:
        os.truncate(path, GIANT)
    except OSError:
        os.truncate(path, 1 << 43)


def _instead(make: Callable[[Path], object]) -> Callable[[Path, Path, bytes, bytes], None]:
    def act(path: Path, _other: Path, _content: bytes, _odd: bytes) -> None:
        remove(path)
        make(path)

    return act


def _bind(path: Path) -> None:
    # The path of a socket is short; that of a lower file is not.
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _swap(path: Path, other: Path, _content: bytes, _odd: bytes) -> None:
    between = path.with_name("between")
    path.rename(between)
    other.rename(path)
    between.rename(other)


def _copy(path: Path, other: Path, _content: bytes, _odd: bytes) -> None:
    if _small(path) and _small(other) and not path.is_symlink():
        shutil.copyfile(other, path)


def _unreadable(path: Path, _other: Path, _content: bytes, _odd: bytes) -> None:
    if not path.is_symlink():
        path.chmod(0)


@cache
def _outside() -> Path:
    """A file of the machine that links below lead to: one of our own, so that nothing else is ever hit."""
    directory = Path(tempfile.mkdtemp(prefix="cloakfs-outside-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / "file"
    path.write_bytes(_OUTSIDE)
    path.chmod(stat.S_IMODE(_OUTSIDE_MODE))
    return path


def outside_is_untouched() -> bool:
    """Whether nobody has followed a link to it and changed it."""
    path = _outside()
    same = path.read_bytes() == _OUTSIDE and path.stat().st_mode == _OUTSIDE_MODE
    return same and not os.listxattr(path)


def _add(path: Path, _other: Path, content: bytes, odd: bytes) -> None:
    new = os.path.join(os.fsencode(path if path.is_dir() else path.parent), odd)
    if len(content) % 2:
        os.mkdir(new)
    else:
        Path(os.fsdecode(new)).write_bytes(content)


def _rename(path: Path, _other: Path, _content: bytes, odd: bytes) -> None:
    path.rename(path.with_name(os.fsdecode(odd)))


def _link(path: Path, other: Path, _content: bytes, _odd: bytes) -> None:
    remove(path)
    os.link(other, path, follow_symlinks=False)


_DAMAGES: dict[str, Callable[[Path, Path, bytes, bytes], object]] = {
    "damage": _content,
    "cut": _cut,
    "zero": _zero,
    "giant": _giant,
    "directory": _instead(lambda path: path.mkdir()),
    "symlink": _instead(lambda path: path.symlink_to(_outside())),
    "loop": _instead(lambda path: path.symlink_to(path.name)),
    "device-link": _instead(lambda path: path.symlink_to("/dev/null")),
    "pipe": _instead(os.mkfifo),
    "device": _instead(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))),
    "socket": _instead(_bind),
    "gone": lambda path, *_: remove(path),
    "swap": _swap,
    "copy": _copy,
    "odd-name": _add,
    "unreadable": _unreadable,
    "attribute": lambda path, _other, content, _odd: os.setxattr(
        path, "user.cloakfs", content[:60_000], follow_symlinks=False
    ),
    "rename": _rename,
    "link": _link,
}


def use_everything(volume: Volume) -> int:
    """List, read, resolve and verify all that is there; how many objects were seen."""
    seen = 0
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            entries = volume.list_directory(path)
        except OURS:
            continue
        for entry in entries:
            seen += 1
            child = path + b"/" + entry.name
            if stat.S_ISDIR(entry.mode):
                pending.append(child)
            for look in (_read, Volume.read_link, Volume.stat, _attributes):
                try:
                    look(volume, child)
                except OURS:
                    continue
    for _ in Verifier(volume).run():
        pass
    return seen


def _read(volume: Volume, path: bytes) -> None:
    for piece in volume.read_file(path):
        assert len(piece) <= 1 << 20


def _attributes(volume: Volume, path: bytes) -> None:
    volume.attributes.read(volume.resolve(path, follow=False))
