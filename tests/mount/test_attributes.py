"""Extended attributes and POSIX ACLs (FORMAT.md section 10), against a plain directory."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.linux import error_of, in_child, needs_root
from tests.support.mounting import MountedVolume
from tests.support.twin import Twin, look, tree

ALICE, BOB, CAROL, STAFF = 12345, 12346, 12347, 4711
LOWER_NAME = "user.cloakfs"

needs_acl = pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs setfacl")


def attributes(path: Path) -> dict[str, bytes]:
    """All attributes that listxattr shows, in order."""
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    }


def setfacl(*arguments: str | Path) -> None:
    """Run setfacl."""
    subprocess.run(["setfacl", *arguments], check=True)


def getfacl(path: Path) -> str:
    """What getfacl prints, with numeric users."""
    command: list[str | Path] = ["getfacl", "--omit-header", "--numeric", "--absolute-names", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def acls(directory: Path) -> dict[str, str]:
    """getfacl of everything below, symlinks left out."""
    return {
        str(path.relative_to(directory)): getfacl(path)
        for path in sorted(directory.rglob("*"))
        if not path.is_symlink()
    }


def test_user_attributes(twin: Twin, shared: MountedVolume) -> None:
    """Set, replaced, listed, removed, with XATTR_CREATE and XATTR_REPLACE, empty and binary; there after a remount."""

    def action(directory: Path) -> object:
        file, folder = directory / "f", directory / ("d" * 200)
        file.write_bytes(b"content")
        folder.mkdir()
        errors = []
        for path in (file, folder):
            os.setxattr(path, "user.one", b"1")
            os.setxattr(path, "user.empty", b"")
            os.setxattr(path, "user.bytes", bytes(range(256)))
            os.setxattr(path, "user." + "n" * 250, b"long name")
            os.setxattr(path, "user.one", b"replaced")
            os.setxattr(path, "user.gone", b"soon")
            os.removexattr(path, "user.gone")
            errors += [
                error_of(lambda: os.setxattr(path, "user.one", b"x", os.XATTR_CREATE)),  # noqa: B023 - called at once
                error_of(lambda: os.setxattr(path, "user.new", b"x", os.XATTR_REPLACE)),  # noqa: B023
                error_of(lambda: os.getxattr(path, "user.gone")),  # noqa: B023
                error_of(lambda: os.removexattr(path, "user.gone")),  # noqa: B023
                error_of(lambda: os.setxattr(path, "user." + "n" * 251, b"")),  # noqa: B023
                error_of(lambda: os.setxattr(path, "unknown.name", b"")),  # noqa: B023
                error_of(lambda: os.setxattr(path, "user.", b"")),  # noqa: B023
                error_of(lambda: os.setxattr(path, "user.big", b"x" * 65537)),  # noqa: B023
            ]
            os.setxattr(path, "user.one", b"again", os.XATTR_REPLACE)
            os.setxattr(path, "user.created", b"c", os.XATTR_CREATE)
        (directory / "link").symlink_to("f")
        os.mkfifo(directory / "pipe")
        errors += [
            error_of(lambda: os.setxattr(directory / "link", "user.a", b"", follow_symlinks=False)),
            error_of(lambda: os.setxattr(directory / "pipe", "user.a", b"")),
        ]
        return errors, attributes(file), attributes(folder), attributes(directory / "link")

    twin.same(action)
    file = (twin.mounted / "f").rename(twin.mounted / "renamed")
    os.link(file, twin.mounted / "linked")
    before = attributes(file)
    shared.remount()
    for path in (file, twin.mounted / "linked"):
        assert attributes(path) == before
    assert attributes(twin.mounted / ("d" * 200)) == attributes(twin.plain / ("d" * 200))


def test_attributes_of_the_root(mounted: MountedVolume) -> None:
    """The root directory has attributes like every other."""
    os.setxattr(mounted.path, "user.label", b"practice")
    mounted.remount()
    assert attributes(mounted.path) == {"user.label": b"practice"}
    os.removexattr(mounted.path, "user.label")
    assert LOWER_NAME not in os.listxattr(mounted.lower)


def test_attributes_are_sealed_below(mounted: MountedVolume) -> None:
    """Neither name nor value is in a lower attribute, of which there is one; the last removal takes it away."""
    for name in ("f", "d"):
        path = mounted.path / name
        path.mkdir() if name == "d" else path.write_bytes(b"")
        os.setxattr(path, "user.diagnosis", b"plain value of it")
    lower = [path for path in mounted.lower.iterdir() if len(path.name) > 40]
    assert len(lower) == 2
    for path in lower:
        assert os.listxattr(path) == [LOWER_NAME]
        sealed = os.getxattr(path, LOWER_NAME)
        assert b"diagnosis" not in sealed
        assert b"plain value" not in sealed
    for name in ("f", "d"):
        os.removexattr(mounted.path / name, "user.diagnosis")
    assert [os.listxattr(path) for path in lower] == [[], []]


def test_room_for_attributes(mounted: MountedVolume) -> None:
    """Several thousand bytes fit on ext4; one too many is ENOSPC and changes nothing."""
    path = mounted.path / "f"
    path.write_bytes(b"")
    os.setxattr(path, "user.first", b"kept")
    os.setxattr(path, "user.large", b"x" * 3000)
    assert error_of(lambda: os.setxattr(path, "user.huge", b"y" * 65_000)) == "ENOSPC"
    assert attributes(path) == {"user.first": b"kept", "user.large": b"x" * 3000}
    mounted.remount()
    assert attributes(path) == {"user.first": b"kept", "user.large": b"x" * 3000}


@needs_root
def test_trusted_and_security_attributes(twin: Twin, shared: MountedVolume) -> None:
    """trusted.* and security.* are kept, for root only; an ordinary user neither sees nor sets them."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"")
        path.chmod(0o666)
        os.setxattr(path, "trusted.overlay", b"opaque")
        os.setxattr(path, "security.evm", b"\x01signature")
        os.setxattr(path, "user.all", b"see")

        def ask() -> object:
            return [
                os.listxattr(path),
                os.getxattr(path, "security.evm"),
                error_of(lambda: os.getxattr(path, "trusted.overlay")),
                error_of(lambda: os.setxattr(path, "trusted.x", b"")),
                error_of(lambda: os.setxattr(path, "security.x", b"")),
                error_of(lambda: os.removexattr(path, "trusted.overlay")),
            ]

        names = in_child(ask, uid=BOB)
        return [sorted(names[0]), *names[1:]], attributes(path)  # type: ignore[index]

    twin.same(action)
    before = attributes(twin.mounted / "f")
    shared.remount()
    assert attributes(twin.mounted / "f") == before


