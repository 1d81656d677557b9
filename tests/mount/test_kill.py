"""kill -9 of the daemon under programs that work: what they were told is synced is there, and nothing is half done.

Each worker is a process that says through a pipe what it is about to do and what is done. The daemon is killed once
they have said enough, so every round hits another moment (FORMAT.md section 11).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encfs.errors import ExitCode, VolumeInUseError
from encfs.volume import Volume
from tests.support.killing import REPAIRS, Running, Said, Say, Worker, listen_until, status, steps, sync
from tests.support.linux import error_of
from tests.support.mounting import SECRET, MountedVolume, cloakfs, is_mounted, wait_for
from tests.support.volumes import pattern

ROUNDS = 5


# -- a log ----------------------------------------------------------------------------------------------------


def line(number: int) -> bytes:
    """One entry of the log, of its own length."""
    return pattern(1 + number * 37 % 700, number)


def run_log(top: Path, say: Say) -> None:
    """Append; fsync after every third line."""
    fd = os.open(top / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for step in steps(say):
        for number in range(3 * step, 3 * step + 3):
            os.write(fd, line(number))
        os.fsync(fd)


def check_log(top: Path, said: Said) -> None:
    """All that was synced, in order; what follows was written or is still zero."""
    stream = b"".join(map(line, range(3 * said.begun + 3)))
    synced = len(b"".join(map(line, range(3 * said.done + 3))))
    data = (top / "log").read_bytes() if said.done >= 0 or (top / "log").exists() else b""
    assert data[:synced] == stream[:synced]
    assert len(data) <= len(stream)
    assert all(byte in (0, expected) for byte, expected in zip(data[synced:], stream[synced:]))


# -- records overwritten in place -----------------------------------------------------------------------------

SLOTS, RECORD = 40, 5000


def run_records(top: Path, say: Say) -> None:
    """Overwrite one record after the other and fsync each time."""
    fd = os.open(top / "records", os.O_RDWR | os.O_CREAT, 0o644)
    for step in steps(say):
        if step == 0:
            os.write(fd, b"".join(pattern(RECORD, ("old", slot)) for slot in range(SLOTS)))
        else:
            os.pwrite(fd, pattern(RECORD, step), step * 7 % SLOTS * RECORD)
        os.fsync(fd)


def check_records(top: Path, said: Said) -> None:
    """Every record is the last one that was synced; of the one that was being written each byte is old or new."""
    if said.done < 0:
        return
    records = [pattern(RECORD, ("old", slot)) for slot in range(SLOTS)]
    for step in range(1, said.done + 1):
        records[step * 7 % SLOTS] = pattern(RECORD, step)
    data = (top / "records").read_bytes()
    assert len(data) == SLOTS * RECORD
    for slot, record in enumerate(records):
        found = data[slot * RECORD : (slot + 1) * RECORD]
        if said.begun > said.done and said.begun * 7 % SLOTS == slot:
            new = pattern(RECORD, said.begun)
            assert all(byte in pair for byte, *pair in zip(found, record, new))
        else:
            assert found == record, f"record {slot}"


# -- documents saved by rename --------------------------------------------------------------------------------


def document(step: int) -> bytes:
    """One version of the document."""
    return pattern(1000 + step * 997 % 30_000, ("document", step))


def run_saves(top: Path, say: Say) -> None:
    """Write a new file, fsync it, rename it over the old one, fsync the directory."""
    for step in steps(say):
        new = top / "document.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, document(step))
        os.fsync(fd)
        os.close(fd)
        new.rename(top / "document")
        sync(top)


def check_saves(top: Path, said: Said) -> None:
    """The document is one whole version, not older than the one that was saved last."""
    if said.done < 0 and not (top / "document").exists():
        return
    assert (top / "document").read_bytes() in (document(max(said.done, 0)), document(said.begun))
    if (top / "document.new").exists():
        content = (top / "document.new").read_bytes()
        new = document(said.begun)
        assert all(byte in (0, expected) for byte, expected in zip(content, new))


# -- trees ----------------------------------------------------------------------------------------------------


def branch(top: Path, step: int) -> Path:
    """Where a step makes directories."""
    return top / f"d{step % 5}" / f"e{step}" / ("long-" + "x" * (step % 2 * 200))


def run_trees(top: Path, say: Say) -> None:
    """Directories, a synced file in the innermost, a symlink beside it; now and then a directory is moved."""
    for step in steps(say):
        inner = branch(top, step)
        inner.mkdir(parents=True)
        fd = os.open(inner / "file", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, pattern(100 + step, step))
        os.fsync(fd)
        os.close(fd)
        (inner / "link").symlink_to(f"to {step}")
        if step % 3 == 0:
            inner.rename(inner.with_name("moved"))
        sync(top)


def check_trees(top: Path, said: Said) -> None:
    """All that was made is there, under its last name."""
    for step in range(said.done + 1):
        inner = branch(top, step)
        if step % 3 == 0:
            inner = inner.with_name("moved")
        assert (inner / "file").read_bytes() == pattern(100 + step, step)
        assert os.readlink(inner / "link") == f"to {step}"
        assert sorted(os.listdir(inner)) == ["file", "link"]


# -- truncation -----------------------------------------------------------------------------------------------


def sizes(step: int) -> int:
    """The size after a step."""
    return 0 if step % 10 == 9 else step * 7919 % 60_000


def after(content: bytes, step: int) -> bytes:
    """The content after a step."""
    size = sizes(step)
    return (content + bytes(60_000))[:size] if size > len(content) else content[:size]


def run_truncates(top: Path, say: Say) -> None:
    """Truncate up and down and fsync."""
    fd = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    for step in steps(say):
        if step == 0:
            os.write(fd, pattern(60_000, "cut"))
        else:
            os.ftruncate(fd, sizes(step))
        os.fsync(fd)


def check_truncates(top: Path, said: Said) -> None:
    """The file is as after the last step or the one that was under way; it may have grown in part."""
    if said.done < 0:
        return
    content = pattern(60_000, "cut")
    for step in range(1, said.done + 1):
        content = after(content, step)
    following = after(content, said.begun) if said.begun > said.done else content
    data = (top / "file").read_bytes()
    shorter, longer = sorted((content, following), key=len)
    assert len(shorter) <= len(data) <= len(longer)
    assert data == longer[: len(data)]


# -- names ----------------------------------------------------------------------------------------------------

NAMES = ["short", "long-" + "a" * 200, "other", "long-" + "b" * 240, "sub/short", "sub/long-" + "c" * 200]


def run_names(top: Path, say: Say) -> None:
    """A file, a symlink and a directory move from name to name; a rename is done when it returns."""
    (top / "sub").mkdir()
    for kind in ("f", "l", "d"):
        (top / kind).mkdir()
        (top / kind / "sub").mkdir()
    (top / "f" / NAMES[0]).write_bytes(b"content")
    sync(top / "f" / NAMES[0])
    (top / "l" / NAMES[0]).symlink_to("target")
    (top / "d" / NAMES[0]).mkdir()
    (top / "d" / NAMES[0] / "inside").symlink_to("x")
    for step in steps(say):
        for kind in ("f", "l", "d"):
            (top / kind / NAMES[step % 6]).rename(top / kind / NAMES[(step + 1) % 6])


def check_names(top: Path, said: Said) -> None:
    """Each is under its last name or the one it was on the way to, and only there."""
    if said.done < 0:
        return
    for kind in ("f", "l", "d"):
        expected = {NAMES[(said.done + 1) % 6], NAMES[(said.begun + 1) % 6]}
        there = {name for name in NAMES if os.path.lexists(top / kind / name)}
        assert there <= expected
        (name,) = there
        assert len(os.listdir(top / kind)) + len(os.listdir(top / kind / "sub")) == 2
        path = top / kind / name
        if kind == "f":
            assert path.read_bytes() == b"content"
        elif kind == "l":
            assert os.readlink(path) == "target"
        else:
            assert os.listdir(path) == ["inside"]


# -- a draft that nobody has synced ---------------------------------------------------------------------------


def run_draft(top: Path, say: Say) -> None:
    """Append and never fsync, past the cache of the kernel: whenever the daemon dies, it is in the middle of this."""
    fd = os.open(top / "draft", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_DIRECT, 0o644)
    os.write(fd, line(0))
    for step in steps(say):
        os.write(fd, line(step + 1))


def check_draft(top: Path, said: Said) -> None:
    """Nothing was promised but that there is nothing which was never written."""
    stream = b"".join(map(line, range(said.begun + 2)))
    data = (top / "draft").read_bytes() if (top / "draft").exists() else b""
    assert len(data) <= len(stream)
    assert all(byte in (0, expected) for byte, expected in zip(data, stream))


WORKERS = {
    "log": Worker(run_log, check_log),
    "records": Worker(run_records, check_records),
    "saves": Worker(run_saves, check_saves),
    "trees": Worker(run_trees, check_trees),
    "truncates": Worker(run_truncates, check_truncates),
    "names": Worker(run_names, check_names),
    "draft": Worker(run_draft, check_draft),
}


# -- running them ---------------------------------------------------------------------------------------------


@contextmanager
def second_mountpoint(volume: MountedVolume) -> Iterator[Path]:
    """Another empty directory."""
    path = volume.base / "second"
    path.mkdir()
    yield path
    path.rmdir()


def try_second_mount(volume: MountedVolume, mountpoint: Path) -> subprocess.CompletedProcess[str]:
    """What a second ``cloakfs mount`` of the same volume says."""
    return cloakfs(
        "mount", str(volume.lower), str(mountpoint), "--passphrase-file", str(volume.secret_file), check=False
    )


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(150, marks=pytest.mark.slow)])
def test_killed_while_programs_work(mounted: MountedVolume, rounds: int) -> None:
    """Nothing synced is lost or changed, verify is clean, the report is what a crash can leave (section 11)."""
    chance = random.Random(rounds)
    rounds_before: list[tuple[Worker, Path, Said]] = []
    for number in range(rounds):
        tops = {name: mounted.path / f"{name}-{number}" for name in WORKERS}
        for top in tops.values():
            top.mkdir()
        workers = [Running(worker, tops[name]) for name, worker in WORKERS.items()]
        listen_until(workers, chance.randrange(30, 600))
        mounted.kill_daemon()
        rounds_before += [(one.worker, one.top, one.finish()) for one in workers]
        mounted.clear_dead_mount()
        mounted.mount()
        report = status(mounted)["recovery"]
        assert report["failed"] == 0
        assert set(report["repaired"]) <= REPAIRS
        assert report["objects"] > 0
        assert "size" in report["repaired"], "the draft was not being written"
        for worker, top, said in rounds_before[-len(WORKERS) :]:
            worker.check(top, said)
        assert json.loads(cloakfs("verify", str(mounted.lower), "--json").stdout)["clean"]
    for worker, top, said in rounds_before:
        worker.check(top, said)
    mounted.remount()
    assert status(mounted)["recovery"] is None


def test_killed_while_idle(mounted: MountedVolume) -> None:
    """Killed when all is written: everything is there and nothing has to be repaired (FORMAT.md section 11)."""
    for number in range(50):
        path = mounted.path / f"file-{number}"
        path.write_bytes(pattern(number * 500, number))
        sync(path)
    (mounted.path / "directory").mkdir()
    (mounted.path / "link").symlink_to("target")
    held = (mounted.path / "file-0").open("rb")
    mounted.kill_daemon()
    assert error_of((mounted.path / "file-1").read_bytes) in {"ENOTCONN", "ECONNABORTED"}
    assert error_of(held.close) in {"ENOTCONN", "ECONNABORTED"}
    mounted.clear_dead_mount()
    mounted.mount()
    report = status(mounted)["recovery"]
    assert report == {"objects": 52, "repaired": {}, "failed": 0}
    for number in range(50):
        assert (mounted.path / f"file-{number}").read_bytes() == pattern(number * 500, number)


def test_second_mount_is_refused_while_the_first_lives(mounted: MountedVolume) -> None:
    """Another mount, or the library, is told host and process; after the death of the first it may (section 11)."""
    (mounted.path / "file").write_bytes(b"content")
    sync(mounted.path / "file")
    with second_mountpoint(mounted) as other:
        for _ in range(3):
            refused = try_second_mount(mounted, other)
            assert refused.returncode == ExitCode.VOLUME_IN_USE
            assert str(mounted.pid) in refused.stderr
            assert os.uname().nodename in refused.stderr
            assert not is_mounted(other)
        with pytest.raises(VolumeInUseError, match=f"process {mounted.pid}"):
            Volume.unlock(os.fsencode(mounted.lower), SECRET)
        assert (mounted.path / "file").read_bytes() == b"content"
        mounted.kill_daemon()
        assert try_second_mount(mounted, other).returncode == ExitCode.OK
        assert (other / "file").read_bytes() == b"content"
        mounted.clear_dead_mount()
        cloakfs("lock", str(other))
        wait_for(lambda: not is_mounted(other), "the second mount is gone")


def test_killed_twice_before_recovery_ends(mounted: MountedVolume) -> None:
    """A crash while the crash is repaired is repaired as well (FORMAT.md section 11)."""
    for number in range(300):
        (mounted.path / f"file-{number}").write_bytes(pattern(number * 50, number))
    fd = os.open(mounted.path / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"synced")
    os.fsync(fd)
    mounted.kill()
    sessions = mounted.lower / "cloakfs.s"
    for _ in range(5):
        command = ["mount", str(mounted.lower), str(mounted.path), "--passphrase-file", str(mounted.secret_file)]
        with subprocess.Popen(
            [sys.executable, "-m", "encfs", *command, "--foreground"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            before = len(os.listdir(sessions))
            wait_for(lambda before=before: len(os.listdir(sessions)) > before, "the session begins")
            process.kill()
        if is_mounted(mounted.path):
            mounted.clear_dead_mount()
    mounted.mount()
    assert status(mounted)["recovery"]["failed"] == 0
    assert (mounted.path / "log").read_bytes() == b"synced"
