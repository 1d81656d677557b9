"""encfs/format/key_file.py: the one line of a key file (FORMAT.md section 4)."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import UsageError
from encfs.format.key_file import decode_key_file, encode_key_file

KEY = bytes(range(100, 132))
LINE = encode_key_file(KEY)


def test_form():
    """Section 4: name, version, b64 of the key, CRC-32."""
    name, version, key, check = LINE.decode().rstrip("\n").split(" ")
    assert (name, version) == ("cloakfs-key-file", "1")
    assert base64.urlsafe_b64decode(key + "=") == KEY
    assert int(check, 16) == zlib.crc32(KEY)
    assert LINE.endswith(b"\n")


@given(st.binary(min_size=32, max_size=32), st.sampled_from([b"\n", b"\r\n", b""]))
def test_there_and_back(key, end):
    """With any end of the line."""
    assert decode_key_file(encode_key_file(key).rstrip(b"\n") + end) == key


@given(st.integers(0, len(LINE) - 2), st.integers(0, 255))
def test_every_change_is_noticed(place, value):
    """No changed byte opens as a key, and no error tells a character of it."""
    changed = bytes([*LINE[:place], value, *LINE[place + 1 :]])
    if changed == LINE:
        return
    with pytest.raises(UsageError) as caught:
        decode_key_file(changed)
    assert LINE.split(b" ")[2].decode() not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a key file"),
        (bytes(32), "not a key file"),
        (b"-----BEGIN PRIVATE KEY-----\n" * 3, "not a key file"),
        (LINE[:-5], "too short"),
        (LINE[:30], "too short"),
        (LINE + LINE, "too long"),
        (LINE.replace(b" 1 ", b" 2 "), "newer"),
        (LINE[:-3] + b"zz\n", "damaged"),
    ],
)
def test_what_is_wrong_is_told(content, said):
    """Another file, a cut one, one of a later version: each in its own words."""
    with pytest.raises(UsageError, match=said):
        decode_key_file(content)
