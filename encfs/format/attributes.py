"""The list of extended attributes inside ``user.cloakfs``.

Owns: the list of FORMAT.md section 10. Must not know: how it is sealed, what an attribute means.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")


def pack_attributes(attributes: Mapping[bytes, bytes]) -> bytes:
    """The list, sorted by name.

    Raises:
        FormatError: a name is not one of the namespaces that a volume keeps.
    """
    parts: list[bytes] = []
    for name in sorted(attributes):
        _check_name(name)
        value = attributes[name]
        parts += (_U16.pack(len(name)), name, _U32.pack(len(value)), value)
    return b"".join(parts)


def parse_attributes(packed: bytes) -> dict[bytes, bytes]:
    """The inverse of ``pack_attributes``, in the order of the names.

    Raises:
        FormatError: the list is cut short, not sorted, or names something twice.
    """
    attributes: dict[bytes, bytes] = {}
    position, last = 0, b""
    while position < len(packed):
        name, position = _take(packed, position, _U16)
        value, position = _take(packed, position, _U32)
        _check_name(name)
        if name <= last:
            raise FormatError("a list of attributes is not sorted")
        attributes[name] = value
        last = name
    return attributes


def _take(packed: bytes, position: int, size_field: Struct) -> tuple[bytes, int]:
    start = position + size_field.size
    if start > len(packed):
        raise FormatError("a list of attributes is cut short")
    end = start + size_field.unpack_from(packed, position)[0]
    if end > len(packed):
        raise FormatError("a list of attributes is cut short")
    return packed[start:end], end


def _check_name(name: bytes) -> None:
    if len(name) > limits.XATTR_NAME_MAX or b"\0" in name:
        raise FormatError("the name of an attribute is not a name")
    if name in limits.XATTR_ACL_NAMES:
        return
    if not name.startswith(limits.XATTR_NAMESPACES) or name in limits.XATTR_NAMESPACES:
        raise FormatError("an attribute is in a namespace that a volume does not keep")
