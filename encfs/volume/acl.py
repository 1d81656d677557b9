"""POSIX access control lists in the form the kernel passes as attributes (acl(5), ``linux/posix_acl_xattr.h``).

Owns: the arithmetic between an ACL and the mode bits: what the kernel leaves to the filesystem when it
enforces the ACLs itself. Must not know: where ACLs are kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from errno import EINVAL

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_TAGS = (USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an ACL: ``tag`` (who), permission bits rwx, and the uid or gid of named entries."""

    tag: int
    perm: int
    who: int


Acl = tuple[Entry, ...]


def parse(value: bytes) -> Acl:
    """Read an ACL attribute.

    Raises:
        OSError: EINVAL, it is not one.
    """
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise OSError(EINVAL, "malformed ACL")
    if _HEADER.unpack_from(value)[0] != _VERSION:
        raise OSError(EINVAL, "unknown ACL version")
    acl = tuple(Entry(*fields) for fields in _ENTRY.iter_unpack(value[_HEADER.size :]))
    tags = [entry.tag for entry in acl]
    if any(tag not in _TAGS for tag in tags) or any(entry.perm > 7 for entry in acl):
        raise OSError(EINVAL, "malformed ACL")
    if acl and any(tags.count(tag) != 1 for tag in (USER_OBJ, GROUP_OBJ, OTHER)):
        raise OSError(EINVAL, "incomplete ACL")
    return acl


def build(acl: Acl) -> bytes:
    """The attribute for an ACL."""
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(e.tag, e.perm, e.who) for e in acl)


def _is_minimal(acl: Acl) -> bool:
    return all(entry.tag in (USER_OBJ, GROUP_OBJ, OTHER) for entry in acl)


def mode_of(acl: Acl) -> int:
    """The nine permission bits an access ACL stands for: the group bits show the mask."""
    perms = {entry.tag: entry.perm for entry in acl}
    return perms[USER_OBJ] << 6 | perms.get(MASK, perms[GROUP_OBJ]) << 3 | perms[OTHER]


def access_attribute(acl: Acl) -> bytes | None:
    """What to store for an access ACL: nothing if the mode bits say it all."""
    return None if _is_minimal(acl) else build(acl)


def with_mode(acl: Acl, mode: int) -> Acl:
    """The ACL after chmod: owner, mask (or owning group) and other take the mode bits."""
    group_tag = MASK if any(entry.tag == MASK for entry in acl) else GROUP_OBJ
    bits = {USER_OBJ: mode >> 6 & 7, group_tag: mode >> 3 & 7, OTHER: mode & 7}
    return tuple(Entry(e.tag, bits.get(e.tag, e.perm), e.who) for e in acl)


def inherit(default: Acl, mode: int) -> tuple[int, Acl]:
    """Mode and access ACL of an object made with ``mode`` in a directory with this default ACL (acl(5))."""
    group_tag = MASK if any(entry.tag == MASK for entry in default) else GROUP_OBJ
    wanted = {USER_OBJ: mode >> 6 & 7, group_tag: mode >> 3 & 7, OTHER: mode & 7}
    acl = tuple(Entry(e.tag, e.perm & wanted.get(e.tag, 7), e.who) for e in default)
    return mode & ~0o777 | mode_of(acl), acl
