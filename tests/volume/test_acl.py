"""ACL arithmetic against the kernel's own on a plain filesystem (acl(5); FORMAT.md section 10)."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from encfs.volume import Volume, acl
from encfs.volume.attributes import Setattr
from encfs.volume.changes import Caller
from tests.support.volumes import LowerVolume

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
ids = st.integers(1, 5)
perms = st.integers(0, 7)


@st.composite
def acls(draw: st.DrawFn) -> acl.Acl:
    """Any ACL that the kernel takes: in its order, with a mask where somebody is named."""
    users = sorted(draw(st.sets(ids, max_size=3)))
    groups = sorted(draw(st.sets(ids, max_size=3)))
    nobody = 0xFFFFFFFF
    entries = [acl.Entry(acl.USER_OBJ, draw(perms), nobody)]
    entries += [acl.Entry(acl.USER, draw(perms), who) for who in users]
    entries += [acl.Entry(acl.GROUP_OBJ, draw(perms), nobody)]
    entries += [acl.Entry(acl.GROUP, draw(perms), who) for who in groups]
    if users or groups or draw(st.booleans()):
        entries.append(acl.Entry(acl.MASK, draw(perms), nobody))
    entries.append(acl.Entry(acl.OTHER, draw(perms), nobody))
    return tuple(entries)


modes = st.integers(0, 0o777)


def get(path: Path, name: str) -> bytes | None:
    """An attribute, or None."""
    try:
        return os.getxattr(path, name)
    except OSError as exc:
        if exc.errno == errno.ENODATA:
            return None
        raise


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory on a filesystem that has ACLs."""
    directory = tmp_path_factory.mktemp("plain")
    try:
        os.setxattr(
            directory,
            DEFAULT,
            acl.build((acl.Entry(1, 7, 0xFFFFFFFF), acl.Entry(4, 5, 0xFFFFFFFF), acl.Entry(32, 5, 0xFFFFFFFF))),
        )
        os.removexattr(directory, DEFAULT)
    except OSError as exc:
        pytest.skip(f"no ACLs here: {exc}")
    return directory


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    """A volume unlocked for the whole module."""
    before = os.umask(0)  # as the daemon does: what a caller's umask takes away is said by the caller
    try:
        with LowerVolume(tmp_path_factory.mktemp("acl") / "volume").unlock() as volume:
            yield volume
    finally:
        os.umask(before)


serial = itertools.count()
each = settings(max_examples=100, suppress_health_check=list(HealthCheck))


def mode_in(volume: Volume, path: bytes) -> int:
    """Permission bits of a path in the volume."""
    return stat.S_IMODE(volume.stat(path).mode)


def attribute_in(volume: Volume, path: bytes, name: str) -> bytes | None:
    """An attribute of a path in the volume, as it is below."""
    return volume.attributes.read(volume.resolve(path)).get(name.encode())


@each
@given(value=acls())
def test_parse_and_build(value: acl.Acl) -> None:
    """An ACL survives being written and read (linux/posix_acl_xattr.h)."""
    assert acl.parse(acl.build(value)) == value


@each
@given(value=acls(), bits=modes)
def test_setting_an_access_acl(plain: Path, volume: Volume, value: acl.Acl, bits: int) -> None:
    """setxattr of an access ACL sets the mode bits; one that says no more than they do is not kept (acl(5))."""
    number = next(serial)
    path, name = plain / str(number), b"%d" % number
    path.touch()
    path.chmod(bits | stat.S_ISGID)
    os.setxattr(path, ACCESS, acl.build(value))
    volume.write_file(name, b"", mode=0o600)
    volume.set_metadata(name, Setattr(mode=bits | stat.S_ISGID))
    volume.attributes.set(volume.resolve(name), ACCESS.encode(), acl.build(value))
    assert mode_in(volume, name) == mode(path)
    assert attribute_in(volume, name, ACCESS) == get(path, ACCESS)
    assert acl.mode_of(value) == mode(path) & 0o777


@each
@given(value=acls(), bits=modes)
def test_chmod_with_an_access_acl(plain: Path, volume: Volume, value: acl.Acl, bits: int) -> None:
    """chmod changes owner, mask (or group) and other in the ACL (acl(5))."""
    number = next(serial)
    path, name = plain / str(number), b"%d" % number
    path.touch()
    volume.write_file(name, b"")
    os.setxattr(path, ACCESS, acl.build(value))
    volume.attributes.set(volume.resolve(name), ACCESS.encode(), acl.build(value))
    path.chmod(bits)
    volume.set_metadata(name, Setattr(mode=bits))
    assert mode_in(volume, name) == mode(path)
    assert attribute_in(volume, name, ACCESS) == get(path, ACCESS)


