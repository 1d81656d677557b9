"""encfs/core/policy.py: what each rule says at which time, and what it forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encfs.checks import Light
from encfs.core.policy import (
    DAY,
    RECOMMENDED,
    Reason,
    idle_seconds,
    judge,
    require_cost,
    require_recovery,
)
from encfs.errors import PolicyError
from encfs.format.config import Config
from encfs.format.policy import NO_POLICY, Policy
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from tests.unit.format.test_config_format import CONFIG, PASSPHRASE_SLOT, RECOVERY_SLOT

MADE = 1_800_000_000
OLD = replace(PASSPHRASE_SLOT, created=MADE)
NEW = replace(RECOVERY_SLOT, created=MADE + 50 * DAY)


def volume(policy: Policy, *slots: object) -> Config:
    """A config whose active epoch is of MADE, with these slots, or with an old and a new one."""
    epochs = tuple(replace(epoch, created=MADE if epoch.active else 1) for epoch in CONFIG.epochs)
    return replace(CONFIG, created=1, epochs=epochs, slots=slots or (OLD, NEW), policy=policy)


def reasons(policy: Policy, now: int, *slots: object) -> list[Reason]:
    """Of all checks, in order."""
    return [check.reason for check in judge(volume(policy, *slots), now).checks]


def test_without_a_policy_all_is_green() -> None:
    """Nothing is asked, however old it is."""
    judged = judge(volume(NO_POLICY), MADE + 10_000 * DAY)
    assert (judged.checks, judged.light, judged.next_due) == ((), Light.GREEN, None)


@pytest.mark.parametrize(
    ("days", "now", "reason", "light"),
    [
        (400, MADE, Reason.KEPT, Light.GREEN),
        (400, MADE + 370 * DAY - 1, Reason.KEPT, Light.GREEN),
        (400, MADE + 370 * DAY, Reason.DUE_SOON, Light.AMBER),
        (400, MADE + 400 * DAY - 1, Reason.DUE_SOON, Light.AMBER),
        (400, MADE + 400 * DAY, Reason.OVERDUE, Light.RED),
        (8, MADE + 6 * DAY - 1, Reason.KEPT, Light.GREEN),
        (8, MADE + 6 * DAY, Reason.DUE_SOON, Light.AMBER),
        (1, MADE + DAY - 1, Reason.KEPT, Light.GREEN),
        (1, MADE + DAY, Reason.OVERDUE, Light.RED),
        (400, MADE - DAY, Reason.KEPT, Light.GREEN),
        (400, MADE - DAY - 1, Reason.FROM_THE_FUTURE, Light.AMBER),
    ],
)
def test_age_of_the_epoch_key(days: int, now: int, reason: Reason, light: Light) -> None:
    """To the second: a warning for 30 days or a quarter of the time, then red; a date that cannot be is told."""
    judged = judge(volume(Policy(epoch_days=days)), now)
    (check,) = judged.checks
    assert (check.reason, judged.light, check.slot) == (reason, light, None)
    assert check.due == (None if reason is Reason.FROM_THE_FUTURE else MADE + days * DAY)


def test_age_of_each_slot() -> None:
    """Each by its own date; the next date is that of the oldest, the light that of the worst."""
    judged = judge(volume(Policy(slot_days=100)), MADE + 100 * DAY)
    assert [(check.slot, check.reason) for check in judged.checks] == [(OLD, Reason.OVERDUE), (NEW, Reason.KEPT)]
    assert judged.light is Light.RED
    assert judged.next_due is judged.checks[0]
    judged = judge(volume(Policy(slot_days=100), NEW, OLD), MADE)
    assert judged.next_due is not None
    assert (judged.next_due.slot, judged.next_due.due, judged.light) == (OLD, MADE + 100 * DAY, Light.AMBER)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(kdf_memory_kib=65_536, kdf_passes=3), Reason.KEPT),
        (Policy(kdf_memory_kib=65_537), Reason.BELOW_FLOOR),
        (Policy(kdf_passes=4), Reason.BELOW_FLOOR),
    ],
)
def test_cost_of_a_guess(policy: Policy, reason: Reason) -> None:
    """Memory and passes each count; a slot that has no passphrase is not asked, there or when it is made."""
    assert reasons(policy, MADE) == [reason]
    require_cost(policy, Kdf(KdfAlg.NONE))
    if reason is Reason.KEPT:
        require_cost(policy, OLD.kdf)
    else:
        with pytest.raises(PolicyError):
            require_cost(policy, OLD.kdf)


def test_recovery_keys() -> None:
    """As many as the policy wants; one less may not go, but what was missing before hinders nothing."""
    one, two = Policy(recovery_slots=1), Policy(recovery_slots=2)
    assert reasons(one, MADE) == [Reason.KEPT]
    assert reasons(two, MADE) == [Reason.MISSING]
    assert reasons(one, MADE, replace(NEW, kind="age")) == [Reason.MISSING]
    other = replace(NEW, id=b"slot-no3")
    require_recovery(one, [OLD, NEW, other], [OLD, NEW])
    require_recovery(two, [OLD, NEW], [NEW])
    require_recovery(two, [OLD], [OLD, NEW])
    require_recovery(NO_POLICY, [OLD, NEW], [OLD])
    for policy, before, after in (
        (one, [OLD, NEW], [OLD]),
        (two, [OLD, NEW, other], [OLD, NEW]),
        (one, [OLD, NEW], [OLD, replace(NEW, kind=SlotKind.KEY_FILE)]),
    ):
        with pytest.raises(PolicyError, match="recovery key"):
            require_recovery(policy, before, after)


def test_a_rule_that_is_not_known_is_never_green() -> None:
    """An older program must not call a volume in order whose rules it cannot check."""
    judged = judge(volume(Policy(epoch_days=400, others=(("zeal", 3),))), MADE)
    assert [(check.rule, check.reason) for check in judged.checks][1:] == [("zeal", Reason.UNKNOWN_RULE)]
    assert judged.light is Light.AMBER


@pytest.mark.parametrize(
    ("rule", "asked", "wanted"),
    [(None, None, None), (None, 60.0, 60.0), (900, None, 900), (900, 60.0, 60.0), (900, 7200.0, 900)],
)
def test_idle_time(rule: int | None, asked: float | None, wanted: float | None) -> None:
    """The user may lock sooner than the policy wants, not later."""
    assert idle_seconds(Policy(idle_seconds=rule), asked) == wanted


def test_what_is_recommended_can_be_kept() -> None:
    """A new volume with a recovery key and the cheapest derivation is green."""
    assert judge(volume(RECOMMENDED), MADE + 50 * DAY).light is Light.GREEN
