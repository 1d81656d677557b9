"""How a volume stands against its policy, for people and for scripts.

Owns: the words, the object of docs/json.md, and who vouches for it. Must not know: which command shows it, what
the rules mean (``encfs.core.policy``).
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Any, Final

from encfs.checks import Checked, Light
from encfs.cli import output, targets
from encfs.cli.key_slots import printable_label
from encfs.core.policy import Check, Judgement, Reason, judge
from encfs.format.config import Config
from encfs.format.policy import Policy
from encfs.happenings import FileRule
from encfs.volume.skeleton import read_config_and_digest
from encfs.volume.told import about

NOT_VOUCHED: Final = "nothing vouches for this while the volume is locked: give its passphrase to be sure"
_NOT_THIS_MOUNT: Final = (
    "the config was changed since the mount, which does not vouch for it: lock and mount again, or give the passphrase"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A config, judged.

    Attributes:
        vouched: whether somebody with the keys vouches for it: this process, or the daemon of the mount.
    """

    config: Config
    judgement: Judgement
    vouched: bool
    mounted: bool


def standing(target: targets.Target, now: int) -> Standing:
    """How a volume stands by the config on its disk. The daemon of its mount vouches for that if it has opened it.

    Raises:
        ConfigError, OSError.
    """
    with about(target.volume):
        config, digest = read_config_and_digest(os.fsencode(target.volume))
    daemon = target.mounted
    vouched = daemon is not None and daemon.status.get("config_digest") == digest.hex()
    return Standing(config, judge(config, now), vouched, daemon is not None)


def opened(config: Config, now: int) -> Standing:
    """How a volume stands whose config this process has opened."""
    return Standing(config, judge(config, now), vouched=True, mounted=False)


def as_json(found: Standing) -> dict[str, Any]:
    """The object of docs/json.md."""
    next_due = found.judgement.next_due
    return {
        "rules": found.config.policy.rules(),
        "light": found.judgement.light.name.lower(),
        "next_due": None if next_due is None else next_due.due,
        "vouched": found.vouched,
        "checks": [
            {
                "rule": check.rule,
                "light": check.light.name.lower(),
                "reason": str(check.reason),
                "slot": None if check.slot is None else check.slot.id.hex(),
                "due": check.due,
            }
            for check in found.judgement.checks
        ],
    }


def light_rows(found: Standing, volume: str) -> list[tuple[str, str]]:
    """The traffic light, what is wrong, and what comes next."""
    judgement = found.judgement
    rows = [("policy", output.bold(judgement.light.name) + _next_text(judgement))]
    wrong = [_problem(check, volume) for check in judgement.checks if check.light is not Light.GREEN]
    rows += [("", ": ".join(part for part in problem if part)) for problem in wrong]
    if not found.vouched:
        rows.append(("", _NOT_THIS_MOUNT if found.mounted else NOT_VOUCHED))
    return rows


def _next_text(judgement: Judgement) -> str:
    check = judgement.next_due
    if check is None or check.due is None:
        return ""
    verb = "Due since" if check.reason is Reason.OVERDUE else "Next due"
    return f". {verb} {output.human_date(check.due)}: {_subject(check)}"


def _subject(check: Check) -> str:
    return "the epoch key" if check.slot is None else f"the slot {printable_label(check.slot)}"


def as_checks(found: Standing, volume: str) -> list[Checked]:
    """What ``cloakfs doctor`` shows of it; nothing where no rule is set."""
    if not found.config.policy.rules():
        return []
    light = found.judgement.light
    if light is Light.GREEN:
        good = "all its rules are kept" + _next_text(found.judgement)
        return [Checked(code="policy", title="policy", light=light, found=good)]
    return [
        Checked(code="policy", title="policy", light=check.light, found=what, remedy=remedy)
        for check in found.judgement.checks
        if check.light is not Light.GREEN
        for what, remedy in [_problem(check, volume)]
    ]


def _problem(check: Check, volume: str) -> tuple[str, str]:
    """What is wrong, and the command that puts it right; that is empty where there is none."""
    quoted = shlex.quote(output.printable(volume))
    renew = f"cloakfs key rotate {quoted} --reason schedule"
    if check.slot is not None:
        renew = f"cloakfs key change {quoted} {shlex.quote(printable_label(check.slot))}"
    day = "" if check.due is None else output.human_date(check.due)
    match check.reason:
        case Reason.OVERDUE:
            return f"{_subject(check)} was to be renewed by {day}", renew
        case Reason.DUE_SOON:
            return f"{_subject(check)} is to be renewed by {day}", renew
        case Reason.FROM_THE_FUTURE:
            return f"{_subject(check)} is dated in the future: is the clock of this machine right? If it is", renew
        case Reason.BELOW_FLOOR:
            return f"{_subject(check)} is too cheap to guess", renew
        case Reason.MISSING:
            return "there are too few recovery keys", f"cloakfs key add {quoted} --kind recovery"
        case Reason.UNKNOWN_RULE:
            return f"a newer cloakfs set the rule {check.rule}: this version cannot tell whether it is kept", ""
        case _:
            raise AssertionError("internal error: what is in order has no problem")


def rule_rows(policy: Policy) -> list[tuple[str, str]]:
    """The rules, in words."""
    rows = []
    if policy.epoch_days is not None:
        rows.append(("epoch key", f"a new one after {output.plural(policy.epoch_days, 'day')}"))
    if policy.slot_days is not None:
        rows.append(("slots", f"each made anew after {output.plural(policy.slot_days, 'day')}"))
    cost = []
    if policy.kdf_memory_kib is not None:
        cost.append(output.human_size(policy.kdf_memory_kib * 1024))
    if policy.kdf_passes is not None:
        cost.append(output.plural(policy.kdf_passes, "pass", "passes"))
    if cost:
        rows.append(("cost of a guess", f"Argon2id with {' and '.join(cost)}, or more"))
    strength = []
    if policy.passphrase_characters is not None:
        strength.append(output.plural(policy.passphrase_characters, "character"))
    if policy.passphrase_score is not None:
        strength.append(f"a zxcvbn score of {policy.passphrase_score} (of 4)")
    if strength:
        rows.append(("new passphrases", f"{' and '.join(strength)}, or more"))
    if policy.idle_seconds is not None:
        rows.append(("idle lock", f"a mount that nobody uses is locked after {_duration(policy.idle_seconds)}"))
    if policy.recovery_slots is not None:
        rows.append(("recovery keys", f"{policy.recovery_slots} or more"))
    if policy.file_events is not None:
        rows.append(("file events", _EVENTS[FileRule(policy.file_events)]))
    return rows + [(name, f"{value} (a rule of a newer cloakfs)") for name, value in policy.others]


_EVENTS: Final = {
    FileRule.METADATA: "the audit log says who opens files for writing, makes, renames and deletes them",
    FileRule.FULL: "the audit log says who opens files, makes, renames and deletes them",
}


def _duration(seconds: int) -> str:
    """Exactly, unlike ``output.human_duration``: 90 seconds are not one minute."""
    for length, noun in ((3600, "hour"), (60, "minute")):
        if seconds % length == 0:
            return output.plural(seconds // length, noun)
    return output.plural(seconds, "second")
