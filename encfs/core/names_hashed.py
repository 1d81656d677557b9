"""Names of files in the audit log: found again by whoever has the key, and told to nobody (FORMAT.md section 16).

Owns: the HMAC of a path. Must not know: where it is recorded, who has the key.
"""

from __future__ import annotations

from typing import Final

from encfs.crypto import rng
from encfs.crypto.suite import Suite
from encfs.format.limits import KEY_SIZE

_SHOWN: Final = 16


def new_name_key() -> bytes:
    """32 random bytes."""
    return rng.random_bytes(KEY_SIZE)


def path_hash(suite: Suite, key: bytes, path: bytes) -> str:
    """What stands for a path: 32 hexadecimal digits.

    Args:
        suite: the suite of the log.
        key: the key of names, 32 bytes.
        path: plain path within the volume; slashes at its ends, and doubled ones, do not count.
    """
    return suite.mac(key, normal_path(path))[:_SHOWN].hex()


def normal_path(path: bytes) -> bytes:
    """The one spelling of a path within a volume."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))
