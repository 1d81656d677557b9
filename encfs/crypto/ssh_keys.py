"""OpenSSH private keys: taking the passphrase off in memory.

Owns: that step. Must not know: what the key is for.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from encfs.errors import CloakfsError, UsageError, WrongSecretError


def without_passphrase(raw: bytes, passphrase: bytes) -> bytes:
    """The same key in OpenSSH's form, not encrypted. It is for memory only.

    Raises:
        WrongSecretError: the passphrase is wrong. UsageError: the key cannot be read.
        CloakfsError: bcrypt is not installed.
    """
    try:
        key = load_ssh_private_key(raw, passphrase)
        return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    except UnsupportedAlgorithm as exc:
        raise CloakfsError(
            "an SSH key with a passphrase needs bcrypt, which is not installed, or is of a kind that is not known",
            hint="Install it with: pip install 'cloakfs[age]'",
        ) from exc
    except ValueError as exc:
        # The one thing that tells a wrong passphrase is that what it opens makes no sense.
        if "checksum" in str(exc):
            raise WrongSecretError("the passphrase of the SSH key is wrong") from exc
        raise UsageError("the SSH key is damaged, or of a form that is not known") from exc
