"""Mode, owner, times, counts: stat(2) and what changes it, against a plain directory."""

from __future__ import annotations

import mmap
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.linux import error_of, in_child, needs_root, read_direct
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look, tree

ALICE, BOB, STAFF = 12345, 12346, 4711


def make_some(directory: Path) -> list[Path]:
    """One of each kind that has a mode of its own."""
    paths = [directory / name for name in ("file", "directory", "pipe", "n" * 200)]
    paths[0].write_bytes(b"x" * 5000)
    paths[1].mkdir()
    os.mkfifo(paths[2])
    paths[3].write_bytes(b"")
    return paths


def test_chmod(twin: Twin, shared: MountedVolume) -> None:
    """Every mode, with set-id and sticky bits, by path and by descriptor, is there at once and after a remount."""

    def action(directory: Path) -> object:
        paths = make_some(directory)
        seen = []
        for mode in (0, 0o400, 0o777, 0o1777, 0o2755, 0o4711, 0o7000, 0o654):
            for path in paths:
                path.chmod(mode)
            fd = os.open(paths[0], os.O_RDONLY) if os.geteuid() == 0 else None
            if fd is not None:
                os.fchmod(fd, mode ^ 0o111)
                os.close(fd)
            seen.append(tree(directory))
        return seen

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before


@needs_root
def test_chown(twin: Twin, shared: MountedVolume) -> None:
    """Owner and group, alone and both, of every kind of object; set-id bits go as on ext4; kept over a remount."""

    def action(directory: Path) -> object:
        paths = make_some(directory)
        (directory / "link").symlink_to("file")
        seen = []
        for path in paths:
            path.chmod(0o6775)
            for uid, gid in ((ALICE, -1), (-1, STAFF), (BOB, 0), (70_000, 80_000), (-1, -1)):
                os.chown(path, uid, gid)
                seen.append(look(path))
                path.chmod(0o6755)
        os.chown(directory / "link", ALICE, STAFF, follow_symlinks=False)
        paths[0].chmod(0o2644)
        os.chown(paths[0], ALICE, STAFF)
        fd = os.open(paths[0], os.O_RDONLY)
        os.fchown(fd, BOB, BOB)
        os.close(fd)
        return seen, tree(directory)

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before


@needs_root
def test_a_directory_record_belongs_to_the_owner_of_its_directory(mounted: MountedVolume) -> None:
    """chown of a directory takes cloakfs.d along, also where this mount has not looked into it yet."""
    for name in ("fresh", "known"):
        (mounted.path / name).mkdir()
    os.chown(mounted.path / "fresh", ALICE, STAFF)
    mounted.remount()
    os.chown(mounted.path / "known", ALICE, STAFF)
    records = [path / "cloakfs.d" for path in mounted.lower.iterdir() if (path / "cloakfs.d").exists()]
    assert [(record.stat().st_uid, record.stat().st_gid) for record in records] == [(ALICE, STAFF)] * 2


def test_times_to_the_nanosecond(twin: Twin, shared: MountedVolume) -> None:
    """utimensat sets either time or both, before 1970 too; what is left out stays; kept over a remount."""
    moments = (0, 1, 999_999_999, 1_234_567_890_123_456_789, 4_102_444_800_000_000_001, -1_500_000_000)

    def set_times(directory: Path) -> object:
        paths = make_some(directory)
        for number, path in enumerate(paths):
            for at, mt in zip(moments, moments[1:] + moments[:1]):
                os.utime(path, ns=(at, mt))
                assert path.stat().st_mtime_ns == mt
            os.utime(path, ns=(moments[number], moments[number + 1]))
            subprocess.run(["touch", "-h", "-m", "-d", f"2001-02-03 04:05:0{number}.123456789Z", path], check=True)
        return [(path.stat().st_atime_ns, path.stat().st_mtime_ns) for path in paths]

    expected = twin.same(set_times)
    shared.remount()
    paths = [twin.mounted / name for name in ("file", "directory", "pipe", "n" * 200)]
    assert [(path.stat().st_atime_ns, path.stat().st_mtime_ns) for path in paths] == expected


def test_our_own_writes_do_not_move_mtime(twin: Twin, shared: MountedVolume) -> None:
    """Header writes at close, fsync, rename and link leave mtime where the program put it (DESIGN section 7)."""
    stamp = 987_654_321_987_654_321

    def action(directory: Path) -> object:
        seen = []
        path = directory / "f"

        def check() -> None:
            seen.append(path.stat().st_mtime_ns)

        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"x" * 10_000)
        os.utime(fd, ns=(stamp, stamp))
        check()
        os.fsync(fd)
        check()
        os.close(fd)
        check()
        path = path.rename(directory / "g")
        check()
        os.link(path, directory / "h")
        check()
        path = path.rename(directory / ("g" * 222))
        (directory / "h").unlink()
        path.chmod(0o600)
        os.setxattr(path, "user.note", b"value")
        path.read_bytes()
        check()
        fd = os.open(path, os.O_RDWR)
        os.close(fd)
        check()
        return seen

    assert twin.same(action) == [stamp] * 7
    shared.remount()
    assert (twin.mounted / ("g" * 222)).stat().st_mtime_ns == stamp


