"""What follows from the policy of a volume: what it forbids, and how its keys stand at a given time.

Owns: each rule of FORMAT.md section 3, in one place. Must not know: the clock, words for people, how hard a
passphrase is to guess (``encfs.cli.strength``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.checks import Light
from encfs.errors import PolicyError
from encfs.format.config import Config
from encfs.format.policy import Policy
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind

DAY: Final = 86_400
_WARN_DAYS: Final = 30
_CLOCKS_DIFFER: Final = DAY

RECOMMENDED: Final = Policy(
    # SP 800-57 part 1 rev. 5, table 1: a key that seals data or wraps keys is used for sealing at most two years
    # (research/hipaa.md, "NIST pieces"; rows B15 and B42: a schedule, and lifetimes). "Each year" is no rule of NIST.
    epoch_days=730,
    # The same, for the key pair of a slot. SP 800-63B-4 wants no other periodic change of passphrases.
    slot_days=730,
    # RFC 9106, its second choice: 64 MiB and 3 passes (research/crypto.md section 4; row B48: a floor).
    kdf_memory_kib=65_536,
    kdf_passes=3,
    # SP 800-63B-4: 15 characters where nothing but the passphrase protects; row B48: zxcvbn besides.
    passphrase_characters=15,
    passphrase_score=3,
    # 45 CFR 164.312(a)(2)(iii): automatic logoff. It names no number; 15 minutes is that of SP 800-63B for its highest
    # level.
    idle_seconds=900,
    # Rows B15 and B42: an offline backup of the keys.
    recovery_slots=1,
)
"""The rules of ``cloakfs policy --recommended``."""


class Reason(StrEnum):
    """Why a check has its light. The words are in docs/json.md."""

    KEPT = "kept"
    DUE_SOON = "due-soon"
    FROM_THE_FUTURE = "from-the-future"
    UNKNOWN_RULE = "unknown-rule"
    OVERDUE = "overdue"
    BELOW_FLOOR = "below-floor"
    MISSING = "missing"


_LIGHTS: Final = {
    Reason.KEPT: Light.GREEN,
    Reason.DUE_SOON: Light.AMBER,
    # Of a clock that is wrong, or was: the age of that key is not known.
    Reason.FROM_THE_FUTURE: Light.AMBER,
    Reason.UNKNOWN_RULE: Light.AMBER,
    Reason.OVERDUE: Light.RED,
    Reason.BELOW_FLOOR: Light.RED,
    Reason.MISSING: Light.RED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule, looked at for one thing.

    Attributes:
        rule: its name in the config; ``kdf`` for the two of the derivation together.
        slot: which slot it is about, if it is about one.
        due: when it is broken if nothing is done, seconds since 1970; None where time does not break it.
    """

    rule: str
    reason: Reason
    slot: Slot | None = None
    due: int | None = None

    @property
    def light(self) -> Light:
        return _LIGHTS[self.reason]


@dataclass(frozen=True, slots=True)
class Judgement:
    """All checks of a volume at one time."""

    checks: tuple[Check, ...]

    @property
    def light(self) -> Light:
        """The worst of them; green where there is none."""
        return max((check.light for check in self.checks), default=Light.GREEN)

    @property
    def next_due(self) -> Check | None:
        """The one that time breaks first, or has broken longest ago."""
        dated = [check for check in self.checks if check.due is not None]
        return min(dated, key=lambda check: check.due or 0, default=None)


def judge(config: Config, now: int) -> Judgement:
    """How a volume stands against its policy.

    Args:
        config: as it is; whether anything vouches for it is not asked.
        now: seconds since 1970.
    """
    policy = config.policy
    checks: list[Check] = []
    if policy.epoch_days is not None:
        checks.append(_aged("epoch_days", config.active.created, policy.epoch_days, now))
    if policy.slot_days is not None:
        checks += [_aged("slot_days", slot.created, policy.slot_days, now, slot) for slot in config.slots]
    if policy.kdf_memory_kib is not None or policy.kdf_passes is not None:
        checks += [
            Check(rule="kdf", reason=Reason.KEPT if _costs_enough(policy, slot.kdf) else Reason.BELOW_FLOOR, slot=slot)
            for slot in config.slots
            if slot.kdf.alg is KdfAlg.ARGON2ID
        ]
    if policy.recovery_slots is not None:
        enough = _recovery_count(config.slots) >= policy.recovery_slots
        checks.append(Check(rule="recovery_slots", reason=Reason.KEPT if enough else Reason.MISSING))
    checks += [Check(rule=name, reason=Reason.UNKNOWN_RULE) for name, _ in policy.others]
    return Judgement(tuple(checks))


def _aged(rule: str, made: int, days: int, now: int, slot: Slot | None = None) -> Check:
    due = made + days * DAY
    if made > now + _CLOCKS_DIFFER:
        return Check(rule=rule, reason=Reason.FROM_THE_FUTURE, slot=slot)
    if now >= due:
        reason = Reason.OVERDUE
    elif now >= due - min(_WARN_DAYS, days // 4) * DAY:
        reason = Reason.DUE_SOON
    else:
        reason = Reason.KEPT
    return Check(rule=rule, reason=reason, slot=slot, due=due)


def idle_seconds(policy: Policy, asked: float | None) -> float | None:
    """After how many idle seconds a mount is locked: as asked, but no later than the policy says; None for never."""
    return min((limit for limit in (policy.idle_seconds, asked) if limit is not None), default=None)


def require_cost(policy: Policy, kdf: Kdf) -> None:
    """Refuse a new slot whose passphrase is cheaper to try than the policy allows.

    Raises:
        PolicyError
    """
    if kdf.alg is KdfAlg.ARGON2ID and not _costs_enough(policy, kdf):
        raise PolicyError(
            "the policy of this volume wants a guess to cost more than that",
            hint="See: cloakfs policy VOLUME. Without --kdf-memory and --kdf-passes the cost is chosen to fit.",
        )


def _costs_enough(policy: Policy, kdf: Kdf) -> bool:
    return kdf.memory_kib >= (policy.kdf_memory_kib or 0) and kdf.passes >= (policy.kdf_passes or 0)


def require_recovery(policy: Policy, before: Sequence[Slot], after: Sequence[Slot]) -> None:
    """Refuse a change that takes away a recovery key which the policy wants. What was wrong before may stay so.

    Raises:
        PolicyError
    """
    left = _recovery_count(after)
    if left < _recovery_count(before) and left < (policy.recovery_slots or 0):
        wanted = "a recovery key" if policy.recovery_slots == 1 else f"{policy.recovery_slots} recovery keys"
        raise PolicyError(
            f"the policy of this volume wants {wanted}, and there would be {left or 'none'}",
            hint="Add another one first: cloakfs key add VOLUME --kind recovery.",
        )


def _recovery_count(slots: Sequence[Slot]) -> int:
    return sum(slot.kind == SlotKind.RECOVERY for slot in slots)
