"""Every fixed number and name of the format, once.

Owns: the constants of FORMAT.md and the rule for a plain name. Must not know: anything else.
"""

from __future__ import annotations

from typing import Final

FORMAT_VERSION: Final = 1
SUITE_NAME: Final = "cloakfs-1"
"""The one suite of version 1, section 1."""

# Section 2: fixed lower names. None can be an encrypted name: each has a dot.
CONFIG_NAME: Final = b"cloakfs.volume"
CONFIG_BAK_NAME: Final = b"cloakfs.volume.bak"
RECORD_NAME: Final = b"cloakfs.d"
SESSIONS_NAME: Final = b"cloakfs.s"
CHECKPOINTS_NAME: Final = b"cloakfs.c"
LOCK_NAME: Final = b"lock"
TEMP_PREFIX: Final = b"cloakfs.t."
TEMP_DIGITS: Final = 16

# Section 3: config.
CONFIG_MAX: Final = 1 << 20
"""Longest JSON line in bytes, and, with room for the two short lines, longest config."""
CHECKSUM_SIZE: Final = 16
MAC_SIZE: Final = 32
CELL_SIZES: Final = (4096, 16384, 65536)
DEFAULT_CELL_SIZE: Final = 4096
U64_MAX: Final = (1 << 64) - 1
VOLUME_ID_SIZE: Final = 16
ROOT_KEY_ID_SIZE: Final = 8
KNOWN_INCOMPAT: Final[frozenset[str]] = frozenset()
KNOWN_RO_COMPAT: Final[frozenset[str]] = frozenset()

# Section 4: slots.
SLOTS_MAX: Final = 64
SLOT_ID_SIZE: Final = 8
SLOT_DATA_MAX: Final = 4096
KEY_FILE_KEY_SIZE: Final = 32
LABEL_MAX: Final = 64
KDF_SALT_SIZE: Final = 16
KDF_MEMORY_KIB_MIN: Final = 65_536
KDF_MEMORY_KIB_MAX: Final = 4_194_304
KDF_PASSES_MIN: Final = 3
KDF_PASSES_MAX: Final = 64
KDF_LANES_MIN: Final = 1
KDF_LANES_MAX: Final = 16
PUBLIC_KEY_SIZE: Final = 1216
COMMIT_SIZE: Final = 32
AUTHENTICATOR_SIZE: Final = 32
ESK_SIZE: Final = 12 + 96 + AUTHENTICATOR_SIZE + 16
ERK_SIZE: Final = 1120 + 32 + 16
AUTH_SIZE: Final = 12 + AUTHENTICATOR_SIZE + 16
RECOVERY_KEY_SIZE: Final = 32
SHARES_MAX: Final = 16
SHARES_THRESHOLD_MIN: Final = 2
SHARE_SET_ID_MAX: Final = (1 << 15) - 1
DRAWN_SECRET_SIZE: Final = 32
"""S of a kind whose secret lies elsewhere."""

# Section 5: keys.
KEY_SIZE: Final = 32
KEY_WRAP_SIZE: Final = 12 + KEY_SIZE + 16
ROTATIONS_MAX: Final = 64
NO_EPOCH: Final = 0xFFFF_FFFF
EPOCH_MAX: Final = NO_EPOCH - 1

# Section 6: sealed frame.
FRAME_SIZE: Final = 512
FRAME_CLEAR_SIZE: Final = 48
FRAME_NONCE_END: Final = 60
BODY_SIZE: Final = 436
FRAME_WRITES_MAX: Final = 1 << 32
"""Header writes for one fid, and records under one epoch (section 15)."""

# Section 7: names.
NAME_MAX: Final = 255
DIRECT_NAME_MAX: Final = 160
"""Longest plain name whose lower name holds it; longer ones leave only a MAC."""
NAME_PAD: Final = 16
LONG_PREFIX: Final = b"~"
LONG_NAME_SIZE: Final = 44
ENCODED_NAME_MIN: Final = 43
LINK_SUFFIX: Final = b".l"

