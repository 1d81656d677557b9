"""Seal and open the targets of symlinks that are lower symlinks.

Owns: the first half of FORMAT.md section 9.4. Must not know: symlinks kept in a file, which are
files, and whether the place is right: the caller compares ``OpenedTarget.place``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from encfs.core.keys import KeyRing
from encfs.crypto.aead import NONCE_SIZE, TAG_SIZE
from encfs.crypto.kdf import Label
from encfs.errors import FormatError
from encfs.format import base64url, limits
from encfs.units import DirId

_FLAG_MULTI: Final = 1
_TARGET_START: Final = 1 + limits.PLACE_SIZE
_OVERHEAD: Final = NONCE_SIZE + _TARGET_START + TAG_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTarget:
    """What a lower symlink holds.

    Attributes:
        place: the place for which it was sealed; binding unless ``multi``.
        multi: whether the symlink has several names.
    """

    target: bytes = field(repr=False)
    place: bytes
    multi: bool


def fits_lower_symlink(target: bytes) -> bool:
    """Whether the sealed target is short enough for a lower symlink; else it is kept in a file."""
    return (4 * (_OVERHEAD + len(target)) + 2) // 3 <= limits.LOWER_TARGET_MAX


def check_target(target: bytes) -> bool:
    """Whether these bytes can be the target of a symlink."""
    return 0 < len(target) <= limits.SYMLINK_TARGET_MAX and b"\0" not in target


def seal_target(ring: KeyRing, *, dir_id: DirId, name: bytes, target: bytes, multi: bool) -> bytes:
    """The target of the lower symlink.

    Raises:
        FormatError: ``target`` is not 1 to 4,095 bytes, or has a zero byte.
    """
    if not check_target(target):
        raise FormatError("the target of a symlink is not a target")
    keys = ring.metadata
    flags = b"\1" if multi else b"\0"
    plain = flags + keys.names.place(dir_id, name) + target
    return base64url.encode(ring.suite.seal(keys.symlink_key, Label.SYMLINK, plain))


def open_target(ring: KeyRing, lower_target: bytes) -> OpenedTarget:
    """The inverse of ``seal_target``.

    Raises:
        AuthenticationError: not sealed by this volume, or changed.
        FormatError: not the shape of a sealed target.
    """
    plain = ring.suite.unseal(ring.metadata.symlink_key, Label.SYMLINK, base64url.decode(lower_target))
    target = plain[_TARGET_START:]
    if plain[0:1] not in (b"\0", b"\1") or not check_target(target):
        raise FormatError("a sealed symlink holds no target")
    return OpenedTarget(target=target, place=plain[1:_TARGET_START], multi=plain[0] == _FLAG_MULTI)
