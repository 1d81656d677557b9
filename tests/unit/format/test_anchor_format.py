"""Anchors of an audit log: their two spellings, byte for byte (FORMAT.md section 16, "Anchor")."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.core.anchors import check_anchor, sign_anchor
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import AuthenticationError, FormatError
from encfs.format.anchor import Anchor, anchors_in, parse_anchor

SIGNER = Signer(Algorithm.ED25519, bytes(range(32)))
LOG, HEAD = bytes.fromhex("11" * 16), bytes.fromhex("22" * 32)
ANCHOR = sign_anchor(SIGNER, log_id=LOG, seq=7, head=HEAD, wall_ms=1_764_253_336_123)
WITH_STAMP = Anchor(
    log_id=LOG, seq=7, head=HEAD, wall_ms=1_764_253_336_123, signature=ANCHOR.signature, timestamp=b"\x30\x82token"
)


def b64(data: bytes) -> str:
    """As FORMAT.md spells it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_what_is_signed() -> None:
    """The label, log id, seq, h and time, in this order; made here without the code under test."""
    text = b"cloakfs/1 audit anchor" + LOG + (7).to_bytes(8, "big") + HEAD + (1_764_253_336_123).to_bytes(8, "big")
    assert SIGNER.sign(text) == ANCHOR.signature
    check_anchor(ANCHOR, SIGNER.public)


def test_the_line_and_the_element() -> None:
    """Every byte of both; the timestamp is in the line only, and is over the line without it."""
    before = f'{{"head":"{HEAD.hex()}","log":"{LOG.hex()}","seq":7,"signature":"{b64(ANCHOR.signature)}",'
    assert ANCHOR.line() == before + '"wall_ms":1764253336123}'
    assert WITH_STAMP.line() == before + f'"timestamp":"{b64(WITH_STAMP.timestamp)}","wall_ms":1764253336123}}'
    assert WITH_STAMP.stamped() == ANCHOR.stamped() == ANCHOR.line().encode()
    assert (
        WITH_STAMP.element()
        == ANCHOR.element()
        == (
            f'[cloakfs@32473 log="{LOG.hex()}" seq="7" head="{HEAD.hex()}" wall_ms="1764253336123"'
            f' signature="{b64(ANCHOR.signature)}"]'
        )
    )
    assert hashlib.sha256(ANCHOR.stamped()).hexdigest()
    assert "token" not in repr(WITH_STAMP)


@pytest.mark.parametrize("anchor", [ANCHOR, WITH_STAMP])
def test_both_are_read_back(anchor: Anchor) -> None:
    """The line as it is; the element wherever it stands in a line, once however often it stands there."""
    assert parse_anchor(anchor.line()) == anchor
    assert parse_anchor(anchor.line() + "\n") == anchor
    assert anchors_in(f"Nov 27 host cloakfs[1]: {ANCHOR.element()} text {ANCHOR.element()}\n") == {ANCHOR}


def test_a_line_of_the_first_versions() -> None:
    """Without a signature, and with the spaces that they wrote."""
    old = json.dumps({"log": LOG.hex(), "seq": 7, "head": HEAD.hex(), "wall_ms": 1})
    assert parse_anchor(old) == Anchor(log_id=LOG, seq=7, head=HEAD, wall_ms=1)
    with pytest.raises(AuthenticationError):
        check_anchor(parse_anchor(old), SIGNER.public)


@pytest.mark.parametrize("name", ["log", "seq", "head", "wall_ms", "signature"])
def test_each_part_is_signed(name: str) -> None:
    """A change of any of them is seen, and so is another key."""
    fields = json.loads(ANCHOR.line())
    value = fields[name]
    fields[name] = value + 1 if isinstance(value, int) else ("1" if value[0] != "1" else "3") + value[1:]
    with pytest.raises(AuthenticationError):
        check_anchor(parse_anchor(json.dumps(fields)), SIGNER.public)
    with pytest.raises(AuthenticationError):
        check_anchor(ANCHOR, Signer.generate().public)


BAD = {
    "nothing": "",
    "no object": "[]",
    "no JSON": "no anchor",
    "cut short": ANCHOR.line()[:-10],
    "a part is missing": '{"log":"' + LOG.hex() + '"}',
    "log too short": ANCHOR.line().replace(LOG.hex(), "11"),
    "no hexadecimal": ANCHOR.line().replace(LOG.hex(), "z" * 32),
    "a fraction": ANCHOR.line().replace('"seq":7', '"seq":7.5'),
    "true": ANCHOR.line().replace('"seq":7', '"seq":true'),
    "below 0": ANCHOR.line().replace('"seq":7', '"seq":-7'),
    "too large": ANCHOR.line().replace('"seq":7', f'"seq":{1 << 64}'),
    "far too large": ANCHOR.line().replace('"seq":7', '"seq":' + "9" * 5000),
    "another field": ANCHOR.line().replace('"seq":7', '"seq":7,"more":1'),
    "signature too short": ANCHOR.line().replace(b64(ANCHOR.signature), b64(bytes(63))),
    "timestamp too long": WITH_STAMP.line().replace(b64(WITH_STAMP.timestamp), b64(bytes((1 << 16) + 1))),
    "brackets": "[" * 100_000,
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_what_is_no_anchor(line: str) -> None:
    """One error, whatever is wrong."""
    with pytest.raises(FormatError):
        parse_anchor(line)


def test_an_element_that_is_cut_short() -> None:
    """It is told wherever it was cut; lines of others are not."""
    element = ANCHOR.element()
    for size in range(len("[cloakfs@32473 "), len(element)):
        with pytest.raises(FormatError):
            anchors_in(f"<109>1 host {element[:size]}")
    assert anchors_in("<109>1 host [other@32473 log=1] and cloakfs") == set()


@given(st.text() | st.text(alphabet='{}[]",:0123456789abcdefheadlogseqwall_ms'))
def test_any_text(text: str) -> None:
    """No text raises anything but our error."""
    for parse in (parse_anchor, anchors_in):
        try:
            parse(text)
        except FormatError:
            pass
