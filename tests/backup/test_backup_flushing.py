"""What a backup reads below a mount is what programs have written (docs/control.md, ``quiesce``; FORMAT.md 18)."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest

from encfs import control, runtime
from encfs.backup.flushing import flusher, sync_mount
from encfs.errors import BackupError, CloakfsError, ExitCode, UsageError
from encfs.format.limits import LOCK_NAME, SESSIONS_NAME
from encfs.fuse.daemon import MountOptions, start
from encfs.store.local import LocalStore
from encfs.units import VolumeId
from encfs.volume import Volume
from encfs.volume.verify import Finding, Severity, Verifier
from tests.mount.conftest import finish
from tests.support.killing import kill_a_renamer
from tests.support.mounting import SECRET, MountedVolume, _argon2id_once
from tests.support.volumes import pattern, read

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse"),
]


@contextmanager
def _made() -> Iterator[MountedVolume]:
    base = Path(tempfile.mkdtemp(prefix="cloakfs-flush-")).resolve()
    volume = MountedVolume(base)
    try:
        yield volume
        finish(volume)
    finally:
        if volume.pid and not volume.is_dead():
            volume.kill()
        shutil.rmtree(base)


@pytest.fixture(scope="module")
def mounted() -> Iterator[MountedVolume]:
    """A volume, mounted, for all that leave it so; at the end nothing of it is left, and verify finds nothing."""
    with _made() as volume:
        volume.mount()
        yield volume


@pytest.fixture
def own() -> Iterator[MountedVolume]:
    """One that is not mounted yet, for one test."""
    with _made() as volume:
        yield volume


def flush(volume: MountedVolume) -> None:
    """As an engine does it."""
    flusher(volume_id(volume), os.fsencode(volume.path))()


def volume_id(volume: MountedVolume) -> VolumeId:
    """Its id."""
    return VolumeId(bytes.fromhex(volume.volume_id))


def quiesce(volume: MountedVolume, **fields: object) -> dict[str, Any]:
    """The verb alone."""
    answer: dict[str, Any] = control.ask(runtime.socket_path(volume_id(volume)), {"verb": "quiesce", **fields})
    found: dict[str, Any] = answer["quiesced"]
    return found


@contextmanager
def copied(volume: MountedVolume, tmp_path: Path) -> Iterator[Volume]:
    """The lower files as another process finds them, in a copy with no session that would excuse anything."""
    to = tmp_path / "copy"
    shutil.rmtree(to, ignore_errors=True)
    subprocess.run(["cp", "-a", str(volume.lower), str(to)], check=True)
    with opened(to) as copy:
        yield copy


@contextmanager
def opened(copy: Path) -> Iterator[Volume]:
    """A copy of a volume, read as strictly as one that was closed well."""
    for entry in (copy / os.fsdecode(SESSIONS_NAME)).iterdir():
        if entry.name != os.fsdecode(LOCK_NAME):
            entry.unlink()
    with _argon2id_once(), Volume.unlock(os.fsencode(copy), SECRET, read_only=True) as volume:
        yield volume


def strict_findings(volume: Volume) -> list[Finding]:
    """What verify finds, with no crash to explain it."""
    steps = list(Verifier(volume).run())
    return [step for step in steps if isinstance(step, Finding) and step.severity is not Severity.INFO]


State = tuple[int, int, int, int, bytes]


def lower_state(volume: MountedVolume) -> dict[Path, State]:
    """What a backup looks at to see whether a file changed."""
    found = {}
    for path in volume.lower.rglob("*"):
        with suppress(FileNotFoundError):
            info = path.stat()
            if stat.S_ISREG(info.st_mode):
                with path.open("rb") as file:
                    header = file.read(512)
                found[path] = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, header)
    return found


@pytest.mark.parametrize("size", [1, 5000, 4064 * 3 + 17, 24_000_000])
def test_what_was_written_and_stays_open_is_below(mounted: MountedVolume, tmp_path: Path, size: int) -> None:
    """FORMAT.md 18: after a flush the lower file has the newest content, strictly right, and is still open."""
    content = pattern(size)
    with open(mounted.path / "open", "wb", buffering=0) as file:
        file.write(content)
        flush(mounted)
        with copied(mounted, tmp_path) as copy:
            assert read(copy, b"open") == content
            assert strict_findings(copy) == []
        file.write(b"more")
        flush(mounted)
        with copied(mounted, tmp_path) as copy:
            assert read(copy, b"open") == content + b"more"


# Enough for the kernel to be still sending when it says that the mount is synced.
MUCH = 40 << 20


@contextmanager
def lower_file(volume: MountedVolume, file: BinaryIO) -> Iterator[int]:
    """A descriptor of what an open file is below, wherever it goes."""
    inode = os.fstat(file.fileno()).st_ino
    fd = os.open(next(path for path in volume.lower.rglob("*") if path.stat().st_ino == inode), os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_what_the_kernel_is_just_sending_is_waited_for(mounted: MountedVolume) -> None:
    """FORMAT.md 18: no byte of what write(2) returned for is on its way when the flush is done."""
    with open(mounted.path / "big", "wb", buffering=0) as file, lower_file(mounted, file) as below:
        for step in range(1, 4):
            file.write(os.urandom(MUCH))
            flush(mounted)
            assert os.fstat(below).st_size >= step * MUCH
            assert quiesce(mounted, durable=False)["settled"] == 0, "something came after the flush"
    (mounted.path / "big").unlink()


def test_a_mapping_that_is_written_to(mounted: MountedVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: what was written through memory, of which no request has told the daemon, is there too."""
    (mounted.path / "mapped").write_bytes(bytes(50_000))
    with open(mounted.path / "mapped", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[20_000:20_005] = b"hello"
        flush(mounted)
        with copied(mounted, tmp_path) as copy:
            assert read(copy, b"mapped") == bytes(20_000) + b"hello" + bytes(29_995)
    # The mapping is gone, the file is closed.


def test_a_file_that_was_renamed_a_moment_ago(mounted: MountedVolume, tmp_path: Path) -> None:
    """FORMAT.md 11: the header that may follow a rename has followed it when the flush is done."""
    (mounted.path / "old").write_bytes(b"content")
    (mounted.path / "directory").mkdir()
    os.rename(mounted.path / "old", mounted.path / "directory" / "new")
    flush(mounted)
    with copied(mounted, tmp_path) as copy:
        assert read(copy, b"directory/new") == b"content"
        assert strict_findings(copy) == []


def test_a_flush_of_what_is_flushed_changes_nothing(mounted: MountedVolume) -> None:
    """FORMAT.md 18: a second flush with nothing written changes no byte and no time below."""
    with open(mounted.path / "open", "wb", buffering=0) as file:
        file.write(pattern(9000))
        flush(mounted)
        before = lower_state(mounted)
        flush(mounted)
        assert lower_state(mounted) == before
        file.write(b"x")
        flush(mounted)
        changed = {path for path, state in lower_state(mounted).items() if before.get(path) != state}
        assert len(changed) == 1
        assert {before[path][3] == lower_state(mounted)[path][3] for path in changed} == {False}, (
            "the header is as before"
        )


WRITER = """
import os, select, sys
top, step = sys.argv[1], 0
files = [open(f"{top}/turn-{number}", "wb", buffering=0) for number in range(8)]
while True:
    for file in files:
        least = step + 20
        while step < least or not select.select([0], [], [], 0)[0]:
            step += 1
            os.pwrite(file.fileno(), b"%012d" % step * 2000, 0)
            with open(f"{top}/new", "wb") as new:
                new.write(b"%012d" % step * 300)
            os.rename(f"{top}/new", f"{top}/saved")
        os.read(0, 1)
        print(step, flush=True)
"""


def test_programs_go_on_writing(own: MountedVolume, tmp_path: Path) -> None:
    """FORMAT.md 18: with a writer at work, what two flushes show alike is whole, and the newest."""
    own.mount()
    top = own.path / "busy"
    top.mkdir()
    command = [sys.executable, "-c", WRITER, str(top)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            last: dict[int, int] = {}
            for number in range(7):
                process.stdin.write(b"n")
                last[number] = int(process.stdout.readline())
                if number % 3 == 0:
                    _check_at_rest(own, tmp_path / str(number), last)
        finally:
            process.kill()
    shutil.rmtree(top)


def _check_at_rest(volume: MountedVolume, copy: Path, last: dict[int, int]) -> None:
    """What was copied between two flushes, both of which show the same, is what was written last, from end to end."""
    flush(volume)
    before = lower_state(volume)
    # What is renamed meanwhile is missing, or of two minds.
    subprocess.run(["cp", "-a", volume.lower, copy], check=False, stderr=subprocess.DEVNULL)
    flush(volume)
    after = lower_state(volume)
    same = {state[0] for path, state in before.items() if after.get(path) == state}
    with opened(copy) as found:
        for number, step in last.items():
            assert (volume.path / "busy" / f"turn-{number}").stat().st_ino in same, "a file at rest looks changed"
            assert read(found, f"busy/turn-{number}".encode()) == b"%012d" % step * 2000


def test_files_that_are_renamed_and_deleted_while_open(mounted: MountedVolume) -> None:
    """FORMAT.md 18: an open file is found by its name of now; one that nobody can open any more holds nothing up."""
    stop = threading.Event()
    names = [mounted.path / "one", mounted.path / "two"]

    def rename() -> None:
        while not stop.is_set():
            os.rename(*names)
            (mounted.path / "one").touch()
            os.replace(*reversed(names))

    with (
        open(names[0], "wb", buffering=0) as file,
        open(mounted.path / "gone", "wb", buffering=0) as gone,
        lower_file(mounted, file) as below,
    ):
        gone.write(pattern(1000))
        os.unlink(mounted.path / "gone")
        assert [one["path"] for one in quiesce(mounted)["writing"]] == ["one"]
        thread = threading.Thread(target=rename)
        thread.start()
        try:
            for step in range(1, 4):
                file.write(os.urandom(MUCH))
                flush(mounted)
                assert os.fstat(below).st_size >= step * MUCH
        finally:
            stop.set()
            thread.join()
    names[0].unlink()


def test_a_program_that_is_killed_while_it_renames(own: MountedVolume) -> None:
    """docs/control.md: the kernel then says of the next syncfs that it was interrupted, and nothing is lost."""
    own.mount()
    for number in range(40):
        top = own.path / f"top-{number}"
        kill_a_renamer(top)
        if number % 2:
            os.rename(top / "saved", top / "older")
        flush(own)
        shutil.rmtree(top)
    assert quiesce(own)["refused_writes"] == 0


def test_a_write_that_the_disk_refuses_is_told(own: MountedVolume) -> None:
    """docs/control.md: what the kernel could not send may be lost, and a backup says so, once."""
    _mount_over(own, BrokenStore)
    with open(own.path / "file", "wb", buffering=0) as file:
        file.write(pattern(9000))
        flush(own)
        (own.base / "broken").touch()
        file.write(pattern(9000))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
            flush(own)
        (own.base / "broken").unlink()
        assert caught.value.errno == errno.EIO
        assert quiesce(own)["refused_writes"] >= 1
        with suppress(OSError):  # The kernel tells it of the mount, and of the file.
            flush(own)
        flush(own)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.fsync(file.fileno())


def test_the_answer_says_of_which_generation_it_is(mounted: MountedVolume) -> None:
    """docs/control.md: settled, session, generation of the config, and what is open for writing, by number and path."""
    (mounted.path / "ordner").mkdir()
    with open(mounted.path / "ordner" / "brief.txt", "wb", buffering=0) as file, open(mounted.path / "read", "w+b"):
        file.write(b"x")
        sync_mount(os.fsencode(mounted.path))
        os.close(os.open(mounted.path / "ordner" / "brief.txt", os.O_RDONLY))
        answer = quiesce(mounted)
        inode = os.fstat(file.fileno()).st_ino
    session = next(name for name in os.listdir(mounted.lower / "cloakfs.s") if name != "lock")
    assert answer["session"] == session
    assert answer["config_seq"] == 1
    assert answer["durable"] is True
    assert answer["settled"] >= 1
    assert {"inode": inode, "path": "ordner/brief.txt"} in answer["writing"]
    assert len(answer["writing"]) == 2
    assert quiesce(mounted, durable=False)["writing"] == [], "closed files are not named"


def test_wrong_fields_are_refused(mounted: MountedVolume) -> None:
    """docs/control.md: a request with a field of another form is refused, and the mount goes on."""
    for value in ("yes", 1, None, [], {}):
        with pytest.raises(UsageError):
            quiesce(mounted, durable=value)
    assert quiesce(mounted)["writing"] == []


def test_another_user_is_not_answered(mounted: MountedVolume) -> None:
    """docs/control.md: names of files are told to the user of the mount and to root alone."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    path = runtime.socket_path(volume_id(mounted))
    one = socket.socket(socket.AF_UNIX)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            one.connect(str(path))
    finally:
        os.seteuid(0)
        one.close()


def test_what_cannot_be_settled_is_told(own: MountedVolume, tmp_path: Path) -> None:
    """docs/control.md: where the disk takes one header no more, the others are settled; no text names a file."""
    _mount_over(own, FullStore)
    with open(own.path / "Meier", "wb", buffering=0) as one, open(own.path / "Mueller", "wb", buffering=0) as other:
        for size in (100, 9000):
            for file in (one, other):
                file.write(pattern(size))
            sync_mount(os.fsencode(own.path))
            for file in (one, other):
                os.close(os.open(file.name, os.O_RDONLY))
        (own.base / "full").write_text(str(os.fstat(one.fileno()).st_ino))
        with pytest.raises(CloakfsError, match="No space left on device") as caught:
            quiesce(own)
        assert "Meier" not in str(caught.value) + caught.value.hint
        (own.base / "full").unlink()
        assert quiesce(own, durable=False)["settled"] == 1, "only the one that failed is left"
        with copied(own, tmp_path) as copy:
            assert read(copy, b"Meier") == read(copy, b"Mueller") == pattern(100) + pattern(9000)


class FullStore(LocalStore):
    """A disk that takes no header of the file whose inode number stands in ``full`` beside the volume."""

    base: ClassVar[Path]

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        full = self.base / "full"
        if offset == 0 and full.exists() and full.read_text() == str(os.fstat(fd).st_ino):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().pwrite(fd, data, offset)


class BrokenStore(LocalStore):
    """A disk that takes no cell as long as ``broken`` lies beside the volume."""

    base: ClassVar[Path]

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        if offset and (self.base / "broken").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().pwrite(fd, data, offset)


def _mount_over(volume: MountedVolume, kind: type[FullStore | BrokenStore]) -> None:
    lower = os.fsencode(volume.lower)
    kind.base = volume.base
    root_fd = os.open(lower, os.O_RDONLY)
    with _argon2id_once():
        unlocked = Volume.unlock(lower, SECRET, mountpoint=os.fsencode(volume.path), store=kind(root_fd))
    options = MountOptions(volume=str(volume.lower), mountpoint=str(volume.path), log=str(volume.log))
    start(unlocked, options, foreground=False)
    os.close(root_fd)
    volume.pid = int(control.status(runtime.socket_path(volume_id(volume)))["pid"])


def test_a_mount_that_is_read_only_locked_and_killed(own: MountedVolume) -> None:
    """FORMAT.md 18: nothing to flush changes nothing; a lock or a dead daemon is a clear failure."""
    call = flusher(volume_id(own), os.fsencode(own.path))
    own.mount("--read-only")
    before = lower_state(own)
    call()
    assert lower_state(own) == before
    assert quiesce(own)["session"] == ""
    own.lock()
    _assert_locked(call)
    own.mount()
    call()
    own.kill_daemon()
    _assert_locked(call)
    own.clear_dead_mount()
    _assert_locked(call)


def _assert_locked(call: Callable[[], None]) -> None:
    with pytest.raises(BackupError, match="was locked") as caught:
        call()
    assert caught.value.exit_code == ExitCode.BACKUP
    assert "Run the backup again" in caught.value.hint
