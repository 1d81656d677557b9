"""What a host knows of a volume that was open: the heartbeat of real mounts (FORMAT.md section 17)."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from encfs.cli import last_locks
from encfs.cli.auditing import RecordedLocks
from encfs.cli.presences import MountPresence
from encfs.locking import LockReason
from encfs.registers import heartbeat, volumes
from encfs.registers.heartbeat import Beat, Presence
from encfs.units import VolumeId
from tests.mount.conftest import Maker
from tests.support.mounting import MountedVolume, cloakfs, wait_for

_ID = "1a" * 16


def beat(volume: MountedVolume) -> Beat:
    """How this host has last seen the volume."""
    found = heartbeat.beat_of(volume.volume_id)
    assert found is not None
    return found


def in_short(volume: MountedVolume) -> tuple[str, str, str]:
    """State, reason, and where it was mounted."""
    one = beat(volume)
    return one.state, one.reason, one.mountpoint


def records(*actions: str) -> list[dict[str, Any]]:
    """Of the audit log, which only its key opens."""
    found = json.loads(cloakfs("audit", "show", "--json").stdout)["records"]
    return [one for one in found if one["action"] in actions]


def test_mounted_and_locked(make_volume: Maker) -> None:
    """Open, by which slot, where; then locked and why. The audit log has the digest of each, sealed."""
    volume = make_volume()
    opened = beat(volume)
    assert in_short(volume) == ("open", "", str(volume.path))
    assert (opened.path, opened.slot_label, opened.read_only) == (str(volume.lower), "passphrase", False)
    slots = json.loads(cloakfs("status", str(volume.path), "--quick", "--json").stdout)["volumes"][0]["config"]["slots"]
    assert opened.slot == slots[0]["id"]
    volume.lock()
    assert in_short(volume) == ("locked", "asked", str(volume.path))
    mounted, locked = records("volume.mounted", "volume.locked")
    assert mounted["detail"]["beat"] == opened.digest
    document = heartbeat.document_of(volume.volume_id)
    assert document is not None
    assert locked["detail"]["beat"] == beat(volume).digest == hashlib.sha256(document).hexdigest()
    (known,) = volumes.known_volumes()
    assert (known.volume_id, known.path, known.kind) == (volume.volume_id, str(volume.lower), "seen")
    assert known.created is not None
    volume.mount("--read-only")
    assert beat(volume).read_only


def test_a_daemon_that_is_killed(make_volume: Maker) -> None:
    """kill -9 leaves "open, last seen at"; no lock is claimed. Whoever opens it next finds out that it was a crash."""
    volume = make_volume()
    before = beat(volume)
    volume.kill()
    assert beat(volume) == before
    assert in_short(volume)[0] == "open"
    assert last_locks.of(VolumeId(bytes.fromhex(volume.volume_id))) is None
    secret = ("--passphrase-file", str(volume.secret_file))
    cloakfs("verify", str(volume.lower), *secret, "--repair", "--yes")
    last = heartbeat.last_mount(volume.volume_id)
    assert last is not None
    assert (last.state, last.reason) == ("locked", "crash")
    assert in_short(volume) == ("locked", "done", "")


def test_a_signal_and_a_command_beside_the_mount(make_volume: Maker) -> None:
    """A change of keys ends; the volume is open still, since the mount is. Then it is locked, and why."""
    volume = make_volume()
    before = beat(volume)
    cloakfs("key", "rename", str(volume.lower), "passphrase", "Anna", "--passphrase-file", str(volume.secret_file))
    assert in_short(volume) == ("open", "", str(volume.path))
    assert beat(volume).digest != before.digest
    os.kill(volume.pid, signal.SIGTERM)
    wait_for(volume.is_dead, "the daemon ends")
    assert in_short(volume) == ("locked", "signal", str(volume.path))


def test_commands_without_a_mount(make_volume: Maker) -> None:
    """cat, verify and a change of keys leave when and with which slot; a wrong passphrase leaves nothing."""
    volume = make_volume()
    (volume.path / "letter").write_text("Zyklamen")
    volume.lock()
    before = beat(volume)
    wrong = volume.base / "wrong"
    wrong.write_text("nothing that opens it")
    wrong.chmod(0o600)
    cloakfs("cat", str(volume.lower), "letter", "--passphrase-file", str(wrong), check=False)
    assert beat(volume) == before
    secret = ("--passphrase-file", str(volume.secret_file))
    for command in (("cat", str(volume.lower), "letter"), ("key", "rename", str(volume.lower), "passphrase", "Anna")):
        cloakfs(*command, *secret)
        after = beat(volume)
        assert (after.state, after.reason, after.mountpoint) == ("locked", "done", "")
        assert after.digest != before.digest
        before = after
    document = heartbeat.document_of(volume.volume_id)
    assert document is not None
    assert b"letter" not in document


def test_where_it_cannot_be_written(make_volume: Maker, host_memory: Path) -> None:
    """A file where the folder should be: it mounts, works and locks, and says once what is not written down."""
    host_memory.mkdir(mode=0o700)
    (host_memory / "heartbeat").write_text("in the way")
    volume = make_volume()
    (volume.path / "letter").write_text("saved")
    volume.remount()
    assert (volume.path / "letter").read_text() == "saved"
    log = volume.log.read_text()
    assert log.count("when this volume was open cannot be written down on this computer") == 2  # one of each daemon
    volume.lock()
    read = cloakfs("verify", str(volume.lower), "--passphrase-file", str(volume.secret_file))
    assert read.stderr.count("cannot be written down") == 1


class Clock:
    """Seconds since the machine was started, as a test wants them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_quarter_of_an_hour(host_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount says again that it is open, in the heartbeat and sealed in the log; never after the keys went."""
    clock = Clock()
    presence = Presence(_ID, path="/srv/p", slot="cd" * 16, slot_label="Anna", read_only=False, mountpoint="/mnt")
    journal = RecordedLocks(MountPresence(presence, boot_time=clock), VolumeId(bytes.fromhex(_ID)), b"slot" * 2)
    journal.mounted()
    seen = [heartbeat.beat_of(_ID)]
    for minute in range(1, 46):
        clock.now = 60.0 * minute
        journal.meanwhile([], 0)
        one = heartbeat.beat_of(_ID)
        assert one is not None
        if one != seen[-1]:
            seen.append(one)
    digests = [one["detail"]["beat"] for one in records("volume.mounted", "volume.open")]
    assert digests[-1] == seen[-1].digest  # type: ignore[union-attr]
    assert len(digests) == 4
    journal.locked(LockReason.MEDIUM_GONE)
    at_the_lock = heartbeat.beat_of(_ID)
    clock.now = 60.0 * 300
    journal.meanwhile([], 0)
    journal.locked(LockReason.MEDIUM_GONE)
    assert heartbeat.beat_of(_ID) == at_the_lock
    assert at_the_lock is not None
    assert (at_the_lock.state, at_the_lock.reason) == ("locked", "medium-gone")
    assert len(records("volume.open")) == 3