@each
@given(value=acls(), bits=modes, umask=modes)
@example(
    value=(acl.Entry(1, 6, 0xFFFFFFFF), acl.Entry(4, 4, 0xFFFFFFFF), acl.Entry(32, 0, 0xFFFFFFFF)),
    bits=0o777,
    umask=0o077,
)
def test_inheriting_a_default_acl(plain: Path, volume: Volume, value: acl.Acl, bits: int, umask: int) -> None:
    """Files and directories made under a default ACL get the same mode and ACLs; the umask has no say (acl(5))."""
    number = next(serial)
    path, name = plain / str(number), b"%d" % number
    caller = Caller(os.geteuid(), os.getegid(), umask)
    path.mkdir()
    os.setxattr(path, DEFAULT, acl.build(value))
    volume.make_directory(name)
    parent = volume.resolve(name)
    volume.attributes.set(parent, DEFAULT.encode(), acl.build(value))
    assert mode_in(volume, name) == 0o755
    before = os.umask(umask)
    try:
        os.close(os.open(path / "file", os.O_CREAT | os.O_WRONLY, bits))
        os.mkdir(path / "directory", bits)
        os.mkfifo(path / "pipe", bits)
    finally:
        os.umask(before)
    node, _ = volume.changes.create(parent, b"file", bits, caller)
    volume.tree.close_file(node)
    volume.changes.mkdir(parent, b"directory", bits, caller)
    volume.changes.mknod(parent, b"pipe", stat.S_IFIFO | bits, 0, caller)
    for child in ("file", "directory"):
        inside = name + b"/" + child.encode()
        assert mode_in(volume, inside) == mode(path / child)
        assert attribute_in(volume, inside, ACCESS) == get(path / child, ACCESS)
        if child == "directory":
            assert attribute_in(volume, inside, DEFAULT) == get(path / child, DEFAULT)
    assert stat.S_IMODE(volume.stat(name + b"/pipe").mode) == mode(path / "pipe")


@each
@given(bits=modes, umask=modes, setgid=st.booleans())
def test_creating_without_acls(plain: Path, volume: Volume, bits: int, umask: int, setgid: bool) -> None:
    """Without a default ACL the umask counts; set-group-ID directories pass on group and bit (inode(7))."""
    number = next(serial)
    path, name = plain / str(number), b"%d" % number
    caller = Caller(os.geteuid(), os.getegid(), umask)
    path.mkdir()
    volume.make_directory(name)
    group = 4242 if os.geteuid() == 0 else os.getegid()
    os.chown(path, -1, group)
    volume.set_metadata(name, Setattr(gid=group))
    path.chmod(0o755 | (stat.S_ISGID if setgid else 0))
    volume.set_metadata(name, Setattr(mode=0o755 | (stat.S_ISGID if setgid else 0)))
    parent = volume.resolve(name)
    before = os.umask(umask)
    try:
        os.close(os.open(path / "file", os.O_CREAT | os.O_WRONLY, bits))
        os.mkdir(path / "directory", bits)
        os.symlink("target", path / "symlink")
    finally:
        os.umask(before)
    node, _ = volume.changes.create(parent, b"file", bits, caller)
    volume.tree.close_file(node)
    volume.changes.mkdir(parent, b"directory", bits, caller)
    volume.changes.symlink(parent, b"symlink", b"target", caller)
    for child in ("file", "directory", "symlink"):
        there, here = (path / child).lstat(), volume.stat(name + b"/" + child.encode(), follow=False)
        assert (here.mode, here.uid, here.gid) == (there.st_mode, there.st_uid, there.st_gid), child


