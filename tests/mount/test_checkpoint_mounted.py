"""Checkpoints of a mounted volume, made and compared by its daemon while programs go on (FORMAT.md section 12)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encfs import runtime
from encfs.volume import read_config
from tests.mount.conftest import Maker
from tests.support.evidence import record
from tests.support.mounting import MountedVolume, cloakfs, wait_for
from tests.support.volumes import pattern

WORK = """
import os, sys
top, step = sys.argv[1], 0
while True:
    step += 1
    directory = f"{top}/dir-{step % 7}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/new-{step % 11}", "wb") as file:
        file.write(os.urandom(3000 + step % 9000))
    with open(f"{top}/in-place", "r+b") as file:
        file.seek(step * 4096 % 900_000)
        file.write(os.urandom(5000))
        if step % 5 == 0:
            os.fsync(file.fileno())
    os.replace(f"{directory}/new-{step % 11}", f"{top}/saved-{step % 13}")
    if step % 3 == 0:
        os.rename(directory, f"{top}/moved-{step % 7}-{step}")
    if step % 17 == 0 and sys.argv[2] == "delete":
        os.unlink(f"{top}/saved-{step % 13}")
    print(step, flush=True)
"""


@contextmanager
def working(top: Path, *, delete: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A program that creates, overwrites, saves, moves and perhaps deletes for as long as the block lasts."""
    (top / "in-place").write_bytes(pattern(1_000_000))
    command = [sys.executable, "-c", WORK, str(top), "delete" if delete else "keep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_steps(process: subprocess.Popen[str], count: int) -> None:
    """Until it has said so many steps more."""
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline(), process.stderr.read() if process.stderr else ""


def checkpoint(volume: MountedVolume) -> dict[str, Any]:
    """Make one through the mount; nobody is asked for a passphrase."""
    return json.loads(cloakfs("checkpoint", str(volume.path), "--json").stdout)


def verify(volume: MountedVolume, *more: str, code: int = 0) -> dict[str, Any]:
    """Compare through the mount, or with a passphrase if it is not mounted."""
    result = cloakfs("verify", *more, "--checkpoint", "--json", check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout)


def stored(volume: MountedVolume) -> list[Path]:
    """The checkpoints in the volume."""
    return sorted((volume.lower / "cloakfs.c").iterdir())


def test_while_programs_write(mounted: MountedVolume) -> None:
    """Section 12: each of several checkpoints under load is whole, and no comparison finds what programs did."""
    top = mounted.path
    (top / "quiet").write_bytes(pattern(200_000))
    with working(top) as process:
        wait_for_steps(process, 20)
        for _ in range(2):
            made = checkpoint(mounted)
            assert made["findings"] == []
            assert made["mounted"] is True
            wait_for_steps(process, 20)
            assert verify(mounted, str(top))["clean"]
    assert made["checkpoint"]["reused"] >= 1
    assert verify(mounted, str(top))["checkpoint"]["same"] >= 1
    mounted.lock()
    found = verify(mounted, str(mounted.lower), "--passphrase-file", str(mounted.secret_file))
    assert (found["clean"], found["mounted"]) == (True, False)
    assert len(stored(mounted)) == 2
    record("checkpoint", "made and compared while programs write", cases=2, note="no false alarm")


def test_kill_during_overwrites(mounted: MountedVolume) -> None:
    """Section 12: kill -9 under a program that overwrites in place leaves nothing that a comparison calls tampering."""
    for _ in range(2):
        with working(mounted.path, delete=False) as process:
            wait_for_steps(process, 10)
            checkpoint(mounted)
            wait_for_steps(process, 15)
            mounted.kill_daemon()
        mounted.clear_dead_mount()
        mounted.mount()
        found = json.loads(cloakfs("verify", str(mounted.path), "--checkpoint", "--json", check=False).stdout)
        assert found["checkpoint"]["crashed"] is True
        # What was replaced just before the crash may be missing, and this host does not remember why.
        assert {one["code"] for one in found["findings"]} <= {"checkpoint-crash", "file-missing"}
        assert found["checkpoint"]["findings"].get("error", 0) == 0
        missing = [one["path"] for one in found["findings"] if one["code"] == "file-missing"]
        assert all(re.fullmatch(r"(.*/)?(new|saved)-\d+", path) for path in missing), "the program replaces no other"
        for path in mounted.path.iterdir():
            subprocess.run(["rm", "-rf", str(path)], check=True)
    record("checkpoint", "kill -9 during overwrites after a checkpoint", cases=2, note="no error")


def test_tampering_is_found_through_the_mount(mounted: MountedVolume, tmp_path: Path) -> None:
    """Section 12: one old cell is found by the daemon, with the checkpoint in the volume and with a copy elsewhere."""
    path = mounted.path / "report"
    path.write_bytes(pattern(30_000))
    mounted.lock()
    (lower,) = (one for one in mounted.lower.iterdir() if len(one.name) >= 43)
    old = lower.read_bytes()
    mounted.mount()
    with path.open("r+b") as file:
        file.seek(10_000)
        file.write(b"corrected")
    copy = tmp_path / "copy"
    cloakfs("checkpoint", str(mounted.path), "--output", str(copy))
    assert copy.read_bytes() == stored(mounted)[-1].read_bytes()
    mounted.lock()
    new = lower.read_bytes()
    lower.write_bytes(new[:8192] + old[8192:12288] + new[12288:])
    mounted.mount()
    for arguments in (("--checkpoint",), ("--checkpoint-file", str(copy))):
        result = cloakfs("verify", str(mounted.path), *arguments, check=False)
        assert result.returncode == 3
        assert f"[cell-replayed, below: {lower.name}]" in result.stdout
        assert "All of it is authentic." in result.stdout
    missing = cloakfs("verify", str(mounted.path), "--checkpoint-file", str(tmp_path / "no"), check=False)
    assert missing.returncode == 1
    record(
        "checkpoint",
        "an old cell, through a mount",
        note="found by the daemon, in the volume's and a copied checkpoint",
    )


def test_not_seen_in_the_mount(mounted: MountedVolume) -> None:
    """Section 2: the folder is no entry of the root, and no link of it, before and after a new mount."""
    links = mounted.path.stat().st_nlink
    checkpoint(mounted)
    assert os.listdir(mounted.path) == []
    assert mounted.path.stat().st_nlink == links
    mounted.remount()
    assert os.listdir(mounted.path) == []
    assert mounted.path.stat().st_nlink == links
    assert not (mounted.path / "cloakfs.c").exists()


def test_read_only_mount(make_volume: Maker) -> None:
    """Section 12: a read-only mount makes none, and compares with the one that is there."""
    volume = make_volume()
    (volume.path / "a").write_bytes(b"x")
    checkpoint(volume)
    volume.remount("--read-only")
    refused = cloakfs("checkpoint", str(volume.path), check=False)
    assert refused.returncode == 27
    assert verify(volume, str(volume.path))["checkpoint"]["same"] == 1


def ask(volume: MountedVolume, *requests: dict[str, Any]) -> list[socket.socket]:
    """Requests that the daemon finds all at once."""
    path = runtime.socket_path(read_config(os.fsencode(volume.lower)).volume_id)
    os.kill(volume.pid, signal.SIGSTOP)
    connections = []
    try:
        for request in requests:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(60)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            connections.append(connection)
    finally:
        os.kill(volume.pid, signal.SIGCONT)
    return connections


def last_reply(connection: socket.socket) -> dict[str, Any]:
    """The line with which an answer ends."""
    with connection, connection.makefile("rb") as lines:
        return json.loads(list(lines)[-1])


def test_one_at_a_time(mounted: MountedVolume) -> None:
    """docs/control.md: a second checkpoint while one is made is refused, and the first one is made."""
    (mounted.path / "a").write_bytes(pattern(3 << 20))
    replies = [last_reply(one) for one in ask(mounted, {"verb": "checkpoint"}, {"verb": "checkpoint"})]
    assert sorted(reply["ok"] for reply in replies) == [False, True]
    (refusal,) = (reply["error"] for reply in replies if not reply["ok"])
    assert refusal["name"] == "BUSY"
    assert len(stored(mounted)) == 1


@pytest.mark.parametrize("request_", [{"verb": "checkpoint"}, {"verb": "verify", "checkpoint": True}])
def test_client_that_goes_away(mounted: MountedVolume, request_: dict[str, Any]) -> None:
    """docs/control.md: closing the connection ends the work; nothing half-made is left, and the mount goes on."""
    (mounted.path / "a").write_bytes(pattern(20 << 20))
    checkpoint(mounted)
    (mounted.path / "a").write_bytes(pattern(20 << 20, 1))
    (connection,) = ask(mounted, request_)
    connection.close()
    assert last_reply(ask(mounted, {"verb": "status"})[0])["ok"]
    wait_for(lambda: not list(mounted.lower.glob("cloakfs.t.*")), "what was begun is removed or done")
    wait_for(lambda: _checkpoint_succeeds(mounted), "the daemon is free again")
    assert verify(mounted, str(mounted.path))["clean"]


def _checkpoint_succeeds(volume: MountedVolume) -> bool:
    return cloakfs("checkpoint", str(volume.path), check=False).returncode == 0


def test_lock_while_one_is_made(mounted: MountedVolume) -> None:
    """docs/control.md: a lock ends the work; what was begun is gone, and what was there is as it was."""
    (mounted.path / "a").write_bytes(pattern(20 << 20))
    checkpoint(mounted)
    before = stored(mounted)
    (mounted.path / "a").write_bytes(pattern(20 << 20, 1))
    making, locking = ask(mounted, {"verb": "checkpoint"}, {"verb": "lock"})
    assert last_reply(locking)["ok"]
    making.close()
    wait_for(mounted.is_dead, "the daemon ends")
    assert not list(mounted.lower.glob("cloakfs.t.*"))
    assert set(before) <= set(stored(mounted))
    found = verify(mounted, str(mounted.lower), "--passphrase-file", str(mounted.secret_file))
    assert found["clean"]


def test_bad_requests(mounted: MountedVolume) -> None:
    """docs/control.md: a comparison of a part, and one without a checkpoint, are refused; the daemon lives."""
    part, none = ask(
        mounted, {"verb": "verify", "paths": ["a"], "checkpoint": True}, {"verb": "verify", "checkpoint": True}
    )
    assert last_reply(part)["error"]["name"] == "USAGE"
    assert last_reply(none)["error"]["name"] == "NOT_FOUND"
