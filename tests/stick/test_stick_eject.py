"""``cloakfs stick eject``: "safe to remove" is said when it is true, and never else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.errors import ExitCode, MountBusyError
from encfs.stick import devices, release
from tests.stick.conftest import Inserted
from tests.support import media
from tests.support.command import run
from tests.support.linux import needs_root
from tests.support.mounting import is_mounted, wait_for
from tests.support.volumes import pattern

SAFE = "Safe to remove"


@contextmanager
def process_in(*arguments: str) -> Iterator[int]:
    """A program that does what ``arguments`` say in Python, until the block ends."""
    code = "import os, sys, time\n" + arguments[0] + "\nprint('ready', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", code, *arguments[1:]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("kind", media.kinds("ext4", "exfat"))
def test_ejecting(base: Path, inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], kind: str):
    """While a program uses the mount or the stick it is named and nothing is called safe; then everything is written.

    What was written, in the volume and beside it, is on the medium afterwards, and the session is closed.
    """
    lower = inserted(kind)
    at = base / "at"
    at.mkdir()
    assert run("stick", "create", lower.path, *making).code == 0
    assert run("mount", lower.path, at, *secret, "--log", base / "log").code == 0
    (at / "scan").write_bytes(pattern(700_000, "scan"))
    (lower.path / "beside.bin").write_bytes(pattern(300_000, "beside"))
    for place in (at, lower.path):
        with process_in("os.chdir(sys.argv[1])", str(place)) as pid:
            busy = run("stick", "eject", at if place == at else lower.path, "--json")
            assert busy.code == ExitCode.BUSY, busy.err
            assert SAFE not in busy.out + busy.err
            assert "NOT safe" in busy.err
            assert [one["pid"] for one in busy.json["error"]["processes"]] == [pid]
            assert is_mounted(lower.path)
    assert run("mount", lower.path, at, *secret, "--log", base / "log").code == 0
    ejected = run("stick", "eject", at if kind == "ext4" else os.path.basename(lower.device), "--json")
    assert ejected.code == 0, ejected.err
    assert ejected.json == {
        "device": lower.device,
        "locked": [str(lower.path / "encrypted")],
        "unmounted": [str(lower.path)],
        "powered_off": False,
        "safe": True,
    }
    assert not is_mounted(at)
    assert not is_mounted(lower.path)
    media.take_out(lower)
    media.insert(lower)
    assert (lower.path / "beside.bin").read_bytes() == pattern(300_000, "beside")
    verified = run("verify", lower.path, *secret)
    assert verified.code == 0, verified.out
    last = run("status", lower.path, "--quick", "--json", *secret).json["volumes"][0]["last_session"]
    assert last["state"] == "clean"
    assert SAFE in run("stick", "eject", lower.path / "encrypted").out


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_ejecting_after_a_crash_and_after_pulling(
    base: Path, inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], kind: str
):
    """A dead daemon's mount is cleared, and the stick let go; a stick that was pulled is never called safe."""
    lower = inserted(kind, flaky=True)
    assert lower.disk is not None
    at = base / "at"
    at.mkdir()
    assert run("stick", "create", lower.path, *making).code == 0
    mounted = run("mount", lower.path, at, *secret, "--log", base / "log", "--json")
    os.kill(mounted.json["mount"]["pid"], 9)
    ejected = run("stick", "eject", at)
    assert (ejected.code, SAFE in ejected.out) == (0, True), ejected.err
    assert not is_mounted(at)
    media.take_out(lower)
    media.insert(lower)
    assert "crash" in run("mount", lower.path, at, *secret, "--log", base / "log").out
    (at / "letter").write_bytes(b"too late")
    lower.disk.fails()
    pulled = run("stick", "eject", at)
    assert pulled.code != 0
    assert SAFE not in pulled.out + pulled.err
    assert "NOT safe" in pulled.err
    lower.disk.works()


@needs_root
def test_who_still_holds_the_device(base: Path, empty_stick: str):
    """Nobody may have the device for himself or open for writing; who only reads it does no harm."""
    del base
    device = devices.look(empty_stick)
    assert release.flush(device, seconds=0)
    for flags, held in (
        ("os.O_RDONLY | os.O_EXCL", "another mount or program holds it"),
        ("os.O_RDWR", "still writes"),
    ):
        with (
            process_in(f"os.open(sys.argv[1], {flags})", empty_stick),
            pytest.raises(MountBusyError, match=held),
        ):
            release.flush(device, seconds=0)
    with process_in("os.open(sys.argv[1], os.O_RDONLY)", empty_stick):
        assert release.flush(device, seconds=0)


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_second_mount_of_the_stick(base: Path, inserted: Inserted, state: Path, kind: str):
    """A stick that is mounted in two places is unmounted from both; an unmount that was only begun is not enough."""
    del state
    lower = inserted(kind)
    other = base / base.name  # A name that no other stick of this machine has.
    other.mkdir()
    subprocess.run(["mount", "--bind", str(lower.path), str(other)], check=True)
    ejected = run("stick", "eject", other.name, "--json")
    assert ejected.code == 0, ejected.err
    assert ejected.json["unmounted"] == [str(other), str(lower.path)]
    media.insert(lower)
    device = devices.look(lower.device)
    with process_in("os.chdir(sys.argv[1])", str(lower.path)):
        subprocess.run(["umount", "-l", str(lower.path)], check=True)
        with pytest.raises(MountBusyError):
            release.flush(device, seconds=0)
    wait_for(lambda: _is_free(device), "the kernel lets go")


def _is_free(device: devices.Device) -> bool:
    try:
        return release.flush(device, seconds=0)
    except MountBusyError:
        return False


def test_what_is_no_stick_is_not_ejected(base: Path, state: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk of the machine, a filesystem without a disk, and what is not there are refused, each in its words."""
    del state
    monkeypatch.chdir(base)
    for which, code, words in (
        (base, ExitCode.USAGE, "machine runs from"),
        ("/proc", ExitCode.USAGE, "is no stick, but proc"),
        ("no-such-stick", ExitCode.NOT_MOUNTED, "no such stick"),
        (base / "nowhere", ExitCode.NOT_MOUNTED, "no such stick"),
        ("/dev/no-such-device", ExitCode.NOT_MOUNTED, "is not there"),
    ):
        refused = run("stick", "eject", which)
        if which == base and "is no stick" in refused.err:
            continue  # A container whose root is no disk.
        assert (refused.code, words in refused.err) == (code, True), refused.err
        assert SAFE not in refused.out


DISK_SERVICE = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
if [ "$1" = unmount ]; then exec umount "$4"; fi
"""


@needs_root
@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_the_disk_service_switches_it_off(base: Path, inserted: Inserted, state: Path, kind: str):
    """Where there is udisksctl the stick is switched off by it, after it is free.

    A script stands for udisksctl, which needs udev and D-Bus: how it is called is seen here, not what it does.
    """
    del state
    lower = inserted(kind)
    programs = base / "programs"
    programs.mkdir()
    (programs / "udisksctl").write_text(DISK_SERVICE)
    (programs / "udisksctl").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    ejected = run("stick", "eject", lower.path, "--json", env={"PATH": path})
    assert ejected.code == 0, ejected.err
    assert ejected.json["powered_off"] is True
    assert (programs / "calls").read_text() == f"power-off --no-user-interaction -b {lower.device}\n"
