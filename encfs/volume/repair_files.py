"""What repair does about files: which are mended where they are, and which are put aside.

Owns: the decision for each kind of damage of a regular file or a symlink in a file. Must not know: directories, how a
step is made safe.
"""

from __future__ import annotations

import os
from dataclasses import replace

from encfs.core import frames
from encfs.errors import DataError, SizeError
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import DIRECT_NAME_MAX, FRAME_SIZE, LINK_SUFFIX
from encfs.volume.findings import Code
from encfs.volume.repair_actions import NOT_OURS, LeaveAloneError, Object, Planning, Reason
from encfs.volume.repair_index import Place
from encfs.volume.repair_steps import FitSize, Item, KeepRaw, PutAside, RebuildHeader
from encfs.volume.salvage import Salvage, Survey
from encfs.volume.tree import is_long

_RESCUE = "`cloakfs rescue` copies what is good in it"


class FilePlans(Planning):
    """The part of :class:`~encfs.volume.repair_plan.Planner` that decides on files."""

    def _file(self, what: Object) -> None:
        if what.codes & {Code.FILE_ROLLBACK, Code.LOWER_IO}:
            self._nothing_to_do()
        fd = self._ctx.store.open(self._tree.dirfd(what.place.parent), what.place.lower, os.O_RDONLY)
        try:
            raw = self._ctx.store.pread(fd, FRAME_SIZE, 0)
            try:
                if len(raw) != FRAME_SIZE:
                    raise SizeError("shorter than a header")
                header = frames.open_header(self._ctx.ring, raw)
                salvage = Salvage(self._ctx, fd, header)
            except DataError:
                self._without_header(what, fd)
            else:
                self._with_header(what, header, salvage)
        finally:
            self._ctx.store.close(fd)

    def _with_header(self, what: Object, header: FileHeader, salvage: Salvage) -> None:
        home = self._index.home(header.parent, header.name, in_file=header.kind is FrameKind.SYMLINK)
        if not self._is_at(what, home, header):
            self._misplaced_file(what, header, home)
            return
        if what.name is None:
            what.name = header.name
            what.path = what.path.rpartition(b"/")[0] + b"/" + header.name if b"/" in what.path else header.name
        if Code.FILE_SIZE in what.codes:
            self._size(what, header, salvage)
        elif what.codes & {Code.CELL_DAMAGED, Code.FOREIGN}:
            unfit = "what does not fit its place" if Code.CELL_DAMAGED in what.codes else ""
            self._aside(what, header, loss=_lost(salvage.survey()) or unfit)
        elif Code.ATTRIBUTES_DAMAGED in what.codes:
            self._attributes(what, what.place)
        else:
            self._nothing_to_do()

    def _is_at(self, what: Object, home: Place | None, header: FileHeader) -> bool:
        if home is not None and home.key == what.place.key:
            return True
        is_link = what.place.lower.endswith(LINK_SUFFIX)
        any_name = bool(header.flags & HeaderFlag.MULTI) and what.name is not None and Code.FOREIGN not in what.codes
        return any_name and is_link is (header.kind is FrameKind.SYMLINK)

    def _misplaced_file(self, what: Object, header: FileHeader, home: Place | None) -> None:
        name, item = header.name, Item(what.place)
        if what.stat.st_nlink > 1 and not is_long(what.place.lower):
            # The header names one of the names; this one tells by itself where it belongs.
            by_name = self._index.home_by_name(what.place.lower)
            home, name = by_name or (None, what.known_name)
            if home is not None and home.key == what.place.key:
                self._added_name(what)
                return

        def aside(why: Reason) -> None:
            what.name = name
            if what.stat.st_nlink > 1:
                self._one_name_aside(what, why)
            else:
                self._aside(what, header, loss="", why=why)

        self._misplaced(what, item, home, name, bytes(header.fid), aside)

    def _added_name(self, what: Object) -> None:
        """A name that somebody gave the file below, where its header knows of one name only."""
        name, attributes = self._claim(what, b".lower"), self._claim(what, b".attributes")
        self._vacated.add(what.place.key)
        self._act(
            what,
            KeepRaw(Item(what.place), [what.place], name, attributes),
            f"this name, which was given below to another file, goes; the sealed bytes are also in {self._where(name)}",
            loss="what was here under this name, unless a backup has it",
            size=what.stat.st_size,
        )

    def _one_name_aside(self, what: Object, why: Reason) -> None:
        """Of a file with several names only this one goes; the header goes on naming another."""
        name = self._lost.claim(what.known_name[:DIRECT_NAME_MAX])
        step = PutAside(Item(what.place), [what.place], [name], None)
        self._vacated.add(what.place.key)
        self._act(what, step, f"this name of it is moved to {self._where(name)}, {why}")

    def _aside(self, what: Object, header: FileHeader, *, loss: str, why: Reason | None = None) -> None:
        links = self._index.links(what.place, what.stat)
        links.sort(key=lambda place: not is_long(place.lower))  # The header has to name the long one.
        names = [self._lost.claim(self._index.plain_name(place) or header.name) for place in links]
        step = PutAside(Item(links[0]), links, names, header, fresh_id=why is Reason.COPY)
        text = f"moved to {self._where(names[0])}"
        if len(links) > 1:
            text += f", and its other names ({len(links) - 1}) with it"
        self._vacated.update(place.key for place in links)
        text += f", {why}" if why else ""
        self._act(what, step, text + (f"; {_RESCUE}" if loss else ""), loss=loss)

    def _size(self, what: Object, header: FileHeader, salvage: Salvage) -> None:
        found = salvage.survey()
        if found.run_end < found.good_end or found.run_end < header.synced_size or (header.size and not found.run_end):
            self._aside(what, header, loss=_lost(found) or f"what was cut off behind byte {found.good_end:,}")
            return
        loss = ""
        if found.run_end < header.size:
            loss = f"the bytes from {found.run_end:,} to {header.size:,}, which are not there any more"
        name = self._claim(what, b".lower")
        text = f"brought to its longest good state, {found.run_end:,} bytes; its sealed bytes from before are kept in "
        step = FitSize(Item(what.place), what.path, found.run_end, name)
        self._act(what, step, text + self._where(name), loss=loss, size=salvage.lower_size)

    def _without_header(self, what: Object, fd: int) -> None:
        """A checkpoint may know the header; else only the sealed bytes are left."""
        if Code.FOREIGN in what.codes:
            raise LeaveAloneError(NOT_OURS)
        header = self._known_header(what, fd)
        if header is not None:
            name = self._claim(what, b".header")
            text = f"its header is rebuilt from a checkpoint; the damaged one is kept in {self._where(name)}"
            self._act(what, RebuildHeader(Item(what.place), what.path, header, name), text, size=FRAME_SIZE)
            return
        name, attributes = self._claim(what, b".lower"), self._claim(what, b".attributes")
        links = self._index.links(what.place, what.stat)
        self._vacated.update(place.key for place in links)
        self._act(
            what,
            KeepRaw(Item(what.place), links, name, attributes),
            f"its sealed bytes are moved to {self._where(name)}; only a copy of its header could open them",
            loss="its content, unless a backup has it" if what.stat.st_size else "",
            size=what.stat.st_size,
        )

    def _known_header(self, what: Object, fd: int) -> FileHeader | None:
        """A header from a checkpoint, if it opens at least one cell of the file."""
        if what.stat.st_size < FRAME_SIZE:
            return None
        header = None
        for place in self._index.links(what.place, what.stat):
            parent, name = place.parent.dir_id, self._index.plain_name(place)
            if header is None and parent is not None and name is not None:
                header = self._find_header(self._volume, parent, name)
        if header is None:
            return None
        found = Salvage(self._ctx, fd, header).survey()
        try:
            size: int = self._ctx.geometry.plain_size(what.stat.st_size)
        except SizeError:
            size = found.good_end
        if size and not found.good:
            return None
        return replace(header, size=size, synced_size=min(header.synced_size, size))


def _lost(found: Survey) -> str:
    if not found.bad:
        return ""
    return f"{found.bad:,} of its {found.good + found.bad:,} pieces"