# Sections 8 to 9.3: records and cells.
DIR_ID_SIZE: Final = 16
FILE_ID_SIZE: Final = 16
SESSION_ID_SIZE: Final = 16
ATTRIBUTE_ID_SIZE: Final = 16
CELL_OVERHEAD: Final = 32
"""len u16, flags u8, 0, nonce 12, tag 16."""
CELL_CLEAR_SIZE: Final = 4
CELL_FLAG_PARITY: Final = 1
CELL_AAD_PREFIX: Final = b"C"
MAX_CELLS_PER_KEY: Final = 1 << 31
PLAIN_SIZE_MAX: Final = 1 << 60

# Section 9.4: symlinks.
SYMLINK_TARGET_MAX: Final = 4095
LOWER_TARGET_MAX: Final = 4095
PLACE_SIZE: Final = 16
SEALED_TARGET_OVERHEAD: Final = 45
"""nonce 12, flags 1, place 16, tag 16."""

# Section 10: extended attributes.
XATTR_NAME: Final = "user.cloakfs"
XATTR_SEALED_MAX: Final = 65_000
XATTR_NAME_MAX: Final = 255
XATTR_NAMESPACES: Final = (b"user.", b"trusted.", b"security.")
XATTR_ACL_NAMES: Final = (b"system.posix_acl_access", b"system.posix_acl_default")

# Section 11: session record.
HOST_MAX: Final = 64
MOUNTPOINT_MAX: Final = 255
SESSIONS_KEPT: Final = 16

# Section 12: checkpoint.
CHECKPOINT_ID_SIZE: Final = 16
CHECKPOINT_HEAD_SIZE: Final = 48
CHECKPOINT_CHUNK_MAX: Final = 1 << 16
"""Bytes of records in one chunk."""
CHECKPOINT_CHUNK_OVERHEAD: Final = 12 + 16
CHECKPOINTS_KEPT: Final = 2
DIGEST_SIZE: Final = 32

# Section 16: audit log.
AUDIT_FRAME_MAX: Final = 65_536
"""Longest frame after its size field, bytes."""
AUDIT_STATE_SIZE: Final = 512
AUDIT_EPOCH_MS: Final = 15 * 60 * 1000
AUDIT_EPOCH_FRAMES: Final = 1024
AUDIT_EPOCHS_SKIPPED_MAX: Final = 1 << 20
BOOT_ID_SIZE: Final = 16
LOG_ID_SIZE: Final = 16
SEGMENT_MAX: Final = 99_999_999
TOMBSTONE_SEGMENTS_MAX: Final = 1_000
"""Segments that one tombstone names."""
AUDIT_KEPT_MS: Final = 6 * 366 * 24 * 60 * 60 * 1000
"""For so long everything is kept at least: the six years of 45 CFR 164.316(b)(2), with a leap day in each."""
SIGNER_SIZE: Final = 32
TIMESTAMP_MAX: Final = 1 << 16
"""Bytes of a timestamp on an anchor; those of known authorities have some 6,000."""
SIGNATURE_SIZE: Final = 64

# Section 17: signed documents.
DOCUMENT_MAX: Final = 16 << 20
"""Bytes of one, with its newline."""


def is_plain_name(name: bytes) -> bool:
    """Whether ``name`` can be the name of something in a volume (section 7)."""
    return 0 < len(name) <= NAME_MAX and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def longest_name(lower_max: int) -> int:
    """The longest plain name of which no shorter one is refused, where lower names have up to ``lower_max`` characters.

    The lower name of 16k bytes has as many characters as base64 makes of 16 + 16k, and ``.l`` may follow.
    """
    whole = max(0, ((lower_max - len(LINK_SUFFIX)) * 3 // 4 - NAME_PAD) // NAME_PAD * NAME_PAD)
    return NAME_MAX if whole >= DIRECT_NAME_MAX or lower_max == 0 else whole
