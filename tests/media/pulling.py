"""What the tests share in which a medium goes away: files that are saved before, the end, and the way back."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from encfs.errors import ExitCode
from tests.support.linux import error_of
from tests.support.mounting import MountedVolume, cloakfs, is_mounted, wait_for
from tests.support.volumes import pattern

NAME = "letter of Zyklamen"


def save(path: Path, data: bytes) -> None:
    """Write and fsync: from here on it may not be lost."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fill(top: Path) -> dict[str, bytes]:
    """Some fsynced files, in two directories."""
    saved = {f"{NAME} {number}": pattern(number * 7001, number) for number in range(1, 6)}
    (top / "folder").mkdir()
    saved["folder/inner"] = pattern(50_000, "inner")
    for name, data in saved.items():
        save(top / name, data)
    for directory in (top / "folder", top):
        fd = os.open(directory, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return saved


def status(volume: MountedVolume) -> dict[str, Any]:
    """What the daemon says about itself."""
    answer = json.loads(cloakfs("status", str(volume.path), "--quick", "--json").stdout)
    mount: dict[str, Any] = answer["volumes"][0]["mount"]
    return mount


def is_gone(volume: MountedVolume) -> bool:
    """Whether the daemon knows that the medium is gone."""
    return "medium gone" in volume.log.read_text()


def touch(volume: MountedVolume) -> str | None:
    """A request that the medium has to answer: something new, made durable."""
    return error_of(lambda: save(volume.path / "after", b"too late"))


def tell_removal() -> None:
    """Say what the kernel says when a disk is taken out. No program but ours believes it of anybody but the kernel.

    Raises:
        PermissionError: this machine does not let us.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as netlink:
        netlink.sendto(b"remove@/devices/a/b\0ACTION=remove\0DEVPATH=/devices/a/b\0SUBSYSTEM=block\0", (0, 1))


def lose(volume: MountedVolume) -> None:
    """Use the mount until the daemon notices."""
    assert touch(volume) == "EIO"
    wait_for(lambda: is_gone(volume), "the daemon notices that the medium is gone")


def lock_gone(volume: MountedVolume, *more: str) -> None:
    """Lock: it works, and its exit status and message say that the end was not clean."""
    result = cloakfs("lock", str(volume.path), *more, check=False)
    assert result.returncode == ExitCode.LOWER_IO, result.stderr
    assert "the medium went away" in result.stderr
    assert not is_mounted(volume.path)
    wait_for(volume.is_dead, "the daemon ends")


def check_back(volume: MountedVolume, saved: dict[str, bytes]) -> None:
    """The medium is back: the volume opens, nothing fsynced is lost, verify is clean."""
    log = volume.log.read_text()
    assert log.count("medium gone") <= 1
    assert NAME not in log
    assert "Traceback" not in log
    volume.log.unlink()
    volume.mount()
    report = status(volume)["recovery"]
    assert report is not None
    assert report["failed"] == 0
    for name, data in saved.items():
        assert (volume.path / name).read_bytes() == data
    save(volume.path / "after", b"work goes on")
    volume.finish()
