"""How hard a new passphrase is to guess.

Owns: the rule (15 characters, or a zxcvbn score of 4) and its explanation. Must not know: prompts.

Length alone is not believed where zxcvbn finds the passphrase among the first million guesses: "aaaaaaaaaaaaaaaa",
"passwordpassword" and "qwertyuiopasdfghjkl" have 15 characters too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zxcvbn import zxcvbn

from encfs.errors import WeakPassphraseError

ENOUGH_CHARACTERS: Final = 15
_ENOUGH_SCORE: Final = 4
_GUESSED_AT_ONCE: Final = 1
# zxcvbn raises on longer ones; what comes after only adds.
_ZXCVBN_MAX: Final = 72


def check(secret: bytes, *, about: Sequence[str] = ()) -> None:
    """Refuse a passphrase that is too easy to guess.

    Args:
        secret: the passphrase bytes.
        about: words that an attacker tries first: the name of the volume, of the user.

    Raises:
        WeakPassphraseError: with the reason, and with advice as its hint.
    """
    try:
        text = secret.decode("utf-8")
    except UnicodeDecodeError:
        text = secret.decode("latin-1")  # Bytes that are no text: each is as good as a character.
    found = zxcvbn(text[:_ZXCVBN_MAX], user_inputs=[word for word in about if word])
    score = int(found["score"])
    if score >= _ENOUGH_SCORE or (len(text) >= ENOUGH_CHARACTERS and score > _GUESSED_AT_ONCE):
        return
    warning = str(found["feedback"]["warning"]).rstrip(".")
    time = str(found["crack_times_display"]["offline_slow_hashing_1e4_per_second"])
    reason = f"{len(text)} characters" if len(text) != 1 else "1 character"
    if warning:
        reason += f"; {warning[0].lower()}{warning[1:]}"
    raise WeakPassphraseError(
        f"this passphrase is too easy to guess ({reason}). Who has the disk finds it in {_at_most(time)}",
        hint=f"Take {ENOUGH_CHARACTERS} characters or more: four or five unrelated words are good, and easy to keep.",
    )


def _at_most(time: str) -> str:
    """zxcvbn's time for 10,000 guesses a second, which a few rented machines reach against Argon2id."""
    return "no time" if time == "less than a second" else f"about {time}"
