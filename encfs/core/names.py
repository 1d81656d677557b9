"""Plain names to lower names and back.

Owns: FORMAT.md section 7, and the place tag of section 9.4. Must not know: directories' contents,
where long names are kept.

Rules: one plain name in one directory has exactly one lower name, so a lookup needs no listing;
a lower name that this module did not write never opens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from encfs.crypto.suite import Suite
from encfs.errors import FormatError
from encfs.format import base64url, limits
from encfs.units import DirId, LowerName

_PADDING: Final = [bytes(-size % limits.NAME_PAD) for size in range(limits.DIRECT_NAME_MAX + 1)]
_DIRECT_SEALED_MIN: Final = 2 * limits.NAME_PAD
_DIRECT_SEALED_MAX: Final = limits.NAME_PAD + limits.DIRECT_NAME_MAX
_LINK_SUFFIX: Final = limits.LINK_SUFFIX
_LONG_PREFIX: Final = limits.LONG_PREFIX
# The kernel looks a name up, then creates, renames or opens it; sealing it costs 3.6 us each time, finding it here 0.1.
_REMEMBERED: Final = 512
# Samba lists a whole folder for each file that is created in it, to see whether the name is there in another case.
_LISTED: Final = 8192


class NameCodec:
    """Seals and opens names under one epoch. On the hot path of every lookup and listing."""

    __slots__ = ("_mac", "_place_key", "open", "seal")

    seal: Callable[[DirId, bytes], LowerName]
    """The lower name of a plain name that ``check_name`` accepts, without ``.l``."""
    open: Callable[[DirId, bytes], bytes | None]
    """The plain name of a lower name, with or without ``.l``; ``is_link_name`` tells which.

    Returns:
        The name, or None for a long name: its text is in the file header or directory record,
        and is right only if ``seal`` of it gives this lower name.

    Raises:
        FormatError: this is not the shape of an encrypted name.
        AuthenticationError: it is not the name of anything in this directory.
    """

    def __init__(self, suite: Suite, name_key: bytes, longname_key: bytes, place_key: bytes) -> None:
        cipher = suite.name_cipher(name_key)
        self._mac = suite.mac
        self._place_key = place_key
        # Functions of the keys, not methods: a cycle would keep them until the garbage collector comes by.
        self.open = lru_cache(_LISTED)(_opening(cipher.open))
        self.seal = lru_cache(_REMEMBERED)(_sealing(cipher.seal, suite.mac, longname_key))

    def __repr__(self) -> str:
        return "NameCodec()"

    @staticmethod
    def check_name(name: bytes) -> bool:
        """Whether this can be the name of something in a volume."""
        return limits.is_plain_name(name)

    @staticmethod
    def is_long(name: bytes) -> bool:
        """Whether the lower name cannot hold ``name``."""
        return len(name) > limits.DIRECT_NAME_MAX

    def place(self, dir_id: DirId, name: bytes) -> bytes:
        """The 16-byte tag of a place, which a symlink carries."""
        return self._mac(self._place_key, dir_id + name)[: limits.PLACE_SIZE]


def _sealing(
    seal: Callable[[bytes, DirId], bytes], mac: Callable[[bytes, bytes], bytes], longname_key: bytes
) -> Callable[[DirId, bytes], LowerName]:
    def sealed(dir_id: DirId, name: bytes) -> LowerName:
        if len(name) <= limits.DIRECT_NAME_MAX:
            return LowerName(base64url.encode(seal(name + _PADDING[len(name)], dir_id)))
        return LowerName(_LONG_PREFIX + base64url.encode(mac(longname_key, dir_id + name)))

    return sealed


def _opening(opened: Callable[[bytes, DirId], bytes]) -> Callable[[DirId, bytes], bytes | None]:
    def name_of(dir_id: DirId, lower: bytes) -> bytes | None:
        lower = lower.removesuffix(_LINK_SUFFIX)
        if lower.startswith(_LONG_PREFIX):
            if len(lower) != limits.LONG_NAME_SIZE:
                raise FormatError("a lower name has not the form of a long name")
            base64url.decode(lower[1:])
            return None
        sealed = base64url.decode(lower)
        size = len(sealed)
        if not _DIRECT_SEALED_MIN <= size <= _DIRECT_SEALED_MAX or size % limits.NAME_PAD:
            raise FormatError("a lower name has not the length of an encrypted name")
        padded = opened(sealed, dir_id)
        name = padded.rstrip(b"\0")
        if len(padded) - len(name) >= limits.NAME_PAD or not limits.is_plain_name(name):
            raise FormatError("an encrypted name holds no name")
        return name

    return name_of


def is_link_name(lower: bytes) -> bool:
    """Whether a lower name is that of a symlink kept in a file."""
    return lower.endswith(_LINK_SUFFIX)


def link_name(lower: LowerName) -> LowerName:
    """The lower name under which a symlink kept in a file stands."""
    return LowerName(lower + _LINK_SUFFIX)
