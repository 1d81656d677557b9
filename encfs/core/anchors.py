"""Signing anchors of an audit log, and checking them (FORMAT.md section 16).

Owns: what is signed. Must not know: where anchors are kept, which host it is.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from encfs.crypto.kdf import Label
from encfs.crypto.signing import PublicKey, Signer
from encfs.format import limits
from encfs.format.anchor import Anchor

_SIGNED: Final = Struct(f">{limits.LOG_ID_SIZE}sQ{limits.DIGEST_SIZE}sQ").pack


def sign_anchor(signer: Signer, *, log_id: bytes, seq: int, head: bytes, wall_ms: int) -> Anchor:
    """That frame ``seq`` has the chain value ``head``, with a signature.

    Raises:
        FormatError: a part has the wrong length.
    """
    bare = Anchor(log_id=log_id, seq=seq, head=head, wall_ms=wall_ms)
    return Anchor(log_id=log_id, seq=seq, head=head, wall_ms=wall_ms, signature=signer.sign(_signed(bare)))


def check_anchor(anchor: Anchor, signer: PublicKey) -> None:
    """Raises: AuthenticationError: this key has not signed it, or nobody has."""
    signer.check(anchor.signature, _signed(anchor))


def _signed(anchor: Anchor) -> bytes:
    return Label.AUDIT_ANCHOR + _SIGNED(anchor.log_id, anchor.seq, anchor.head, anchor.wall_ms)
