"""What a volume asks and tells of the memory that its host has of it (FORMAT.md section 13).

Owns: the questions, and when in the life of a volume they are asked. Must not know: where the memory is kept
(``encfs/host``); a volume used as a library has none.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from encfs.errors import VolumeRollbackError
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME
from encfs.format.session import SessionRecord
from encfs.store.atomic import sync_directory, sync_file
from encfs.units import FileId, SessionId, VolumeId

if TYPE_CHECKING:
    from encfs.volume.volume import Volume


class Freshness(Protocol):
    """The memory of one host for one unlocked volume: its files. Calls may come from several threads."""

    def check(self, fid: FileId, generation: int) -> bool:
        """A header was read.

        Returns:
            Whether the generation is news; then :meth:`seen` is to be told once the file is found to be in its place.

        Raises:
            RollbackError: this host has seen a newer generation of the file, or its deletion.
        """
        ...

    def made(self, fid: FileId) -> None:
        """A file begins its life: nobody outside of this session has seen it."""
        ...

    def seen(self, fid: FileId, generation: int) -> None:
        """A header was read at its place; it is not known to be durable yet."""
        ...

    def wrote(self, fid: FileId, generation: int) -> None:
        """A header was written; it is not known to be durable yet."""
        ...

    def synced(self, fid: FileId, generation: int) -> None:
        """A header of this generation, or a later one, is durable."""
        ...

    def removed(self, fid: FileId, generation: int) -> None:
        """A file of that generation lost its last name, or its content was replaced under a fresh id.

        It is not known to be durable yet. What is newer was not deleted.
        """
        ...

    def was_removed(self, fid: FileId) -> bool:
        """Whether this host knows that the file was deleted on purpose, durably or in this session."""
        ...

    def recording(self, *, on: bool) -> None:
        """A checkpoint is being made, or no longer: each file that is there meanwhile may be in it.

        So the deletion of any of them is worth remembering, also that of one that was made in this session.
        """
        ...

    def remember_checkpoint(self, checkpoint_id: bytes) -> None:
        """A checkpoint is durable."""
        ...

    def newest_checkpoint(self) -> bytes:
        """The greatest id of a checkpoint that this host made; empty if it made none."""
        ...

    def flush(self) -> None:
        """Put what is known to be durable where it outlives this process. For any thread."""
        ...


class VolumeMemory(Freshness, Protocol):
    """The same memory, of the volume as a whole.

    Attributes:
        used: when this host used the volume last, seconds since 1970.
    """

    used: int | None

    @property
    def state(self) -> str:
        """``known``; ``new``: this host has never seen the volume; ``lost``: it has, and forgot; ``off``: no memory."""
        ...

    def bind(self, volume_id: VolumeId, key: bytes) -> None:
        """The volume is unlocked. ``key``: its K_freshness."""
        ...

    def compare(
        self, seq: int, digest: bytes, sessions: Sequence[SessionRecord], damaged: Collection[SessionId]
    ) -> str | None:
        """Why the volume as it lies there is older than what is remembered; None if it is not."""
        ...

    def unknown(self, sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
        """The sessions that this host has no part in and has not seen yet; none if it never used the volume."""
        ...

    def knows(self, seq: int, digest: bytes, sessions: Sequence[SessionRecord]) -> bool:
        """Whether all of this is remembered already."""
        ...

    def remember(self, seq: int, digest: bytes, sessions: Sequence[SessionRecord]) -> None:
        """Config and session records are durable as they are here."""
        ...

    def remember_session(self, record: SessionRecord) -> None:
        """A session record was fsynced."""
        ...

    def all_durable(self) -> None:
        """The whole filesystem was synced after everything that was told so far."""
        ...

    def forget_keys(self) -> None:
        """Write what is known to be durable, then drop the keys."""
        ...

    def release(self) -> None:
        """Close files until they are needed again: a fork may come."""
        ...


def look_back(volume: Volume, memory: VolumeMemory) -> None:
    """Compare a volume with what its host remembers, before anything is written or recovered. A lock is held.

    A volume that is open for reading goes on with ``volume.rollback`` set, and without checks of single files: all
    of it is older.

    Raises:
        VolumeRollbackError: the volume is older, and open for writing.
    """
    memory.bind(volume.config.volume_id, volume.ctx.ring.metadata.freshness_key)
    sessions, damaged = volume.sessions.survey()
    seq, digest = volume.config.seq, volume.config_digest
    volume.rollback = memory.compare(seq, digest, sessions, damaged)
    if volume.rollback is None:
        volume.ctx.freshness = memory
        volume.elsewhere = memory.unknown(sessions)
        if not memory.knows(seq, digest, sessions) and _make_durable(volume):
            memory.remember(seq, digest, sessions)
    elif not volume.ctx.read_only:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(memory.used or 0))
        raise VolumeRollbackError(
            f"older than what this host has seen: {volume.rollback}. It was last used here on {used}",
            hint="If you restored a backup on purpose: cloakfs accept VOLUME. Else somebody put old state back.",
        )


def _make_durable(volume: Volume) -> bool:
    """Config and session records may come from a copy that is still on its way to the medium; bring them there."""
    store = volume.ctx.store
    try:
        for name in (CONFIG_BAK_NAME, CONFIG_NAME):
            try:
                sync_file(store, volume.root_fd, name)
            except FileNotFoundError:
                continue
        sync_directory(store, volume.root_fd)
        volume.sessions.make_durable()
    except OSError:
        return False  # What cannot be made durable is not remembered.
    return True
