"""The single steps of repair (docs/findings.md, "Repair").

Owns: how each change is made so that a process that dies anywhere in it leaves a volume in which nothing is lost and
the next repair goes on. Must not know: which damage leads to which step, what people are told.

Rules: what leaves its place is in ``lost+found`` first, durable and read back. A record names the new place before its
object goes there, so half of a move is found as "not where its record says" and finished. No step leans on the
tolerance after a crash.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import IntEnum
from errno import EEXIST, ENODATA, EOPNOTSUPP
from functools import partial
from typing import Protocol

from encfs.core import frames
from encfs.crypto import rng
from encfs.format.directory import DirectoryRecord
from encfs.format.header import FileHeader
from encfs.format.limits import FRAME_SIZE, RECORD_NAME, XATTR_NAME
from encfs.store.atomic import replace_file, sync_directory
from encfs.units import FileId, LowerName
from encfs.volume.changes import Caller
from encfs.volume.file import OpenFile
from encfs.volume.lost_found import LostFound
from encfs.volume.node import Node
from encfs.volume.places import temporary_name
from encfs.volume.repair_index import Place
from encfs.volume.volume import Volume

# The header that a checkpoint knows may have been written since: no host that saw that shall call the rebuilt one old.
_GENERATIONS_AHEAD = 1 << 20


class Order(IntEnum):
    """Steps are taken in this order: directories open first, places get free before something moves there."""

    RECORD = 0
    HEADER = 1
    ASIDE = 2
    MOVE = 3
    ATTRIBUTES = 4


@dataclass(slots=True, eq=False)
class Item:
    """An object that a step works on. It knows where it is now, also when another step has moved it."""

    place: Place
    node: Node | None = None


class Hands:
    """What steps work with."""

    def __init__(self, volume: Volume, lost: LostFound, moving: dict[tuple[int, bytes], Item]) -> None:
        self.volume = volume
        self.tree = volume.tree
        self.store = volume.ctx.store
        self.lost = lost
        self._moving = moving

    def dirfd(self, place: Place) -> int:
        return self.tree.dirfd(place.parent)

    def open(self, place: Place, *, writable: bool = False) -> int:
        """A descriptor of a lower file, which the caller closes."""
        if writable:
            return self.store.open_writable(self.dirfd(place), place.lower)
        return self.store.open(self.dirfd(place), place.lower, os.O_RDONLY)

    def stat(self, place: Place) -> os.stat_result:
        return self.store.stat(self.dirfd(place), place.lower)

    def is_free(self, place: Place) -> bool:
        try:
            self.stat(place)
        except FileNotFoundError:
            return True
        return False

    def move(self, item: Item, to: Place) -> None:
        """One durable rename, never over something.

        Raises:
            OSError: EEXIST, and the lower errors.
        """
        if not self.is_free(to):
            raise OSError(EEXIST, os.strerror(EEXIST))
        source = item.place
        from_fd, to_fd = self.tree.directories.pair(source.parent, to.parent)
        self.store.rename(from_fd, source.lower, to_fd, to.lower)
        sync_directory(self.store, self.tree.dirfd(to.parent))
        sync_directory(self.store, self.tree.dirfd(source.parent))
        if item.node is not None:
            self.tree.directories.forget(item.node)
            item.node.parent, item.node.lower_name = to.parent, to.lower
        item.place = to

    def occupant(self, place: Place) -> Item | None:
        """What stands at a place and will be moved home itself."""
        item = self._moving.get(place.key)
        return item if item is not None and item.place.key == place.key else None

    def lost_place(self, name: bytes, *, in_file: bool = False) -> Place:
        """The place of a claimed name in lost+found."""
        return Place(self.lost.directory(), self.lost.lower_name(name, in_file=in_file))

    def write_header(self, place: Place, header: FileHeader) -> None:
        """Write the next generation of a header, durably, leaving the times alone."""
        ctx = self.volume.ctx
        header = replace(header, generation=header.generation + 1, session=ctx.session)
        fd = self.open(place, writable=True)
        try:
            before = self.store.fstat(fd)
            self.store.pwrite(fd, frames.seal_header(ctx.ring, header.under(ctx.ring.active.epoch)), 0)
            try:
                self.store.futime(fd, (before.st_atime_ns, before.st_mtime_ns))
            except PermissionError:
                pass  # Somebody else's file.
            self.store.fdatasync(fd)
        finally:
            self.store.close(fd)

    def keep_lower(self, place: Place, name: bytes, size: int | None = None) -> None:
        """Copy the bytes of a lower file, or the first ``size`` of them, into a file in lost+found."""
        fd = self.open(place)
        try:
            self.lost.keep(name, partial(_read, self, fd, size), self.store.fstat(fd))
        finally:
            self.store.close(fd)

    def keep_attributes(self, place: Place, name: bytes) -> bool:
        """Copy the sealed attributes of an object, if it has any, into a file in lost+found."""
        try:
            sealed = self.store.getxattr((self.dirfd(place), place.lower), XATTR_NAME)
        except OSError as exc:
            if exc.errno in (ENODATA, EOPNOTSUPP):
                return False
            raise
        self.keep_bytes(sealed, name)
        return True

    def keep_bytes(self, data: bytes, name: bytes) -> None:
        self.lost.keep(name, lambda offset, size: data[offset : offset + size])

    def remove(self, place: Place) -> None:
        """Take a name away durably. What it named has been kept."""
        self.store.unlink(self.dirfd(place), place.lower)
        sync_directory(self.store, self.dirfd(place))


def _read(hands: Hands, fd: int, limit: int | None, offset: int, size: int) -> bytes:
    if limit is not None:
        size = min(size, limit - offset)
    return hands.store.pread(fd, size, offset) if size > 0 else b""


class Step(Protocol):
    """One change. ``apply`` returns the plain paths that are to be verified again."""

    order: Order

    def apply(self, hands: Hands) -> list[bytes]:
        """Raises: OSError, DataError, LowerIOError; then the damage is as it was, or half of a move."""
        ...


@dataclass(slots=True)
class PutAside:
    """A file whose header opens goes to lost+found under these names, with all its cells.

    ``header`` is None where it goes on naming another name of the file.
    """

    item: Item
    links: list[Place]
    names: list[bytes]
    header: FileHeader | None
    fresh_id: bool = False
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        in_file = self.item.place.lower.endswith(b".l")
        if self.header is not None:
            header = replace(self.header, parent=hands.tree.dir_id(hands.lost.directory()), name=self.names[0])
            if self.fresh_id:
                header = replace(header, fid=FileId(rng.random_bytes(16)))
            hands.write_header(self.item.place, header)
        try:
            hands.move(self.item, hands.lost_place(self.names[0], in_file=in_file))
        except OSError:
            if self.header is not None:
                hands.write_header(self.item.place, replace(self.header, generation=self.header.generation + 1))
            raise
        for place, name in zip(self.links[1:], self.names[1:], strict=True):
            hands.move(Item(place), hands.lost_place(name, in_file=in_file))
        return [hands.lost.path + b"/" + name for name in self.names]


@dataclass(slots=True)
class KeepRaw:
    """The bytes of a file whose header is lost become the content of a file in lost+found; its names go."""

    item: Item
    links: list[Place]
    name: bytes
    attributes_name: bytes
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        hands.keep_lower(self.item.place, self.name)
        kept = hands.keep_attributes(self.item.place, self.attributes_name)
        for place in self.links:
            hands.remove(place)
        return [hands.lost.path + b"/" + name for name in (self.name, *([self.attributes_name] if kept else []))]


@dataclass(slots=True)
class FitSize:
    """Header and lower size are brought in line with the good cells; the bytes from before are kept in lost+found."""

    item: Item
    path: bytes
    size: int
    name: bytes
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        hands.keep_lower(self.item.place, self.name)
        fd = hands.open(self.item.place, writable=True)
        try:
            OpenFile.load(hands.volume.ctx, fd, 0, writable=True).accept_size(self.size)
        finally:
            hands.store.close(fd)
        return [self.path, hands.lost.path + b"/" + self.name]


@dataclass(slots=True)
class RebuildHeader:
    """A header that a checkpoint knows takes the place of a destroyed one, whose bytes are kept in lost+found."""

    item: Item
    path: bytes
    header: FileHeader
    name: bytes
    order: Order = Order.HEADER

    def apply(self, hands: Hands) -> list[bytes]:
        hands.keep_lower(self.item.place, self.name, FRAME_SIZE)
        ahead = self.header.generation + _GENERATIONS_AHEAD
        hands.write_header(self.item.place, replace(self.header, generation=ahead))
        return [self.path, hands.lost.path + b"/" + self.name]


@dataclass(slots=True)
class RebuildRecord:
    """A directory gets a new record for the place where it is; what is left of the old one is kept in lost+found."""

    node: Node
    path: bytes
    record: DirectoryRecord
    name: bytes
    order: Order = Order.RECORD

    def apply(self, hands: Hands) -> list[bytes]:
        touched = [self.path]
        if _keep_record(hands, self.node, self.name):
            touched.append(hands.lost.path + b"/" + self.name)
        _replace_record(hands, self.node, self.record)
        return touched


@dataclass(slots=True)
class PutDirectoryAside:
    """A directory goes to lost+found, where its record is written for; what is left of the old one is kept beside."""

    item: Item
    record: DirectoryRecord
    name: bytes
    record_name: bytes | None = field(default=None)
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        node = self.item.node
        assert node is not None
        touched = [hands.lost.path + b"/" + self.name]
        if self.record_name is not None and _keep_record(hands, node, self.record_name):
            touched.append(hands.lost.path + b"/" + self.record_name)
        place = hands.lost_place(self.name)
        parent = hands.tree.dir_id(place.parent)
        _replace_record(hands, node, replace(self.record, parent=parent, name=self.name))
        try:
            hands.move(self.item, place)
        except OSError:
            if self.record_name is None:
                _replace_record(hands, node, replace(self.record, generation=self.record.generation + 1))
            raise
        return touched


def _keep_record(hands: Hands, node: Node, name: bytes) -> bool:
    place = Place(node, LowerName(RECORD_NAME))
    if hands.is_free(place):
        return False
    hands.keep_lower(place, name)
    return True


def _replace_record(hands: Hands, node: Node, record: DirectoryRecord) -> None:
    """Old record or new one, never less; it belongs to whom the directory belongs."""
    store, tree = hands.store, hands.tree
    record = replace(record, generation=record.generation + 1, session=hands.volume.ctx.session)
    sealed = frames.seal_directory(hands.volume.ctx.ring, record)
    replace_file(store, tree.dirfd(node), RECORD_NAME, sealed, temporary=temporary_name())
    if os.geteuid() == 0:
        owner = store.stat(tree.dirfd(node), b".")
        store.chown(tree.dirfd(node), RECORD_NAME, owner.st_uid, owner.st_gid)


@dataclass(slots=True)
class MoveHome:
    """An object goes back to the place that its own record names. Who stands there, misplaced too, waits aside."""

    item: Item
    to: Place
    path: bytes
    parking_name: bytes
    order: Order = Order.MOVE

    def apply(self, hands: Hands) -> list[bytes]:
        if self.item.place.key != self.to.key:
            other = hands.occupant(self.to)
            if other is not None and other is not self.item:
                hands.move(other, hands.lost_place(self.parking_name, in_file=other.place.lower.endswith(b".l")))
            hands.move(self.item, self.to)
        return [self.path]


@dataclass(slots=True)
class KeepSymlink:
    """The lower target of a symlink that does not open is kept as a file in lost+found; its name goes."""

    place: Place
    name: bytes
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        text = hands.store.readlink(hands.dirfd(self.place), self.place.lower)
        hands.keep_bytes(text, self.name)
        hands.remove(self.place)
        return [hands.lost.path + b"/" + self.name]


@dataclass(slots=True)
class PutSymlinkAside:
    """A symlink whose place is not known gets one in lost+found."""

    item: Item
    target: bytes = field(repr=False)
    name: bytes
    order: Order = Order.ASIDE

    def apply(self, hands: Hands) -> list[bytes]:
        stat, parent = hands.stat(self.item.place), hands.lost.directory()
        hands.volume.changes.symlink(parent, self.name, self.target, Caller(stat.st_uid, stat.st_gid))
        sync_directory(hands.store, hands.tree.dirfd(parent))
        hands.remove(self.item.place)
        return [hands.lost.path + b"/" + self.name]


@dataclass(slots=True)
class DropAttributes:
    """Sealed attributes that do not open are kept as a file in lost+found and taken off the object."""

    place: Place | None
    name: bytes
    order: Order = Order.ATTRIBUTES

    def apply(self, hands: Hands) -> list[bytes]:
        place = self.place or Place(hands.tree.root, LowerName(b"."))
        if hands.keep_attributes(place, self.name):
            hands.store.removexattr((hands.dirfd(place), place.lower), XATTR_NAME)
        return [hands.lost.path + b"/" + self.name]