@needs_root
def test_file_capabilities_go_with_a_write(twin: Twin) -> None:
    """security.capability is kept, and dropped when the file is written to, as on ext4."""
    capability = bytes.fromhex("0100000200040000000000000000000000000000")

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"program")
        os.setxattr(path, "security.capability", capability)
        before = attributes(path)
        with path.open("r+b") as file:
            file.write(b"P")
        after = attributes(path)
        os.setxattr(path, "security.capability", capability)
        os.chown(path, ALICE, STAFF)
        return before, after, attributes(path)

    twin.same(action)


# -- ACLs ---------------------------------------------------------------------------------------------------


@needs_acl
def test_acls_and_the_mode(twin: Twin, shared: MountedVolume) -> None:
    """setfacl changes the mode, chmod the mask, as on ext4 at every step; all of it is there after a remount."""

    def action(directory: Path) -> object:
        path = directory / "f"
        path.write_bytes(b"x")
        path.chmod(0o640)
        seen: list[object] = []
        for step in (
            ("-m", f"u:{BOB}:rw"),
            ("-m", f"g:{STAFF}:r-x"),
            ("-m", "m::r"),
            ("-m", "o::x"),
            ("-x", f"u:{BOB}"),
            ("-m", f"u:{CAROL}:---,u::r"),
        ):
            setfacl(*step, path)
            seen.append((getfacl(path), look(path)))
        for mode in (0o777, 0o600, 0o2755, 0o004):
            path.chmod(mode)
            seen.append((getfacl(path), look(path)))
        copy = directory / "copy"
        shutil.copy(path, copy)
        setfacl("-m", f"u:{BOB}:r", copy)
        setfacl("-b", copy)
        seen.append((getfacl(copy), look(copy), attributes(copy)))
        folder = directory / "d"
        folder.mkdir()
        setfacl("-m", f"u:{BOB}:rwx,d:u:{CAROL}:rx,d:o::-", folder)
        seen.append((getfacl(folder), look(folder), sorted(os.listxattr(folder))))
        setfacl("-k", folder)
        seen.append((getfacl(folder), look(folder)))
        setfacl("-m", "d:u::rwx", folder)
        return seen

    twin.same(action)
    before = acls(twin.mounted), tree(twin.mounted)
    shared.remount()
    assert (acls(twin.mounted), tree(twin.mounted)) == before


