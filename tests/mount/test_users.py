"""Who mounts, and who works in the mount: an ordinary user for himself, root for several users."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encfs.backup.flushing import flusher
from encfs.errors import BackupError
from encfs.units import VolumeId
from tests.mount.conftest import Maker, check_quiet
from tests.support.linux import Child, error_of, in_child, needs_root, read_direct
from tests.support.mounting import MountedVolume, cloakfs
from tests.support.twin import Twin, look, tree

pytestmark = needs_root

ALICE, BOB, STAFF = 12345, 12346, 4711
USERS = (0, ALICE, BOB, 12347)


def give(path: Path, uid: int, gid: int) -> None:
    """chown -R."""
    for folder, _, names in os.walk(path):
        os.chown(folder, uid, gid)
        for name in names:
            os.chown(Path(folder, name), uid, gid, follow_symlinks=False)


def volume_of(make_volume: Maker, uid: int, **env: str) -> MountedVolume:
    """A volume, mount point and home directory that belong to a user, mounted by that user."""
    volume = make_volume(mount=False)
    home = volume.base / "home"
    home.mkdir()
    give(volume.base, uid, uid)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ} | env
    # Unlike subprocess' own argument this reaches an interpreter below a directory that only root may enter.
    prefix = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    volume.user = {"prefix": prefix, "env": {**kept, "HOME": str(home)}, "cwd": Path(__file__).resolve().parents[2]}
    if cloakfs("--version", check=False, **volume.user).returncode != 0:
        pytest.skip("another user can run neither this interpreter nor this checkout")
    volume.mount()
    return volume


# The user who mounts: one with a name, which fusermount3 insists on.
MOUNTER = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def own(make_volume: Maker, fuse_for_everybody: None) -> Iterator[MountedVolume]:
    """A volume that an ordinary user has mounted."""
    volume = volume_of(make_volume, MOUNTER)
    yield volume
    check_quiet(volume)


def as_owner(action: Any) -> Any:
    """Run as the user who has mounted ``own``."""
    return in_child(action, uid=MOUNTER)


def test_an_ordinary_user_works_in_a_mount_of_his_own(own: MountedVolume) -> None:
    """Make, write, link, rename, remove, chmod, utime, xattrs: as in a plain directory of the same user."""
    plain = own.base / "plain"
    plain.mkdir()
    os.chown(plain, MOUNTER, MOUNTER)

    def work(directory: Path) -> object:
        os.umask(0o027)
        (directory / "a/b").mkdir(parents=True)
        (directory / "a/f").write_bytes(b"content" * 2000)
        os.link(directory / "a/f", directory / "g")
        (directory / "s").symlink_to("g")
        (directory / ("s" * 200)).symlink_to("g")
        os.mkfifo(directory / "p")
        (directory / "a/b").rename(directory / "c")
        (directory / "g").chmod(0o400)
        with (directory / "g").open("rb") as file:
            content = file.read()
        errors = [
            error_of(lambda: (directory / "g").write_bytes(b"")),
            error_of(lambda: os.chown(directory / "g", BOB, -1)),
            error_of(lambda: os.mknod(directory / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))),
            error_of(lambda: os.setxattr(directory / "g", "trusted.x", b"")),
        ]
        (directory / "g").chmod(0o200)
        with (directory / "g").open("ab") as file:
            file.write(b"write-only")
        errors.append(error_of(lambda: (directory / "g").read_bytes()))
        (directory / "g").chmod(0o640)
        os.utime(directory / "g", ns=(1, 2))
        os.setxattr(directory / "g", "user.note", b"mine")
        (directory / "c").chmod(0)
        errors += [error_of(lambda: os.listdir(directory / "c")), error_of(lambda: (directory / "c/x").mkdir())]
        (directory / "c").rename(directory / "closed")
        fd = os.open(directory / "gone", os.O_CREAT | os.O_RDWR, 0o600)
        (directory / "gone").unlink()
        os.write(fd, b"still writable")
        os.fsync(fd)
        os.fchmod(fd, 0o644)
        unlinked = look(fd), os.pread(fd, 100, 0)
        os.close(fd)
        return content, errors, unlinked, (directory / "g").stat().st_mtime_ns, tree(directory)

    expected = as_owner(lambda: work(plain))
    assert as_owner(lambda: work(own.path)) == expected
    before = as_owner(lambda: tree(own.path))
    own.remount()
    assert as_owner(lambda: tree(own.path)) == before
    as_owner(lambda: (own.path / "closed").rmdir())
    assert {path.lstat().st_uid for path in own.lower.rglob("*")} == {MOUNTER}


def test_a_closed_directory_can_be_renamed_and_removed_after_a_remount(own: MountedVolume) -> None:
    """Its owner may rename and remove a directory that he may not enter, although our record is inside."""

    def prepare() -> None:
        for name in ("a", "b"):
            (own.path / name).mkdir()
            (own.path / name).chmod(0)

    as_owner(prepare)
    own.remount()
    as_owner(lambda: (own.path / "a").rename(own.path / "c"))
    as_owner(lambda: (own.path / "b").rmdir())
    assert as_owner(lambda: look(own.path / "c").mode) == "0o40000"


def test_a_header_write_keeps_the_set_id_bits(own: MountedVolume) -> None:
    """The daemon of an ordinary user clears setuid below when it writes: rename, link and close put it back."""

    def work() -> object:
        path = own.path / "f"
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o755)
        os.write(fd, b"program")
        os.fchmod(fd, 0o6755)
        os.close(fd)
        path = path.rename(own.path / "g")
        os.link(path, own.path / "h")
        return look(path).mode

    assert as_owner(work) == "0o106755"
    own.remount()
    assert as_owner(lambda: look(own.path / "g").mode) == "0o106755"


def test_a_backup_flushes_a_mount_of_an_ordinary_user(own: MountedVolume) -> None:
    """FORMAT.md 18: the user who mounted does; root, whom that mount keeps out, is told what to do."""
    flush = flusher(VolumeId(bytes.fromhex(own.volume_id)), os.fsencode(own.path))

    def work() -> int:
        os.environ["HOME"] = str(own.base / "home")
        del os.environ["CLOAKFS_STATE_DIRECTORY"]
        with (own.path / "open").open("wb", buffering=0) as file:
            file.write(bytes(range(256)) * 100)
            flush()
            inode = os.fstat(file.fileno()).st_ino
            return next(path.stat().st_size for path in own.lower.rglob("*") if path.stat().st_ino == inode)

    assert as_owner(work) > 25_600
    with pytest.raises(BackupError, match="does not let this user in") as caught:
        flush()
    assert "--allow-other" in caught.value.hint


def test_a_users_mount_is_closed_to_others(own: MountedVolume) -> None:
    """Without --allow-other even root gets EACCES."""
    as_owner(lambda: (own.path / "f").write_bytes(b"private"))
    assert error_of(lambda: (own.path / "f").read_bytes()) == "EACCES"
    assert in_child(lambda: error_of(lambda: os.listdir(own.path)), uid=BOB) == "EACCES"


# -- root for several users ------------------------------------------------------------------------------


def test_files_belong_to_who_made_them(twin: Twin, shared: MountedVolume) -> None:
    """Everything that a user makes is his, also below, whoever runs the daemon."""

    def action(directory: Path) -> object:
        directory.chmod(0o1777)

        def make() -> None:
            os.umask(0o022)
            mine = directory / str(os.getuid())
            mine.mkdir()
            (mine / "f").write_bytes(b"x")
            (mine / ("l" * 255)).write_bytes(b"x")
            (mine / "s").symlink_to("f")
            (mine / ("s" * 200)).symlink_to("f")
            os.mkfifo(mine / "p")
            os.link(mine / "f", mine / "g")

        for uid in USERS:
            in_child(make, uid=uid, gid=uid + 1)
        return tree(directory)

    twin.same(action)
    before = tree(twin.mounted)
    shared.remount()
    assert tree(twin.mounted) == before
    owners = {path.lstat().st_uid for path in shared.lower.rglob("*") if "cloakfs" not in path.name}
    assert set(USERS) <= owners


def test_permissions_are_enforced_between_users(twin: Twin) -> None:
    """Private, shared and group files: each user may do what he may do on ext4, and no more."""

    def action(directory: Path) -> object:
        directory.chmod(0o777)
        for name, uid, gid, mode in (
            ("alice private", ALICE, ALICE, 0o600),
            ("alice public", ALICE, ALICE, 0o644),
            ("group", ALICE, STAFF, 0o660),
            ("open", 0, 0, 0o666),
            ("nobody", 0, 0, 0),
        ):
            (directory / name).write_bytes(b"content")
            os.chown(directory / name, uid, gid)
            (directory / name).chmod(mode)
            folder = directory / f"{name} d"
            folder.mkdir()
            os.chown(folder, uid, gid)
            folder.chmod(mode | (mode >> 2) & 0o111)

        def try_all() -> object:
            return {
                name: [
                    error_of(lambda: (directory / name).read_bytes()),  # noqa: B023 - called at once
                    error_of(lambda: os.close(os.open(directory / name, os.O_WRONLY))),  # noqa: B023
                    error_of(lambda: os.listdir(directory / f"{name} d")),  # noqa: B023
                    error_of(lambda: (directory / f"{name} d/x").mkdir()),  # noqa: B023
                    error_of(lambda: (directory / f"{name} d/x").rmdir()),  # noqa: B023
                    error_of(lambda: (directory / name).chmod(0o777)) if os.getuid() else None,  # noqa: B023
                ]
                for name in ("alice private", "group", "open", "nobody")
            }

        return [
            try_all(),
            in_child(try_all, uid=BOB),
            in_child(try_all, uid=BOB, groups=(STAFF,)),
            in_child(try_all, uid=ALICE),
        ]

    twin.same(action)


def test_users_at_once_do_not_disturb_each_other(twin: Twin) -> None:
    """Several users work at the same time: nobody gets an error, a file of another, or another's name on his own."""
    twin.mounted.chmod(0o1777)

    def work() -> int:
        os.umask(0o077)
        mine = twin.mounted / str(os.getuid())
        mine.mkdir()
        for number in range(60):
            path = mine / f"f{number}"
            path.write_bytes(b"%d" % os.getuid() * 500)
            os.link(path, mine / "link")
            path = path.rename(mine / f"g{number}")
            path.chmod(0o640)
            os.setxattr(path, "user.owner", b"%d" % os.getuid())
            assert path.read_bytes() == b"%d" % os.getuid() * 500
            (mine / "link").unlink()
            (mine / "d").mkdir()
            (mine / "d").rmdir()
            if number % 3:
                path.unlink()
        return len(os.listdir(mine))

    children = {uid: Child(work, uid=uid) for uid in USERS}
    assert {uid: child.result() for uid, child in children.items()} == dict.fromkeys(USERS, 20)
    for uid in USERS:
        for path in (twin.mounted / str(uid)).iterdir():
            assert (path.stat().st_uid, path.stat().st_gid) == (uid, uid)
            assert os.getxattr(path, "user.owner") == b"%d" % uid


