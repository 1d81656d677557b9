"""Mounts that lock themselves, and what they say of it afterwards (docs/control.md, THREAT_MODEL.md section 4)."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encfs.cli import last_locks
from tests.mount.conftest import Maker
from tests.mount.test_users import MOUNTER, volume_of
from tests.support.linux import error_of, in_child, needs_root
from tests.support.logind import Bus, Logind, needs_bus, send_signal
from tests.support.mounting import MountedVolume, cloakfs, is_mounted, wait_for

SAVED = b"Zyklamenbefund" * 3000


@pytest.fixture
def nobody_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without D-Bus."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A bus, which daemons that are started in the test take for that of the machine."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-bus-") as base, Bus(Path(base)) as bus:
        Path(base).chmod(0o755)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


def ask(*arguments: str, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a command says in JSON."""
    found: dict[str, Any] = json.loads(cloakfs(*arguments, "--json", **(user or {})).stdout)
    return found


def mount_status(volume: MountedVolume) -> dict[str, Any]:
    """What the daemon says about itself."""
    found: dict[str, Any] = ask("status", str(volume.path), "--quick", user=volume.user)["volumes"][0]["mount"]
    return found


def why(volume: MountedVolume) -> str | None:
    """The reason that the next ``status`` without arguments gives, if it has one to give."""
    listed = ask("status", user=volume.user)["locked"] if volume.user else last_locks.by_themselves()
    return next((str(one["reason"]) for one in listed if one["volume"] == str(volume.lower)), None)


def wait_until_locked(volume: MountedVolume) -> None:
    """The daemon ends by itself, and leaves the volume clean."""
    wait_for(volume.is_dead, "the mount locks itself")
    assert not is_mounted(volume.path)
    last = ask(
        "status", str(volume.lower), "--quick", "--passphrase-file", str(volume.secret_file), user=volume.user
    )["volumes"][0]["last_session"]  # fmt: skip
    assert last["state"] == "clean"


def test_an_idle_mount_locks_itself(nobody_home: None, make_volume: Maker) -> None:
    """An open file is waited for, then the mount goes; status and the next mount say why. Without D-Bus all works."""
    volume = make_volume(options=("--idle", "1s"))
    with (volume.path / "letter").open("wb") as file:
        file.write(SAVED)
        wait_for(lambda: mount_status(volume)["idle"]["held"], "it is idle but for the open file")
        shown = cloakfs("status", str(volume.path), "--quick").stdout
        assert "when nobody has used it for 1 second; it is idle, but files are open" in shown
        assert why(volume) is None
    wait_until_locked(volume)
    log = volume.log.read_text()
    assert log.count("not locked on suspend and log-out: no logind (FileNotFoundError)") == 1
    assert "letter" not in log
    assert "what this host remembers" not in log
    assert why(volume) == "idle"
    # What other tests have mounted meanwhile is told too, and may break its policy.
    assert "because nobody had used it" in cloakfs("status", check=False).stdout
    (locked,) = ask("status")["locked"]
    here = ask("status", str(volume.lower), "--quick")["volumes"][0]["last_lock"]
    assert locked == {"volume": str(volume.lower), "reason": "idle", "at": here["at"]}
    volume.options = ()
    said = cloakfs(
        "mount", str(volume.lower), str(volume.path), "--passphrase-file", str(volume.secret_file),
        "--log", str(volume.log), "-o", "idle=90d",
    ).stdout  # fmt: skip
    assert "because nobody had used it" in said
    assert mount_status(volume)["idle"] == {"seconds": 90 * 86400.0, "when_open": "wait", "held": False}
    volume.pid = mount_status(volume)["pid"]
    assert (volume.path / "letter").read_bytes() == SAVED
    volume.lock()
    assert why(volume) is None


