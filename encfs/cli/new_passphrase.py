"""A new passphrase: from an option, or asked for twice; weighed either way.

Owns: the questions and tries. Must not know: what the passphrase is for beyond its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from encfs.cli import output, strength, terminal
from encfs.cli.secrets import SecretOptions, passphrase_from_options
from encfs.core.slots import passphrase_bytes
from encfs.errors import UsageError, WeakPassphraseError
from encfs.format.policy import NO_POLICY, Policy
from encfs.sheets.typed import complain

_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What it is for.

    Attributes:
        volume, label: what a passphrase must not be made of.
        secret: where it comes from, if not from a person.
        allow_weak: whether one that is easy to guess is taken, with a warning.
        policy: of the volume; it counts whatever ``allow_weak`` says.
    """

    volume: str
    label: str
    secret: SecretOptions = field(repr=False)
    allow_weak: bool
    policy: Policy = NO_POLICY


def choose(wanted: Wanted) -> bytes:
    """The passphrase from its option, or asked for twice.

    Raises:
        WeakPassphraseError: it is too easy to guess, and that is not allowed.
        UsageError: what was typed the second time was never the same.
    """
    if not wanted.secret.asks:
        secret = passphrase_from_options(wanted.secret)
        _check_strength(secret, wanted, output.warn)
        return secret
    terminal.tell(
        f"Choose a passphrase for {output.printable(wanted.volume)}: {strength.ENOUGH_CHARACTERS} characters or more,\n"
        "such as four or five unrelated words. It is not shown while you type."
    )
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            secret = _typed_twice(wanted)
        except (UsageError, WeakPassphraseError) as exc:
            if last:
                raise
            complain(terminal, exc)
        else:
            return secret
    raise AssertionError("internal error: the last try neither returned nor raised")


def _typed_twice(wanted: Wanted) -> bytes:
    secret = passphrase_bytes(terminal.ask_hidden("New passphrase: "))
    _check_strength(secret, wanted, lambda text: terminal.tell(f"Warning: {text}."))
    if passphrase_bytes(terminal.ask_hidden("The same again: ")) != secret:
        raise UsageError("the two are not the same")
    return secret


def _check_strength(secret: bytes, wanted: Wanted, warn: Callable[[str], None]) -> None:
    about = [os.path.basename(os.path.abspath(wanted.volume)), wanted.label, os.environ.get("USER", "")]
    strength.check_policy(secret, wanted.policy, about=about)
    try:
        strength.check(secret, about=about)
    except WeakPassphraseError as exc:
        if not wanted.allow_weak:
            exc.hint += " (--allow-weak takes it all the same.)"
            raise
        warn(str(exc))