def test_users_share_one_open_file(twin: Twin) -> None:
    """A reader without the right to write and a writer without the right to read have the same file open."""
    path = twin.mounted / "f"
    path.write_bytes(b"start")
    os.chown(path, ALICE, STAFF)
    path.chmod(0o240)

    def write() -> str | None:
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"written by alice", 10_000)
        os.fsync(fd)
        return error_of(lambda: os.open(path, os.O_RDONLY))

    def read() -> object:
        fd = os.open(path, os.O_RDONLY)
        return Child(write, uid=ALICE).result() if os.getuid() == 0 else os.pread(fd, 5, 0)

    assert in_child(read, uid=BOB, groups=(STAFF,)) == b"start"
    fd = os.open(path, os.O_RDONLY)
    assert in_child(write, uid=ALICE) == "EACCES"
    assert os.pread(fd, 20, 10_000) == b"written by alice"
    os.close(fd)
    assert read_direct(path) == b"start" + bytes(9995) + b"written by alice"


def test_what_the_daemon_writes_is_not_held_against_a_quota_of_rights(twin: Twin) -> None:
    """A program that gives up its rights keeps its descriptors: open as root, write as another user."""

    def action(directory: Path) -> object:
        fd = os.open(directory / "f", os.O_RDWR | os.O_CREAT, 0o600)

        def write() -> object:
            os.write(fd, b"without rights")
            os.fsync(fd)
            return os.pread(fd, 20, 0), error_of(lambda: os.open(directory / "f", os.O_RDONLY))

        seen = in_child(write, uid=BOB), look(fd)
        os.close(fd)
        return seen

    twin.same(action)
