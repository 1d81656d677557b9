"""Random programs on a mount and on a plain directory: whatever they do, both must tell them the same.

One mount serves all examples; each works in a fresh directory of its own. In CI every run tries the same examples.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.mount.conftest import Maker, check_quiet
from tests.support.linux import RENAME_EXCHANGE, RENAME_NOREPLACE, read_direct, renameat2
from tests.support.mounting import MountedVolume
from tests.support.volumes import pattern

LONG = "long-" + "L" * 200
NAMES = ["a", "b", "c", "d", "e", LONG, "bytes-\udcff\udc80"]
EXAMPLES = 80
STEPS = 40
# Every so many examples the volume is locked and mounted again: what is compared then came from the disk.
REMOUNT_EVERY = 40

names = st.sampled_from(NAMES)
# A path that may or may not be there, or the number of one that is.
places = st.one_of(
    names,
    st.builds("/".join, st.tuples(st.sampled_from("de"), names)),
    st.builds("/".join, st.tuples(st.just("d"), st.just("e"), names)),
)
Choice = str | int
existing = st.integers(0, 10_000)
paths = st.one_of(existing, existing, existing, places)
fresh = st.one_of(places, places, existing)
# Borders of cells of 4 KiB and of pages, and anything else.
BORDERS = [0, 1, 3551, 3552, 3553, 4095, 4096, 4097, 7616, 8192, 11680, 131_072]
offsets = st.one_of(st.sampled_from(BORDERS), st.integers(0, 200_000))
lengths = st.one_of(st.integers(0, 100), st.sampled_from([3552, 4064, 4096, 10_000, 140_000]))
modes = st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o4755, 0o000])
attributes = st.sampled_from(["user.one", "user.two", "trusted.three"])
open_flags = st.sampled_from(
    [
        os.O_RDWR,
        os.O_RDWR | os.O_CREAT,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_RDWR | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_APPEND,
        os.O_WRONLY | os.O_CREAT,
        os.O_WRONLY | os.O_APPEND | os.O_CREAT,
        os.O_RDONLY,
        os.O_RDONLY | os.O_TRUNC,
        os.O_RDWR | os.O_NOFOLLOW,
    ]
)


_FLAGS = st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])


@dataclass(frozen=True)
class Failed:
    """A call that failed: its errno."""

    symbol: str


@dataclass(frozen=True)
class Handle:
    """One file open on both sides."""

    mounted: int
    plain: int
    flags: int


def is_long(*used: str) -> bool:
    """Whether a long name is among the last names of these paths."""
    return any(path.rpartition("/")[2] == LONG for path in used)


def kind(path: Path) -> int:
    """The kind of what is there, 0 for nothing."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return 0


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or how it fails."""
    try:
        return call()
    except OSError as exc:
        return Failed(errno.errorcode[exc.errno or 0])


def seen(path: Path) -> Any:
    """What stat says, but for what differs between any two filesystems."""
    info = path.lstat()
    size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
    return oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid, size


def attributes_of(path: Path) -> dict[str, bytes]:
    """All attributes that the state machine may have set."""
    listed = [name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("system.")]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(listed)}


def tree(top: Path, *, direct: bool) -> dict[str, Any]:
    """Everything below a directory; ``direct``: contents past the page cache."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            content: Any = None
            if stat.S_ISLNK(mode):
                content = path.readlink()
            elif stat.S_ISREG(mode):
                content = read_direct(path) if direct else path.read_bytes()
            found[str(path.relative_to(top))] = (seen(path), attributes_of(path), content)
    return found