def test_writes_do_move_mtime(twin: Twin, shared: MountedVolume) -> None:
    """write, truncate and open(O_TRUNC) set mtime and ctime to now; that mtime is there after a remount."""
    old = 10**18

    def act(path: Path, how: str) -> None:
        if how == "write":
            with path.open("r+b") as file:
                file.write(b"x")
        elif how == "append":
            with path.open("ab") as file:
                file.write(b"x")
        elif how == "truncate down":
            os.truncate(path, 10)
        elif how == "truncate up":
            os.truncate(path, 9000)
        else:
            path.write_bytes(b"")

    seen = {}
    ways = ("write", "append", "truncate down", "truncate up", "open with O_TRUNC")
    for how in ways:
        path = twin.mounted / how
        path.write_bytes(b"y" * 5000)
        os.utime(path, ns=(old, old))
        act(path, how)
        seen[how] = path.stat().st_mtime_ns
        assert seen[how] > old
        assert path.stat().st_ctime_ns >= seen[how]
    shared.remount()
    assert {how: (twin.mounted / how).stat().st_mtime_ns for how in ways} == seen


def test_directory_times(twin: Twin) -> None:
    """mtime of a directory moves with its entries and with nothing else."""

    def action(directory: Path) -> object:
        box = directory / "box"
        box.mkdir()
        (box / "f").write_bytes(b"x")
        (box / "sub").mkdir()
        steps: dict[str, Callable[[], object]] = {
            "nothing": lambda: os.listdir(box),
            "create": lambda: (box / "new").write_bytes(b""),
            "write": lambda: (box / "f").write_bytes(b"longer content" * 1000),
            "chmod of a child": lambda: (box / "f").chmod(0o600),
            "in a child": lambda: (box / "sub/x").write_bytes(b""),
            "link": lambda: os.link(box / "f", box / "g"),
            "rename inside": lambda: (box / "g").rename(box / "h"),
            "unlink": lambda: (box / "h").unlink(),
            "mkdir": lambda: (box / "e").mkdir(),
            "rmdir": lambda: (box / "e").rmdir(),
            "symlink": lambda: (box / "s").symlink_to("x"),
            "xattr of a child": lambda: os.setxattr(box / "f", "user.a", b"b"),
        }
        moved = {}
        for name, step in steps.items():
            os.utime(box, ns=(10**18, 10**18))
            step()
            moved[name] = box.stat().st_mtime_ns != 10**18
        return moved

    twin.same(action)


def test_link_counts_and_inodes(twin: Twin, shared: MountedVolume) -> None:
    """nlink of files and directories is true at every step; inode numbers are unique and the same after a remount."""

    def action(directory: Path) -> object:
        seen = []
        for name in ("a", "a/b", "a/c", "d"):
            (directory / name).mkdir()
            seen.append((tree(directory), look(directory)))
        (directory / "a/c").rename(directory / "d/c")
        seen.append((tree(directory), look(directory)))
        (directory / "a/b").rmdir()
        (directory / "f").write_bytes(b"")
        os.link(directory / "f", directory / "d/g")
        (directory / "s").symlink_to("f")
        seen.append((tree(directory), look(directory)))
        return seen

    twin.same(action)
    for number in range(50):
        (twin.mounted / f"more{number}").write_bytes(b"")
    before = {path: path.lstat().st_ino for path in twin.mounted.rglob("*")}
    listed = {Path(entry.path): entry.inode() for entry in os.scandir(twin.mounted)}
    assert listed == {path: number for path, number in before.items() if path.parent == twin.mounted}
    assert len(set(before.values())) == len(before) - 1  # f and d/g are one file
    (twin.mounted / "more7").rename(twin.mounted / "elsewhere")
    (twin.mounted / "d").rename(twin.mounted / "D")
    before = {path: path.lstat().st_ino for path in twin.mounted.rglob("*")}
    shared.remount()
    assert {path: path.lstat().st_ino for path in twin.mounted.rglob("*")} == before


def test_link_count_of_the_root(mounted: MountedVolume) -> None:
    """The root counts its directories, and not the folder of session records below it."""
    assert mounted.path.stat().st_nlink == 2
    (mounted.path / "one").mkdir()
    (mounted.path / "two").mkdir()
    assert mounted.path.stat().st_nlink == 4
    assert mounted.path.stat().st_ino == 1


