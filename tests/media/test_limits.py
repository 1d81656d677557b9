"""Lower filesystems that lack something (docs/media.md): a clear errno or a fallback, never a broken volume."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from encfs.format.limits import longest_name
from tests.media.conftest import Maker
from tests.media.pulling import save
from tests.support import media
from tests.support.evidence import record
from tests.support.limited_fs import limited
from tests.support.linux import RENAME_EXCHANGE, RENAME_NOREPLACE, error_of, in_child, needs_root, renameat2
from tests.support.mounting import MountedVolume
from tests.support.programs import need
from tests.support.volumes import pattern

On = Callable[..., MountedVolume]


@pytest.fixture
def on(base: Path) -> Iterator[On]:
    """Mount a volume on a filesystem with limits."""
    with ExitStack() as stack:

        def on(*limits: str, options: tuple[str, ...] = ()) -> MountedVolume:
            (base / "source").mkdir()
            lower = stack.enter_context(limited(base / "source", base / "limited", *limits))
            (base / "at").mkdir()
            volume = MountedVolume(base / "at", lower=lower / "volume", options=options)
            stack.callback(lambda: media.clear_away(volume) if not volume.is_dead() else None)
            volume.mount()
            return volume

        yield on


def tree(top: Path) -> None:
    """What every filesystem can hold."""
    (top / "folder").mkdir()
    for number in range(5):
        save(top / f"file {number}", pattern(number * 5000, number))
        save(top / "folder" / f"inner {number}", pattern(number * 3000, number))


def check_tree(top: Path) -> None:
    """It is all there still."""
    for number in range(5):
        assert (top / f"file {number}").read_bytes() == pattern(number * 5000, number)
        assert (top / "folder" / f"inner {number}").read_bytes() == pattern(number * 3000, number)


def everyday(top: Path) -> None:
    """What programs do all day: save by rename, move folders, delete, append."""
    tree(top)
    for number in range(3):
        save(top / "new version", b"version %d" % number)
        (top / "new version").rename(top / "document")
        assert (top / "document").read_bytes() == b"version %d" % number
    (top / "folder").rename(top / "moved")
    (top / "moved" / "inner 3").rename(top / "moved" / "other 3")
    assert (top / "moved" / "other 3").read_bytes() == pattern(9000, 3)
    (top / "moved" / "other 3").rename(top / "moved" / "inner 3")
    (top / "moved").rename(top / "folder")
    with (top / "log").open("ab") as log:
        for number in range(20):
            log.write(b"line %d\n" % number)
            log.flush()
            os.fsync(log.fileno())
    assert (top / "log").read_bytes().count(b"\n") == 20
    (top / "empty").mkdir()
    (top / "empty").rmdir()
    (top / "document").unlink()
    (top / "log").unlink()
    check_tree(top)


def test_no_symlinks_links_attributes_nodes_flags(on: On) -> None:
    """FORMAT.md section 9.4: symlinks are kept in files; the rest is refused as such a filesystem refuses it."""
    volume = on("symlinks", "links", "xattrs", "nodes", "renameflags", "times2s")
    top = volume.path
    everyday(top)
    for target in ("file 1", "x" * 3000):
        (top / "link").symlink_to(target)
        assert os.readlink(top / "link") == target
        assert stat.S_ISLNK((top / "link").lstat().st_mode)
        (top / "link").rename(top / "renamed link")
        assert os.readlink(top / "renamed link") == target
        (top / "renamed link").unlink()
    (top / "kept link").symlink_to("file 2")
    assert error_of(lambda: os.link(top / "file 1", top / "hard")) == "EPERM"
    assert error_of(lambda: os.setxattr(top / "file 1", "user.a", b"1")) == "ENOTSUP"
    assert os.listxattr(top / "file 1") == []
    assert error_of(lambda: os.setxattr(top / "folder", "system.posix_acl_default", bytes([2, 0, 0, 0]))) is None
    acl = bytes.fromhex("0200000001000700ffffffff02000600e803000004000500ffffffff10000700ffffffff20000500ffffffff")
    assert error_of(lambda: os.setxattr(top / "folder", "system.posix_acl_access", acl)) == "ENOTSUP"
    assert error_of(lambda: os.mkfifo(top / "pipe")) == "EPERM"
    assert error_of(lambda: renameat2(top / "file 1", top / "file 2", RENAME_EXCHANGE)) == "EINVAL"
    assert error_of(lambda: renameat2(top / "file 1", top / "file 2", RENAME_NOREPLACE)) == "EEXIST"
    renameat2(top / "file 1", top / "free", RENAME_NOREPLACE)
    renameat2(top / "free", top / "file 1", RENAME_NOREPLACE)
    os.utime(top / "file 1", ns=(10**18 + 10**9, 10**18 + 10**9))
    volume.remount()
    check_tree(top)
    assert os.readlink(top / "kept link") == "file 2"
    assert (top / "file 1").stat().st_mtime_ns == 10**18
    volume.finish()
    for row, note in (
        ("no symlinks", "kept in files"),
        ("no hard links", "EPERM"),
        ("no extended attributes, no ACLs", "ENOTSUP"),
        ("no pipes and device nodes", "EPERM"),
        ("no rename flags", "exchange: EINVAL; no-replace works"),
        ("times of 2 s", "times are as coarse as below"),
    ):
        record("limits", row, note=note)


def test_names_of_143_bytes(on: On) -> None:
    """FORMAT.md section 7: names that do not fit are ENAMETOOLONG, nothing is left of them; statfs says how long."""
    volume = on("names143")
    top = volume.path
    everyday(top)
    longest = os.statvfs(top).f_namemax
    assert longest == 80
    for length in (1, longest - 1, longest, 161, 255):
        name = "n" * length
        save(top / name, b"content")
        (top / f"{name[:-1]}d").mkdir()
        assert (top / name).read_bytes() == b"content"
    before = sorted(os.listdir(top)), sorted(os.listdir(volume.lower))
    for length in (longest + 1, 120, 160):
        name = top / ("n" * length)
        for action in (
            lambda name=name: name.touch(),
            lambda name=name: name.mkdir(),
            lambda name=name: name.symlink_to("x"),
            lambda name=name: (top / "file 1").rename(name),
            lambda name=name: (top / "folder").rename(name),
            lambda name=name: os.link(top / "file 1", name),
            lambda name=name: name.stat(),
        ):
            assert error_of(action) == "ENAMETOOLONG"
    assert (sorted(os.listdir(top)), sorted(os.listdir(volume.lower))) == before
    check_tree(top)
    volume.remount()
    check_tree(top)
    volume.finish()
    record("limits", "names of 143 bytes", note="names of 81 to 160 bytes: ENAMETOOLONG; statfs says 80")


@pytest.mark.parametrize(("lower", "plain"), [(255, 255), (237, 255), (236, 144), (143, 80), (0, 255), (66, 32)])
def test_longest_name(lower: int, plain: int) -> None:
    """FORMAT.md section 7: the lower name of the longest plain name fits with its suffix, one byte more does not."""
    assert longest_name(lower) == plain
    if plain < 255:
        assert -(-(16 + plain) * 4 // 3) + 2 <= lower < -(-(16 + plain + 16) * 4 // 3) + 2


def test_inode_numbers_that_do_not_last(on: On) -> None:
    """docs/media.md: FAT, exFAT and others number things anew; renamed files and folders stay reachable."""
    volume = on("numbers", "anycase")
    top = volume.path
    everyday(top)
    held = os.open(top / "file 4", os.O_RDWR)
    (top / "file 4").rename(top / "held")
    os.pwrite(held, b"changed", 0)
    os.fsync(held)
    assert (top / "held").read_bytes()[:7] == b"changed"
    os.close(held)
    (top / "held").rename(top / "file 4")
    save(top / "file 4", pattern(20_000, 4))
    names = sorted(os.listdir(top))
    for name in ("A", "a", "ä", "Ä"):
        save(top / name, name.encode())
    assert [(top / name).read_bytes().decode() for name in ("A", "a", "ä", "Ä")] == ["A", "a", "ä", "Ä"]
    assert sorted(os.listdir(top)) == sorted([*names, "A", "a", "ä", "Ä"])
    volume.remount()
    check_tree(top)
    volume.finish()
    record("limits", "inode numbers that do not last", note="renamed files and folders stay reachable")
    record("limits", "names in any case are the same below", note="plain names keep their case and differ by it")


def test_files_of_4_gib(on: On) -> None:
    """docs/media.md: past 4 GiB - 1 below, a file cannot grow: EFBIG, at the latest from fsync; nothing of it is lost.

    Other files go on, and so does this one within its bounds, before and after the next mount.
    """
    volume = on("size4g")
    big = volume.path / "big"
    save(volume.path / "small", pattern(5000, "small"))
    # Cell 0 begins 512 bytes in: 4 GiB less one cell below is about that less 32 bytes of each cell here.
    cells = (4 << 30) // 4096 - 1
    last = cells * (4096 - 32) - 512
    big.write_bytes(pattern(9000, "begin"))
    os.truncate(big, last - 1000)
    fd = os.open(big, os.O_RDWR)
    try:
        os.pwrite(fd, b"the end", last - 2000)
        os.fsync(fd)
        assert error_of(lambda: (os.pwrite(fd, b"x" * 10_000, last - 1000), os.fsync(fd))) == "EFBIG"
        assert error_of(lambda: os.ftruncate(fd, last + 100_000)) == "EFBIG"
        assert os.pread(fd, 7, last - 2000) == b"the end"
    finally:
        error_of(lambda: os.close(fd))
    save(volume.path / "other", pattern(5000, "other"))
    volume.remount()
    with big.open("rb") as file:
        assert file.read(9000) == pattern(9000, "begin")
        file.seek(last - 2000)
        assert file.read(7) == b"the end"
    assert last - 1000 <= big.stat().st_size <= last + 4064
    with big.open("r+b") as file:
        file.write(b"goes on")
        os.fsync(file.fileno())
    with big.open("rb") as file:
        assert file.read(7) == b"goes on"
    for name in ("small", "other"):
        assert (volume.path / name).read_bytes() == pattern(5000, name)
    big.unlink()
    volume.finish()
    record("limits", "files of 4 GiB at most", note="EFBIG; what was there stays")


def test_inode_numbers_during_a_mount(on: On) -> None:
    """docs/media.md: what stat, fstat and a listing say of an object stays the same while it is mounted."""
    volume = on("numbers", "symlinks")
    top = volume.path
    tree(top)
    (top / "link").symlink_to("file 1")
    names = ["file 1", "file 3", "folder", "folder/inner 2", "link"]
    before = {name: os.lstat(top / name).st_ino for name in names}
    assert len(set(before.values())) == len(names)
    held = os.open(top / "file 3", os.O_RDONLY)
    subprocess.run(["sh", "-c", "sync; echo 2 > /proc/sys/vm/drop_caches || true"], check=True, capture_output=True)
    for directory, _, files in os.walk(top):
        assert all(os.lstat(os.path.join(directory, name)) for name in files)
    (top / "file 1").rename(top / "folder" / "moved")
    (top / "folder" / "moved").rename(top / "file 1")
    assert {name: os.lstat(top / name).st_ino for name in names} == before
    listed = {entry.name: entry.inode() for entry in os.scandir(top)}
    assert {name: listed[name] for name in names if "/" not in name} == {
        n: i for n, i in before.items() if "/" not in n
    }
    assert os.fstat(held).st_ino == before["file 3"]
    os.close(held)
    volume.finish()
    record("limits", "inode numbers during a mount", note="the same all the time")


@pytest.mark.slow
@needs_root
def test_no_owners(on: On) -> None:
    """docs/media.md: without owners below, chown is EPERM, and what other users make belongs to whom the disk says."""
    volume = on("owners", options=("--allow-other",))
    volume.base.parent.chmod(0o755)
    volume.base.chmod(0o755)
    top = volume.path
    top.chmod(0o777)
    everyday(top)
    assert error_of(lambda: os.chown(top / "file 1", 1234, 1234)) == "EPERM"

    def work() -> None:
        (top / "mine").write_bytes(b"by another user")
        (top / "my folder").mkdir()
        (top / "my link").symlink_to("mine")

    in_child(work, uid=1234)
    assert (top / "mine").read_bytes() == b"by another user"
    assert (top / "mine").stat().st_uid == os.geteuid()
    volume.finish()
    record("limits", "no owners", note="chown: EPERM; new files belong to whom the disk says")


@pytest.mark.parametrize("kind", media.kinds("exfat"))
def test_programs_on_exfat(make: Maker, base: Path, kind: str) -> None:
    """docs/media.md: cp, rsync, tar, git and SQLite do on a mount over exFAT what they do on exFAT itself."""
    need("rsync", "git", "sqlite3", "tar")
    source = base / "source"
    source.mkdir()
    tree(source)
    (source / "runs").write_text("#!/bin/sh\n")
    (source / "link").symlink_to("file 1")
    subprocess.run(["tar", "-C", str(base), "-cf", str(base / "source.tar"), "source"], check=True)
    lower, volume = make(kind)
    places = {"exfat": lower.path / "plain", "mount": volume.path}
    places["exfat"].mkdir()
    outcome: dict[str, dict[str, int]] = {}
    for place, top in places.items():
        everyday(top)
        (top / "repository").mkdir()
        git = [
            "git",
            "-C",
            str(top / "repository"),
            "-c",
            "user.name=n",
            "-c",
            "user.email=e",
            "-c",
            "safe.directory=*",
        ]
        save(top / "repository" / "file", b"content")
        commands = {
            "cp": ["cp", "-r", "--preserve=timestamps", str(source / "folder"), str(top / "copy")],
            "rsync": ["rsync", "-rt", f"{source}/folder/", str(top / "synced")],
            "rsync again": ["rsync", "-rt", "--delete", f"{source}/folder/", str(top / "synced")],
            "tar": ["tar", "-C", str(top), "--no-same-owner", "--exclude=link", "-xf", str(base / "source.tar")],
            "git init": [*git, "init", "-q"],
            "git add": [*git, "add", "file"],
            "git commit": [*git, "commit", "-q", "-m", "one"],
            "git fsck": [*git, "fsck", "--strict"],
            "sqlite": [
                "sqlite3",
                str(top / "base.db"),
                "PRAGMA journal_mode=DELETE; CREATE TABLE t(a); INSERT INTO t VALUES(1)",
            ],
            "sqlite wal": [
                "sqlite3",
                str(top / "wal.db"),
                "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)",
            ],
            "mkfifo": ["mkfifo", str(top / "pipe")],
            "hard link": ["ln", str(top / "file 1"), str(top / "hard")],
            "chown": ["chown", "1234", str(top / "file 1")],
        }
        outcome[place] = {
            name: subprocess.run(command, capture_output=True, check=False).returncode
            for name, command in commands.items()
        }
        for copy in ("copy", "synced", "source/folder"):
            for number in range(5):
                assert (top / copy / f"inner {number}").read_bytes() == pattern(number * 3000, number)
    assert outcome["mount"] == outcome["exfat"]
    # More than exFAT: symlinks.
    (volume.path / "link").symlink_to("file 1")
    assert os.readlink(volume.path / "link") == "file 1"
    subprocess.run(["cp", "-a", "--no-preserve=ownership,mode", str(source), str(volume.path / "all")], check=True)
    assert os.readlink(volume.path / "all/link") == "file 1"
    if (lower.path / "plain" / "pipe").exists():
        (lower.path / "plain" / "pipe").unlink()
    assert not os.path.lexists(volume.path / "pipe")
    volume.remount()
    check_tree(volume.path)
    shutil.rmtree(volume.path / "repository")
    volume.finish()
    record("limits", "programs over exFAT", cases=len(outcome["mount"]), note="the same outcome as on exFAT itself")
