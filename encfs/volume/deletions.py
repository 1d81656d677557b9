"""Files that lost their last name, until the host's memory is told (FORMAT.md section 13).

Owns: the headers of such files, sealed, and what makes one worth telling. Must not know: when; as for ``moves.py``.

What is told is no use before it is durable, so it can wait as long as that. Opening the header and deriving what the
memory knows the file by is most of what an unlink would cost.
"""

from __future__ import annotations

from typing import Final

from encfs.core import frames
from encfs.errors import DataError
from encfs.format.header import FileHeader
from encfs.format.limits import LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.context import Context

# 512 bytes each.
_WAITING_MAX: Final = 1024


class Deletions:
    """What the memory of the host is still to be told."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._waiting: list[tuple[bytes, DirId, LowerName, tuple[DirId, bytes] | None]] = []

    def add(self, raw: bytes, here: DirId, lower_name: LowerName, owed: tuple[DirId, bytes] | None) -> None:
        """A file is gone.

        Args:
            raw: its sealed header.
            here: the directory it was in.
            lower_name: its name there.
            owed: the place that its header named if it had been renamed since.
        """
        self._waiting.append((raw, here, lower_name, owed))
        if len(self._waiting) >= _WAITING_MAX:
            self.tell()

    def tell(self) -> None:
        """Tell all of it.

        A header that does not open or names another place is passed over: the removal of a forged or copied file must
        not make the true one, whose id it bears, a deleted one.
        """
        waiting, self._waiting = self._waiting, []
        for raw, here, lower_name, owed in waiting:
            try:
                header = frames.open_header(self._ctx.ring, raw)
            except DataError:
                continue
            if owed is None:
                self.tell_of(header, here, lower_name)
            elif (header.parent, header.name) == owed:
                self._removed(header)

    def tell_of(self, header: FileHeader, here: DirId, lower_name: LowerName) -> None:
        """Tell of a file whose header is open, if that names the place where the file was."""
        base = lower_name.removesuffix(LINK_SUFFIX)
        if header.parent == here and self._ctx.ring.metadata.names.seal(here, header.name) == base:
            self._removed(header)

    def _removed(self, header: FileHeader) -> None:
        if self._ctx.freshness is not None:
            self._ctx.freshness.removed(header.fid, header.generation)
