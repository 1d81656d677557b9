"""A new content key for an open file, cell by cell, while programs use it (FORMAT.md section 14).

Owns: the order of header and cells, so that at any moment everything on the medium opens with the keys that the header
on the medium names. Must not know: which files are due, when, who waits for the medium.

The steps of one file: :meth:`~RekeyFile.stage`; the medium is waited for; :meth:`~RekeyFile.commit`;
:meth:`~RekeyFile.rekey_run` over all of it; the medium is waited for; :meth:`~RekeyFile.finish`. Other calls may
come in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from encfs.core import frames
from encfs.core.cells import CellCodec, CellError, Scratch, runs
from encfs.crypto import rng
from encfs.errors import SizeError
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import FRAME_SIZE, KEY_SIZE
from encfs.volume.cell_file import CellFile


@dataclass(frozen=True, slots=True)
class Staged:
    """A header with a new content key, and the one in memory that it was written over."""

    over: FileHeader
    header: FileHeader


class RekeyFile(CellFile):
    """The part of :class:`~encfs.volume.file.OpenFile` that replaces the content key."""

    __slots__ = ()

    def half_way(self) -> bool:
        """Whether an earlier run began to replace the content key and has not finished."""
        return self.header.previous_content_key is not None

    def stage(self) -> Staged:
        """Write the header that names the new content key beside the old one; go on under the old one.

        It has to be on the medium before a cell is sealed under the new key, and until :meth:`commit` none is.

        Raises:
            OSError: it could not be written.
        """
        self.settle()
        self.renew_epoch()
        header = self.header
        going_on = header.following(
            size=header.size, synced_size=header.synced_size, session=self._ctx.session, cells_sealed=self._sealed
        )
        staged = replace(
            going_on,
            content_key=rng.random_bytes(KEY_SIZE),
            # Also of an empty file: a program may write to it before the new key is in use.
            previous_content_key=header.content_key,
            flags=header.flags ^ HeaderFlag.PARITY,
            content_epoch=None,
            cells_sealed=0,
        )
        self._keeping_times_and_mode(
            lambda: self._ctx.store.pwrite(self.fd, frames.seal_header(self._ctx.ring, staged), 0)
        )
        self.header = going_on
        self._note_written()
        return Staged(going_on, staged)

    def commit(self, staged: Staged) -> bool:
        """The staged header is on the medium: seal under the new key from now on.

        Returns:
            Whether it is; false where a header was written over it meanwhile, or is about to be.
        """
        if self.damaged_size or self.header is not staged.over:
            return False
        self.header = staged.header
        self._codec = CellCodec(self._ctx.suite, self._ctx.geometry, self.header)
        self._sealed = 0
        return True

    def begin_alone(self) -> None:
        """:meth:`stage` to :meth:`commit` as one blocking call, during which nobody else may use the file.

        Raises:
            OSError: as :meth:`stage`, or the medium could not be waited for.
        """
        staged = self.stage()
        self._ctx.store.fdatasync(self.fd)
        self.commit(staged)

    def all_runs(self) -> Iterator[tuple[int, int]]:
        """First cell and count of each run of the file as it is now."""
        return runs(0, self._ctx.geometry.cells_for(self.size) - 1, self._ctx.scratch().slots)

    def rekey_run(self, first: int, count: int) -> tuple[int, int]:
        """Seal those cells of a run anew that are under the previous key, in their places.

        Returns:
            How many were sealed anew, and how many do not open and stay as they are.

        Raises:
            OSError: the medium refused; every cell opens as before or anew.
            SizeError: the lower file ends before its header says.
        """
        g, scratch = self._ctx.geometry, self._ctx.scratch()
        count = min(count, g.cells_for(self.size) - first)
        if count <= 0 or self.header.previous_content_key is None:
            return 0, 0
        begin = FRAME_SIZE if first == 0 else 0
        wanted = scratch.lower[begin : count * g.C]
        if self._ctx.store.preadv(self.fd, wanted, g.lower_offset(first), wait=True) != len(wanted):
            raise SizeError("the lower file ends before its header says")
        renewed, damaged = self._reseal(scratch, first, count)
        if renewed:
            self._dirty = True
            self._keeping_times_and_mode(lambda: self._store_slots(scratch, first, renewed))
        return len(renewed), damaged

    def _reseal(self, scratch: Scratch, first: int, count: int) -> tuple[list[int], int]:
        """Seal anew in the buffers; which slots, and how many do not open."""
        renewed, damaged = [], 0
        for j in range(count):
            index = first + j
            if not self._codec.is_under_previous(scratch, j, index):
                continue
            try:
                length = self._codec.open_cell(scratch, j, index, sparse=True)
            except CellError as exc:
                self._note(exc)
                damaged += 1
                continue
            self._reserve(1)
            self._codec.seal_one(scratch, j, index, scratch.slot(j, index)[3], length)
            renewed.append(j)
        return renewed, damaged

    def _store_slots(self, scratch: Scratch, first: int, slots: list[int]) -> None:
        """Write the slots, each group of neighbours at once."""
        g = self._ctx.geometry
        start = slots[0]
        for here, following in zip(slots, [*slots[1:], -1], strict=True):
            if following != here + 1:
                begin = FRAME_SIZE if first + start == 0 else 0
                data = scratch.lower[start * g.C + begin : (here + 1) * g.C]
                self._ctx.store.pwrite(self.fd, data, (first + start) * g.C + begin)
                start = following

    def finish(self) -> None:
        """Every cell is under the new key, on the medium: the header names that key alone.

        Raises:
            OSError: the header could not be written; both keys stay in it.
        """
        if self.header.previous_content_key is None:
            return
        before = self.header
        self.header = replace(before, previous_content_key=None)
        try:
            self._keeping_times_and_mode(self.write_header)
        except OSError:
            self.header = replace(self.header, previous_content_key=before.previous_content_key)
            self._dirty = True
            raise
        self._codec = CellCodec(self._ctx.suite, self._ctx.geometry, self.header)
