"""The recovery key as text that a person can copy from paper.

Owns: the digits and check characters of FORMAT.md section 4. Must not know: what the key opens.

Rule: an error names the group in which it is, and never a character of the key.
"""

from __future__ import annotations

import re
from typing import Final

from encfs.errors import UsageError
from encfs.format import limits

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GROUPS: Final = 13
_DIGITS: Final = 4
_GROUP_SIZE: Final = _DIGITS + 1
_SPARE_BITS: Final = 4
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)} | {"I": 1, "L": 1, "O": 0}
_SEPARATORS: Final = re.compile(r"[\s-]+")
_HINT: Final = "Compare that group with the recovery key on paper and type it again."


def encode_recovery_key(key: bytes) -> str:
    """The 13 groups of 5 characters, joined by dashes.

    Raises:
        AssertionError: the key is not 32 bytes (an error of the caller).
    """
    if len(key) != limits.RECOVERY_KEY_SIZE:
        raise AssertionError("internal error: a recovery key is 32 bytes")
    number = int.from_bytes(key, "big") << _SPARE_BITS
    values = [number >> 5 * place & 31 for place in reversed(range(GROUPS * _DIGITS))]
    groups = []
    for group in range(GROUPS):
        digits = values[group * _DIGITS : (group + 1) * _DIGITS]
        groups.append("".join(ALPHABET[value] for value in (*digits, _check(digits, group))))
    return "-".join(groups)


def decode_recovery_key(text: str) -> bytes:
    """The 32 bytes of a recovery key as somebody typed it.

    Raises:
        UsageError: it is mistyped; the message names the first bad group, counted from 1.
    """
    groups = _split(text.strip())
    number = 0
    for group, characters in enumerate(groups):
        values = [_VALUES.get(character, -1) for character in characters]
        if -1 in values or _check(values[:_DIGITS], group) != values[_DIGITS]:
            raise UsageError(f"group {group + 1} of the recovery key is mistyped", hint=_HINT)
        for value in values[:_DIGITS]:
            number = number << 5 | value
    if number & (1 << _SPARE_BITS) - 1:
        raise UsageError(f"group {GROUPS} of the recovery key is mistyped", hint=_HINT)
    return (number >> _SPARE_BITS).to_bytes(limits.RECOVERY_KEY_SIZE, "big")


def _split(text: str) -> list[str]:
    """13 groups of 5 characters, in capitals if they are ASCII."""
    joined = _SEPARATORS.sub("", text)
    if len(joined) != GROUPS * _GROUP_SIZE:
        parts = _SEPARATORS.split(text)
        if len(parts) == GROUPS:
            for group, part in enumerate(parts):
                if len(part) != _GROUP_SIZE:
                    raise UsageError(f"group {group + 1} of the recovery key is mistyped", hint=_HINT)
        raise UsageError(
            f"a recovery key has {GROUPS} groups of {_GROUP_SIZE} characters; this one has {len(joined)} characters",
            hint="Type the whole recovery key, all groups in their order.",
        )
    # Only ASCII has capitals here: str.upper would turn foreign letters into digits of the key.
    capitals = "".join(character.upper() if character.isascii() else character for character in joined)
    return [capitals[start : start + _GROUP_SIZE] for start in range(0, len(capitals), _GROUP_SIZE)]


def _check(digits: list[int], group: int) -> int:
    """2·v0 + 4·v1 + 8·v2 + 16·v3 + g in GF(2^5)."""
    check = group
    for shift, value in enumerate(digits, start=1):
        check ^= _times_x(value, shift)
    return check


def _times_x(value: int, times: int) -> int:
    for _ in range(times):
        value <<= 1
        if value & 32:
            value ^= 0b100101  # x^5 + x^2 + 1
    return value
