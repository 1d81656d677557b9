"""What the tests with real programs share: starting and killing them, comparing trees, looking for plain text."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat as stat_module
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume, is_gone, wait_for

# In names and contents that the tests make, and nowhere else: below the mount it must never be seen.
MARKER = "Zyklamenbefund"
WORKERS = Path(__file__).resolve().parents[1] / "programs" / "workers"
TIMEOUT = 600.0
Command = Sequence[str | os.PathLike[str]]


def need(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def environment(**more: str) -> dict[str, str]:
    """The environment of a program: English, one time zone, nothing from the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PG", "LC_"))}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def run(
    *command: str | os.PathLike[str], cwd: Path | None = None, check: bool = True, env: dict[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed; ``env`` is added to the environment.

    Fails the test, with all that the program said, when it does not end with 0.
    """
    result = subprocess.run(
        command, cwd=cwd, env=environment(**(env or {})), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="surrogateescape", timeout=TIMEOUT, check=False,
    )  # fmt: skip
    words = " ".join(os.fspath(word) for word in command)
    if check and result.returncode != 0:
        pytest.fail(f"{words}\nended with {result.returncode}\n{result.stdout[-8000:]}\n{result.stderr[-8000:]}")
    return result.stdout


def worker(name: str, *arguments: object) -> list[str]:
    """The command line of a script in tests/programs/workers."""
    return [sys.executable, str(WORKERS / f"{name}.py"), *map(str, arguments)]


class Reporter:
    """A program that prints a line for each thing that is done for good (committed, fsynced), until it is killed.

    Attributes:
        lines: what it has printed so far, as far as anybody has read it.
        errors: what it has said besides; known when it has ended.
    """

    def __init__(self, command: Command, *, cwd: Path | None = None, feed: Path | None = None) -> None:
        self.lines: list[str] = []
        self.errors = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        # What it is fed comes from a file: whoever feeds a pipe must be read from at the same time.
        with open(feed or os.devnull, encoding="utf-8") as source:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment(), stdin=source, stdout=subprocess.PIPE, stderr=self._errors
            )
        assert self.process.stdout is not None
        self._output = self.process.stdout

    def read(self, count: int) -> None:
        """Wait until it has printed so many more lines."""
        for _ in range(count):
            line = self._output.readline()
            if not line.endswith(b"\n"):
                self.end()
                pytest.fail(f"{self.process.args!r} ended after {len(self.lines)} lines: {self.errors}")
            self.lines.append(line.decode().rstrip("\n"))

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()

    def end(self) -> int:
        """Read on until it ends; a last line without its end was not finished and does not count."""
        rest = self._output.read()
        self.lines.extend(line.decode() for line in rest.split(b"\n")[:-1])
        self._output.close()
        status = self.process.wait(timeout=TIMEOUT)
        self._errors.seek(0)
        self.errors = self._errors.read().decode(errors="replace")
        self._errors.close()
        return status


@contextmanager
def reporting(*reporters: Reporter) -> Iterator[None]:
    """No reporter outlives the block, however it ends."""
    try:
        yield
    finally:
        for reporter in reporters:
            if reporter.process.returncode is None:
                reporter.kill()
                reporter.end()


def crash(volume: MountedVolume, *reporters: Reporter) -> None:
    """kill -9 the daemon under running programs, wait for their end, and mount again.

    The dead mount stays until the programs have ended: on the bare mount point they would go on as if nothing were.
    """
    volume.kill_daemon()
    for reporter in reporters:
        # Programs that wait for something else than the mount do not notice its death.
        reporter.kill()
        reporter.end()
    volume.clear_dead_mount()
    assert not list(volume.path.iterdir()), "a program wrote below the mount"
    volume.mount()


# -- processes ------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found: list[int] = []
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in children:
        found += [child, *descendants(child)]
    return found


def kill_family(pid: int) -> None:
    """kill -9 a process with everything below it, and wait until all are gone. ``pid`` itself is left to its parent."""
    os.kill(pid, signal.SIGSTOP)
    family = descendants(pid)
    for member in [pid, *family]:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(lambda: all(is_gone(member) for member in family), f"the processes below {pid} end")


# -- trees -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """Everything about one object that a faithful copy keeps."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    size: int
    device: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]
    links: int


def _content(path: bytes, mode: int) -> str:
    if stat_module.S_ISLNK(mode):
        return os.fsdecode(os.readlink(path))
    if not stat_module.S_ISREG(mode):
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _attributes(path: bytes) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def describe(top: Path, *, directory_times: bool = True) -> dict[str, Entry]:
    """Every object below ``top`` by its path, and by which other paths it is known (hard links)."""
    result: dict[str, Entry] = {}
    for folder, directories, files in os.walk(os.fsencode(top)):
        for name in [b".", *directories, *files] if folder == os.fsencode(top) else [*directories, *files]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            is_directory = stat_module.S_ISDIR(info.st_mode)
            result[os.fsdecode(os.path.relpath(path, os.fsencode(top)))] = Entry(
                kind=stat_module.filemode(info.st_mode)[0],
                mode=stat_module.S_IMODE(info.st_mode),
                owner=(info.st_uid, info.st_gid),
                mtime_ns=info.st_mtime_ns if directory_times or not is_directory else 0,
                size=0 if is_directory else info.st_size,
                device=info.st_rdev,
                content=_content(path, info.st_mode),
                attributes=_attributes(path),
                links=0 if is_directory else info.st_nlink,
            )
    return result


