"""``cloakfs policy``: the rules that the owner of a volume sets for its keys.

Owns: the options and how they change what is set. Must not know: what a rule forbids (``encfs.core.policy``), how a
config is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from encfs.cli import options, output, policy_view, targets
from encfs.cli.key_making import opened
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.core.policy import RECOMMENDED
from encfs.errors import ExitCode
from encfs.format.policy import RANGES, Policy
from encfs.happenings import FileRule

_F = TypeVar("_F", bound=Callable[..., Any])
_NONE: Final = "none"
_UNSET: Final = -1


class _Level(click.Choice[str]):
    """A rule with words in place of numbers; "off" and "none" take it away."""

    def __init__(self, *levels: str) -> None:
        self._levels = levels
        super().__init__(["off", *levels, _NONE])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        word = super().convert(value, param, ctx)
        return self._levels.index(word) + 1 if word in self._levels else _UNSET


class _Rule(click.ParamType[int]):
    """A number in the range of one rule, or "none", which takes the rule away (``_UNSET``)."""

    def __init__(self, rule: str, *, scale: int = 1, unit: click.ParamType[Any] = click.INT) -> None:
        self._low, self._high = RANGES[rule]
        self._scale = scale
        self._unit = unit
        self.name = unit.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value).strip().lower() == _NONE:
            return _UNSET
        number = int(self._unit.convert(value, param, ctx)) // self._scale
        if not self._low <= number <= self._high:
            self.fail(f"{value!r} is out of the range of this rule.", param, ctx)
        return number


_OPTIONS: Final = (
    ("epoch_days", "--epoch-days", "DAYS", _Rule("epoch_days"), "A new epoch key is due after so many days."),
    ("slot_days", "--slot-days", "DAYS", _Rule("slot_days"), "Each slot is to be made anew after so many days."),
    (
        "kdf_memory_kib",
        "--kdf-memory",
        "SIZE",
        _Rule("kdf_memory_kib", scale=1024, unit=options.Size()),
        "Least memory for Argon2id (64M to 4G).",
    ),
    ("kdf_passes", "--kdf-passes", "N", _Rule("kdf_passes"), "Least passes of Argon2id."),
    (
        "passphrase_characters",
        "--passphrase-characters",
        "N",
        _Rule("passphrase_characters"),
        "Least length of a new passphrase.",
    ),
    (
        "passphrase_score",
        "--passphrase-score",
        "1..4",
        _Rule("passphrase_score"),
        "Least zxcvbn score of a new passphrase.",
    ),
    (
        "idle_seconds",
        "--idle",
        "TIME",
        _Rule("idle_seconds", unit=options.Duration()),
        "A mount that nobody uses is locked after so long: 15m, 2h.",
    ),
    ("recovery_slots", "--recovery-keys", "N", _Rule("recovery_slots"), "Least number of recovery keys."),
    (
        "file_events",
        "--file-events",
        "off|metadata|full",
        _Level(*(rule.name.lower() for rule in FileRule)),
        "What the audit log says of files, from the next mount on (docs/audit.md).",
    ),
)


def _rule_options(function: _F) -> _F:
    made = function
    for name, option, metavar, kind, text in reversed(_OPTIONS):
        made = click.option(option, name, metavar=metavar, type=kind, help=text)(made)
    return made


@options.command(
    "policy",
    example="""
cloakfs policy ~/practice.vault
cloakfs policy ~/practice.vault --recommended
cloakfs policy /srv/p.vault --slot-days 365 --idle none --passphrase-file /run/keys/p""",
)
@click.argument("volume")
@click.option("--recommended", is_flag=True, help="Set all rules as docs/keys-admin.md explains; the others win.")
@_rule_options
@options.json_option
@secret_options
def command(*, volume: str, recommended: bool, as_json: bool, secret: SecretOptions, **rules: int | None) -> ExitCode:
    """Show the rules that are set for the keys of VOLUME, or set them, and tell how it stands.

    "none" takes a rule away. Setting needs a passphrase or key that opens the volume. Showing does not, but then
    nothing vouches for what is shown, unless the volume is mounted. The rules hold for everybody from then on:
    --allow-weak does not go below them, and "cloakfs status" says what is due.
    """
    target = targets.find(volume)
    given = {name: value for name, value in rules.items() if value is not None}
    if given or recommended:
        with opened(target.volume, secret) as keys:
            keys.set_policy(_changed(keys.config.policy, given, recommended=recommended))
            found = policy_view.opened(keys.config, int(time.time()))
    elif secret.given:
        with opened(target.volume, secret) as keys:
            found = policy_view.opened(keys.config, int(time.time()))
    else:
        found = policy_view.standing(target, int(time.time()))
    if as_json:
        output.print_json({"volume": target.volume, "policy": policy_view.as_json(found)})
    else:
        _show(target.volume, found)
    return ExitCode.OK


def _changed(policy: Policy, given: dict[str, int], *, recommended: bool) -> Policy:
    """Rules of a newer version stay, and what the audit log says of files: there is no recommendation for it."""
    base = policy
    if recommended:
        base = replace(RECOMMENDED, others=policy.others, file_events=policy.file_events)
    changes: dict[str, Any] = {name: None if value == _UNSET else value for name, value in given.items()}
    return replace(base, **changes)


def _show(volume: str, found: policy_view.Standing) -> None:
    output.say(output.bold(output.printable(volume)))
    rules = policy_view.rule_rows(found.config.policy)
    output.print_table(rules or [("policy", "no rule is set (cloakfs policy VOLUME --recommended)")])
    if rules:
        output.say()
    rows = policy_view.light_rows(found, volume)
    output.print_table(rows if rules else rows[1:])
