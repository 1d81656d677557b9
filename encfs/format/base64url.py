"""b64(x) of FORMAT.md: base64url without padding, with exactly one spelling of each value.

Owns: that alphabet. Must not know: what is spelled.
"""

from __future__ import annotations

import binascii
from typing import Final

from encfs.errors import FormatError

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> bytes:
    """RFC 4648 section 5, without ``=``."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=")


def decode(text: bytes) -> bytes:
    """The inverse of ``encode``.

    Raises:
        FormatError: ``encode`` never writes this text.
    """
    try:
        data = binascii.a2b_base64(text.translate(_FROM_URL) + b"==")
    except binascii.Error as exc:
        raise FormatError("text is not base64url") from exc
    # a2b_base64 skips foreign characters and spare bits. Two lower names for one plain name would
    # follow, so only the spelling that encode gives is accepted.
    if encode(data) != text:
        raise FormatError("text is not base64url")
    return data
