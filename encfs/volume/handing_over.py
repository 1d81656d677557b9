"""A verified copy of a whole volume for somebody else, with keys of its own.

Owns: the order: made beside its place under a name that says it is unfinished, written, synced, read back from the
medium, and only then under its own name. Must not know: who gets it, what is asked.

The copy has nothing of the source's keys: neither side can open what the other has.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from errno import EBUSY
from typing import Final, Protocol

from encfs.core.sources import NewSlot, UnlockSource
from encfs.errors import DataError, NotEmptyError, UsageError
from encfs.format.config import Config
from encfs.store.atomic import sync_directory
from encfs.store.caches import forget
from encfs.volume.contents import Counts
from encfs.volume.replica import Lost, Replica
from encfs.volume.skeleton import create_with_slots, open_root
from encfs.volume.volume import Volume

UNFINISHED: Final = b".unfinished"


class Steps(Protocol):
    """Who is told how far it is, in bytes."""

    def copied(self, done: int) -> None: ...
    def verified(self, done: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What there is now.

    Attributes:
        config: of the copy.
        counts: what is in it.
        lost: what its filesystem does not keep.
        digest: of its contents, under its K_handover (FORMAT.md section 17), 32 bytes.
    """

    config: Config
    counts: Counts
    lost: Lost
    digest: bytes = field(repr=False)


def check_place(to: bytes) -> None:
    """Before anything is asked: whether a copy can be made there.

    Raises:
        NotEmptyError: something is there, or an unfinished copy is. UsageError: its directory is missing.
    """
    parent = os.path.dirname(os.path.abspath(to))
    if not os.path.isdir(parent):
        raise UsageError("there is no directory for the copy", hint="Make it, or plug the medium in, and try again.")
    if os.path.lexists(to) and not (os.path.isdir(to) and not os.path.islink(to) and not os.listdir(to)):
        raise NotEmptyError(
            "there is something already where the copy shall be",
            hint="Give the name of a new directory; nothing is ever overwritten.",
        )
    if os.path.ismount(to):
        raise UsageError(
            "this is the top of a medium, and the copy needs a name on it",
            hint="Give a name below it, such as MEDIUM/handover.",
        )
    if os.path.lexists(_unfinished(to)):
        raise NotEmptyError(
            "an earlier copy was broken off, and what it left is there still",
            hint='Delete that folder, whose name ends in ".unfinished", and try again.',
        )


def _unfinished(to: bytes) -> bytes:
    return os.path.abspath(to) + UNFINISHED


def hand_over(
    source: Volume, to: bytes, new: NewSlot, proof: UnlockSource, *, handover_id: bytes, steps: Steps
) -> HandedOver:
    """Make the copy.

    Args:
        source: open for reading, with no session that has crashed.
        to: its place, which :func:`check_place` has found free.
        new: what opens it.
        proof: has to open it.
        handover_id: 16 bytes, for the receipt.
        steps: is told how far it is.

    Raises:
        DataError: the source does not authenticate, or the copy is not what was read.
        UnlockError: ``proof`` does not open it.
        NotEmptyError: somebody has put something there meanwhile.
        OSError: it could not be written or read. In every case nothing of it is left.
    """
    if source.ctx.tolerant:
        raise DataError(
            "the volume was not closed properly the last time, and has to be checked first",
            hint="Mount it and lock it again. That repairs what a crash leaves.",
        )
    work = _unfinished(to)
    os.mkdir(work, 0o700)
    try:
        made = _make(source, work, new, proof, handover_id, steps)
        _publish(work, to)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return made


def _make(
    source: Volume, work: bytes, new: NewSlot, proof: UnlockSource, handover_id: bytes, steps: Steps
) -> HandedOver:
    unlocked = create_with_slots(work, [new], cell_size=source.config.cell_size)
    with Volume.unlock_with_root_key(work, unlocked.root_key) as copy:
        replica = Replica(source, copy, steps.copied)
        replica.run()
    unlocked.ring.forget()
    forget(work)
    # With what the receiver has: that it opens is proved too.
    with Volume.unlock(work, proof, read_only=True) as copy:
        found = replica.prove(copy, steps.verified)
        digest = found.digest(copy.ctx.ring.metadata.handover_key(handover_id))
        return HandedOver(config=copy.config, counts=found.counts, lost=replica.lost, digest=digest)


def _publish(work: bytes, to: bytes) -> None:
    """Its own name, where there is nothing, or an empty directory.

    Raises:
        NotEmptyError: something is there now. OSError.
    """
    try:
        os.rename(work, to)
    except OSError as exc:
        if exc.errno == EBUSY or os.path.lexists(to):
            raise NotEmptyError(
                "there is something where the copy shall be, which was not there before",
                hint="Nothing was overwritten, and the copy is gone again.",
            ) from exc
        raise
    store, fd = open_root(os.path.dirname(os.path.abspath(to)))
    try:
        sync_directory(store, fd)
    finally:
        store.close(fd)
