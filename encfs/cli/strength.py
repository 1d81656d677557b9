"""How hard a new passphrase is to guess.

Owns: the rule (15 characters, or a zxcvbn score of 4), that of a volume's policy, and what is said of
them. Must not know: prompts.

Length alone is not believed where zxcvbn finds the passphrase among the first million guesses: "aaaaaaaaaaaaaaaa",
"passwordpassword" and "qwertyuiopasdfghjkl" have 15 characters too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from zxcvbn import zxcvbn

from encfs.errors import WeakPassphraseError
from encfs.format.policy import Policy

ENOUGH_CHARACTERS: Final = 15
_ENOUGH_SCORE: Final = 4
_GUESSED_AT_ONCE: Final = 1
# zxcvbn raises on longer ones; what comes after only adds.
_ZXCVBN_MAX: Final = 72


@dataclass(frozen=True, slots=True)
class _Measured:
    """What zxcvbn says of a passphrase: its score is 0 to 4."""

    characters: int
    score: int
    found: dict[str, Any]


def _measure(secret: bytes, about: Sequence[str]) -> _Measured:
    try:
        text = secret.decode("utf-8")
    except UnicodeDecodeError:
        text = secret.decode("latin-1")  # Bytes that are no text: each is as good as a character.
    found = zxcvbn(text[:_ZXCVBN_MAX], user_inputs=[word for word in about if word])
    return _Measured(len(text), int(found["score"]), dict(found))


def check_policy(secret: bytes, policy: Policy, *, about: Sequence[str] = ()) -> None:
    """Refuse a passphrase that is weaker than the policy of its volume allows.

    Raises:
        WeakPassphraseError: with what is missing.
    """
    characters, score = policy.passphrase_characters or 0, policy.passphrase_score or 0
    measured = _measure(secret, about)
    missing = []
    if measured.characters < characters:
        missing.append(f"{characters} characters (this has {measured.characters})")
    if measured.score < score:
        missing.append(f"a zxcvbn score of {score} (this has {measured.score} of 4)")
    if missing:
        raise WeakPassphraseError(
            "the policy of this volume wants a passphrase with " + " and ".join(missing),
            hint="Take more words that have nothing to do with each other.",
        )


def check(secret: bytes, *, about: Sequence[str] = ()) -> None:
    """Refuse a passphrase that is too easy to guess.

    Args:
        secret: the passphrase bytes.
        about: words that an attacker tries first: the name of the volume, of the user.

    Raises:
        WeakPassphraseError: with the reason, and with advice as its hint.
    """
    measured = _measure(secret, about)
    score = measured.score
    if score >= _ENOUGH_SCORE or (measured.characters >= ENOUGH_CHARACTERS and score > _GUESSED_AT_ONCE):
        return
    warning = str(measured.found["feedback"]["warning"]).rstrip(".")
    time = str(measured.found["crack_times_display"]["offline_slow_hashing_1e4_per_second"])
    reason = f"{measured.characters} characters" if measured.characters != 1 else "1 character"
    if warning:
        reason += f"; {warning[0].lower()}{warning[1:]}"
    raise WeakPassphraseError(
        f"this passphrase is too easy to guess ({reason}). Who has the disk finds it in {_at_most(time)}",
        hint=f"Take {ENOUGH_CHARACTERS} characters or more: four or five unrelated words are good, and easy to keep.",
    )


def _at_most(time: str) -> str:
    """zxcvbn's time for 10,000 guesses a second, which a few rented machines reach against Argon2id."""
    return "no time" if time == "less than a second" else f"about {time}"
