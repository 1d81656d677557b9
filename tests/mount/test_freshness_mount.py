"""Older files behind a real mount, and daemons that are killed: an alarm where it belongs and nowhere else.

FORMAT.md section 13, through the command, the kernel and the daemon.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encfs.host.freshness import HostFreshness
from encfs.units import FileId, VolumeId
from tests.mount.conftest import Maker
from tests.support.evidence import record
from tests.support.linux import error_of
from tests.support.mounting import MountedVolume, cloakfs
from tests.support.volumes import pattern

serve = pytest.importorskip("encfs.fuse.serve")
trio = pytest.importorskip("trio")
PASSPHRASE = "--passphrase-file"


def letters(volume: MountedVolume) -> dict[str, bytes]:
    """Five files."""
    content = {name: pattern(9000, name) for name in ("f-rewritten", "f-deleted", "f-emptied", "f-replaced", "f-kept")}
    for name, data in content.items():
        (volume.path / name).write_bytes(data)
    return content


def change(path: Path) -> None:
    """What programs do to four of them."""
    (path / "f-rewritten").write_bytes(b"new")
    (path / "f-deleted").unlink()
    os.truncate(path / "f-emptied", 0)
    (path / "new").write_bytes(b"replacement")
    (path / "new").rename(path / "f-replaced")


def test_older_files_give_eio_and_an_event_each(make_volume: Maker) -> None:
    """FORMAT.md section 13: files put back as they were: EIO, one event each without a name, verify 3; rm works."""
    volume = make_volume()
    content = letters(volume)
    volume.lock()
    old = volume.base / "old"
    shutil.copytree(volume.lower, old)
    volume.mount()
    change(volume.path)
    volume.lock()
    for file in old.iterdir():
        if not file.name.startswith("cloakfs."):
            shutil.copy2(file, volume.lower / file.name)
    verified = cloakfs("verify", str(volume.lower), PASSPHRASE, str(volume.secret_file), "--json", check=False)
    assert verified.returncode == 3
    found = {(one["code"], one["path"]) for one in json.loads(verified.stdout)["findings"]}
    older = sorted(set(content) - {"f-kept"})
    assert found == {("file-rollback", name) for name in older}
    volume.log.unlink()
    volume.mount()
    assert sorted(os.listdir(volume.path)) == sorted(content)
    for name in older:
        assert error_of((volume.path / name).read_bytes) == "EIO"
    assert (volume.path / "f-kept").read_bytes() == content["f-kept"]
    through_daemon = cloakfs("verify", str(volume.path), "--json", check=False)
    assert through_daemon.returncode == 3
    for name in older:
        # A rename takes the directory entry; the file stays what it is, under any name (FORMAT.md section 11).
        (volume.path / name).rename(volume.path / "x")
        assert error_of((volume.path / "x").read_bytes) == "EIO"
        (volume.path / "x").unlink()
        (volume.path / name).write_bytes(b"made anew")
    volume.remount()
    assert {name: (volume.path / name).read_bytes() for name in older} == dict.fromkeys(older, b"made anew")
    events = [line for line in volume.log.read_text().splitlines() if "integrity" in line]
    assert all("integrity: rollback inode=" in line for line in events)
    inodes = {line.split("inode=")[1].split()[0] for line in events}
    assert len(inodes) == len(older)
    assert not any(name in line for line in events for name in content)
    volume.lock()
    volume.log.unlink()
    record("freshness", "mount: older files put back", cases=len(older), note="EIO, one event, others readable")


def test_a_file_is_remembered_from_its_fsync_on(make_volume: Maker) -> None:
    """FORMAT.md section 13: put back behind the mount after an fsync, it is noticed by the same daemon."""
    volume = make_volume()
    (volume.path / "a").write_bytes(b"one")
    volume.remount()
    (lower,) = [file for file in volume.lower.iterdir() if not file.name.startswith("cloakfs.")]
    old = lower.read_bytes()
    with (volume.path / "a").open("r+b") as file:
        file.write(b"two")
        file.flush()
        os.fsync(file.fileno())
    volume.remount()
    lower.write_bytes(old)
    assert error_of((volume.path / "a").read_bytes) == "EIO"
    (volume.path / "a").unlink()
    assert volume.log.read_text().count("integrity: rollback") >= 1
    volume.lock()
    volume.log.unlink()


def test_a_mount_writes_down_what_it_knows_now_and_then(monkeypatch: pytest.MonkeyPatch, host_memory: Path) -> None:
    """FORMAT.md section 13: without the end of the session too, what was synced reaches the database."""
    memory = HostFreshness()
    memory.bind(VolumeId(b"v" * 16), bytes(32))
    memory.synced(FileId(b"f" * 16), 5)
    monkeypatch.setattr(serve, "_REMEMBER_SECONDS", 0.01)
    server = serve.MountServer.__new__(serve.MountServer)
    server._volume = SimpleNamespace(memory=memory)  # type: ignore[assignment]

    async def until_it_is_there() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server._remember)
            with trio.fail_after(60):
                while not memory._db().read("SELECT mark FROM durable"):
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(until_it_is_there)
    assert memory._db().read("SELECT mark FROM durable") == [(10,)]
    memory.release()


# -- killed daemons -------------------------------------------------------------------------------------------


def program(path: Path, say: Callable[[], None], seed: int) -> None:
    """Make, rewrite, save, empty, rename, link, delete, with an fsync now and then, until the mount is gone."""
    chance = random.Random(seed)
    names = [path / name for name in ("a", "b", "c", "d", "L" * 200)]
    while True:
        one, other = chance.choice(names), chance.choice(names)
        kind = chance.randrange(7)
        try:
            if kind <= 1:
                with one.open("wb") as file:
                    file.write(pattern(chance.choice([10, 5000, 70000]), chance.random()))
                    if kind:
                        file.flush()
                        os.fsync(file.fileno())
            elif kind == 2:
                (path / "new").write_bytes(pattern(5000, chance.random()))
                (path / "new").rename(one)
            elif kind == 3:
                os.truncate(one, chance.choice([0, 100, 9000]))
            elif kind == 4:
                one.rename(other)
            elif kind == 5:
                one.unlink()
            else:
                with one.open("ab") as file:
                    file.write(b"more" * 900)
        except FileNotFoundError:
            continue
        say()


def work_until_killed(volume: MountedVolume, seed: int, steps: int) -> None:
    """Let a program work; kill the daemon after that many of its steps."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            program(volume.path, lambda: os.write(writer, b"."), seed)
        except OSError:
            os._exit(0)  # The mount is gone.
        finally:
            os._exit(1)
    os.close(writer)
    said = 0
    while said < steps and (piece := os.read(reader, steps - said)):
        said += len(piece)
    volume.kill_daemon()
    os.close(reader)
    # The dead mount stays until the program has met it: it must not go on at the bare mount point.
    assert os.waitpid(child, 0)[1] == 0, "the program failed before the daemon was killed"
    volume.clear_dead_mount()


