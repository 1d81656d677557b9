"""A medium that goes away under a mount (docs/media.md, THREAT_MODEL.md section 4)."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from encfs import control
from encfs.errors import ExitCode, MediumGoneError
from encfs.registers import heartbeat
from tests.media.conftest import Maker
from tests.media.pulling import NAME, check_back, fill, is_gone, lock_gone, lose, status, tell_removal
from tests.support import media
from tests.support.evidence import record
from tests.support.linux import RENAME_EXCHANGE, error_of, renameat2
from tests.support.mounting import MountedVolume, cloakfs, wait_for
from tests.support.volumes import LowerVolume, read


@dataclass
class Held:
    """A mount, and a file in it that is open."""

    top: Path
    fd: int


REQUESTS: dict[str, Callable[[Held], object]] = {
    "read what was read before": lambda at: os.pread(at.fd, 100, 0),
    "write": lambda at: (os.pwrite(at.fd, b"x" * 9000, 0), os.fsync(at.fd)),
    "truncate": lambda at: os.ftruncate(at.fd, 7),
    "open": lambda at: (at.top / f"{NAME} 2").read_bytes(),
    "create": lambda at: (at.top / "new").touch(),
    "list": lambda at: os.listdir(at.top),
    "list below": lambda at: os.listdir(at.top / "folder"),
    "stat": lambda at: os.stat(at.top / f"{NAME} 1"),
    "look for": lambda at: os.stat(at.top / "never looked for"),
    "rename": lambda at: (at.top / f"{NAME} 1").rename(at.top / "other"),
    "exchange": lambda at: renameat2(at.top / f"{NAME} 1", at.top / f"{NAME} 2", RENAME_EXCHANGE),
    "unlink": lambda at: (at.top / f"{NAME} 1").unlink(),
    "mkdir": lambda at: (at.top / "new folder").mkdir(),
    "symlink": lambda at: (at.top / "new link").symlink_to("somewhere"),
    "chmod": lambda at: (at.top / f"{NAME} 1").chmod(0o600),
    "attribute": lambda at: os.setxattr(at.top / f"{NAME} 1", "user.new", b"value"),
    "statfs": lambda at: os.statvfs(at.top),
}


def beat(volume: MountedVolume) -> tuple[str, str]:
    """How this host has last seen the volume, and why."""
    found = heartbeat.beat_of(volume.volume_id)
    assert found is not None
    return found.state, found.reason


def check_dead(volume: MountedVolume, fd: int) -> None:
    """Every request fails with EIO, also for what the kernel had in its page cache."""
    # The kernel is told to forget in a thread of the daemon, while it answers requests.
    wait_for(lambda: error_of(lambda: os.pread(fd, 100, 0)) == "EIO", "the kernel forgets")
    at = Held(volume.path, fd)
    found = {name: error_of(lambda do=do: do(at)) for name, do in REQUESTS.items()}
    assert found == dict.fromkeys(REQUESTS, "EIO")


@pytest.mark.parametrize("kind", media.kinds("ext4", "xfs", "btrfs", "exfat", slow=("xfs", "btrfs")))
def test_pulled_out(make: Maker, kind: str) -> None:
    """THREAT_MODEL.md section 4: all requests fail fast, lock works, and with the medium back the volume opens."""
    lower, volume = make(kind, flaky=True)
    assert lower.disk is not None
    saved = fill(volume.path)
    held = os.open(volume.path / f"{NAME} 1", os.O_RDWR)
    try:
        assert os.pread(held, 10_000, 0) == saved[f"{NAME} 1"]
        lower.disk.fails()
        lose(volume)
        # The filesystem on it learns of it too, and gives up; else it could write at any time.
        subprocess.run(["sync", "-f", str(lower.path)], capture_output=True, check=False)
        # From here on whoever touched the medium would wait for ever.
        lower.disk.hangs()
        check_dead(volume, held)
        assert cloakfs("lock", str(volume.path), check=False).returncode == ExitCode.BUSY
        # Not by ``cloakfs status``, which looks at the disk as well.
        asked = control.mounted_at(str(volume.path))
        assert asked is not None
        assert asked.status["medium"] == "gone"
        lock_gone(volume, "--force")
        assert lower.disk.waiting == 0, "a request has gone to the medium"
        assert error_of(lambda: os.fsync(held)) is not None
    finally:
        closed = error_of(lambda: os.close(held))
    assert closed in (None, "ENOTCONN")
    lower.disk.fails()
    media.take_out(lower)
    lower.disk.works()
    media.insert(lower)
    check_back(volume, saved)
    record("media", f"pulled out while mounted: {kind}", cases=len(REQUESTS), note="EIO at once; opens again, clean")


def test_pulled_out_of_an_idle_mount(make: Maker) -> None:
    """THREAT_MODEL.md section 4: no request has to come first; the keys go when the kernel tells of the removal.

    The removal of another disk costs nothing. The mount point goes on refusing, and status says why it was locked.
    """
    lower, volume = make("ext4", flaky=True)
    assert lower.disk is not None
    try:
        tell_removal()
    except PermissionError:
        pytest.skip("only a program that may configure the network can play the kernel")
    saved = fill(volume.path)
    assert status(volume)["medium"] == "present"
    lower.disk.fails()
    tell_removal()
    wait_for(lambda: is_gone(volume), "the daemon notices that the medium is gone")
    # FORMAT.md section 17: the keys went now, however long the mount point still stands there.
    wait_for(lambda: beat(volume) == ("locked", "medium-gone"), "the heartbeat says so")
    assert error_of(lambda: (volume.path / "letter").write_text("plain")) == "EIO"
    lock_gone(volume)
    lower.disk.works()
    media.take_out(lower)
    media.insert(lower)
    assert beat(volume) == ("locked", "medium-gone")
    locked = json.loads(cloakfs("status", str(volume.lower), "--quick", "--json").stdout)["volumes"][0]
    assert locked["last_lock"]["reason"] == "medium-gone"
    check_back(volume, saved)
    record("media", "pulled out of an idle mount, noticed without a request", cases=1, note="keys dropped, EIO")


def holders(secret: bytes) -> list[str]:
    """What still leads to a secret: the types of the objects that refer to bytes in which it occurs."""
    gc.collect()
    return [
        type(one).__name__
        for one in gc.get_objects()
        for value in gc.get_referents(one)
        if isinstance(value, bytes | bytearray) and value is not secret and secret in value
    ]


def test_keys_are_dropped(tmp_path: Path) -> None:
    """THREAT_MODEL.md section 4: once the medium is gone, no live object holds a key or plain content any more."""
    lower = LowerVolume(tmp_path / "volume")
    volume = lower.unlock()
    volume.write_file(b"letter", b"Zyklamenbefund" * 2000)
    node = volume.resolve(b"letter")
    file = volume.tree.open_file(node, writable=True)
    file.handles += 1
    file.read(0, 100_000)
    volume.attributes.set(node, b"user.note", b"Zyklamenbefund")
    epoch = volume.ctx.ring.active
    # Copies of our own, which the search leaves out.
    secrets = [bytes(bytearray(key)) for key in (file.header.content_key, epoch._key, epoch.directory_key)]
    del epoch
    assert all(holders(secret) for secret in secrets), "the search finds what is there"
    buffers = weakref.ref(volume.ctx.scratch())
    volume.lose_medium()
    assert [holders(secret) for secret in secrets] == [[], [], []]
    assert node.attributes is None
    assert file._tail is None
    gc.collect()
    assert buffers() is None
    assert not hasattr(file, "_codec")
    assert not hasattr(volume.ctx.ring, "active")
    before = lower.snapshot()
    with pytest.raises(AttributeError):
        file.write(0, b"with which key?")
    with pytest.raises(MediumGoneError):
        volume.close()
    assert lower.snapshot() == before, "something was written"
    with lower.unlock() as again:
        assert again.recovery is not None
        assert read(again, b"letter") == b"Zyklamenbefund" * 2000
    record("media", "keys and plain content after a medium is gone", cases=5, note="no live object holds them")