def link_groups(top: Path) -> set[frozenset[str]]:
    """Which paths below ``top`` are the same file."""
    groups: dict[int, set[str]] = {}
    for path in top.rglob("*"):
        info = path.lstat()
        if info.st_nlink > 1 and not path.is_dir():
            groups.setdefault(info.st_ino, set()).add(os.fsdecode(os.fsencode(path.relative_to(top))))
    return {frozenset(group) for group in groups.values()}


def assert_same_tree(left: Path, right: Path, *, directory_times: bool = True) -> None:
    """Both trees hold the same objects, down to nanoseconds, attributes and hard links."""
    one, two = describe(left, directory_times=directory_times), describe(right, directory_times=directory_times)
    assert one.keys() == two.keys()
    different = [
        f"{path[:60]!r} {field.name}: {getattr(one[path], field.name)!r:.200} {getattr(two[path], field.name)!r:.200}"
        for path in one
        for field in fields(Entry)
        if getattr(one[path], field.name) != getattr(two[path], field.name)
    ]
    assert not different, "\n".join(different)
    assert link_groups(left) == link_groups(right)


def make_tree(top: Path) -> None:
    """A tree with one of everything: links, ACLs, attributes, pipes, long and odd names, holes, old times."""
    root = os.geteuid() == 0
    top.mkdir()
    letters = top / f"letters {MARKER}"
    letters.mkdir(mode=0o750)
    for number in range(40):
        size = (number * 997) % 9000
        (letters / f"letter-{number:02}.txt").write_bytes((f"{MARKER} {number}\n".encode() * 600)[:size])
    (letters / "letter-39.txt").chmod(0o4640 if root else 0o640)
    (letters / "empty").touch(mode=0o600)
    os.link(letters / "letter-07.txt", letters / "the same letter")
    os.link(letters / "letter-07.txt", top / "the same letter, elsewhere")
    deep = top
    for level in range(12):
        deep /= f"level {level}"
        deep.mkdir()
    (deep / "bottom").write_text(MARKER)
    (top / "relative").symlink_to("letters/../letters")
    (top / "dangling").symlink_to("/nowhere/" + "x" * 300)
    (top / "far").symlink_to("/".join(["y" * 200] * 18))
    (top / ("n" * 255)).write_text(MARKER)
    (top / ("d" * 255)).mkdir()
    (top / ("d" * 255) / ("f" * 255)).write_text("long names inside long names")
    (top / "Umlaute äöü ☃ 'quotes' \"and\"\nnewlines").write_text("odd")
    odd = open(os.fsencode(top) + b"/\xff\xfe\x01 bytes", "wb")  # noqa: SIM115 - the name is no text
    odd.close()
    with (top / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(MARKER.encode())
        file.truncate(20 << 20)
    (top / "large").write_bytes(os.urandom(1 << 20) * 5 + b"end")
    os.mkfifo(top / "pipe", 0o620)
    for path in (letters, letters / "letter-01.txt", top / "sparse"):
        os.setxattr(path, "user.cloakfs-test", MARKER.encode())
        os.setxattr(path, "user.empty", b"")
    os.setxattr(letters / "letter-02.txt", "user.large", bytes(range(250)) * 8)
    run("setfacl", "-m", "u:12345:rw,g:54321:r", letters / "letter-03.txt")
    run("setfacl", "-d", "-m", "u:12345:rwx", letters)
    if root:
        os.setxattr(letters / "letter-04.txt", "trusted.cloakfs-test", b"for root")
        os.chown(letters / "letter-05.txt", 12345, 54321)
        os.lchown(top / "relative", 12345, 54321)
        os.mknod(top / "device", stat_module.S_IFCHR | 0o600, os.makedev(1, 3))
    (top / "shared").mkdir()
    (top / "shared").chmod(0o3775)
    old = 1_000_000_000 * 10**9 + 123_456_789
    os.utime(top / "large", ns=(old, old))
    os.utime(top / "dangling", ns=(old, old), follow_symlinks=False)
    os.utime(top / "pipe", ns=(old, old))
    os.utime(letters, ns=(old, old))


# -- the end of a test ------------------------------------------------------------------------------------------


def assert_nothing_plain_below(volume: MountedVolume) -> None:
    """Neither a name nor a content of the volume holds the marker."""
    found = run("grep", "-rlaF", MARKER, volume.lower, check=False)
    assert not found, f"plain text below: {found}"
    names = run("find", volume.lower, "-name", f"*{MARKER}*")
    assert not names, f"plain names below: {names}"


def finish(volume: MountedVolume) -> None:
    """The end check of every test: no mount, no process, nothing wrong, nothing plain."""
    volume.finish()
    assert_nothing_plain_below(volume)


Maker = Callable[..., MountedVolume]
