"""What follows from the facts about one volume: a light, a sentence and a remedy for each.

Owns: the codes and words of docs/doctor.md, "Each volume", but for the policy and the mount, whose words ``status`` has
too (``encfs/cli``). Must not know: where facts come from, how checks are shown.

Nothing vouches for the config of a locked volume: it is judged as it stands.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from encfs.checks import Checked, Light
from encfs.core.policy import RECOMMENDED
from encfs.doctor.near import Kind, Search
from encfs.doctor.unattended import Given
from encfs.format.config import Config
from encfs.format.slots import KdfAlg, Slot, SlotKind
from encfs.wording import human_size

DAY: Final = 86_400
VERIFY_DAYS: Final = 45
"""A disk is read through each month (as Debian does with RAID and ZFS); two weeks more for a machine that was off."""
FREE_BYTES_RED: Final = 64 << 20
FREE_SHARE_RED: Final = 0.25
"""A medium that is as small as that is not full when it is empty."""
FREE_BYTES_AMBER: Final = 10 << 30
FREE_SHARE_AMBER: Final = 0.05
FREE_FILES_AMBER: Final = 1000
_RESERVE: Final = (SlotKind.RECOVERY, SlotKind.SHARES)
OPENS: Final = {
    Kind.KEY_FILE: (SlotKind.KEY_FILE, SlotKind.PASSPHRASE_AND_KEY_FILE),
    Kind.RECOVERY: (SlotKind.RECOVERY,),
    Kind.RECOVERY_SHEET: (SlotKind.RECOVERY,),
    Kind.SHARE: (SlotKind.SHARES,),
    Kind.SHARE_SHEET: (SlotKind.SHARES,),
    Kind.IDENTITY: ("age",),
}
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the medium says about itself, in bytes and files; ``files_free``: None where it does not count them."""

    free: int
    total: int
    files_free: int | None
    is_read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts:
    """What is known of a volume without its keys.

    Attributes:
        volume: its directory.
        damaged_copies: of the two of the config.
        room: None if the medium does not answer.
        near: what lies on its medium.
        unattended: files on its medium with which this host opens it by itself, each with where that is written.
        verified_at: since when every file has been read, seconds since 1970; 0 or None for never.
        wrong: what was found then.
        now: seconds since 1970.
    """

    volume: str
    config: Config
    damaged_copies: int
    room: Room | None
    near: Search
    unattended: Sequence[tuple[Given, str]]
    verified_at: int | None
    wrong: int
    now: float


def volume_checks(facts: VolumeFacts) -> list[Checked]:
    """All checks that apply, in the order in which they are shown."""
    found = [_config(facts), _recovery(facts), _cost(facts), *_apart(facts), _room(facts.room), _verified(facts)]
    return [check for check in found if check is not None]


def _config(facts: VolumeFacts) -> Checked:
    if facts.damaged_copies:
        light, found = Light.AMBER, "one of its two copies is damaged or missing: the volume opens with the other one"
        remedy = f"cloakfs verify {_quoted(facts)} --repair"
    else:
        light, found, remedy = Light.GREEN, "both copies can be read", ""
    if facts.config.read_only:
        light, found = Light.AMBER, "a newer cloakfs wrote this volume: this version can only read it"
        remedy = "install the newer cloakfs"
    return Checked(code="config", title="config", light=light, found=found, remedy=remedy)


def _recovery(facts: VolumeFacts) -> Checked:
    reserve = [slot for slot in facts.config.slots if slot.kind in _RESERVE]
    remedy = f"cloakfs key add {_quoted(facts)} --kind recovery"
    if reserve:
        light, found, remedy = Light.GREEN, f"there is {_counted(len(reserve), 'one', '{} of them')}", ""
    elif len(facts.config.slots) > 1:
        light = Light.AMBER
        found = f"there is none; it opens as long as one of its {len(facts.config.slots)} slots is not lost"
    else:
        light = Light.RED
        found = "there is none: who forgets the one passphrase or loses the one key has lost everything"
    return Checked(code="recovery-key", title="recovery key", light=light, found=found, remedy=remedy)


def _cost(facts: VolumeFacts) -> Checked | None:
    guessed = [slot for slot in facts.config.slots if slot.kdf.alg is KdfAlg.ARGON2ID]
    if not guessed:
        return None
    cheap = [slot for slot in guessed if not _costs_enough(facts.config, slot)]
    if not cheap:
        light, found, remedy = Light.GREEN, "trying one costs as much as it should", ""
    else:
        slot = cheap[0]
        light = Light.RED
        found = (
            f"trying one for the slot {slot.label or slot.id.hex()!r} costs too little: it can be guessed by machine"
        )
        if len(cheap) > 1:
            found += f" (and {len(cheap) - 1} more)"
        remedy = f"cloakfs key change {_quoted(facts)} {shlex.quote(slot.label or slot.id.hex())}"
    return Checked(code="kdf", title="passphrases", light=light, found=found, remedy=remedy)


