"""Changing what opens a volume, and the rules for that: slots and policy of its config, whether or not it is mounted.

Owns: the order in which a change is proved, written and read back (FORMAT.md sections 3 and 4). Must not know: what is
inside a slot, prompts. Files and sessions are not touched; a mount goes on with the keys that it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol, Self

from encfs.core import config as core_config
from encfs.core import key_changes
from encfs.core.config import UnlockedConfig
from encfs.core.sources import NewSlot, UnlockSource
from encfs.errors import UsageError, VolumeInUseError
from encfs.format.config import Config
from encfs.format.epochs import RotationReason
from encfs.format.limits import DEFAULT_CELL_SIZE
from encfs.format.policy import Policy
from encfs.format.slots import Slot
from encfs.store.base import Store
from encfs.units import VolumeId
from encfs.volume.skeleton import open_root, read_copies, write_config_proved


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEpoch:
    """What a mount needs to go on under a new epoch; the config says the rest.

    Attributes:
        epoch: its number.
        key: its key, 32 bytes.
        config_key: K_config, 32 bytes, to write the config that ends the rotation.
    """

    epoch: int
    key: bytes = field(repr=False)
    config_key: bytes = field(repr=False)


class KeyJournal(Protocol):
    """Who keeps a record of changes. What cannot be recorded is not done."""

    def recorded(
        self, action: str, volume_id: VolumeId, *, slot: bytes, changed: str, detail: Mapping[str, str | int]
    ) -> AbstractContextManager[None]:
        """Record that ``action`` begins, and how it ended.

        Args:
            action: what is done, such as ``key.add``.
            volume_id: to which volume.
            slot: id of the slot that opened the volume.
            changed: id of the slot that is made or changed, in hexadecimal, or empty.
            detail: more of it, without secrets.

        Raises:
            AuditError: it cannot be recorded.
        """
        ...


class Keys:
    """The slots of a volume, open for changes. Use it in a ``with`` statement.

    Args:
        path: the volume directory.
        source: what opens it.
        journal: who records changes, or nobody.
        store: another backing store (tests).

    Raises:
        VolumeInUseError: somebody else is changing them.
        UnlockError, ConfigError, MemoryShortError, OSError.
    """

    def __init__(
        self, path: bytes, source: UnlockSource, *, journal: KeyJournal | None = None, store: Store | None = None
    ) -> None:
        self._opener, self._root_fd = open_root(path)
        self._store = store or self._opener
        try:
            if not self._store.try_lock_directory(self._root_fd):
                raise VolumeInUseError(
                    "the keys of this volume are being changed by another process", hint="Try again when that is done."
                )
            self._unlocked = core_config.unlock(read_copies(self._store, self._root_fd), source)
        except BaseException:
            self._opener.close(self._root_fd)
            raise
        assert self._unlocked.slot is not None
        self.opened_with: Slot = self._unlocked.slot
        self._journal = journal
        # Told of every config that was written.
        self.on_written: Callable[[Config], None] = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the keys, and let others change them."""
        if self._root_fd >= 0:
            self._unlocked.ring.forget()
            self._opener.close(self._root_fd)
            self._root_fd = -1

    @property
    def config(self) -> Config:
        """As it is on the disk."""
        return self._unlocked.config

    def add(self, new: NewSlot, proof: UnlockSource) -> Slot:
        """One slot more. ``proof`` is what shall open it, and has to, before anything is written.

        Raises:
            UsageError: there can be no more slots, or the label is another slot's.
            PolicyError: the policy of the volume forbids it.
            UnlockError: ``proof`` does not open it; nothing was changed.
            LowerIOError, OSError: it could not be written; the config is as it was, or as it shall be.
        """
        self._require_free(new.label)
        changed = key_changes.add_slot(self._unlocked, new, created=int(time.time()))
        made = changed.config.slots[-1]
        with self._recorded("key.add", made, kind=str(made.kind)):
            self._write(changed, proof)
        return self.config.slots[-1]

    def change(self, slot: Slot, new: NewSlot, proof: UnlockSource) -> Slot:
        """Make ``slot`` anew in its place; raises as :meth:`add`."""
        if new.label != slot.label:
            self._require_free(new.label)
        changed = key_changes.change_slot(self._unlocked, slot, new, created=int(time.time()))
        with self._recorded("key.change", slot, kind=str(new.kind)):
            self._write(changed, proof)
        return next(one for one in self.config.slots if one.label == new.label)

    def rename(self, slot: Slot, label: str) -> None:
        """Give it another label.

        Raises:
            UsageError: it is another slot's. FormatError: it is too long.
            LowerIOError, OSError: as :meth:`add`.
        """
        self._require_free(label)
        with self._recorded("key.rename", slot):
            self._write(key_changes.rename_slot(self._unlocked, slot, label), None)

    def remove(self, slot: Slot) -> None:
        """Take it away. Without its last slot nothing ever opens the volume again.

        Raises:
            PolicyError: too few recovery keys would be left.
            LowerIOError, OSError: as :meth:`add`.
        """
        changed = key_changes.remove_slot(self._unlocked, slot)
        with self._recorded("key.remove", slot, kind=str(slot.kind)):
            self._write(changed, None)

    def rotate(self, reason: RotationReason, *, data: bool = False, without: Slot | None = None) -> NewEpoch:
        """Begin a rotation: a new root key for the slots, and a new epoch, in one write (FORMAT.md section 14).

        Args:
            reason: for the record.
            data: replace the content keys too.
            without: a slot that is taken away in the same write.

        Returns:
            What whoever has the volume open needs to go on.

        Raises:
            SlotDamagedError: a slot would be shut out; nothing was changed.
            UsageError: ``data`` with cells that cannot be replaced in place, or too many epochs.
            LowerIOError, OSError: as :meth:`add`.
        """
        if data and self.config.cell_size != DEFAULT_CELL_SIZE:
            raise UsageError(
                f"with cells of {self.config.cell_size} bytes a power cut could hit one half-written",
                hint="Rotate without --data, or copy the files into a new volume.",
            )
        changed = self._unlocked if without is None else key_changes.remove_slot(self._unlocked, without)
        changed = key_changes.renew_root_key(changed)
        changed, key = key_changes.begin_rotation(changed, reason, data=data, now=int(time.time()))
        changed = replace(changed, config=replace(changed.config, seq=self.config.seq + 1))
        with self._recorded(
            "key.rotate", without, reason=str(reason), data=int(data), epoch=changed.config.active.epoch
        ):
            self._write(changed, None)
        self._unlocked.ring.add(self.config.active.epoch, key)
        return self.active_epoch()

    def active_epoch(self) -> NewEpoch:
        """The active epoch, for whoever has the volume open."""
        unlocked = self._unlocked
        active = unlocked.ring.active
        return NewEpoch(
            epoch=active.epoch,
            key=active.key,
            config_key=core_config.config_key(unlocked.ring.suite, unlocked.root_key),
        )

    @property
    def root_key(self) -> bytes:
        """For opening the volume itself: :meth:`~encfs.volume.volume.Volume.unlock_with_root_key`."""
        return self._unlocked.root_key

    def set_policy(self, policy: Policy) -> None:
        """Set other rules; those that are not in ``policy`` are gone.

        Raises:
            LowerIOError, OSError: as :meth:`add`.
        """
        with self._recorded("policy.set", None, **policy.rules()):
            self._write(key_changes.set_policy(self._unlocked, policy), None)

    def _require_free(self, label: str) -> None:
        if any(one.label == label for one in self.config.slots):
            raise UsageError(f"there is a slot {label!r} already", hint="Choose another label.")

    def _recorded(self, action: str, slot: Slot | None, **detail: str | int) -> AbstractContextManager[None]:
        if self._journal is None:
            return nullcontext()
        changed = "" if slot is None else slot.id.hex()
        if slot is not None:
            detail["label"] = slot.label
        return self._journal.recorded(
            action, self.config.volume_id, slot=self.opened_with.id, changed=changed, detail=detail
        )

    def _write(self, changed: UnlockedConfig, proof: UnlockSource | None) -> None:
        """Prove, write, read back from the medium: a config that lies there is one that was opened before."""
        raw = core_config.seal_config(changed.ring.suite, changed.config, changed.root_key)
        if proof is not None:
            core_config.unlock([raw], proof)
        write_config_proved(self._store, self._root_fd, raw)
        self._unlocked = changed
        self.on_written(changed.config)
