"""Other ways in which a medium fails, and what only looks like it (docs/media.md, THREAT_MODEL.md section 4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from encfs import control
from encfs.core.sources import KnownSecret
from encfs.errors import ExitCode
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.media.conftest import Maker
from tests.media.pulling import NAME, check_back, fill, is_gone, lock_gone, lose, save, status, touch
from tests.support import media
from tests.support.evidence import record
from tests.support.linux import error_of
from tests.support.mounting import SECRET, MountedVolume, cloakfs, wait_for
from tests.support.process_image import found_in, keys_of_config
from tests.support.programs import need


def lower_file(volume: MountedVolume, plain: bytes) -> Path:
    """Where a file is below; the volume is locked."""
    with Volume.unlock(os.fsencode(volume.lower), SECRET, read_only=True) as opened:
        return volume.lower / os.fsdecode(opened.resolve(plain).lower_name)


def place_on_disk(path: Path) -> tuple[int, int]:
    """Where the first extent of a file lies on its device, in bytes; what is cached of it is dropped."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    out = subprocess.run(["filefrag", "-b1", "-v", str(path)], capture_output=True, text=True, check=True).stdout
    row = next(line for line in out.splitlines() if line.strip().startswith("0:"))
    begin, end = row.split(":")[2].split("..")
    return int(begin), int(end) + 1


def test_bad_sectors_are_not_a_lost_medium(make: Maker) -> None:
    """THREAT_MODEL.md section 4: bad sectors cost what lies in them, be it a copy of the config; the mount lives on."""
    need("filefrag")
    lower, volume = make("ext4", flaky=True)
    assert lower.disk is not None
    saved = fill(volume.path)
    volume.lock()
    victim = f"{NAME} 5"
    bad = place_on_disk(lower_file(volume, victim.encode()))
    config = place_on_disk(volume.lower / "cloakfs.volume")
    volume.mount()
    for ranges in ([bad], [bad, config]):
        lower.disk.fails_at(*ranges)
        for _ in range(3):
            assert error_of((volume.path / victim).read_bytes) == "EIO"
        for name, data in saved.items():
            assert name == victim or (volume.path / name).read_bytes() == data
        save(volume.path / "after", b"goes on")
        assert status(volume)["medium"] == "present"
    lower.disk.works()
    assert not is_gone(volume)
    for name, data in saved.items():
        assert (volume.path / name).read_bytes() == data
    volume.log.write_text(volume.log.read_text().replace("integrity", ""))
    volume.finish()
    record("media", "bad sectors in a file and in the config", cases=2, note="EIO for that file; the mount goes on")


def test_backing_file_cut_to_nothing(make: Maker, base: Path) -> None:
    """THREAT_MODEL.md section 4: the medium's content vanishes; requests fail, and its copy opens afterwards."""
    lower, volume = make("ext4")
    saved = fill(volume.path)
    volume.lock()
    media.take_out(lower)
    shutil.copy(lower.image, base / "copy")
    media.insert(lower)
    volume.mount()
    os.truncate(lower.image, 0)
    assert error_of((volume.path / f"{NAME} 1").read_bytes) == "EIO"
    wait_for(lambda: is_gone(volume), "the daemon notices that the medium is gone")
    assert touch(volume) == "EIO"
    assert status(volume)["medium"] == "gone"
    lock_gone(volume)
    media.take_out(lower)
    shutil.copy(base / "copy", lower.image)
    media.insert(lower)
    volume.log.unlink()
    # What came back is a copy from before the last session, and this host knows better: it is taken on purpose.
    secret = ("--passphrase-file", str(volume.secret_file))
    refused = cloakfs("mount", str(volume.lower), str(volume.path), *secret, check=False)
    assert refused.returncode == ExitCode.ROLLBACK, refused.stderr
    cloakfs("accept", str(volume.lower), "--yes", "--reason", "the stick broke", *secret)
    volume.mount()
    for name, data in saved.items():
        assert (volume.path / name).read_bytes() == data
    volume.finish()
    record("media", "backing file cut to nothing while mounted", note="EIO; its copy opens after cloakfs accept, clean")


def test_lower_directory_unmounted_lazily(make: Maker) -> None:
    """THREAT_MODEL.md section 4: umount -l below keeps the medium until the lock; nothing that was written is lost."""
    lower, volume = make("ext4")
    saved = fill(volume.path)
    subprocess.run(["umount", "-l", str(lower.path)], check=True)
    assert not volume.lower.exists()
    late = {f"late {number}": os.urandom(30_000) for number in range(3)}
    for name, data in late.items():
        (volume.path / name).write_bytes(data)
    assert (volume.path / f"{NAME} 1").read_bytes() == saved[f"{NAME} 1"]
    volume.lock()
    wait_for(lambda: not Path(f"/sys/block/{Path(lower.device).name}/loop").exists(), "the medium is let go")
    media.insert(lower)
    volume.mount()
    assert status(volume)["recovery"] is None, "the end was not clean"
    for name, data in {**saved, **late}.items():
        assert (volume.path / name).read_bytes() == data
    volume.finish()
    record("media", "lower directory unmounted lazily", note="works until the lock, which is clean; nothing lost")


