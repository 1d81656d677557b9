"""Changes of the slots and the policy of an unlocked config: each gives the next config, with a higher ``seq``.

Owns: what a change does to slots, and that none goes below the policy. Must not know: where configs lie, prompts,
whether a change is wise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from encfs.core import policy as core_policy
from encfs.core.config import UnlockedConfig
from encfs.core.slots import make_slot
from encfs.core.sources import NewSlot
from encfs.errors import UsageError
from encfs.format import limits
from encfs.format.policy import Policy
from encfs.format.slots import Slot


def add_slot(unlocked: UnlockedConfig, new: NewSlot, *, created: int) -> UnlockedConfig:
    """With one slot more.

    Raises:
        UsageError: there are as many as there can be.
        PolicyError: the derivation costs less than the policy wants.
        FormatError: the label or data is too long, or the derivation does not fit the kind.
        MemoryShortError: the derivation needs more memory than is free.
    """
    slots = unlocked.config.slots
    if len(slots) >= limits.SLOTS_MAX:
        raise UsageError(f"the volume has {len(slots)} slots, and there can be no more", hint="Remove one first.")
    return _with(unlocked, (*slots, _made(unlocked, new, created)))


def change_slot(unlocked: UnlockedConfig, slot: Slot, new: NewSlot, *, created: int) -> UnlockedConfig:
    """With ``slot`` replaced in its place by one that is made anew, of which nothing of the old one opens.

    Raises:
        PolicyError: too few recovery keys would be left, or as :func:`add_slot`.
        FormatError, MemoryShortError: as :func:`add_slot`.
    """
    made = _made(unlocked, new, created)
    return _with(unlocked, tuple(made if one.id == slot.id else one for one in unlocked.config.slots))


def rename_slot(unlocked: UnlockedConfig, slot: Slot, label: str) -> UnlockedConfig:
    """With another label; it opens as before.

    Raises:
        FormatError: the label is too long, or not text.
    """
    renamed = replace(slot, label=label)
    return _with(unlocked, tuple(renamed if one.id == slot.id else one for one in unlocked.config.slots))


def remove_slot(unlocked: UnlockedConfig, slot: Slot) -> UnlockedConfig:
    """Without it. Who kept a copy of the old config can still open that with it: the root key is the same."""
    return _with(unlocked, tuple(one for one in unlocked.config.slots if one.id != slot.id))


def set_policy(unlocked: UnlockedConfig, policy: Policy) -> UnlockedConfig:
    """With other rules. What they say of slots that are there is not asked: status shows it."""
    config = replace(unlocked.config, policy=policy, seq=unlocked.config.seq + 1)
    return replace(unlocked, config=config, digest=b"", slot=None)


def _made(unlocked: UnlockedConfig, new: NewSlot, created: int) -> Slot:
    config = unlocked.config
    core_policy.require_cost(config.policy, new.kdf)
    return make_slot(
        unlocked.ring.suite,
        volume_id=config.volume_id,
        rk_id=config.rk_id,
        root_key=unlocked.root_key,
        kind=new.kind,
        label=new.label,
        created=created,
        kdf=new.kdf,
        secret=new.secret,
        data=new.data,
    )


def _with(unlocked: UnlockedConfig, slots: Sequence[Slot]) -> UnlockedConfig:
    core_policy.require_recovery(unlocked.config.policy, unlocked.config.slots, slots)
    config = replace(unlocked.config, slots=tuple(slots), seq=unlocked.config.seq + 1)
    return replace(unlocked, config=config, digest=b"", slot=None)