class Programs(RuleBasedStateMachine):
    """Any sequence of calls, on ``mounted`` and ``plain``."""

    volume: MountedVolume
    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.mounted = Path(tempfile.mkdtemp(prefix="case-", dir=self.volume.path))
        self.plain = Path(tempfile.mkdtemp(prefix="case-", dir=self.volume.base))
        self.handles: list[Handle] = []
        self.step = 0

    @initialize()
    def populate(self) -> None:
        """Something to work with: every kind of object, also with a second link and a long name."""
        for top in (self.mounted, self.plain):
            (top / "d" / "e").mkdir(parents=True)
            (top / "e").mkdir()
            for name in ("a", LONG, "d/a", "d/e/b", "bytes-\udcff\udc80"):
                (top / name).write_bytes(pattern(9000, name))
            (top / "c").symlink_to("d/a")
            (top / "e" / "c").symlink_to("../" + "x" * 3500)
            os.link(top / "a", top / "d" / LONG)
            os.mkfifo(top / "e" / "d")

    def path(self, choice: Choice) -> str:
        """The path that a choice names."""
        if isinstance(choice, str):
            return choice
        found = sorted(
            str(Path(folder, name).relative_to(self.plain))
            for folder, folders, files in os.walk(self.plain)
            for name in (*folders, *files)
        )
        return found[choice % len(found)] if found else "a"

    def same(self, call: Callable[[Path], Any], *, may_differ: tuple[str, ...] = ()) -> Any:
        """The same call on both sides must end alike; if it fails on the mount with ``may_differ``, it is left out."""
        self.step += 1
        mounted = outcome(lambda: call(self.mounted))
        if isinstance(mounted, Failed) and mounted.symbol in may_differ:
            return mounted
        plain = outcome(lambda: call(self.plain))
        assert mounted == plain, f"mount: {mounted!r:.300}, plain: {plain!r:.300}"
        return plain

    def same_handle(self, handle: Handle, call: Callable[[int], Any]) -> Any:
        """The same call on both descriptors of a handle."""
        self.step += 1
        mounted, plain = outcome(lambda: call(handle.mounted)), outcome(lambda: call(handle.plain))
        assert mounted == plain, f"mount: {mounted!r:.300}, plain: {plain!r:.300}"
        return plain

    def data(self, length: int) -> bytes:
        """Bytes that no other step writes."""
        return pattern(length, (self.step, length))

    def handle(self, choice: int) -> Handle:
        """One of the open handles."""
        return self.handles[choice % len(self.handles)]

    # -- names --------------------------------------------------------------------------------------------

    @rule(path=fresh, mode=modes)
    def mkdir(self, path: Choice, mode: int) -> None:
        path = self.path(path)
        self.same(lambda top: (top / path).mkdir(mode | 0o700))

    @rule(path=paths)
    def rmdir(self, path: Choice) -> None:
        path = self.path(path)
        self.same(lambda top: (top / path).rmdir())

    @rule(path=paths)
    def unlink(self, path: Choice) -> None:
        path = self.path(path)
        self.same(lambda top: (top / path).unlink())

    @rule(path=paths, to=st.one_of(places, existing), flags=_FLAGS)
    def rename(self, path: Choice, to: Choice, flags: int) -> None:
        """One file has one long name, pipes have none, and a symlink may be in a file (FORMAT.md 7, 9.1, 9.4)."""
        path, to = self.path(path), self.path(to)
        kinds = {kind(self.plain / path), kind(self.plain / to)}
        differ: tuple[str, ...] = ()
        if is_long(path, to):
            differ = ("EMLINK", "ENAMETOOLONG")
        if flags == RENAME_EXCHANGE and stat.S_IFLNK in kinds:
            differ += ("EINVAL",)
        self.same(lambda top: renameat2(top / path, top / to, flags), may_differ=differ)

    @rule(path=paths, to=fresh)
    def link(self, path: Choice, to: Choice) -> None:
        path, to = self.path(path), self.path(to)
        differ = ("EMLINK",) if is_long(path, to) else ()
        self.same(lambda top: os.link(top / path, top / to, follow_symlinks=False), may_differ=differ)

    @rule(path=fresh, text=st.one_of(places, st.just("t" * 4000), st.just("missing/x")))
    def symlink(self, path: Choice, text: str) -> None:
        path = self.path(path)
        self.same(lambda top: (top / path).symlink_to(text))

    @rule(path=fresh)
    def mkfifo(self, path: Choice) -> None:
        path = self.path(path)
        if not is_long(path):
            self.same(lambda top: os.mkfifo(top / path))

    @rule(path=paths)
    def listing(self, path: Choice) -> None:
        path = self.path(path)
        self.same(lambda top: sorted((one.name, kind(Path(one.path))) for one in os.scandir(top / path)))

    @rule(path=paths)
    def look(self, path: Choice) -> None:
        path = self.path(path)
        self.same(lambda top: seen(top / path))
        self.same(lambda top: (top / path).readlink())

    @rule(path=paths)
    def follow(self, path: Choice) -> None:
        """Symlinks lead to the same file on both sides."""
        path = self.path(path)
        if kind(self.plain / path) not in (stat.S_IFIFO, 0):
            self.same(lambda top: stat.S_ISFIFO((top / path).stat().st_mode) or (top / path).read_bytes())

    # -- metadata -----------------------------------------------------------------------------------------

    @rule(path=paths, mode=modes)
    def chmod(self, path: Choice, mode: int) -> None:
        path = self.path(path)
        is_dir = kind(self.plain / path) == stat.S_IFDIR
        self.same(lambda top: (top / path).chmod(mode | (0o700 if is_dir else 0)))

    @rule(path=paths, ns=st.integers(0, 4_000_000_000_000_000_000))
    def utime(self, path: Choice, ns: int) -> None:
        path = self.path(path)
        if kind(self.plain / path) != stat.S_IFLNK:
            self.same(lambda top: os.utime(top / path, ns=(ns, ns)))
            self.same(lambda top: (top / path).lstat().st_mtime_ns)

    @rule(path=paths, name=attributes, value=st.binary(max_size=60))
    def setxattr(self, path: Choice, name: str, value: bytes) -> None:
        path = self.path(path)
        if kind(self.plain / path) in (stat.S_IFREG, stat.S_IFDIR):
            self.same(lambda top: os.setxattr(top / path, name, value))

    @rule(path=paths, name=attributes)
    def removexattr(self, path: Choice, name: str) -> None:
        path = self.path(path)
        if kind(self.plain / path) in (stat.S_IFREG, stat.S_IFDIR):
            self.same(lambda top: os.removexattr(top / path, name))

    @rule(path=paths)
    def listxattr(self, path: Choice) -> None:
        path = self.path(path)
        self.same(lambda top: attributes_of(top / path))

    # -- content by path ----------------------------------------------------------------------------------

    @rule(path=paths, offset=offsets, length=lengths)
    def write(self, path: Choice, offset: int, length: int) -> None:
        path = self.path(path)
        data = self.data(length)

        def call(top: Path) -> int:
            fd = os.open(top / path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
            try:
                return os.pwrite(fd, data, offset)
            finally:
                os.close(fd)

        if kind(self.plain / path) != stat.S_IFIFO:
            self.same(call)

    @rule(path=paths, size=offsets)
    def truncate(self, path: Choice, size: int) -> None:
        path = self.path(path)
        if kind(self.plain / path) != stat.S_IFIFO:
            self.same(lambda top: os.truncate(top / path, size))

    # -- content by handle --------------------------------------------------------------------------------

    @rule(path=paths, flags=open_flags)
    def open(self, path: Choice, flags: int) -> None:
        self.open_both(self.path(path), flags)

    def open_both(self, path: str, flags: int) -> None:
        """Open on both sides, and keep what is a regular file."""
        if len(self.handles) >= 5:
            return
        flags |= os.O_NONBLOCK  # a pipe without another end fails instead of waiting
        opened: list[int] = []

        def call(top: Path) -> None:
            opened.append(os.open(top / path, flags, 0o640))

        result = self.same(call)
        if not isinstance(result, Failed):
            handle = Handle(opened[0], opened[1], flags)
            if stat.S_ISREG(os.fstat(handle.plain).st_mode):
                self.handles.append(handle)
            else:
                os.close(handle.mounted)
                os.close(handle.plain)

    @rule(path=paths)
    def open_and_unlink(self, path: Choice) -> None:
        """What a program does with a temporary file; it goes on using it without a name."""
        path = self.path(path)
        if kind(self.plain / path) == stat.S_IFREG:
            self.open_both(path, os.O_RDWR)
            self.same(lambda top: (top / path).unlink())

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), offset=offsets, length=lengths)
    def handle_write(self, choice: int, offset: int, length: int) -> None:
        data = self.data(length)
        self.same_handle(self.handle(choice), lambda fd: os.pwrite(fd, data, offset))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), length=lengths)
    def handle_append(self, choice: int, length: int) -> None:
        data = self.data(length)
        self.same_handle(self.handle(choice), lambda fd: os.write(fd, data))
        self.same_handle(self.handle(choice), lambda fd: os.lseek(fd, 0, os.SEEK_CUR))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), offset=offsets, length=lengths)
    def handle_read(self, choice: int, offset: int, length: int) -> None:
        self.same_handle(self.handle(choice), lambda fd: os.pread(fd, length, offset))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), size=offsets)
    def handle_truncate(self, choice: int, size: int) -> None:
        self.same_handle(self.handle(choice), lambda fd: os.ftruncate(fd, size))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), what=st.sampled_from([os.fsync, os.fdatasync]))
    def handle_sync(self, choice: int, what: Callable[[int], None]) -> None:
        self.same_handle(self.handle(choice), what)

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), mode=modes)
    def handle_chmod(self, choice: int, mode: int) -> None:
        self.same_handle(self.handle(choice), lambda fd: os.fchmod(fd, mode))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4), name=attributes, value=st.binary(max_size=60))
    def handle_setxattr(self, choice: int, name: str, value: bytes) -> None:
        self.same_handle(self.handle(choice), lambda fd: os.setxattr(fd, name, value))
        self.same_handle(self.handle(choice), lambda fd: os.getxattr(fd, name))

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4))
    def handle_forget_pages(self, choice: int) -> None:
        """What is read next has to come from the daemon."""
        handle = self.handle(choice)
        self.same_handle(handle, lambda fd: os.fdatasync(fd))
        os.posix_fadvise(handle.mounted, 0, 0, os.POSIX_FADV_DONTNEED)

    @precondition(lambda self: self.handles)
    @rule(choice=st.integers(0, 4))
    def handle_close(self, choice: int) -> None:
        handle = self.handles.pop(choice % len(self.handles))
        self.same_handle(handle, os.close)

    @invariant()
    def handles_agree(self) -> None:
        """Open files are the same size, with as many links and the same mode, whether they have a name or not."""
        for handle in self.handles:
            mounted, plain = os.fstat(handle.mounted), os.fstat(handle.plain)
            assert (mounted.st_size, mounted.st_nlink, oct(mounted.st_mode)) == (
                (plain.st_size, plain.st_nlink, oct(plain.st_mode))
            )

    # -- the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Compare everything, now and then from the disk, and clean up."""
        try:
            for handle in self.handles:
                os.fdatasync(handle.mounted)
                os.posix_fadvise(handle.mounted, 0, 0, os.POSIX_FADV_DONTNEED)
                if handle.flags & os.O_ACCMODE != os.O_WRONLY:
                    assert os.pread(handle.mounted, 1 << 20, 0) == os.pread(handle.plain, 1 << 20, 0)
        finally:
            for handle in self.handles:
                os.close(handle.mounted)
                os.close(handle.plain)
        expected = tree(self.plain, direct=False)
        assert tree(self.mounted, direct=False) == expected
        Programs.count += 1
        if Programs.count % REMOUNT_EVERY == 0:
            self.volume.remount()
        assert tree(self.mounted, direct=True) == expected
        for top in (self.mounted, self.plain):
            shutil.rmtree(top)


@pytest.fixture(scope="module")
def volume(make_shared: Maker) -> MountedVolume:
    """One mount for all examples."""
    return make_shared()


@pytest.mark.parametrize("examples", [pytest.param(EXAMPLES), pytest.param(8000, marks=pytest.mark.slow)])
def test_random_programs(volume: MountedVolume, examples: int) -> None:
    """Contents, errno, sizes, link counts, listings and attributes are those of a plain filesystem."""
    Programs.volume = volume
    run_state_machine_as_test(
        Programs,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
    check_quiet(volume)