def test_blocks_are_those_of_the_lower_file(mounted: MountedVolume) -> None:
    """st_blocks says what a file takes on the disk, sparse or not, so that du and df agree."""
    top = mounted.path
    (top / "dense").write_bytes(b"x" * 300_000)
    with (top / "sparse").open("wb") as file:
        file.truncate(10_000_000)
        file.seek(5_000_000)
        file.write(b"x")
    (top / "empty").write_bytes(b"")
    for path in top.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    lower = sorted(path.stat().st_blocks for path in mounted.lower.iterdir() if len(path.name) > 40)
    assert sorted(path.stat().st_blocks for path in top.iterdir()) == lower
    assert (top / "sparse").stat().st_blocks * 512 < 100_000
    assert (top / "dense").stat().st_blocks * 512 >= 300_000
    printed = subprocess.run(["du", "--block-size=1", top / "dense"], capture_output=True, text=True, check=True).stdout
    assert int(printed.split()[0]) == (top / "dense").stat().st_blocks * 512


def test_sizes_are_plain_everywhere(twin: Twin) -> None:
    """lstat, fstat, scandir and ls of a fresh look say the plain size, of open and of closed files."""

    def action(directory: Path) -> object:
        for size in (0, 1, 3000, 3552, 3553, 5000, 7616, 7617, 100_000):
            (directory / str(size)).write_bytes(b"s" * size)
        fd = os.open(directory / "open", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 4321)
        listed = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in os.scandir(directory)}
        printed = subprocess.run(["ls", "-l", directory], capture_output=True, text=True, check=True).stdout
        result = listed, [line.split()[4] for line in printed.splitlines()[1:]], look(fd)
        os.close(fd)
        return result

    twin.same(action)


def test_statfs(mounted: MountedVolume) -> None:
    """statvfs tells the room below, names of 255 bytes; what is written takes it."""
    above, below = os.statvfs(mounted.path), os.statvfs(mounted.lower)
    assert above.f_namemax == 255
    for name in ("f_bsize", "f_frsize", "f_blocks", "f_files"):
        assert getattr(above, name) == getattr(below, name)
    (mounted.path / "f").write_bytes(os.urandom(1 << 20))
    with (mounted.path / "f").open("rb") as file:
        above = os.fstatvfs(file.fileno())
    assert 0 < above.f_bavail <= above.f_bfree < above.f_blocks


@needs_root
def test_access(twin: Twin) -> None:
    """access(2) as several users, in and out of the group: as elsewhere, for root too."""

    def action(directory: Path) -> object:
        directory.chmod(0o777)
        for mode in (0, 0o400, 0o040, 0o004, 0o700, 0o070, 0o007, 0o111, 0o644):
            path = directory / f"{mode:o}"
            path.write_bytes(b"")
            path.chmod(mode)
            os.chown(path, ALICE, STAFF)

        def ask() -> object:
            return {
                name: [os.access(directory / name, want) for want in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]
                for name in sorted(os.listdir(directory))
            }

        return [ask(), in_child(ask, uid=ALICE), in_child(ask, uid=BOB, groups=(STAFF,)), in_child(ask, uid=BOB)]

    twin.same(action)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_umask(twin: Twin, mask: int) -> None:
    """The umask of the program, not of the daemon, is taken off the mode of whatever is made."""

    def action(directory: Path) -> object:
        def make() -> object:
            os.umask(mask)
            os.close(os.open(directory / "f", os.O_CREAT | os.O_WRONLY, 0o6777))
            os.mkdir(directory / "d", 0o7777)
            os.mkfifo(directory / "p", 0o666)
            os.symlink("x", directory / "s")
            return tree(directory)

        return in_child(make)

    twin.same(action)


@needs_root
def test_set_group_id_directories(twin: Twin, shared: MountedVolume) -> None:
    """What is made in a setgid directory gets its group, directories the bit too; by root, by members and by others."""

    def action(directory: Path) -> object:
        box = directory / "box"
        box.mkdir()
        os.chown(box, 0, STAFF)
        box.chmod(0o2777)

        def make(name: str) -> None:
            os.umask(0o022)
            os.close(os.open(box / f"{name}-f", os.O_CREAT | os.O_WRONLY, 0o666))
            os.close(os.open(box / f"{name}-x", os.O_CREAT | os.O_WRONLY, 0o2775))
            (box / f"{name}-d").mkdir()
            (box / f"{name}-d/inner").mkdir()
            (box / f"{name}-d/inner/f").write_bytes(b"")
            os.mkfifo(box / f"{name}-p")
            (box / f"{name}-s").symlink_to("x")
            (box / f"{name}-{'l' * 200}").symlink_to("x")

        make("root")
        in_child(lambda: make("member"), uid=ALICE, groups=(STAFF,))
        in_child(lambda: make("stranger"), uid=BOB)
        return tree(directory)

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before


