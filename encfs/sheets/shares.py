"""Shares of a key: any k of n give it back, fewer tell nothing (SLIP-39).

Owns: splitting a key, and taking shares in as somebody types them. Must not know: what the key opens, the pages.

Of SLIP-39 it uses one group, no passphrase, and the smallest iteration exponent (0): iterations only slow down guesses
of a passphrase, and what is split is 256 random bits, which nobody guesses. A share is 33 words.

Rule: an error names a word by its number, and never a word of a share.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from encfs.errors import UsageError
from encfs.format import limits
from encfs.sheets import parts

if TYPE_CHECKING:
    from shamir_mnemonic.share import Share as Decoded  # type: ignore[import-untyped]

WORDS: Final = 33
_UNIQUE_PREFIX: Final = 4  # letters, by which SLIP-39 tells its words apart
_BETWEEN_WORDS: Final = re.compile(r"[\W\d_]+")
_COMPARE: Final = "Compare them with the sheet, by their numbers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share, as it goes on a sheet.

    Args:
        set_id: which split it comes from, 0 to 32767; the same for all shares of a set, and not secret.
        number: 1 to ``count``.
        threshold: how many shares of the set give the key.
        count: how many there are.
        words: 33 words of SLIP-39; secret.
    """

    set_id: int
    number: int
    threshold: int
    count: int
    words: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        """The words on one line, as :class:`Collector` takes them."""
        return " ".join(self.words)


def split(secret: bytes, threshold: int, count: int, *, taken: Collection[int] = ()) -> list[Share]:
    """Split a key of 32 random bytes into ``count`` shares, of which any ``threshold`` give it back.

    Every share is tried before any is given out.

    Args:
        secret: the key.
        threshold: how many shares give it back.
        count: how many there are.
        taken: set ids that the new set must not have.

    Raises:
        UsageError: these numbers make no sense.
        CloakfsError: a package is not installed.
        AssertionError: the key is not 32 bytes (an error of the caller).
    """
    if len(secret) != limits.RECOVERY_KEY_SIZE:
        raise AssertionError("internal error: what is split is 32 bytes")
    if threshold < limits.SHARES_THRESHOLD_MIN:
        hint = "Ask for 2 or more; a key that opens alone is a recovery key (cloakfs key recovery)."
        raise UsageError("each share would open the volume alone", hint=hint)
    most = limits.SHARES_MAX
    if not threshold <= count <= most:
        hint = f"Make {threshold} to {most} shares." if threshold <= most else ""
        raise UsageError(f"{threshold} of {count} shares cannot be made; {most} are the most", hint=hint)
    parts.check()
    shares = _split(secret, threshold, count)
    while shares[0].set_id in taken:
        shares = _split(secret, threshold, count)
    _prove(shares, secret)
    return shares


def _split(secret: bytes, threshold: int, count: int) -> list[Share]:
    from shamir_mnemonic import generate_mnemonics  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional part

    [texts] = generate_mnemonics(1, [(threshold, count)], secret, iteration_exponent=0)
    shares = []
    for text in texts:
        decoded = _decode(text)
        shares.append(
            Share(
                set_id=decoded.identifier,
                number=decoded.index + 1,
                threshold=decoded.member_threshold,
                count=count,
                words=tuple(text.split()),
            )
        )
    return shares


def _prove(shares: list[Share], secret: bytes) -> None:
    """Each share gives the key back, with those that follow it."""
    for start in range(len(shares)):
        collector = Collector()
        for share in (shares + shares)[start : start + shares[0].threshold]:
            collector.add(share.text)
        if collector.secret() != secret:
            raise AssertionError("internal error: the shares do not give the key back")


