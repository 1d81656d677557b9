"""Which implementation of the primitives is at work, for whoever has to show that.

Owns: its name and version. Must not know: who asks.
"""

from __future__ import annotations

from cryptography.hazmat.backends.openssl.backend import backend


def openssl() -> str:
    """The OpenSSL that AES-GCM, Ed25519 and the rest come from, such as ``OpenSSL 3.5.4 30 Sep 2025``."""
    return backend.openssl_version_text()
