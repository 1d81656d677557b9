"""What the digest of a file in a checkpoint is taken over: the tags of its cells (FORMAT.md section 12).

Owns: where they are in the lower file. Must not know: whether the cells open; ``verify`` finds that out.
"""

from __future__ import annotations

from encfs.errors import SizeError
from encfs.format.limits import FRAME_SIZE
from encfs.volume.context import Context
from encfs.volume.file import OpenFile

_TAG = 16


def cell_tags(ctx: Context, file: OpenFile, first: int, count: int) -> bytes:
    """The tags of cells ``first`` .. ``first + count - 1``, at most one run of them.

    Raises:
        SizeError: the lower file is too short.
        OSError: it cannot be read.
    """
    cell, lower = ctx.geometry.C, ctx.scratch().lower
    begin = FRAME_SIZE if first == 0 else 0
    wanted = lower[begin : count * cell]
    if ctx.store.preadv(file.fd, wanted, first * cell + begin, wait=True) != len(wanted):
        raise SizeError("the lower file ends before its header says")
    return b"".join([lower[end - _TAG : end] for end in range(cell, count * cell + 1, cell)])
