"""encfs/format/recovery_key.py: what is mistyped is caught, and the message says where."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import UsageError
from encfs.format.recovery_key import ALPHABET, decode_recovery_key, encode_recovery_key

KEYS = st.binary(min_size=32, max_size=32)
KEY = bytes(range(100, 132))
TEXT = encode_recovery_key(KEY)


@given(KEYS)
def test_round_trip(key):
    """Section 4: 13 groups of 5 characters of Crockford's alphabet, read back the same."""
    text = encode_recovery_key(key)
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){12}[0-9A-HJKMNP-TV-Z]{5}", text)
    assert decode_recovery_key(text) == key


def test_stored_keys(vectors):
    """Section 4: the stored recovery keys, both ways."""
    for case in vectors("recovery_key")["good"]:
        assert encode_recovery_key(bytes.fromhex(case["key"])) == case["text"]
        assert decode_recovery_key(case["text"]).hex() == case["key"]


def test_by_the_formula():
    """Section 4: digits and check characters by another way than the code's."""

    def times(a: int, b: int) -> int:
        product = 0
        for bit in range(5):
            if b >> bit & 1:
                product ^= a << bit
        for bit in range(8, 4, -1):
            if product >> bit & 1:
                product ^= 0b100101 << bit - 5
        return product

    bits = "".join(f"{byte:08b}" for byte in KEY) + "0000"
    digits = [int(bits[start : start + 5], 2) for start in range(0, 260, 5)]
    groups = []
    for group in range(13):
        v = digits[4 * group : 4 * group + 4]
        check = times(2, v[0]) ^ times(4, v[1]) ^ times(8, v[2]) ^ times(16, v[3]) ^ group
        groups.append("".join(ALPHABET[value] for value in [*v, check]))
    assert "-".join(groups) == TEXT


@given(KEYS, st.randoms(use_true_random=False))
def test_how_it_is_typed_does_not_matter(key, chance):
    """Section 4: case, spaces and dashes do not matter; I and L are 1, O is 0."""
    text = encode_recovery_key(key)
    typed = "".join(
        {"1": chance.choice("1IiLl"), "0": chance.choice("0Oo"), "-": chance.choice(["-", " ", "", "--", "\n"])}.get(
            character, chance.choice([character, character.lower()])
        )
        for character in text
    )
    assert decode_recovery_key(f"  {typed}\n") == key


@pytest.mark.parametrize("text", [TEXT, encode_recovery_key(bytes(32)), encode_recovery_key(b"\xff" * 32)])
def test_every_wrong_character_is_caught(text):
    """Section 4: any one wrong character is caught, and its group is named."""
    for position, character in enumerate(text):
        if character == "-":
            continue
        group = position // 6 + 1
        for wrong in set(ALPHABET) - {character}:
            with pytest.raises(UsageError, match=rf"^group {group} of"):
                decode_recovery_key(text[:position] + wrong + text[position + 1 :])


def test_every_swap_inside_a_group_is_caught():
    """Section 4: two neighbours exchanged inside a group, the check character included, are caught."""
    chance = random.Random(1)
    for _ in range(50):
        text = encode_recovery_key(chance.randbytes(32))
        for position in range(len(text) - 1):
            a, b = text[position : position + 2]
            if "-" in (a, b) or a == b:
                continue
            with pytest.raises(UsageError, match=rf"^group {position // 6 + 1} of"):
                decode_recovery_key(text[:position] + b + a + text[position + 2 :])


def test_exchanged_groups_are_caught():
    """Section 4: the number of the group is in its check character."""
    groups = TEXT.split("-")
    for a in range(13):
        for b in range(a):
            changed = groups.copy()
            changed[a], changed[b] = changed[b], changed[a]
            with pytest.raises(UsageError, match=r"^group"):
                decode_recovery_key("-".join(changed))


@pytest.mark.parametrize("wrong", ["U", "u", "!", "é", "\N{FULLWIDTH DIGIT ONE}", "\N{LATIN SMALL LETTER LONG S}", "*"])
def test_characters_that_are_no_digits(wrong):
    """Section 4: U and everything outside the alphabet is no digit."""
    with pytest.raises(UsageError, match=r"^group 2 of"):
        decode_recovery_key(TEXT[:7] + wrong + TEXT[8:])


def test_wrong_lengths():
    """Section 4: a missing or doubled character is found in its group if the groups are still to be seen."""
    with pytest.raises(UsageError, match=r"^group 4 of"):
        decode_recovery_key(TEXT[:20] + TEXT[21:])
    with pytest.raises(UsageError, match=r"^group 4 of"):
        decode_recovery_key(TEXT[:20] + TEXT[19:])
    for text in ("", "-", TEXT[:-6], TEXT + "-00000", TEXT.replace("-", "")[:-1], "x" * 1000):
        with pytest.raises(UsageError, match="13 groups"):
            decode_recovery_key(text)


def test_spare_bits():
    """Section 4: the low 4 bits of the last digit are zero; others are no recovery key."""
    values = [ALPHABET.index(character) for character in TEXT[-5:]]
    for spare in range(1, 16):
        # 16 times the change of v3 goes into the check character, so only the spare bits are wrong.
        change = spare
        for _ in range(4):
            change = change << 1 ^ (0b100101 if change & 16 else 0)
        last = [*values[:3], values[3] ^ spare, values[4] ^ change]
        with pytest.raises(UsageError, match=r"^group 13 of"):
            decode_recovery_key(TEXT[:-5] + "".join(ALPHABET[value] for value in last))


@given(st.text(max_size=100))
def test_garbage(text):
    """Section 4: whatever is typed, the one error is UsageError, and it does not repeat what was typed."""
    with pytest.raises(UsageError) as caught:
        decode_recovery_key(text)
    if len(text.strip()) > 12:
        assert text.strip() not in str(caught.value)


def test_only_keys_of_32_bytes():
    """Section 4: a recovery key is 32 bytes."""
    with pytest.raises(AssertionError):
        encode_recovery_key(bytes(31))
