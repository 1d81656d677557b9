"""Power cuts under a volume on a model disk: run an operation, cut after every call, unlock each disk that leaves.

Owns: which disks are looked at, and what must hold on each. Must not know: which operations there are.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from encfs.core import config as core_config
from encfs.core.sources import UnlockSource
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.support.model_disk import Disk
from tests.support.model_store import ModelStore
from tests.support.steps import State, Step, state
from tests.support.volumes import RECOVERY_KEY, own_ring, verify

Disks = dict[Hashable, Disk]


class Outcome(NamedTuple):
    """Disks that a power cut leaves while steps run, and after the last one has returned."""

    during: Disks
    after: Disks


class Model:
    """A volume on model disks.

    Args:
        path: an empty directory that stands for the root of all of them.
        exhaustive: where there are more disks than these for one point of the journal, a choice is looked at.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, exhaustive: int = 256) -> None:
        self.path = path
        self.exhaustive = exhaustive
        # Thousands of unlocks of one and the same config: its slot is opened once.
        real = core_config.unlock
        opened = cache(lambda copies, source: real(list(copies), source))

        def unlock(copies: Sequence[bytes], source: UnlockSource) -> core_config.UnlockedConfig:
            found = opened(tuple(copies), source)
            return replace(found, ring=own_ring(found.ring))

        monkeypatch.setattr(core_config, "unlock", unlock)

    def unlock(self, store: ModelStore) -> Volume:
        """Unlock what is on a model disk, with recovery if it needs any."""
        return Volume.unlock(os.fsencode(self.path), RECOVERY_KEY, SlotKind.RECOVERY, store=store)

    def prepare(self, disk: Disk, steps: Iterable[Step]) -> Disk:
        """The disk after some steps and a proper end of the session."""
        store = ModelStore(disk)
        with self.unlock(store) as volume:
            for step in steps:
                step(volume)
        assert store.open_descriptors == 0
        return store.medium.at_rest()

    def states(self, disk: Disk, steps: Sequence[Step]) -> list[State]:
        """What a program sees before the first step and after each."""
        with self.unlock(ModelStore(disk)) as volume:
            seen = [state(volume)]
            for step in steps:
                step(volume)
                seen.append(state(volume))
        return seen

    def _collector(self, store: ModelStore, found: Disks, seed: object) -> Callable[[], None]:
        chance = random.Random(repr(seed))

        def collect() -> None:
            for disk in store.medium.crashes(self.exhaustive, chance):
                found.setdefault(disk.identity(), disk)

        return collect

    def cut(self, disk: Disk, steps: Iterable[Step], seed: object = 0) -> Outcome:
        """Run steps in a session; cut the power at each point."""
        store, during, after = ModelStore(disk), Disks(), Disks()
        volume = self.unlock(store)
        store.before_sync = self._collector(store, during, seed)
        for step in steps:
            step(volume)
        store.before_sync()
        self._collector(store, after, seed)()
        store.before_sync = lambda: None
        volume.disown()
        return Outcome(during, after)

    def cut_session(self, disk: Disk, steps: Iterable[Step], seed: object = 0) -> Outcome:
        """The same, from before the unlock (with recovery, if the disk needs any) to behind the end of the session."""
        store, during, after = ModelStore(disk), Disks(), Disks()
        store.before_sync = self._collector(store, during, seed)
        with self.unlock(store) as volume:
            for step in steps:
                step(volume)
        store.before_sync()
        self._collector(store, after, seed)()
        return Outcome(during, after)

    def look(self, disk: Disk, *, crashed: bool | None = True) -> State:
        """What a program sees when the power is back.

        Recovery explains all it meets, verify is clean, a second unlock recovers nothing, no descriptor is left.
        ``crashed``: whether a session was open; None where the cut may have come before it was.
        """
        store = ModelStore(disk)
        with self.unlock(store) as volume:
            assert crashed is None or (volume.recovery is not None) is crashed
            assert volume.recovery is None or volume.recovery.failed == 0, "recovery met what no crash explains"
        assert store.open_descriptors == 0
        volume = self.unlock(store)
        try:
            assert volume.recovery is None, "the second unlock recovers again"
            findings, _ = verify(volume)
            assert findings == []
            seen = state(volume)
            assert volume.ctx.events == 0
        finally:
            volume.disown()
        return seen
