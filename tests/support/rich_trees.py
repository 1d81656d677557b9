"""A tree that has all that a file can have, and a walk that tells whether another one is the same."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from encfs.volume import acl
from tests.support.tree_backups import attributes_of
from tests.support.volumes import pattern

ACL = acl.build(
    (
        acl.Entry(acl.USER_OBJ, 6, 0xFFFFFFFF),
        acl.Entry(acl.USER, 4, 1234),
        acl.Entry(acl.GROUP_OBJ, 4, 0xFFFFFFFF),
        acl.Entry(acl.MASK, 4, 0xFFFFFFFF),
        acl.Entry(acl.OTHER, 0, 0xFFFFFFFF),
    )
)
HOLE = 4 << 20


@dataclass(frozen=True)
class Known:
    """What is compared of one entry. ``first``: the first path of the same file."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: tuple[tuple[str, bytes], ...]
    content: bytes
    device: int
    first: bytes


def make(top: Path) -> None:
    """Files of several sizes, one with holes, one without content, two names of one file, links, a pipe, a socket."""
    folder = top / "letters" / "2026"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"Dear colleague\n")
    (folder / "long.bin").write_bytes(pattern(2_500_001))
    (folder / "empty").write_bytes(b"")
    (folder / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"name")
    os.link(folder / "long.bin", top / "second name.bin")
    (folder / "latest").symlink_to("a.txt")
    (top / "dangling").symlink_to("/no/such/place")
    with open(top / "sparse.img", "wb") as file:
        file.write(b"head")
        file.seek(HOLE)
        file.write(b"tail")
    os.mkfifo(top / "pipe", 0o620)
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(top, os.O_RDONLY)  # The path may be longer than a socket's address.
        sock.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    os.setxattr(folder / "a.txt", "user.note", b"seen\0by Anna")
    os.setxattr(folder, "user.folder", b"x" * 300)
    os.setxattr(folder / "a.txt", acl.ACCESS, ACL)
    _dates_and_modes(top, folder)


def _dates_and_modes(top: Path, folder: Path) -> None:
    (folder / "long.bin").chmod(0o600)
    (top / "sparse.img").chmod(0o444)
    if os.geteuid() == 0:
        os.mknod(top / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
        os.chown(folder / "empty", 1234, 4321)
        os.chown(folder / "latest", 1234, 4321, follow_symlinks=False)
        (folder / "empty").chmod(0o4750)
    for number, path in enumerate(sorted(top.rglob("*"))):
        os.utime(path, ns=(0, 1_500_000_000_123_456_789 + number * 1_000_000_007), follow_symlinks=False)
    os.setxattr(folder, acl.DEFAULT, ACL)
    folder.chmod(0o2750)
    (top / "letters").chmod(0o711)
    for number, path in enumerate((folder, top / "letters", top)):
        os.utime(path, ns=(0, 1_400_000_000_000_000_001 + number))


def walked(top: Path) -> dict[bytes, Known]:
    """All that is below a directory, and the directory itself, by its path from there."""
    base, firsts, found = os.fsencode(top), dict[int, bytes](), dict[bytes, Known]()
    paths = [base, *sorted(os.path.join(here, name) for here, dirs, names in os.walk(base) for name in dirs + names)]
    for path in paths:
        info = os.lstat(path)
        inside = path[len(base) + 1 :]
        is_link = stat.S_ISLNK(info.st_mode)
        content = b""
        if is_link:
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = Path(os.fsdecode(path)).read_bytes()
        found[inside] = Known(
            mode=info.st_mode,
            uid=info.st_uid,
            gid=info.st_gid,
            mtime_ns=info.st_mtime_ns,
            attributes=() if is_link else tuple(sorted(attributes_of(path).items())),
            content=content,
            device=info.st_rdev,
            first=firsts.setdefault(info.st_ino, inside),
        )
    return found
