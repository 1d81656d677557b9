"""Copying everything in a volume into another one, with keys of its own, and holding the copy against what was read.

Owns: what is copied (contents, folders, symlinks, hard links, pipes, modes, owners, times, attributes), in which order,
what a destination may lose, and the proof. Must not know: who gets the copy, what is asked.

What cannot be read ends it: a copy that lacks something is none. What the destination's filesystem does not have, such
as owners on a stick, is counted as lost; contents, names and targets never are.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL, EMLINK, ENOSYS, EOPNOTSUPP, EPERM
from functools import partial
from typing import Final

from encfs.errors import DataError
from encfs.volume.attributes import Setattr
from encfs.volume.changes import Caller
from encfs.volume.contents import Contents, Progress, add, attributes_at, device_at, let_go, node_at, walk
from encfs.volume.node import NO_ATTRIBUTES, Attributes
from encfs.volume.paths import Entry, VolumeFile
from encfs.volume.places import runs_as_root
from encfs.volume.told import named
from encfs.volume.volume import Volume

_ZEROS: Final = bytes(1 << 20)
_UNSUPPORTED: Final = frozenset({EPERM, EOPNOTSUPP, ENOSYS, EMLINK, EINVAL})


@dataclass(slots=True)
class Lost:
    """How many objects lost something that the destination's filesystem does not have.

    Attributes:
        others: pipes, sockets and device nodes that are not in the copy at all.
    """

    attributes: int = 0
    hard_links: int = 0
    modes: int = 0
    owners: int = 0
    times: int = 0
    others: int = 0

    def as_dict(self) -> dict[str, int]:
        """For documents and scripts."""
        return {
            "attributes": self.attributes,
            "hard_links": self.hard_links,
            "modes": self.modes,
            "owners": self.owners,
            "times": self.times,
            "others": self.others,
        }


@dataclass(frozen=True, slots=True)
class _Dress:
    """What an entry has besides its content."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int

    @classmethod
    def of(cls, entry: Entry) -> _Dress:
        return cls(entry.mode, entry.uid, entry.gid, entry.mtime_ns)