def kill_again_and_again(volume: MountedVolume, rounds: int) -> None:
    """Work, kill, mount, look at everything; never an alarm."""
    chance = random.Random(rounds)
    for seed in range(rounds):
        work_until_killed(volume, seed, chance.randrange(1, 120))
        volume.mount()
        for name in os.listdir(volume.path):
            (volume.path / name).read_bytes()
        if seed % 4 == 3:
            volume.remount()
    log = volume.log.read_text()
    assert "rollback" not in log
    assert "integrity" not in log
    status: Any = json.loads(cloakfs("status", str(volume.path), "--json").stdout)
    assert status["volumes"][0]["mount"]["host_memory"] == "known"


def test_a_killed_daemon_is_no_rollback(make_volume: Maker) -> None:
    """FORMAT.md section 13: kill -9 under load and a mount by the same host: nothing is called older."""
    kill_again_and_again(make_volume(), 6)
    record("freshness", "kill -9 under load and remount", cases=6, note="no alarm")


@pytest.mark.slow
def test_many_killed_daemons_are_no_rollback(make_volume: Maker) -> None:
    """FORMAT.md section 13: the same for longer."""
    kill_again_and_again(make_volume(), 60)
    record("freshness", "kill -9 under load and remount", cases=60, note="no alarm")
