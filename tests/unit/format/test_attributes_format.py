"""encfs/format/attributes.py and base64url.py."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError
from encfs.format import base64url, limits
from encfs.format.attributes import pack_attributes, parse_attributes

PREFIX = st.sampled_from(limits.XATTR_NAMESPACES)
SUFFIX = st.binary(min_size=1, max_size=200).filter(lambda suffix: b"\0" not in suffix)
NAMES = st.builds(lambda prefix, suffix: prefix + suffix, PREFIX, SUFFIX) | st.sampled_from(limits.XATTR_ACL_NAMES)


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=8))
def test_round_trip(attributes):
    """Section 10: a list of attributes is read back the same, sorted by name."""
    parsed = parse_attributes(pack_attributes(attributes))
    assert parsed == attributes
    assert list(parsed) == sorted(attributes)


def test_bytes_of_a_list():
    """Section 10: the bytes of one list, written out."""
    assert pack_attributes({b"user.b": b"22", b"user.a": b""}) == (
        b"\0\6user.a" + b"\0\0\0\0" + b"\0\6user.b" + b"\0\0\0\x0222"
    )


@given(st.binary(max_size=300))
def test_garbage(garbage):
    """Section 10: whatever the bytes are, they are refused with FormatError or are the one spelling of a list."""
    try:
        parsed = parse_attributes(garbage)
    except FormatError:
        return
    assert pack_attributes(parsed) == garbage


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=3), st.data())
def test_truncation(attributes, data):
    """Section 10: a list that is cut inside an attribute is refused."""
    packed = pack_attributes(attributes)
    last = len(packed) - len(pack_attributes({max(attributes): attributes[max(attributes)]}))
    with pytest.raises(FormatError):
        parse_attributes(packed[: data.draw(st.integers(last + 1, len(packed) - 1))])


@pytest.mark.parametrize(
    "name", [b"", b"user", b"user.", b"system.", b"system.other", b"User.a", b"user.a\0", b"user." + b"n" * 251]
)
def test_names_that_are_not_kept(name):
    """Section 10: only the five kinds of names, of at most 255 bytes, are stored."""
    with pytest.raises(FormatError):
        pack_attributes({name: b""})


@given(st.binary(max_size=200))
def test_base64url(data):
    """Conventions: b64 is base64url of RFC 4648 without padding."""
    text = base64url.encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert base64url.decode(text) == data


@given(st.binary(max_size=60) | st.text("AQgwz09+/-_= \n", max_size=12).map(str.encode))
def test_base64url_has_one_spelling(text):
    """Conventions: what is not exactly what b64 writes is refused with FormatError."""
    try:
        data = base64url.decode(text)
    except FormatError:
        return
    assert base64url.encode(data) == text