class Replica:
    """One copy of everything, into an empty volume.

    Args:
        source: open for reading.
        to: open for writing, and empty.
        progress: is told how many bytes are copied.

    Attributes:
        contents: what was read of ``source`` and written, item by item.
    """

    def __init__(self, source: Volume, to: Volume, progress: Progress = lambda _: None) -> None:
        self.contents = Contents(to.ctx.suite)
        self.lost = Lost()
        self._source = source
        self._to = to
        self._progress = progress
        self._as_root = runs_as_root()
        self._first_names: dict[int, tuple[bytes, int, bytes]] = {}
        self._dresses: list[_Dress] = []
        self._directories: list[tuple[bytes, Entry, Attributes]] = []

    def run(self) -> None:
        """Copy.

        Raises:
            DataError: something in the source does not authenticate; the text names it.
            OSError: the source cannot be read, or the copy not be written.
        """
        for path, entry in walk(self._source):
            with named(path):
                if self._copy(path, entry):
                    self._dresses.append(_Dress.of(entry))
        # Backwards, so that what is made in a directory is made before its mode and time are set.
        for path, entry, attributes in reversed(self._directories):
            with named(path):
                self._set_attributes(path, attributes)
                self._dress(path, entry)

    # -- copying -------------------------------------------------------------------------------------------------

    def _copy(self, path: bytes, entry: Entry) -> bool:
        """One entry; whether it is in the copy."""
        if stat_module.S_ISDIR(entry.mode):
            self._directory(path, entry)
        elif entry.links > 1 and self._link(path, entry):
            pass
        elif stat_module.S_ISREG(entry.mode):
            self._file(path, entry)
        elif stat_module.S_ISLNK(entry.mode):
            target = self._source.read_link(path)
            self._to.make_symlink(path, target)
            self.contents.add_symlink(path, target)
            self._finish(path, entry)
        elif not self._other(path, entry):
            return False
        return True

    def _directory(self, path: bytes, entry: Entry) -> None:
        attributes = attributes_at(self._source, path)
        if path:
            self._to.make_directory(path, 0o700)
        elif attributes and not self._takes(path, attributes):
            attributes = NO_ATTRIBUTES
        if path and attributes and not self._takes(path, attributes):
            attributes = NO_ATTRIBUTES
        self.contents.add_directory(path, attributes)
        self._directories.append((path, entry, attributes))

    def _takes(self, path: bytes, attributes: Attributes) -> bool:
        """Whether the destination keeps them; they are taken off again, since an ACL would be inherited below."""
        if not self._set_attributes(path, attributes):
            self.lost.attributes += 1
            return False
        self._set_attributes(path, NO_ATTRIBUTES)
        return True

    def _link(self, path: bytes, entry: Entry) -> bool:
        """One more name of what was copied before; false if it was not, or no link can be made of it."""
        known = self._first_names.get(entry.inode)
        if known is None:
            return False
        first, size, content = known
        parent, _, name = path.rpartition(b"/")
        node, into = node_at(self._to, first), self._to.resolve(parent)
        try:
            self._to.changes.link(node, into, name)
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
            self.lost.hard_links += 1
            return False
        finally:
            let_go(self._to, node)
        if stat_module.S_ISREG(entry.mode):
            self._progress(self.contents.counts.bytes + size)
            self.contents.add_file(path, size, content, attributes_at(self._to, path))
        elif stat_module.S_ISLNK(entry.mode):
            self.contents.add_symlink(path, self._source.read_link(path))
        else:
            self.contents.add_other(path, entry.mode, device_at(self._source, path))
        return True

    def _file(self, path: bytes, entry: Entry) -> None:
        running, size = self.contents.suite.running_digest(), 0
        before = self.contents.counts.bytes
        with self._to.open(path, create=True, writable=True, mode=0o600) as file:
            for piece in self._source.read_file(path):
                running.update(piece)
                if piece != _ZEROS[: len(piece)]:  # What is left out becomes a hole.
                    _write_all(file, size, piece)
                size += len(piece)
                self._progress(before + size)
            if file.size != size:
                file.truncate(size)
        attributes = attributes_at(self._source, path)
        if attributes and not self._set_attributes(path, attributes):
            self.lost.attributes += 1
            attributes = NO_ATTRIBUTES
        digest = running.digest()
        self.contents.add_file(path, size, digest, attributes)
        self._finish(path, entry, size, digest)

    def _other(self, path: bytes, entry: Entry) -> bool:
        parent, _, name = path.rpartition(b"/")
        device = device_at(self._source, path)
        into = self._to.resolve(parent)
        try:
            node, _ = self._to.changes.mknod(into, name, entry.mode, device, Caller(os.geteuid(), os.getegid()))
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
            self.lost.others += 1
            return False
        let_go(self._to, node)
        self.contents.add_other(path, entry.mode, device)
        self._finish(path, entry)
        return True

    def _finish(self, path: bytes, entry: Entry, size: int = 0, digest: bytes = b"") -> None:
        self._dress(path, entry)
        if entry.links > 1:
            self._first_names[entry.inode] = path, size, digest

    def _set_attributes(self, path: bytes, attributes: Attributes) -> bool:
        """Whether the destination keeps them."""
        node = node_at(self._to, path)
        try:
            self._to.attributes.replace(node, attributes)
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
            return False
        finally:
            let_go(self._to, node)
        return True

    def _dress(self, path: bytes, entry: Entry) -> None:
        """Owner as root, mode, time; what does not go is counted when the copy is looked at."""
        node = node_at(self._to, path)
        change = partial(self._to.attributes.setattr, node)
        try:
            if self._as_root:
                _if_supported(partial(change, Setattr(uid=entry.uid, gid=entry.gid)))
            if not stat_module.S_ISLNK(entry.mode):
                _if_supported(partial(change, Setattr(mode=stat_module.S_IMODE(entry.mode))))
            _if_supported(partial(change, Setattr(mtime_ns=entry.mtime_ns)))
        finally:
            let_go(self._to, node)

    # -- proving --------------------------------------------------------------------------------------------------

    def prove(self, copy: Volume, progress: Progress = lambda _: None) -> Contents:
        """Read all of the copy, as it lies on its medium, and hold it against what was read of the source.

        Args:
            copy: the volume that was written, opened again.
            progress: is told how many bytes were read.

        Raises:
            DataError: it is not the same, or does not authenticate; the text names the first difference.
            OSError.
        """
        found, expected = Contents(copy.ctx.suite), self.contents.items
        for path, entry in walk(copy):
            number = len(found.items)
            with named(path):
                add(found, copy, path, entry, progress)
                if number >= len(expected) or found.items[number] != expected[number]:
                    raise DataError("in the copy this is not what was read")
                self._compare(self._dresses[number], _Dress.of(entry))
        if len(found.items) != len(expected):
            raise DataError("something that was copied is missing in the copy")
        return found

    def _compare(self, wanted: _Dress, there: _Dress) -> None:
        is_link = stat_module.S_ISLNK(wanted.mode)
        self.lost.modes += not is_link and stat_module.S_IMODE(wanted.mode) != stat_module.S_IMODE(there.mode)
        self.lost.owners += (wanted.uid, wanted.gid) != (there.uid, there.gid)
        self.lost.times += wanted.mtime_ns != there.mtime_ns


def _if_supported(action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as exc:
        if exc.errno not in _UNSUPPORTED:
            raise


def _write_all(file: VolumeFile, offset: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += file.write(offset + done, data[done:])
