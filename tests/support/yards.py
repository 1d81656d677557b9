"""Volumes full of equal little trees ("yards"), one for each case of an attack, so that hundreds share one mount.

Owns: what is in a yard, and how it grows older where an attack puts old state back. Must not know: attacks.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from encfs.volume import Volume
from encfs.volume.changes import Caller
from tests.support.volumes import open_file, pattern

# In every plain name and in the content of every small file: nothing that is logged may hold it.
MARK = b"qzx"
LONG = b"L" * 190
USER_XATTR = "user.qzx"
ACL = "system.posix_acl_access"
# user::rw-, user 1000 r--, group::r--, mask r--, other::--- as setxattr(2) takes it.
_ACL_ENTRIES = ((1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
ACL_VALUE = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in _ACL_ENTRIES)
ROOT = Caller(0, 0)


def plain_name(key: str) -> bytes:
    """The plain path of a thing inside its yard: ``sub/deep`` is ``qzx-sub/qzx-deep``; ``long`` names are long."""
    parts = []
    for part in key.split("/"):
        name = MARK + b"-" + part.encode()
        parts.append(name + LONG if part.startswith("long") else name)
    return b"/".join(parts)


@dataclass
class Yard:
    """One tree and what is in it.

    Attributes:
        root: its plain path.
        files, links: content and targets by plain path.
        older: content of files as it once was.
        xattrs: what has an attribute: by plain path its name and value.
        lower: the lower path of each plain path.
    """

    root: bytes
    files: dict[bytes, bytes] = field(default_factory=dict)
    links: dict[bytes, bytes] = field(default_factory=dict)
    older: dict[bytes, bytes] = field(default_factory=dict)
    directories: list[bytes] = field(default_factory=list)
    xattrs: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)
    lower: dict[bytes, Path] = field(default_factory=dict)

    def path(self, key: str) -> bytes:
        """The plain path of a thing."""
        return self.root + b"/" + plain_name(key) if key else self.root

    # -- making -------------------------------------------------------------------------------------------

    def build(self, volume: Volume) -> None:
        """Make everything."""
        g = volume.ctx.geometry
        self._directory(volume, "")
        for key in ("sub", "dub", "longdir", "sub/below"):
            self._directory(volume, key)
        several = g.start_of(4) + 700
        sizes = {"multi": several, "twin": several, "long": g.start_of(2), "long2": g.start_of(1) + 5, "empty": 0}
        for key in ("hard-a", "hard-c", "sub/deep", "dub/deep", "longdir/deep", "sub/below/x"):
            sizes[key] = 100
        for key, size in sizes.items():
            self._file(volume, key, pattern(size, (self.root, key)))
        self._file(volume, "small", b"qzx-content of " + self.root)
        self._sparse(volume)
        for key, to in (("hard-a", "hard-b"), ("hard-c", "hard-d")):
            parent = volume.resolve(self.root)
            volume.changes.link(volume.resolve(self.path(key)), parent, plain_name(to))
            self.files[self.path(to)] = self.files[self.path(key)]
        for key, target in (("link", b"qzx-small"), ("link2", b"qzx-multi"), ("linkfile", b"t/" * 2000)):
            self.links[self.path(key)] = target
            volume.make_symlink(self.path(key), target)
        for key in ("multi", "twin", "sub"):
            self.set_xattr(volume, key, USER_XATTR, b"qzx-value of " + key.encode())
        self.set_xattr(volume, "small", ACL, ACL_VALUE)

    def _directory(self, volume: Volume, key: str) -> None:
        volume.make_directory(self.path(key))
        self.directories.append(self.path(key))

    def _file(self, volume: Volume, key: str, content: bytes) -> None:
        volume.write_file(self.path(key), content)
        self.files[self.path(key)] = content

    def _sparse(self, volume: Volume) -> None:
        g = volume.ctx.geometry
        content = bytearray(g.start_of(4) + 30)
        with open_file(volume, self.path("sparse")) as file:
            file.write(g.start_of(3), b"x" * (len(content) - g.start_of(3)))
            file.write(0, b"begin")
        content[:5] = b"begin"
        content[g.start_of(3) :] = b"x" * (len(content) - g.start_of(3))
        self.files[self.path("sparse")] = bytes(content)

    def set_xattr(self, volume: Volume, key: str, name: str, value: bytes) -> None:
        """Give a thing an attribute."""
        self.xattrs[self.path(key)] = (name, value)
        volume.attributes.set(volume.resolve(self.path(key)), name.encode(), value)

    # -- growing older ----------------------------------------------------------------------------------------

    def overwrite(self, volume: Volume, key: str, offset: int, data: bytes) -> None:
        """Change a file in place."""
        path = self.path(key)
        self.older[path] = self.files[path]
        with open_file(volume, path) as file:
            file.write(offset, data)
        self.files[path] = self.files[path][:offset] + data + self.files[path][offset + len(data) :]

    def shorten(self, volume: Volume, key: str, size: int) -> None:
        """Cut a file as a program would."""
        path = self.path(key)
        self.older[path] = self.files[path]
        with open_file(volume, path) as file:
            file.truncate(size)
        self.files[path] = self.files[path][:size]

    def rewrite(self, volume: Volume, key: str) -> None:
        """Empty a file and write it again."""
        path = self.path(key)
        self.older[path] = self.files[path]
        self._file(volume, key, pattern(len(self.files[path]), (path, "again")))

    def remove(self, volume: Volume, key: str) -> None:
        """Delete a file."""
        path = self.path(key)
        self.older[path] = self.files.pop(path)
        self.xattrs.pop(path, None)
        volume.remove(path)

    def relink(self, volume: Volume, key: str) -> None:
        """Replace a symlink by another one."""
        path = self.path(key)
        self.older[path] = self.links[path]
        volume.remove(path)
        self.links[path] = b"qzx-elsewhere"
        volume.make_symlink(path, self.links[path])

    def rename_directory(self, volume: Volume, key: str, to: str) -> None:
        """Rename a directory, with all that is in it."""
        old, new = self.path(key), self.path(to)
        volume.rename(old, new)

        def moved(path: bytes) -> bytes:
            return new + path[len(old) :] if path == old or path.startswith(old + b"/") else path

        self.files = {moved(path): content for path, content in self.files.items()}
        self.directories = [moved(path) for path in self.directories]
        self.xattrs = {moved(path): value for path, value in self.xattrs.items()}

    # -- below ----------------------------------------------------------------------------------------------

    def find_lower(self, volume: Volume, base: Path) -> None:
        """Note where everything is below, in the volume at ``base``."""
        self.lower[b""] = base
        for path in [*self.directories, *self.files, *self.links]:
            directory, name = os.path.split(path)
            found = volume.tree.find(volume.resolve(directory), name)
            assert found is not None
            self.lower[path] = self.lower[directory] / os.fsdecode(found.lower_name)

    def listing(self, directory: bytes) -> set[bytes]:
        """The plain paths of what is in a directory of the yard."""
        everything = [*self.directories, *self.files, *self.links]
        return {path for path in everything if os.path.dirname(path) == directory}
