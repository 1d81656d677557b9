"""What still authenticates of one damaged file.

Owns: finding the header (of the file itself, or from a checkpoint), how long the file was, where it has gaps. Must not
know: where the rescued bytes go. Nothing in the volume is changed.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass, field
from errno import EISDIR, ENOENT
from typing import Self

from encfs.core import frames
from encfs.errors import DataError, SizeError
from encfs.format.header import FileHeader
from encfs.format.limits import FRAME_SIZE
from encfs.volume.checkpoint import find_header as from_checkpoint
from encfs.volume.repair_actions import FindHeader
from encfs.volume.salvage import Salvage, Survey
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class Gap:
    """Plain bytes [offset, offset + length) that are lost."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Plain bytes at an offset, valid until the next step."""

    offset: int
    data: memoryview = field(repr=False)


class Rescue:
    """One file of an unlocked volume. Use it in a ``with`` statement.

    Attributes:
        size: plain size, as the header or the good cells tell.
        from_checkpoint: the file's own header is destroyed, and a checkpoint knew it.
        stat: of the lower file.

    Raises:
        OSError: ENOENT, EISDIR, the lower errors.
        DataError: the directory does not open, or the header is destroyed and no checkpoint knows it.
    """

    def __init__(self, volume: Volume, path: bytes, *, find_header: FindHeader = from_checkpoint) -> None:
        parent_path, _, name = path.strip(b"/").rpartition(b"/")
        tree, store = volume.tree, volume.ctx.store
        parent = volume.resolve(parent_path)
        found = tree.find(parent, name) if name else None
        if found is None:
            code = ENOENT if name else EISDIR
            raise OSError(code, os.strerror(code))
        if not stat_module.S_ISREG(found.stat.st_mode):
            code = EISDIR if stat_module.S_ISDIR(found.stat.st_mode) else ENOENT
            raise OSError(code, "no regular file")
        self.stat = found.stat
        self._store = store
        self._geometry = volume.ctx.geometry
        self._fd = store.open(tree.dirfd(parent), found.lower_name, os.O_RDONLY)
        self.from_checkpoint = False
        try:
            header = self._own_header(volume)
            if header is None:
                self.from_checkpoint = True
                header = find_header(volume, tree.dir_id(parent), name)
            if header is None:
                raise DataError("the header of the file is destroyed, and no checkpoint knows it")
            self._salvage = Salvage(volume.ctx, self._fd, header)
            self.size = self._true_size(header, self._salvage.survey())
        except BaseException:
            self.close()
            raise

    def _own_header(self, volume: Volume) -> FileHeader | None:
        try:
            raw = self._store.pread(self._fd, FRAME_SIZE, 0)
            return frames.open_header(volume.ctx.ring, raw) if len(raw) == FRAME_SIZE else None
        except (DataError, OSError):
            return None  # Also where the disk cannot read it any more.

    def _true_size(self, header: FileHeader, found: Survey) -> int:
        """What the header says if it is the file's own; more where good cells go on behind that."""
        if not self.from_checkpoint:
            return max(header.size, found.good_end)
        try:
            return max(int(self._geometry.plain_size(self._salvage.lower_size)), found.good_end)
        except SizeError:
            return found.good_end

    def run(self) -> Iterator[Piece | Gap]:
        """All of the file from start to end; neighbouring gaps are one. Holes come as no piece and are no gap.

        Raises:
            OSError: the store failed in another way than at a bad sector.
        """
        good_upto = gap_from = 0
        for cell in self._salvage.cells():
            end = min(cell.start + self._geometry.capacity(cell.index), self.size)
            if cell.data is None or cell.start >= self.size:
                continue
            if cell.hole and end >= self.size:
                break  # The last cell of a file is never a hole.
            if cell.start > gap_from:
                yield Gap(gap_from, cell.start - gap_from)
            if not cell.hole:
                end = min(cell.start + len(cell.data), self.size)
                yield Piece(cell.start, cell.data[: end - cell.start])
            good_upto = gap_from = end
        if good_upto < self.size:
            yield Gap(good_upto, self.size - good_upto)

    def close(self) -> None:
        self._store.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