def _costs_enough(config: Config, slot: Slot) -> bool:
    memory = max(RECOMMENDED.kdf_memory_kib or 0, config.policy.kdf_memory_kib or 0)
    passes = max(RECOMMENDED.kdf_passes or 0, config.policy.kdf_passes or 0)
    return slot.kdf.memory_kib >= memory and slot.kdf.passes >= passes


# -- what lies beside it --------------------------------------------------------------------------------------------


def _apart(facts: VolumeFacts) -> list[Checked]:
    kinds = {str(slot.kind) for slot in facts.config.slots}
    beside = [secret for secret in facts.near.secrets if kinds & {str(kind) for kind in OPENS[secret.kind]}]
    checks = [
        _apart_check(
            Light.RED,
            f"a {secret.kind} is on the medium of the volume, and is lost together with it: {os.fsdecode(secret.path)}",
            "move it to another medium or on paper; if the medium was out of the house, renew that slot",
        )
        for secret in beside[:_SHOWN]
    ]
    if len(beside) > _SHOWN:
        more = f"{len(beside) - _SHOWN} more such files are on the medium of the volume"
        checks.append(_apart_check(Light.RED, more, "move these, and look again"))
    checks += [_unattended(given, source) for given, source in facts.unattended]
    if not checks:
        looked = _counted(facts.near.looked_at, "one entry", "{} entries")
        of_it = "on its medium" if facts.near.complete else f"in {looked} of its medium; that is not all of it"
        checks.append(_apart_check(Light.GREEN, f"no key file or recovery sheet {of_it}"))
    return checks


def _unattended(given: Given, source: str) -> Checked:
    if given.is_sealed:
        return _apart_check(
            Light.AMBER,
            f"{source} opens it with a sealed credential on the medium of the volume: {given.path}",
            "safe only if it was sealed to a TPM that stays here: systemd-creds encrypt --with-key=tpm2",
        )
    return _apart_check(
        Light.RED,
        f"{source} opens it with {given.path}, on the medium of the volume: who gets the medium has both",
        "keep it on another medium, such as a stick that is taken out, or mount by hand",
    )


def _apart_check(light: Light, found: str, remedy: str = "") -> Checked:
    return Checked(code="keys-apart", title="keys apart", light=light, found=found, remedy=remedy)


# -- its medium, its contents -----------------------------------------------------------------------------------------


def _room(room: Room | None) -> Checked | None:
    if room is None:
        return Checked(
            code="free-space",
            title="free space",
            light=Light.AMBER,
            found="the medium does not say",
            remedy="is it still there? cloakfs status",
        )
    if room.is_read_only:
        return None
    share = room.free / room.total if room.total else 1.0
    found = f"{human_size(room.free)} of {human_size(room.total)}"
    remedy = "make room on it, or move the volume to a larger one: a full medium takes no changes"
    if room.free < FREE_BYTES_RED and share < FREE_SHARE_RED:
        light = Light.RED
    elif room.free < FREE_BYTES_AMBER and share < FREE_SHARE_AMBER:
        light = Light.AMBER
    elif room.files_free is not None and room.files_free < FREE_FILES_AMBER:
        light, found = Light.AMBER, f"{found}, but for {room.files_free} more files only"
    else:
        light, remedy = Light.GREEN, ""
    return Checked(code="free-space", title="free space", light=light, found=found, remedy=remedy)


def _verified(facts: VolumeFacts) -> Checked:
    remedy = f"cloakfs verify {_quoted(facts)}"
    days = int((facts.now - facts.verified_at) // DAY) if facts.verified_at else None
    if facts.wrong:
        light = Light.RED
        found = f"{_counted(facts.wrong, 'one thing was', '{} things were')} wrong, and not repaired"
        remedy += "   (and see docs/findings.md)"
    elif days is None:
        light, found = Light.AMBER, "the whole volume was never verified by this user on this host"
    elif days < -1:
        light, found = Light.AMBER, "it was verified in the future, by the clock of this machine"
    elif days > VERIFY_DAYS:
        light, found = Light.AMBER, f"the last time was {days} days ago"
    else:
        light, remedy = Light.GREEN, ""
        found = f"nothing was wrong {'today' if days < 1 else _counted(days, 'yesterday', '{} days ago')}"
    return Checked(code="verified", title="last verify", light=light, found=found, remedy=remedy)


def _counted(count: int, one: str, more: str) -> str:
    return one if count == 1 else more.format(f"{count:,}")


def _quoted(facts: VolumeFacts) -> str:
    return shlex.quote(facts.volume)