class Collector:
    """Takes shares in any order, as they are typed, until there are enough.

    Args:
        sets: the set ids that the volume knows. Empty: the first share says which set it is.
    """

    def __init__(self, sets: Collection[int] = ()) -> None:
        self._sets = sets
        self._shares: dict[int, Decoded] = {}

    @property
    def numbers(self) -> list[int]:
        """Which shares are there, in the order in which they came."""
        return [number + 1 for number in self._shares]

    @property
    def set_id(self) -> int | None:
        """The set that they are of; None before the first share."""
        return next((share.identifier for share in self._shares.values()), None)

    @property
    def missing(self) -> int | None:
        """How many more are needed; None before the first share, which tells it."""
        needed: int | None = next((share.member_threshold for share in self._shares.values()), None)
        return None if needed is None else max(0, needed - len(self._shares))

    def add(self, text: str) -> int:
        """Take one share, and return its number. Case, and numbers between the words, do not matter.

        Raises:
            UsageError: it is mistyped, of another set, or there already. Nothing has changed then.
            CloakfsError: a package is not installed.
        """
        share = _decode(text)
        name = f"share {share.index + 1} of set {share.identifier:05}"
        if self._sets and share.identifier not in self._sets:
            known = ", ".join(f"{number:05}" for number in sorted(self._sets))
            hint = f"It is of another volume, or was replaced by newer shares. This volume takes shares of set {known}."
            raise UsageError(f"{name} does not open this volume", hint=hint)
        first = next(iter(self._shares.values()), share)
        if (share.identifier, share.member_threshold) != (first.identifier, first.member_threshold):
            hint = "All must be of one set. If it is the first one that is wrong, start again."
            raise UsageError(f"{name} does not go with the shares of set {first.identifier:05} before it", hint=hint)
        if share.index in self._shares:
            if self._shares[share.index] != share:
                hint = "They are of two volumes, or of an older and a newer set. Use sheets of the same date."
                raise UsageError(f"{name} is not the one that was given before it", hint=hint)
            raise UsageError(f"{name} was given already", hint="Give the share of another holder.")
        self._shares[share.index] = share
        return int(share.index) + 1

    def secret(self) -> bytes:
        """The 32 bytes.

        Raises:
            UsageError: there are not enough shares, or they are right but do not belong together.
        """
        if self.missing != 0:
            needed = {None: "shares are", 1: "1 more share is"}.get(self.missing, f"{self.missing} more shares are")
            raise UsageError(f"{needed} needed", hint="Give them one after the other, in any order.")
        from shamir_mnemonic import MnemonicError, combine_mnemonics  # noqa: PLC0415 - an optional part

        shares = list(self._shares.values())
        try:
            return bytes(combine_mnemonics([share.mnemonic() for share in shares[: shares[0].member_threshold]]))
        except MnemonicError:
            pass  # What it says can hold words; ours is raised outside, without it.
        raise UsageError(
            "each share is right, but they do not belong together",
            hint="They are of two volumes, or of an older and a newer set. Use sheets of the same date.",
        )


def nearest_words(text: str) -> Mapping[int, tuple[str, ...]]:
    """What the words of a share that are not in the list may have been meant as: up to three each, by word number.

    These may be words of the share: for the screen of who typed it, and for no message or log.

    Raises:
        CloakfsError: a package is not installed.
    """
    parts.check_words()
    from shamir_mnemonic.wordlist import WORDLIST  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional part

    words = words_in(text)
    found = {}
    for number in _unknown(words):
        word = words[number - 1]
        same_start = [known for known in WORDLIST if known[:_UNIQUE_PREFIX] == word[:_UNIQUE_PREFIX]]
        similar = difflib.get_close_matches(word, WORDLIST)
        found[number] = tuple(dict.fromkeys(same_start + similar))[:3]
    return found


def words_in(text: str) -> list[str]:
    """The words of what somebody typed or copied: letters count, numbers and punctuation do not."""
    return [word for word in _BETWEEN_WORDS.split(text.lower()) if word]


def _unknown(words: list[str]) -> list[int]:
    """The numbers, from 1, of the words that are not in the list."""
    from shamir_mnemonic.wordlist import WORD_INDEX_MAP  # noqa: PLC0415 - an optional part

    return [number for number, word in enumerate(words, start=1) if word not in WORD_INDEX_MAP]


def _decode(text: str) -> Decoded:
    """A share of ours whose checksum is right.

    Raises:
        UsageError: it is mistyped, or not made by cloakfs.
    """
    parts.check_words()
    from shamir_mnemonic import MnemonicError  # noqa: PLC0415 - an optional part
    from shamir_mnemonic import Share as SlipShare  # noqa: PLC0415

    words = words_in(text)
    if unknown := _unknown(words):
        which = f"word {unknown[0]} is" if len(unknown) == 1 else f"words {_listed(unknown)} are"
        raise UsageError(f"{which} not in the list of words that shares are made of", hint=_COMPARE)
    if len(words) != WORDS:
        raise UsageError(f"a share has {WORDS} words; this one has {len(words)}", hint=_COMPARE)
    share = None
    try:
        share = SlipShare.from_mnemonic(" ".join(words))
    except MnemonicError:
        pass  # What it says holds words; ours is raised outside, without it.
    if share is None:
        raise UsageError("the words do not fit together: at least one is wrong or in another place", hint=_COMPARE)
    ours = (share.group_count, share.iteration_exponent, share.extendable) == (1, 0, True)
    if not ours or share.member_threshold < 2:
        hint = "It may belong to something else that uses words of SLIP-39, such as a wallet."
        raise UsageError("this share was not made by cloakfs", hint=hint)
    return share


def _listed(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
