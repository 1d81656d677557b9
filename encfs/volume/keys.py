"""Changing what opens a volume, and the rules for that: slots and policy of its config, whether or not it is mounted.

Owns: the order in which a change is proved, written and read back (FORMAT.md sections 3 and 4). Must not know: what is
inside a slot, prompts. Files and sessions are not touched; a mount goes on with the keys that it has.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Self

from encfs.core import config as core_config
from encfs.core import key_changes
from encfs.core.config import UnlockedConfig
from encfs.core.sources import NewSlot, UnlockSource
from encfs.errors import LowerIOError, UsageError, VolumeInUseError
from encfs.format.config import Config
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_MAX, CONFIG_NAME
from encfs.format.policy import Policy
from encfs.format.slots import Slot
from encfs.store.base import Store
from encfs.volume.skeleton import open_root, read_copies, write_config


class Keys:
    """The slots of a volume, open for changes. Use it in a ``with`` statement.

    Args:
        path: the volume directory.
        source: what opens it.
        store: another backing store (tests).

    Raises:
        VolumeInUseError: somebody else is changing them.
        UnlockError, ConfigError, MemoryShortError, OSError.
    """

    def __init__(self, path: bytes, source: UnlockSource, *, store: Store | None = None) -> None:
        local, self._root_fd = open_root(path)
        self._store = store or local
        try:
            if not self._store.try_lock_directory(self._root_fd):
                raise VolumeInUseError(
                    "the keys of this volume are being changed by another process", hint="Try again when that is done."
                )
            self._unlocked = core_config.unlock(read_copies(self._store, self._root_fd), source)
        except BaseException:
            os.close(self._root_fd)
            raise
        assert self._unlocked.slot is not None
        self.opened_with: Slot = self._unlocked.slot

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._unlocked.ring.forget()
        os.close(self._root_fd)

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
        self._write(changed, proof)
        return self.config.slots[-1]

    def change(self, slot: Slot, new: NewSlot, proof: UnlockSource) -> Slot:
        """Make ``slot`` anew in its place; raises as :meth:`add`."""
        if new.label != slot.label:
            self._require_free(new.label)
        changed = key_changes.change_slot(self._unlocked, slot, new, created=int(time.time()))
        self._write(changed, proof)
        return next(one for one in self.config.slots if one.label == new.label)

    def rename(self, slot: Slot, label: str) -> None:
        """Give it another label.

        Raises:
            UsageError: it is another slot's. FormatError: it is too long.
            LowerIOError, OSError: as :meth:`add`.
        """
        self._require_free(label)
        self._write(key_changes.rename_slot(self._unlocked, slot, label), None)

    def remove(self, slot: Slot) -> None:
        """Take it away. Without its last slot nothing ever opens the volume again.

        Raises:
            PolicyError: too few recovery keys would be left.
            LowerIOError, OSError: as :meth:`add`.
        """
        self._write(key_changes.remove_slot(self._unlocked, slot), None)

    def set_policy(self, policy: Policy) -> None:
        """Set other rules; those that are not in ``policy`` are gone.

        Raises:
            LowerIOError, OSError: as :meth:`add`.
        """
        self._write(key_changes.set_policy(self._unlocked, policy), None)

    def _require_free(self, label: str) -> None:
        if any(one.label == label for one in self.config.slots):
            raise UsageError(f"there is a slot {label!r} already", hint="Choose another label.")

    def _write(self, changed: UnlockedConfig, proof: UnlockSource | None) -> None:
        """Prove, write, read back from the medium: a config that lies there is one that was opened before."""
        raw = core_config.seal_config(changed.ring.suite, changed.config, changed.root_key)
        if proof is not None:
            core_config.unlock([raw], proof)
        write_config(self._store, self._root_fd, raw)
        for name in (CONFIG_NAME, CONFIG_BAK_NAME):
            if self._store.read_uncached(self._root_fd, name, CONFIG_MAX + 1024) != raw:
                raise LowerIOError(
                    "the config that was written is not what the medium gives back",
                    hint="Do not lock the volume. Copy your files somewhere else: the medium is failing.",
                )
        self._unlocked = changed