@pytest.mark.slow
def test_filesystem_shut_down(make: Maker) -> None:
    """THREAT_MODEL.md section 4: xfs gives up on its own; the volume opens when it is mounted again."""
    need("xfs_io")
    lower, volume = make("xfs")
    saved = fill(volume.path)
    subprocess.run(["xfs_io", "-x", "-c", "shutdown", str(lower.path)], check=True)
    lose(volume)
    lock_gone(volume)
    media.take_out(lower)
    media.insert(lower)
    check_back(volume, saved)
    record("media", "filesystem shut down while mounted: xfs", note="EIO; opens again, clean")


def test_program_behind_the_filesystem_dies(make: Maker) -> None:
    """THREAT_MODEL.md section 4: exfat-fuse is killed; its mount is a medium that is gone; no key is in memory then."""
    lower, volume = make("exfat")
    saved = fill(volume.path)
    config = (volume.lower / "cloakfs.volume").read_bytes()
    keys = keys_of_config(config, KnownSecret.of(SlotKind.PASSPHRASE, SECRET))
    assert "epoch key 0" in found_in(volume.pid, keys)
    os.kill(lower.pid, 9)
    wait_for(lambda: touch(volume) is not None and is_gone(volume), "the daemon notices that the medium is gone")
    assert found_in(volume.pid, keys) == []
    lock_gone(volume)
    subprocess.run(["umount", "-l", str(lower.path)], check=True)
    media.take_out(lower)
    media.insert(lower)
    check_back(volume, saved)
    record("media", "program that serves the lower filesystem dies: exfat-fuse", note="EIO; opens again, clean")


def test_pulled_out_of_an_idle_mount(make: Maker) -> None:
    """THREAT_MODEL.md section 4: nobody used the mount when the medium went; the lock finds out, and says so."""
    lower, volume = make("ext4", flaky=True)
    assert lower.disk is not None
    saved = fill(volume.path)
    (volume.path / "not synced").write_bytes(b"lost")
    lower.disk.fails()
    lock_gone(volume)
    media.take_out(lower)
    lower.disk.works()
    media.insert(lower)
    check_back(volume, saved)
    record("media", "pulled out of an idle mount", note="lock says that what was not on the disk is lost")


@pytest.mark.slow
def test_pulled_out_of_a_read_only_mount(make: Maker) -> None:
    """THREAT_MODEL.md section 4: a reader too gets EIO, and loses its keys."""
    lower, volume = make("ext4", flaky=True)
    assert lower.disk is not None
    saved = fill(volume.path)
    volume.lock()
    media.take_out(lower)
    media.insert(lower)
    volume.mount("--read-only")
    (volume.path / f"{NAME} 1").read_bytes()
    lower.disk.fails()
    assert error_of((volume.path / f"{NAME} 2").read_bytes) == "EIO"
    wait_for(lambda: is_gone(volume), "the daemon notices that the medium is gone")
    wait_for(lambda: error_of((volume.path / f"{NAME} 1").read_bytes) == "EIO", "the kernel forgets")
    lock_gone(volume)
    media.take_out(lower)
    lower.disk.works()
    media.insert(lower)
    volume.mount()
    assert status(volume)["recovery"] is None, "a reader leaves no session behind"
    for name, data in saved.items():
        assert (volume.path / name).read_bytes() == data
    volume.finish()
    record("media", "pulled out of a read-only mount", note="EIO; opens again, clean")


def test_medium_that_hangs(make: Maker) -> None:
    """THREAT_MODEL.md section 4: a read that waits holds up nobody, and ends when the kernel gives up."""
    lower, volume = make("ext4", flaky=True)
    assert lower.disk is not None
    saved = {**fill(volume.path), "long": os.urandom(4 << 20)}
    save(volume.path / "long", saved["long"])
    volume.lock()
    media.take_out(lower)
    media.insert(lower)
    volume.mount()
    (volume.path / f"{NAME} 1").read_bytes()
    errors: list[str | None] = []
    held = os.open(volume.path / "long", os.O_RDONLY)
    os.posix_fadvise(held, 0, 0, os.POSIX_FADV_RANDOM)
    os.read(held, 1)
    disk = lower.disk
    disk.hangs()
    far = lambda: errors.append(error_of(lambda: os.pread(held, 1, 3 << 20)))  # noqa: E731
    readers = [threading.Thread(target=far) for _ in range(2)]
    try:
        for reader in readers:
            reader.start()
        wait_for(lambda: disk.waiting >= 1, "a read waits for the medium")
        assert (volume.path / f"{NAME} 1").read_bytes() == saved[f"{NAME} 1"]
        os.statvfs(volume.path)
        mounted = control.mounted_at(str(volume.path))
        assert mounted is not None
        assert mounted.status["medium"] == "present"
        assert cloakfs("lock", str(volume.path), check=False).returncode == ExitCode.BUSY
    finally:
        disk.fails()
        for reader in readers:
            reader.join()
        closed = error_of(lambda: os.close(held))
    assert closed in (None, "EIO")
    assert errors == ["EIO", "EIO"]
    wait_for(lambda: is_gone(volume), "the daemon notices that the medium is gone")
    lock_gone(volume)
    media.take_out(lower)
    lower.disk.works()
    media.insert(lower)
    check_back(volume, saved)
    record("media", "medium hangs, then fails", note="other requests are answered; EIO when the kernel gives up")