@pytest.mark.parametrize(
    "value",
    [
        b"", b"\2\0\0", b"\2\0\0\0\1", struct.pack("<I", 1) + bytes(8), struct.pack("<I", 3),
        struct.pack("<IHHI", 2, 1, 7, 0),
        struct.pack("<IHHI", 2, 3, 7, 0),
        struct.pack("<IHHIHHIHHI", 2, 1, 8, 0, 4, 7, 0, 32, 7, 0),
        struct.pack("<IHHIHHIHHIHHI", 2, 1, 7, 0, 1, 7, 0, 4, 7, 0, 32, 7, 0),
    ],
)  # fmt: skip
def test_what_is_no_acl(plain: Path, volume: Volume, value: bytes) -> None:
    """Malformed and incomplete ACLs are refused as the kernel refuses them (linux/posix_acl_xattr.h)."""
    path = plain / str(next(serial))
    path.touch()
    name = path.name.encode()
    volume.write_file(name, b"")
    try:
        os.setxattr(path, ACCESS, value)
        refused = False
    except OSError as exc:
        # The kernel tells an unknown version apart; both mean that there is no such ACL.
        assert exc.errno in (errno.EINVAL, errno.EOPNOTSUPP)
        refused = True
    if refused:
        with pytest.raises(OSError, match="ACL"):
            volume.attributes.set(volume.resolve(name), ACCESS.encode(), value)
    assert attribute_in(volume, name, ACCESS) is None


def test_empty_acl_removes(plain: Path, volume: Volume) -> None:
    """An ACL without entries takes away what is there (acl(5))."""
    empty = struct.pack("<I", 2)
    full = acl.build(
        (
            acl.Entry(1, 7, 0xFFFFFFFF),
            acl.Entry(2, 5, 3),
            acl.Entry(4, 5, 0xFFFFFFFF),
            acl.Entry(16, 7, 0xFFFFFFFF),
            acl.Entry(32, 0, 0xFFFFFFFF),
        )
    )
    path = plain / str(next(serial))
    path.mkdir()
    name = path.name.encode()
    volume.make_directory(name)
    for attribute in (ACCESS, DEFAULT):
        for value in (full, empty):
            os.setxattr(path, attribute, value)
            volume.attributes.set(volume.resolve(name), attribute.encode(), value)
            assert attribute_in(volume, name, attribute) == get(path, attribute)
            assert mode_in(volume, name) == mode(path)


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="the acl package is not installed")
@pytest.mark.parametrize(
    "change",
    [
        ["-m", "u:1000:rw"],
        ["-m", "u:1000:rwx,g:1001:r,m::r"],
        ["-m", "d:u:1000:rwX,d:g:1001:-"],
        ["-m", "u::rwx,g::r-x,o::-"],
        ["-m", "u:1000:rw", "-m", "d:o::-"],
    ],
)
def test_what_setfacl_does(plain: Path, volume: Volume, change: list[str]) -> None:
    """What setfacl(1) leaves on a plain directory and what getfacl(1) says of it is what the volume keeps (acl(5))."""
    path = plain / str(next(serial))
    path.mkdir(mode=0o750)
    subprocess.run(["setfacl", *change, str(path)], check=True)
    name = path.name.encode()
    volume.make_directory(name)
    volume.set_metadata(name, Setattr(mode=0o750))
    for attribute in (ACCESS, DEFAULT):
        value = get(path, attribute)
        if value is not None:
            volume.attributes.set(volume.resolve(name), attribute.encode(), value)
    minimal = get(path, ACCESS) is None
    if minimal:
        volume.set_metadata(name, Setattr(mode=mode(path)))
    said = subprocess.run(
        ["getfacl", "--numeric", "--omit-header", "--no-effective", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    access = attribute_in(volume, name, ACCESS)
    shown = text_of(acl.parse(access)) if access else mode_text(mode_in(volume, name))
    default = attribute_in(volume, name, DEFAULT)
    shown += [f"default:{line}" for line in text_of(acl.parse(default))] if default else []
    assert shown == said
    assert mode_in(volume, name) == mode(path)


NAMES = {1: "user::", 2: "user:{}:", 4: "group::", 8: "group:{}:", 16: "mask::", 32: "other::"}


def rwx(perm: int) -> str:
    """Three letters."""
    return "".join(letter if perm & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def text_of(value: Any) -> list[str]:
    """An ACL as getfacl(1) writes it."""
    return [NAMES[entry.tag].format(entry.who) + rwx(entry.perm) for entry in value]


def mode_text(bits: int) -> list[str]:
    """Mode bits as getfacl(1) writes them."""
    return [f"user::{rwx(bits >> 6 & 7)}", f"group::{rwx(bits >> 3 & 7)}", f"other::{rwx(bits & 7)}"]