@needs_root
def test_set_group_id_is_dropped_by_chmod_of_a_stranger_to_the_group(twin: Twin) -> None:
    """chmod g+s by an owner who is not in the file's group sets the rest of the mode without the bit."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"")
        os.chown(path, ALICE, STAFF)
        in_child(lambda: path.chmod(0o2755), uid=ALICE)
        outside = look(path)
        in_child(lambda: path.chmod(0o2755), uid=ALICE, groups=(STAFF,))
        return outside, look(path)

    twin.same(action)


@needs_root
def test_sticky_directories(twin: Twin) -> None:
    """In a sticky directory only the owner of a file, of the directory, and root remove or rename it."""

    def action(directory: Path) -> object:
        box = directory / "box"
        box.mkdir()
        box.chmod(0o1777)

        def make() -> None:
            for name in ("a", "b", "c"):
                (box / name).write_bytes(b"")
            (box / "d").mkdir()

        def others() -> object:
            (box / "mine").write_bytes(b"")
            return [
                error_of(lambda: (box / "a").unlink()),
                error_of(lambda: (box / "a").rename(box / "z")),
                error_of(lambda: (box / "mine").rename(box / "b")),
                error_of(lambda: (box / "d").rmdir()),
                error_of(lambda: (box / "mine").unlink()),
            ]

        in_child(make, uid=ALICE)
        errors = in_child(others, uid=BOB)
        in_child(lambda: (box / "a").rename(box / "renamed"), uid=ALICE)
        (box / "c").unlink()
        return errors, tree(directory)

    twin.same(action)


@needs_root
@pytest.mark.parametrize("how", ["write", "mapping", "truncate", "O_TRUNC", "chown", "root writes"])
def test_set_id_bits_are_dropped(twin: Twin, how: str) -> None:
    """Set-id bits go when a user writes or truncates, and on chown, as on ext4; not when root writes."""

    def action(directory: Path) -> object:
        seen = []
        for mode in (0o6777, 0o4766, 0o2777, 0o4706):
            path = directory / f"{mode:o}"
            path.write_bytes(b"content" * 1000)
            os.chown(path, ALICE, STAFF)
            path.chmod(mode)

            def change(path: Path = path) -> None:
                if how == "write":
                    fd = os.open(path, os.O_WRONLY)
                    os.write(fd, b"x")
                    os.close(fd)
                elif how == "mapping":
                    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
                        mapping[:1] = b"x"
                elif how == "truncate":
                    os.truncate(path, 10)
                elif how == "O_TRUNC":
                    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
                elif how == "chown":
                    os.chown(path, -1, BOB)

            if how == "chown":
                in_child(change, uid=ALICE, groups=(BOB,))
            elif how == "root writes":
                path.write_bytes(b"x")
            else:
                in_child(change, uid=BOB)
            seen.append(look(path))
        return seen

    twin.same(action)
    if how == "write":
        assert read_direct(twin.mounted / "6777") == (twin.plain / "6777").read_bytes()
    # What fstat of a fresh look below says is what the kernel remembers.
    for path in twin.mounted.iterdir():
        fd = os.open(path, os.O_RDWR)
        os.fsync(fd)
        assert stat.S_IMODE(os.fstat(fd).st_mode) == stat.S_IMODE((twin.plain / path.name).stat().st_mode)
        os.close(fd)


@needs_root
def test_who_may_change_metadata(twin: Twin) -> None:
    """chmod, chown, utime and truncate by owner, group and others: EPERM and EACCES exactly where ext4 has them."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"content")
        os.chown(path, ALICE, STAFF)
        path.chmod(0o664)

        def try_all() -> object:
            return [
                error_of(lambda: path.chmod(0o664)),
                error_of(lambda: os.chown(path, -1, STAFF)),
                error_of(lambda: os.chown(path, BOB, -1)),
                error_of(lambda: os.utime(path)),
                error_of(lambda: os.utime(path, ns=(1, 1))),
                error_of(lambda: os.truncate(path, 3)),
                error_of(lambda: os.setxattr(path, "user.a", b"b")),
                error_of(lambda: os.setxattr(path, "trusted.a", b"b")),
                error_of(lambda: os.link(path, directory / "g")),
                error_of(lambda: path.unlink()),
            ]

        return [
            in_child(try_all, uid=ALICE),
            in_child(try_all, uid=ALICE, groups=(STAFF,)),
            in_child(try_all, uid=BOB, groups=(STAFF,)),
            in_child(try_all, uid=BOB),
        ]

    twin.same(action)
