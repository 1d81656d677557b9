"""encfs/sheets/shares.py: any k of n give the key back, and what is mistyped or mixed up is told."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import shamir_mnemonic
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic.wordlist import WORDLIST

from encfs.errors import CloakfsError, UsageError
from encfs.format.limits import SHARES_MAX
from encfs.sheets.shares import WORDS, Collector, nearest_words, split

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "slip39.json").read_text(encoding="utf-8"))
OURS = VECTORS["ours"]
SHARES = OURS["shares"]
SECRET = bytes.fromhex(OURS["secret"])
# The list has words of plain English, which our sentences have for their own sake.
PLAIN_WORDS = {"again", "already", "belong", "else", "that", "together", "volume"}
KEYS = st.binary(min_size=32, max_size=32)
SIZES = st.integers(2, 6).flatmap(lambda count: st.tuples(st.integers(2, count), st.just(count)))


def collect(texts, sets=()):
    """A collector that has these shares."""
    collector = Collector(sets)
    for text in texts:
        collector.add(text)
    return collector


def refusal(collector, text):
    """What the user is told; checks that no word of the share is in it, nor in what it was raised from."""
    before = (collector.numbers, collector.missing)
    with pytest.raises(UsageError) as caught:
        collector.add(text)
    assert (collector.numbers, collector.missing) == before
    assert caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    told = str(caught.value)
    said = set(re.findall(r"[a-z]+", f"{told} {caught.value.hint}".lower()))
    assert not (said & set(text.lower().split())) - PLAIN_WORDS
    return told


def test_stored_shares():
    """Shares that were made once open for good: every three of the five, in every order of numbers."""
    for chosen in itertools.combinations(SHARES, OURS["threshold"]):
        collector = collect(reversed(chosen))
        assert collector.secret() == SECRET
        assert collector.set_id == OURS["set_id"]


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["secret"][:8])
def test_vectors_of_the_standard(case):
    """The locked package is SLIP-39: the standard's shares give the standard's secrets."""
    assert shamir_mnemonic.combine_mnemonics(case["shares"], b"TREZOR").hex() == case["secret"]


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["secret"][:8])
def test_shares_of_something_else(case):
    """A share of a wallet is right by itself, and not one of ours."""
    assert refusal(Collector(), case["shares"][0]) == "this share was not made by cloakfs"


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["what"])
def test_bad_vectors_of_the_standard(case):
    """What the standard says must be refused is refused, in our words."""
    assert "do not fit together" in refusal(Collector(), case["share"])


@settings(deadline=None, max_examples=25)
@given(KEYS, SIZES, st.randoms(use_true_random=False))
def test_any_threshold_of_shares(key, size, chance):
    """Any k of n shares in any order give the key, the missing ones are counted, and k - 1 are not enough."""
    threshold, count = size
    shares = split(key, threshold, count)
    assert [share.number for share in shares] == list(range(1, count + 1))
    assert {(share.threshold, share.count, len(share.words)) for share in shares} == {(threshold, count, WORDS)}
    assert len({share.set_id for share in shares}) == 1
    chosen = chance.sample(shares, threshold)
    collector = Collector({shares[0].set_id})
    assert collector.missing is None
    for taken, share in enumerate(chosen, start=1):
        with pytest.raises(UsageError, match="needed"):
            collector.secret()
        assert collector.add(share.text) == share.number
        assert collector.missing == threshold - taken
    assert collector.numbers == [share.number for share in chosen]
    assert collector.secret() == key


def test_more_shares_than_needed():
    """With all holders there the key is the same."""
    collector = collect(SHARES)
    assert (collector.missing, collector.secret()) == (0, SECRET)


def test_the_most_shares():
    """Sixteen shares are made, and all are needed if that is asked."""
    shares = split(SECRET, SHARES_MAX, SHARES_MAX)
    assert collect(share.text for share in shares).secret() == SECRET


def test_every_split_is_new():
    """The same key split twice: nothing of the shares is the same but the words that say what they are."""
    first, second = split(SECRET, 2, 3), split(SECRET, 2, 3)
    for a, b in itertools.product(first, second):
        assert a.words[4:] != b.words[4:]


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (0, 3), (-1, 3), (3, 2), (2, 17), (17, 17)])
def test_numbers_that_make_no_sense(threshold, count):
    """One of n is no sharing, and SLIP-39 has 16 shares at most."""
    with pytest.raises(UsageError):
        split(SECRET, threshold, count)


def test_only_keys_are_split():
    """A caller that gives something else is wrong."""
    with pytest.raises(AssertionError):
        split(SECRET[:-1], 2, 3)


def test_a_share_shows_no_words():
    """The repr of a share tells which it is, and nothing that is secret."""
    share = split(SECRET, 2, 3)[1]
    assert f"set_id={share.set_id}" in repr(share)
    assert share.words[-1] not in repr(share)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_how_it_is_typed_does_not_matter(chance):
    """Case, ends of lines, and the numbers that are printed before the words do not matter."""
    typed = "".join(
        chance.choice(["", f"{number}. ", f"{number} ", f"({number:02}) "])
        + chance.choice([word, word.upper(), word.title()])
        + chance.choice([" ", "\n", "\t", ", ", " - "])
        for number, word in enumerate(SHARES[1].split(), start=1)
    )
    assert Collector().add("\n " + typed) == 2


def test_every_wrong_word_is_caught():
    """Any word in place of any other is caught by the checksum."""
    words = SHARES[0].split()
    chance = random.Random(1)
    for place in range(WORDS):
        for wrong in chance.sample([word for word in WORDLIST if word != words[place]], 30):
            told = refusal(Collector(), " ".join([*words[:place], wrong, *words[place + 1 :]]))
            assert told == "the words do not fit together: at least one is wrong or in another place"


def test_exchanged_words_are_caught():
    """Two words that were typed in the wrong order are caught."""
    words = SHARES[0].split()
    for a, b in itertools.combinations(range(WORDS), 2):
        changed = words.copy()
        changed[a], changed[b] = changed[b], changed[a]
        if changed != words:
            assert "do not fit together" in refusal(Collector(), " ".join(changed))


def test_words_that_are_not_in_the_list():
    """They are named by their numbers; what they may have been is for the eyes of who types."""
    words = SHARES[0].split()
    words[4], words[6], words[9] = "alvie", "xyzzyq", words[9][:4]
    text = " ".join(words)
    assert refusal(Collector(), text) == "words 5, 7 and 10 are not in the list of words that shares are made of"
    near = nearest_words(text)
    assert list(near) == [5, 7, 10]
    assert "alive" in near[5]
    assert near[7] == ()
    assert near[10][0] == SHARES[0].split()[9]
    assert all(len(found) <= 3 for found in near.values())
    assert nearest_words(SHARES[0]) == {}


@pytest.mark.parametrize("word", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{CYRILLIC SMALL LETTER A}cid", "'x'"])
def test_a_word_of_other_letters(word):
    """A letter that only looks right is no letter of the list."""
    assert refusal(Collector(), " ".join([word, *SHARES[0].split()[1:]])).startswith("word 1 is not in the list")


@pytest.mark.parametrize("count", [0, 1, 20, 32, 34, 66])
def test_wrong_number_of_words(count):
    """A share that is cut short, or two at once, are told by their length."""
    words = (SHARES[0].split() + SHARES[1].split() + SHARES[2].split())[:count]
    assert refusal(Collector(), " ".join(words)) == f"a share has 33 words; this one has {count}"


def test_the_same_share_twice():
    """It is told, and does not count."""
    collector = collect(SHARES[:1])
    assert refusal(collector, SHARES[0].upper()) == f"share 1 of set {OURS['set_id']} was given already"
    assert collector.missing == 2


def test_a_share_of_another_volume():
    """With the sets that the volume knows, the very first share of another one is refused."""
    collector = Collector({OURS["set_id"] ^ 1, 7})
    assert refusal(collector, SHARES[0]) == f"share 1 of set {OURS['set_id']} does not open this volume"
    assert collector.set_id is None
    assert collect(SHARES[:1], {7, OURS["set_id"]}).numbers == [1]


def split_as(monkeypatch, set_id, key, threshold=3, count=5):
    """Shares of a set whose id is no chance."""
    monkeypatch.setattr(shamir_mnemonic.shamir, "_random_identifier", lambda: set_id)
    return split(key, threshold, count)


def test_shares_of_two_volumes(monkeypatch):
    """A share of another set does not go with those before it."""
    other = split_as(monkeypatch, 7, SECRET)
    told = refusal(collect(SHARES[:1]), other[1].text)
    assert told == f"share 2 of set 00007 does not go with the shares of set {OURS['set_id']} before it"


def test_two_sets_that_have_the_same_id_by_chance(monkeypatch):
    """Ids have 15 bits: two sets with the same one are told apart by their numbers, or by their digest."""
    other = split_as(monkeypatch, OURS["set_id"], bytes(32))
    assert "is not the one that was given before" in refusal(collect(SHARES[:1]), other[0].text)
    collector = collect([*SHARES[:2], other[2].text])
    assert collector.missing == 0
    with pytest.raises(UsageError, match="do not belong together") as caught:
        collector.secret()
    assert caught.value.__context__ is None
    fewer = split_as(monkeypatch, OURS["set_id"], SECRET, threshold=2)
    assert "does not go with" in refusal(collect(SHARES[:1]), fewer[1].text)


def test_a_split_that_does_not_give_the_key_back(monkeypatch):
    """Shares are tried before they are given out: a broken package is found then, and not in an emergency."""
    real = shamir_mnemonic.generate_mnemonics

    def wrong(threshold, groups, secret, **rest):
        return real(threshold, groups, bytes(32), **rest)

    monkeypatch.setattr(shamir_mnemonic, "generate_mnemonics", wrong)
    with pytest.raises(AssertionError, match="do not give the key back") as caught:
        split(SECRET, 2, 3)
    assert SECRET.hex() not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=400) | st.lists(st.sampled_from(WORDLIST), min_size=30, max_size=36).map(" ".join))
def test_anything_else_is_refused(text):
    """Whatever is typed, the error is ours."""
    with pytest.raises(UsageError):
        Collector().add(text)


def test_without_the_packages():
    """Where they are not installed the error says how to get them."""
    code = (
        "import sys; sys.modules['shamir_mnemonic'] = None\n"
        "from encfs.errors import CloakfsError\n"
        "from encfs.sheets.shares import Collector, split\n"
        "for call in (lambda: split(bytes(32), 2, 3), lambda: Collector().add('acid')):\n"
        "    try:\n"
        "        call()\n"
        "    except CloakfsError as exc:\n"
        "        print(exc, '|', exc.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "sheets and shares need shamir_mnemonic, which is not installed | "
        "Install what is missing with: pip install 'cloakfs[sheets]'\n"
        "shares need shamir_mnemonic, which is not installed | Install it with: pip install shamir-mnemonic\n"
    )
    assert issubclass(UsageError, CloakfsError)
