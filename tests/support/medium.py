"""A medium that keeps exactly what fsync has confirmed: the lower tree after a power cut, as of any moment.

The lower filesystem is a real one; beside it this notes what each fdatasync, fsync and syncfs has made durable, by
inode. ``names_kept``: whether the directories' changes since their last fsync reached the medium on their own, which
is the other extreme that a filesystem may choose.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from encfs.store.local import LocalStore

_Attributes = dict[str, bytes]
_Entries = dict[str, tuple[int, bool]]


class Medium:
    """What is durable of the tree at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[int, tuple[bytes | str, _Attributes]] = {}
        self._directories: dict[int, _Entries] = {}
        # Inodes that lost their names stay in use, so that no number means two things.
        self._kept: list[int] = []
        self.sync_all()

    def sync_all(self) -> None:
        """syncfs: all that is there now is durable."""
        self._files.clear()
        self._directories.clear()
        for directory, _, names in os.walk(self.root):
            self.sync(directory)
            for name in names:
                self.sync(os.path.join(directory, name))

    def sync(self, path: str | int) -> None:
        """fsync of one file or directory, by path or descriptor."""
        info = os.fstat(path) if isinstance(path, int) else os.lstat(path)
        place = f"/proc/self/fd/{path}" if isinstance(path, int) else path
        if stat.S_ISDIR(info.st_mode):
            self._directories[info.st_ino] = _entries(place)
        elif stat.S_ISLNK(info.st_mode):
            self._files[info.st_ino] = os.readlink(place), {}
        elif stat.S_ISREG(info.st_mode):
            with open(place, "rb") as file:
                attributes = {name: os.getxattr(place, name) for name in os.listxattr(place)}
                self._files[info.st_ino] = file.read(), attributes

    def keep(self, dirfd: int, name: bytes) -> None:
        """An entry is about to go."""
        try:
            self._kept.append(os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=dirfd))
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Give the kept inodes free."""
        for fd in self._kept:
            os.close(fd)
        self._kept.clear()

    def cut(self, path: Path, *, names_kept: bool) -> None:
        """Write the tree that a power cut leaves to a new directory."""
        directories = dict(self._directories)
        if names_kept:
            for directory, _, _ in os.walk(self.root):
                directories[os.stat(directory).st_ino] = _entries(directory)
        self._rebuild(self.root.stat().st_ino, directories, path, {})

    def _rebuild(self, inode: int, directories: dict[int, _Entries], path: Path, made: dict[int, Path]) -> None:
        path.mkdir()
        for name, (child, is_directory) in directories.get(inode, {}).items():
            target = path / name
            # Of what was never synced the inode reached the medium, and what is in it did not.
            content, attributes = self._files.get(child, (b"", {}))
            if is_directory:
                self._rebuild(child, directories, target, made)
            elif child in made:
                target.hardlink_to(made[child])
            elif isinstance(content, str):
                target.symlink_to(content)
            else:
                made[child] = target
                target.write_bytes(content)
                for attribute, value in attributes.items():
                    os.setxattr(target, attribute, value)


def _entries(directory: str) -> _Entries:
    with os.scandir(directory) as entries:
        return {entry.name: (entry.inode(), entry.is_dir(follow_symlinks=False)) for entry in entries}


class MediumStore(LocalStore):
    """A real store that tells the medium what was made durable. ``medium`` is set by the test."""

    medium: Medium

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self.medium.sync(fd)

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.medium.sync(fd)

    def syncfs(self, fd: int) -> None:
        self.medium.sync_all()

    def unlink(self, dirfd: int, name: bytes) -> None:
        self.medium.keep(dirfd, name)
        super().unlink(dirfd, name)

    def rmdir(self, dirfd: int, name: bytes) -> None:
        self.medium.keep(dirfd, name)
        super().rmdir(dirfd, name)

    def rename(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        self.medium.keep(to_dirfd, to_name)
        super().rename(dirfd, name, to_dirfd, to_name)


def store_on(medium: Medium) -> Any:
    """A store for the volume on a medium."""
    fd = os.open(medium.root, os.O_RDONLY)
    try:
        made = MediumStore(fd)
    finally:
        os.close(fd)
    made.medium = medium
    return made
