"""Keys in files: one line of text that holds random bytes.

Owns: its form (FORMAT.md sections 4 and 16). Must not know: where it lies, what it opens.

Rule: an error says what kind of mistake it is, and never a character of the key.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Final

from encfs.errors import FormatError, UsageError
from encfs.format import base64url, limits

_HINT: Final = "Use a copy of the file as cloakfs wrote it, or another way to open the volume."
_ANY_VERSION: Final = re.compile(rb"(cloakfs-[a-z-]+) ([0-9]{1,9}) ")
_LINE: Final = re.compile(rb"([a-z-]+) 1 ([A-Za-z0-9_-]+) ([0-9a-f]{8})\r?\n?")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key as one line of text: a word, the version, base64url, CRC-32.

    Attributes:
        word: what begins the line.
        size: of the key, bytes.
        name: what it is called.
        remedy: where a right one comes from.
    """

    word: bytes
    size: int
    name: str
    remedy: str

    def encode(self, key: bytes) -> bytes:
        """The content of the file.

        Raises:
            AssertionError: the key has the wrong size (an error of the caller).
        """
        if len(key) != self.size:
            raise AssertionError(f"internal error: a {self.name} holds {self.size} bytes")
        return b"%b 1 %b %08x\n" % (self.word, base64url.encode(key), binascii.crc32(key))

    def decode(self, content: bytes) -> bytes:
        """The key.

        Raises:
            UsageError: it is none, or a damaged one.
        """
        version = _ANY_VERSION.match(content)
        if version is None or version[1] != self.word:
            raise UsageError(f"this is not a {self.name} of cloakfs", hint=self.remedy)
        if version[2] != b"1":
            raise UsageError(f"this {self.name} was made by a newer cloakfs", hint="Use that one.")
        found = _LINE.fullmatch(content)
        size, whole = len(content.strip()), len(self.encode(bytes(self.size))) - 1
        if found is None or size != whole:
            wrong = "too short" if size < whole else "too long" if size > whole else "damaged"
            raise UsageError(f"this {self.name} is {wrong}", hint=_HINT)
        try:
            key = base64url.decode(found[2])
        except FormatError:
            raise UsageError(f"this {self.name} is damaged", hint=_HINT) from None
        if b"%08x" % binascii.crc32(key) != found[3]:
            raise UsageError(f"this {self.name} is damaged", hint=_HINT)
        return key


_KEY_FILE: Final = KeyText(
    b"cloakfs-key-file", limits.KEY_FILE_KEY_SIZE, "key file", "Make one with: cloakfs key add --new-key-file"
)
encode_key_file: Final = _KEY_FILE.encode
"""The content of a key file for 32 bytes."""
decode_key_file: Final = _KEY_FILE.decode
"""The 32 bytes of a key file. Raises ``UsageError``: it is no key file, or a damaged one."""
