"""A key file: one line of text that holds 32 random bytes.

Owns: its form (FORMAT.md section 4). Must not know: where it lies, what it opens.

Rule: an error says what kind of mistake it is, and never a character of the key.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from encfs.errors import FormatError, UsageError
from encfs.format import base64url, limits

_FORM: Final = re.compile(rb"cloakfs-key-file 1 ([A-Za-z0-9_-]{43}) ([0-9a-f]{8})\r?\n?")
_ANY_VERSION: Final = re.compile(rb"cloakfs-key-file ([0-9]{1,9}) ")
_SIZE: Final = 71  # without the end of the line
_HINT: Final = "Use a copy of the file as cloakfs wrote it, or another way to open the volume."


def encode_key_file(key: bytes) -> bytes:
    """The content of the file.

    Raises:
        AssertionError: the key is not 32 bytes (an error of the caller).
    """
    if len(key) != limits.KEY_FILE_KEY_SIZE:
        raise AssertionError("internal error: the key of a key file is 32 bytes")
    return b"cloakfs-key-file 1 %b %08x\n" % (base64url.encode(key), binascii.crc32(key))


def decode_key_file(content: bytes) -> bytes:
    """The 32 bytes.

    Raises:
        UsageError: it is no key file, or a damaged one.
    """
    version = _ANY_VERSION.match(content)
    if version is None:
        raise UsageError("this is not a key file of cloakfs", hint="Make one with: cloakfs key add --new-key-file")
    if version[1] != b"1":
        raise UsageError("this key file was made by a newer cloakfs", hint="Use that one.")
    found = _FORM.fullmatch(content)
    if found is None:
        size = len(content.strip())
        wrong = "too short" if size < _SIZE else "too long" if size > _SIZE else "damaged"
        raise UsageError(f"this key file is {wrong}", hint=_HINT)
    try:
        key = base64url.decode(found[1])
    except FormatError:
        raise UsageError("this key file is damaged", hint=_HINT) from None
    if b"%08x" % binascii.crc32(key) != found[2]:
        raise UsageError("this key file is damaged", hint=_HINT)
    return key
