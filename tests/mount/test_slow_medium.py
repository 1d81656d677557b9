"""On a medium that makes everybody wait, requests overlap: what one thread does to a file, another must not undo."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.fuse.daemon import MountOptions, start
from encfs.store.local import LocalStore
from encfs.volume import Volume
from tests.mount.conftest import Maker, finish
from tests.support.linux import RENAME_EXCHANGE, error_of, renameat2, syncfs
from tests.support.mounting import SECRET, MountedVolume, wait_for


class SlowStore(LocalStore):
    """No read is in the page cache; writes of cells from a worker thread stop while the file ``held`` exists."""

    def __init__(self, root_fd: int, base: Path) -> None:
        super().__init__(root_fd)
        self.held, self.waiting = base / "held", base / "waiting"

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if not wait:
            raise BlockingIOError(11, "would wait")
        return super().preadv(fd, buffer, offset, wait=True)

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        if threading.get_native_id() == os.getpid():
            # Longer than any fast medium takes: the next write will be made in a thread.
            time.sleep(0.05)
        elif len(data) >= 4096 and self.held.exists():
            self.waiting.touch()
            wait_for(lambda: not self.held.exists(), "the test lets go")
        super().pwrite(fd, data, offset)


@pytest.fixture
def slow(make_volume: Maker) -> MountedVolume:
    """A volume mounted over a :class:`SlowStore`."""
    volume = make_volume(mount=False)
    lower = os.fsencode(volume.lower)
    root_fd = os.open(lower, os.O_RDONLY)
    store = SlowStore(root_fd, volume.base)
    opened = Volume.unlock(lower, SECRET, mountpoint=os.fsencode(volume.path), store=store)
    options = MountOptions(volume=str(volume.lower), mountpoint=str(volume.path), log=str(volume.log))
    start(opened, options, foreground=False)
    os.close(root_fd)
    volume.pid = int(next(entry.name for entry in Path("/proc").glob("[0-9]*") if _serves(entry, volume)))
    return volume


def _serves(process: Path, volume: MountedVolume) -> bool:
    try:
        return any(os.readlink(fd) == str(volume.log) for fd in (process / "fd").iterdir())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False


def _in_a_call(thread: threading.Thread) -> bool:
    """Whether the thread has entered the system call that it is there for, or is through with it."""
    if not thread.is_alive():
        return True
    path = Path(f"/proc/self/task/{thread.native_id}/wchan")
    return not path.exists() or path.read_text() not in ("", "0", "futex_wait_queue", "futex_wait")


ACTIONS: dict[str, Callable[[Path], object]] = {
    "rename": lambda top: (top / "f").rename(top / "d/moved"),
    "exchange": lambda top: renameat2(top / "f", top / "d/other", RENAME_EXCHANGE),
    "link": lambda top: os.link(top / "f", top / "d/linked"),
    "chmod": lambda top: (top / "f").chmod(0o600),
    "truncate": lambda top: os.truncate(top / "f", 20_000),
    "unlink": lambda top: (top / "f").unlink(),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("fresh", [True, False], ids=["new file", "old file"])
def test_a_file_is_changed_while_its_data_is_being_written(slow: MountedVolume, name: str, *, fresh: bool) -> None:
    """A header for the new place, a new size or mode, data that was on its way: all of it is there afterwards."""
    top = slow.path
    (top / "d").mkdir()
    (top / "d/other").write_bytes(b"other")
    if not fresh:
        (top / "f").write_bytes(b"old" * 10_000)
    fd = os.open(top / "f", os.O_RDWR | os.O_CREAT, 0o644)
    held = slow.base / "held"
    held.touch()
    os.write(fd, b"new" * 5000)
    # Unlike fsync this holds no lock of the kernel on the file, just as its own writing in the background does not.
    syncer = threading.Thread(target=syncfs, args=(fd,))
    syncer.start()
    wait_for(lambda: (slow.base / "waiting").exists(), "a thread of the daemon waits for the medium")
    errors: list[str | None] = []
    changer = threading.Thread(target=lambda: errors.append(error_of(lambda: ACTIONS[name](top))))
    changer.start()
    wait_for(lambda: _in_a_call(changer), "the change is under way")
    for _ in range(20):
        os.statvfs(top)  # A round through the daemon, so it has seen the change by now.
    held.unlink()
    syncer.join()
    changer.join()
    assert errors == [None]
    os.close(fd)
    finish(slow)
    assert slow.findings() == []
    slow.mount()
    expected = b"new" * 5000 + (b"" if fresh else b"old" * 5000)
    if name == "truncate":
        expected = expected[:20_000].ljust(20_000, b"\0")
    place = {"rename": "d/moved", "exchange": "d/other", "link": "d/linked"}.get(name, "f")
    if name == "unlink":
        assert os.listdir(top) == ["d"]
    else:
        assert (top / place).read_bytes() == expected
    if name == "exchange":
        assert (top / "f").read_bytes() == b"other"