def test_an_idle_mount_does_not_wait_for_open_files(nobody_home: None, make_volume: Maker) -> None:
    """With --idle-open force they are cut off, and what was written is saved."""
    volume = make_volume(options=("--idle", "1s", "--idle-open", "force"))
    held = os.open(volume.path / "letter", os.O_RDWR | os.O_CREAT)
    os.write(held, SAVED)
    wait_until_locked(volume)
    assert error_of(lambda: os.pread(held, 100, 0)) in ("ENOTCONN", "ECONNABORTED")
    error_of(lambda: os.close(held))
    volume.options = ()
    volume.mount()
    assert (volume.path / "letter").read_bytes() == SAVED


def test_other_reasons_are_told_too(nobody_home: None, make_volume: Maker) -> None:
    """A signal and --force; what is mounted again, or was simply locked, surprises nobody."""
    volume = make_volume()
    os.kill(volume.pid, signal.SIGTERM)
    wait_until_locked(volume)
    assert why(volume) == "signal"
    volume.mount()
    assert why(volume) is None
    cloakfs("lock", "--force", str(volume.path))
    assert why(volume) == "forced"
    volume.mount()
    volume.lock()
    assert ask("status", str(volume.lower), "--quick")["volumes"][0]["last_lock"]["reason"] == "asked"
    assert why(volume) is None


@needs_bus
def test_locked_before_the_machine_sleeps(bus: Bus, make_volume: Maker) -> None:
    """THREAT_MODEL.md section 4: sleep is held up until the mount is off, the volume closed and the keys gone."""
    with Logind(bus, os.getuid(), sessions=1) as logind:
        volume = make_volume()
        logind.wait_for_inhibitor()
        held = os.open(volume.path / "letter", os.O_RDWR | os.O_CREAT)
        os.write(held, SAVED)
        logind.signal("PrepareForSleep", "b", False)
        wait_for(lambda: mount_status(volume)["lock_on"][0] == "suspend", "it listens")
        logind.signal("PrepareForSleep", "b", True)
        logind.may_sleep()
        # The very moment at which it would sleep.
        assert not is_mounted(volume.path)
        assert why(volume) == "suspend"
        assert error_of(lambda: os.pread(held, 100, 0)) in ("ENOTCONN", "ECONNABORTED")
        error_of(lambda: os.close(held))
        wait_until_locked(volume)
        volume.mount()
        assert (volume.path / "letter").read_bytes() == SAVED


@needs_root
@needs_bus
def test_locked_when_the_last_session_is_gone(bus: Bus, make_volume: Maker, fuse_for_everybody: None) -> None:
    """Not by another session's end, but when the user who mounted has logged out everywhere."""
    with Logind(bus, MOUNTER, sessions=2) as logind:
        volume = volume_of(make_volume, MOUNTER, DBUS_SYSTEM_BUS_ADDRESS=bus.address)
        logind.wait_for_inhibitor()
        wait_for(lambda: mount_status(volume)["lock_on"] == ["suspend", "log-out"], "it listens")
        logind.end_session()
        logind.look_again()
        assert in_child(lambda: os.path.ismount(volume.path), uid=MOUNTER)
        logind.end_session()
        wait_until_locked(volume)
        assert why(volume) == "log-out"


@needs_bus
def test_a_logind_that_is_started_anew_is_heard(bus: Bus, make_volume: Maker) -> None:
    """A mount lives longer than a logind. A stranger who sends it what logind would say is not heard."""
    volume = None
    for round_ in range(2):
        with Logind(bus, os.getuid(), sessions=1) as logind:
            if volume is None:
                volume = make_volume()
            logind.wait_for_inhibitor()
            if round_ == 0:
                stranger = bus.connect()
                send_signal(stranger, "PrepareForSleep", "b", True, to=logind.inhibitors[0][1])
                stranger.close()
            else:
                # The new lock was asked for after that was read.
                assert is_mounted(volume.path)
                logind.signal("PrepareForSleep", "b", True)
                wait_until_locked(volume)
                assert why(volume) == "suspend"
