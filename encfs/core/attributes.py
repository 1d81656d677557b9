"""Seal and open the extended attributes of one object.

Owns: the sealing of FORMAT.md section 10. Must not know: the lower attribute, caching.
"""

from __future__ import annotations

from collections.abc import Mapping

from encfs.core.keys import KeyRing
from encfs.crypto.kdf import Label
from encfs.format.attributes import pack_attributes, parse_attributes


def seal_attributes(ring: KeyRing, object_id: bytes, attributes: Mapping[bytes, bytes]) -> bytes:
    """The value of the lower attribute.

    ``object_id`` is the attribute id of a file, or the dir id of a directory.

    Raises:
        FormatError: a name is not one of the namespaces that a volume keeps.
    """
    return ring.suite.seal(ring.metadata.xattr_key(object_id), Label.XATTR, pack_attributes(attributes))


def open_attributes(ring: KeyRing, object_id: bytes, sealed: bytes) -> dict[bytes, bytes]:
    """The inverse of ``seal_attributes``.

    Raises:
        AuthenticationError: these are another object's attributes, or changed.
        FormatError: what was sealed is no list of attributes.
    """
    return parse_attributes(ring.suite.unseal(ring.metadata.xattr_key(object_id), Label.XATTR, sealed))
