"""Changes of an unlocked config: each gives the next one, with a higher ``seq``.

Owns: what a change does to slots, the policy, the root key and epochs, and that no slot goes below the policy. Must not
know: where configs lie, prompts, whether a change is wise, what is sealed under the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from encfs.core import policy as core_policy
from encfs.core.config import UnlockedConfig
from encfs.core.keys import unwrap_epoch, unwrap_metadata, wrap_epoch, wrap_metadata
from encfs.core.slots import make_slot, open_authenticator, seal_authenticator, seal_root_key
from encfs.core.sources import NewSlot
from encfs.crypto import rng
from encfs.errors import UsageError
from encfs.format import limits
from encfs.format.config import Config
from encfs.format.epochs import Epoch, Rotation, RotationReason
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


def renew_root_key(unlocked: UnlockedConfig) -> UnlockedConfig:
    """With a new root key, sealed to every slot: whoever had a slot that is not there any more cannot learn it.

    Nobody is asked for a secret (FORMAT.md section 4: erk and auth are made anew with the slot's public half).

    Raises:
        SlotDamagedError: a slot does not open with the old root key, and would be shut out.
    """
    config, suite = unlocked.config, unlocked.ring.suite
    volume_id, old = config.volume_id, unlocked.root_key
    new, rk_id = rng.random_bytes(limits.KEY_SIZE), rng.random_bytes(limits.ROOT_KEY_ID_SIZE)

    def renewed(slot: Slot) -> Slot:
        authenticator = open_authenticator(suite, volume_id, slot, old)
        erk = seal_root_key(
            suite,
            volume_id=volume_id,
            slot_id=slot.id,
            rk_id=rk_id,
            pub=slot.pub,
            authenticator=authenticator,
            root_key=new,
        )
        auth = seal_authenticator(
            suite, volume_id=volume_id, slot_id=slot.id, root_key=new, authenticator=authenticator
        )
        return replace(slot, erk=erk, auth=auth)

    def rewrapped(entry: Epoch) -> Epoch:
        number = entry.epoch
        key = unwrap_epoch(suite, root_key=old, volume_id=volume_id, epoch=number, wrap=entry.wrap)
        return replace(entry, wrap=wrap_epoch(suite, root_key=new, volume_id=volume_id, epoch=number, key=key))

    metadata = unwrap_metadata(suite, root_key=old, volume_id=volume_id, wrap=config.metadata)
    changed = replace(
        config,
        seq=config.seq + 1,
        rk_id=rk_id,
        slots=tuple(renewed(slot) for slot in config.slots),
        epochs=tuple(rewrapped(entry) for entry in config.epochs),
        metadata=wrap_metadata(suite, root_key=new, volume_id=volume_id, key=metadata),
    )
    return replace(unlocked, config=changed, root_key=new, digest=b"", slot=None)


def begin_rotation(
    unlocked: UnlockedConfig, reason: RotationReason, *, data: bool, now: int
) -> tuple[UnlockedConfig, bytes]:
    """With a new epoch, under which everything is sealed from now on (FORMAT.md section 14).

    Returns:
        The config, and the key of the epoch. The ring of ``unlocked`` does not know it.

    Raises:
        UsageError: there have been as many epochs as there can be.
    """
    config, ring = unlocked.config, unlocked.ring
    number = config.active.epoch + 1
    if number > limits.EPOCH_MAX:
        raise UsageError("the volume has had as many epochs as it can have")
    key = rng.random_bytes(limits.KEY_SIZE)
    wrap = wrap_epoch(ring.suite, root_key=unlocked.root_key, volume_id=config.volume_id, epoch=number, key=key)
    retired = [replace(entry, active=False) for entry in config.epochs]
    rotation = Rotation(epoch=number, reason=reason, started=now, data=data)
    # Those that ended long ago make room; one that is under way stays until it has ended.
    kept = [*config.rotations, rotation][-limits.ROTATIONS_MAX :]
    changed = replace(
        config,
        seq=config.seq + 1,
        epochs=(*retired, Epoch(epoch=number, created=now, active=True, wrap=wrap)),
        rotations=tuple(kept),
    )
    return replace(unlocked, config=changed, digest=b"", slot=None), key


def end_rotation(config: Config, *, files: int, directories: int, cells: int, now: int) -> Config:
    """Without the retired epochs, whose keys are gone with it, and with what was done in the record."""

    def ended(one: Rotation) -> Rotation:
        if one.finished:
            return one
        return replace(one, finished=max(now, 1), files=files, directories=directories, cells=cells)

    return replace(
        config,
        seq=config.seq + 1,
        epochs=(config.active,),
        rotations=tuple(ended(one) for one in config.rotations),
    )


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
