"""Slots as people and scripts see them, and opening them for a change.

Owns: how a slot is named, found and shown. Must not know: which command wants it.
"""

from __future__ import annotations

import os
from typing import Any, Final

from encfs.audit.journal import HostJournal
from encfs.cli import auditing, crashes, output, presences, progress, targets
from encfs.core.sources import UnlockSource
from encfs.errors import UsageError
from encfs.format.config import Config
from encfs.format.slots import KdfAlg, Slot, SlotKind, decode_share_set
from encfs.host.freshness import HostFreshness
from encfs.kinds import KINDS
from encfs.volume.keys import Keys
from encfs.volume.told import about

_ID_MIN: Final = 4


def target_of(text: str) -> str:
    """The volume directory that a volume or mount point names."""
    return targets.find(text).volume


def open_keys(path: str, source: UnlockSource) -> Keys:
    """Open the slots of a volume, with a word about what takes so long.

    Raises:
        UnlockError, ConfigError, VolumeInUseError, MemoryShortError, OSError.
    """
    with about(path), progress.activity("Unlocking"):
        keys = Keys(os.fsencode(path), source, journal=HostJournal())
    since = crashes.unlocked_since(keys.config.volume_id)
    presences.opened(path, keys.config, keys.opened_with, mountpoint="", read_only=False)
    auditing.tell_break_glass(keys.config.volume_id, keys.opened_with)
    crashes.tell(keys.config.volume_id, keys.opened_with.id, since)
    return keys


def uses_of(config: Config) -> dict[bytes, int]:
    """When each slot opened the volume last on this host, as far as it remembers."""
    memory = HostFreshness()
    found = memory.slot_uses(config.volume_id)
    for problem in memory.problems:
        output.warn(problem)
    return found


def note_use(keys: Keys) -> None:
    """Remember on this host that the volume was opened, and with which slot."""
    memory = HostFreshness()
    memory.slot_used(keys.config.volume_id, keys.opened_with.id)
    memory.release()
    for problem in memory.problems:
        output.warn(problem)


def find_slot(config: Config, text: str) -> Slot:
    """The slot with a label, or with an id that begins so.

    Raises:
        UsageError: there is none, or more than one.
    """
    found = [slot for slot in config.slots if slot.label == text]
    if not found and len(text) >= _ID_MIN:
        found = [slot for slot in config.slots if slot.id.hex().startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{printable_label(slot)} ({slot.id.hex()})" for slot in found or config.slots)
    problem = "more than one slot is" if found else "no slot is"
    raise UsageError(f"{problem} called {output.printable(text)}", hint=f"Slots: {listed}. An id does too.")


def printable_label(slot: Slot) -> str:
    """The label, or what stands in for an empty one."""
    return output.printable(slot.label) or slot.id.hex()


def kind_text(slot: Slot) -> str:
    """What opens it, for people."""
    if slot.kind in KINDS:
        return KINDS[slot.kind].title
    if slot.kind == SlotKind.SHARES:
        shares = decode_share_set(slot.data)
        return f"any {shares.threshold} of {shares.count} shares, set {shares.set_id:05}"
    if slot.kind == SlotKind.RECOVERY:
        return "recovery key"
    return slot.kind.replace("+", " and ").replace("key-file", "key file")


def cost_text(slot: Slot) -> str:
    """What a guess costs, for people."""
    if slot.kind in KINDS:
        return KINDS[slot.kind].guess
    kdf = slot.kdf
    if kdf.alg is not KdfAlg.ARGON2ID:
        return "nothing, and is hopeless: 256 random bits"
    memory = output.human_size(kdf.memory_kib * 1024)
    return f"Argon2id, {memory}, {output.plural(kdf.passes, 'pass', 'passes')}, {output.plural(kdf.lanes, 'lane')}"


def as_json(slot: Slot, used: int | None) -> dict[str, Any]:
    """A slot in docs/json.md; ``used``: when it was last used on this host."""
    kdf = slot.kdf
    cost: dict[str, Any] = {"alg": str(kdf.alg)}
    if kdf.alg is KdfAlg.ARGON2ID:
        cost |= {"memory_kib": kdf.memory_kib, "passes": kdf.passes, "lanes": kdf.lanes}
    return {
        "id": slot.id.hex(),
        "kind": str(slot.kind),
        "label": slot.label,
        "created": slot.created,
        "kdf": cost,
        "last_used": used,
        "shares": _share_set(slot),
    }


def _share_set(slot: Slot) -> dict[str, int] | None:
    if slot.kind != SlotKind.SHARES:
        return None
    shares = decode_share_set(slot.data)
    return {"set": shares.set_id, "threshold": shares.threshold, "count": shares.count}
