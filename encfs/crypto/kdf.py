"""Key derivation, MACs and digests, and every label that separates one use of a key from another.

Owns: HKDF, HMAC, SHA-256 and Argon2id as FORMAT.md sections 1, 4 and 5 use them. Must not know:
whose keys these are.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from typing import Final, Protocol

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from encfs.errors import MemoryShortError

ARGON2_VERSION: Final = 0x13
ARGON2_TAG_SIZE: Final = 32
_SHA256: Final = SHA256()
_MEMORY_SHARE: Final = 0.75
"""Of the memory that is available; the rest is for everybody else. More would wake the OOM killer."""


class Label(bytes, Enum):
    """Every label of the format. A label is used for one purpose and never reused."""

    SLOT = b"cloakfs/1 slot"
    SLOT_AUTH = b"cloakfs/1 auth"
    ESK = b"cloakfs/1 esk"
    ERK = b"cloakfs/1 erk"
    CONFIG = b"cloakfs/1 config"
    WRAP = b"cloakfs/1 wrap"
    EPOCH = b"cloakfs/1 epoch"
    METADATA = b"cloakfs/1 metadata"
    HEADER = b"cloakfs/1 header"
    DIRECTORY = b"cloakfs/1 directory"
    SESSION = b"cloakfs/1 session"
    NAME = b"cloakfs/1 name"
    LONGNAME = b"cloakfs/1 longname"
    SYMLINK = b"cloakfs/1 symlink"
    PLACE = b"cloakfs/1 place"
    XATTR = b"cloakfs/1 xattr"
    FRESHNESS = b"cloakfs/1 freshness"
    CHECKPOINT = b"cloakfs/1 checkpoint"
    HANDOVER = b"cloakfs/1 handover"
    PKCS11 = b"cloakfs/1 pkcs11"
    AUDIT_NEXT = b"cloakfs/1 audit next"
    AUDIT_MAC = b"cloakfs/1 audit mac"
    AUDIT_BODY = b"cloakfs/1 audit body"
    AUDIT_HEAD = b"cloakfs/1 audit head"
    AUDIT_CHECKPOINT = b"cloakfs/1 audit checkpoint"
    AUDIT_TOMBSTONE = b"cloakfs/1 audit tombstone"
    AUDIT_ANCHOR = b"cloakfs/1 audit anchor"
    DOCUMENT = b"cloakfs/1 document"
    BACKUP_MANIFEST = b"cloakfs/1 backup manifest"
    BACKUP_SLOT = b"cloakfs/1 backup slot"
    DRILL = b"cloakfs/1 drill"


def expand(prk: bytes, info: bytes, length: int = 32) -> bytes:
    """X(k, info) of section 5: HKDF-Expand with SHA-256."""
    return HKDFExpand(_SHA256, length, info).derive(prk)


def extract_expand(*, salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256, both steps."""
    return HKDF(_SHA256, length, salt, info).derive(ikm)


def mac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Compare without telling by the time where the first difference is."""
    return hmac.compare_digest(a, b)


def digest(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


class RunningDigest(Protocol):
    """SHA-256 of data that comes in pieces."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in the next piece."""

    def digest(self) -> bytes:
        """The 32 bytes for all that was taken in."""


def running_digest() -> RunningDigest:
    """SHA-256, to be fed piece by piece."""
    return hashlib.sha256()


def argon2id(secret: bytes, *, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    """Argon2id version 0x13 with a 32-byte tag. The limits of section 4 are the caller's to check.

    Raises:
        MemoryShortError: so much memory is not free here.
    """
    available = available_kib()
    if available is not None and memory_kib > available * _MEMORY_SHARE:
        raise _memory_short(memory_kib, available)
    try:
        return hash_secret_raw(
            secret, salt, passes, memory_kib, lanes, ARGON2_TAG_SIZE, Type.ID, version=ARGON2_VERSION
        )
    except MemoryError as exc:
        raise _memory_short(memory_kib, available) from exc
    except HashingError as exc:
        if "emory" not in str(exc):
            raise AssertionError("internal error: Argon2id refuses its parameters") from exc
        raise _memory_short(memory_kib, available) from exc


def available_kib() -> int | None:
    """MemAvailable, or None where the kernel does not say."""
    try:
        with open("/proc/meminfo", "rb") as lines:
            for line in lines:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _memory_short(memory_kib: int, available_kib: int | None) -> MemoryShortError:
    free = "less" if available_kib is None else f"{available_kib // 1024} MiB"
    return MemoryShortError(
        f"the key derivation of this volume needs {memory_kib // 1024} MiB of memory, and {free} is available",
        hint="Close other programs and try again. Less memory would give another key, so it cannot be lowered here.",
    )