@needs_root
@needs_acl
def test_acls_are_enforced(twin: Twin, shared: MountedVolume) -> None:
    """Named users and groups, the mask, and directories: who may do what is what ext4 says, also after a remount."""

    def prepare(directory: Path) -> None:
        file, folder = directory / "f", directory / "d"
        file.write_bytes(b"secret")
        folder.mkdir()
        (folder / "inside").write_bytes(b"inside")
        for path, rights in ((file, "rw"), (folder, "rwx"), (folder / "inside", "r")):
            path.chmod(0o700 if path == folder else 0o600)
            setfacl("-m", f"u:{ALICE}:{rights},g:{STAFF}:r", path)
        masked = directory / "masked"
        masked.write_bytes(b"masked")
        setfacl("-m", f"u:{ALICE}:rw,m::-,o::r", masked)

    def ask(directory: Path) -> object:
        def try_all() -> object:
            return [
                error_of(lambda: (directory / "f").read_bytes()),
                error_of(lambda: (directory / "f").write_bytes(b"secret")),
                error_of(lambda: os.listdir(directory / "d")),
                error_of(lambda: (directory / "d/inside").read_bytes()),
                error_of(lambda: (directory / "d/new").mkdir()),
                error_of(lambda: (directory / "d/new").rmdir()),
                error_of(lambda: (directory / "masked").read_bytes()),
                [os.access(directory / name, want) for name in ("f", "d", "masked") for want in (1, 2, 4)],
            ]

        return [
            in_child(try_all, uid=ALICE),
            in_child(try_all, uid=BOB, groups=(STAFF,)),
            in_child(try_all, uid=BOB, gid=STAFF),
            in_child(try_all, uid=CAROL),
            try_all(),
        ]

    prepare(twin.plain)
    prepare(twin.mounted)
    first = twin.same(ask)
    shared.remount()
    assert twin.same(ask) == first


@needs_root
@needs_acl
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_default_acls_are_inherited(twin: Twin, shared: MountedVolume, mask: int) -> None:
    """With a default ACL the umask counts for nothing, mode and ACL of all that is made are those of ext4 (acl(5))."""

    def action(directory: Path) -> object:
        for name, default in {
            "full": f"d:u::rwx,d:u:{ALICE}:rwx,d:g::r-x,d:g:{STAFF}:rw,d:m::rwx,d:o::r",
            "minimal": "d:u::rwx,d:g::rwx,d:o::r-x",
            "narrow": f"d:u::r,d:u:{ALICE}:rwx,d:g::-,d:m::r,d:o::-",
        }.items():
            box = directory / name
            box.mkdir()
            setfacl("-m", default, box)
            box.chmod(0o777)

            def make(box: Path = box) -> None:
                os.umask(mask)
                for mode in (0o666, 0o600, 0o777, 0o440):
                    os.close(os.open(box / f"f{mode:o}", os.O_CREAT | os.O_WRONLY, mode))
                    os.mkdir(box / f"d{mode:o}", mode)
                os.mkfifo(box / "p", 0o666)
                os.symlink("x", box / "s")

            in_child(make)
            (box / "d777/deeper").mkdir()
            (box / "d777/deeper/f").write_bytes(b"")
            # As a user too: in a directory that the ACL lets in.
            in_child(lambda box=box: (box / "by bob").mkdir(), uid=BOB)  # type: ignore[misc]
        return tree(directory), {name: text for name, text in acls(directory).items() if not name.endswith("/p")}

    twin.same(action)
    before = tree(twin.mounted), acls(twin.mounted)
    shared.remount()
    assert (tree(twin.mounted), acls(twin.mounted)) == before


@needs_root
@needs_acl
def test_acl_set_by_a_user_enters_the_lower_volume_sealed(mounted: MountedVolume) -> None:
    """An ACL is in the sealed attribute, not in an ACL of the lower file; only the mode bits show below."""
    path = mounted.path / "f"
    path.write_bytes(b"")
    setfacl("-m", f"u:{BOB}:rw", path)
    lower = next(entry for entry in mounted.lower.iterdir() if len(entry.name) > 40)
    assert os.listxattr(lower) == [LOWER_NAME]
    assert BOB.to_bytes(4, "little") not in os.getxattr(lower, LOWER_NAME)
    assert stat.S_IMODE(lower.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)


@needs_acl
def test_malformed_acls_are_refused(twin: Twin) -> None:
    """An attribute that is no ACL, or one on the wrong kind of object: the errno of ext4."""

    def action(directory: Path) -> object:
        path, folder = directory / "f", directory / "d"
        path.write_bytes(b"")
        folder.mkdir()
        setfacl("-m", f"u:{BOB}:r", folder)
        good = os.getxattr(folder, "system.posix_acl_access")
        return (
            [
                error_of(lambda: os.setxattr(path, "system.posix_acl_access", b"rubbish")),
                error_of(lambda: os.setxattr(path, "system.posix_acl_access", good[:-8])),
                error_of(lambda: os.setxattr(path, "system.posix_acl_access", good)),
                error_of(lambda: os.setxattr(path, "system.posix_acl_default", good)),
                error_of(lambda: os.setxattr(folder, "system.posix_acl_default", good)),
                error_of(lambda: os.removexattr(folder, "system.posix_acl_access")),
                error_of(lambda: os.removexattr(folder, "system.posix_acl_default")),
                error_of(lambda: os.removexattr(folder, "system.posix_acl_default")),
            ],
            acls(directory),
            tree(directory),
        )

    twin.same(action)
