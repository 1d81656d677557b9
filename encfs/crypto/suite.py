"""A suite: one object that holds every primitive that a volume uses.

Owns: the table of FORMAT.md section 1 as values, so that a second suite is a second object. Must
not know: the format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from encfs.crypto import aead, kdf, kem
from encfs.errors import NewerFormatError


class NameSealer(Protocol):
    """Deterministic authenticated encryption of padded names."""

    def seal(self, name_padded: bytes, ad: bytes) -> bytes:
        """Seal a name under the associated data."""

    def open(self, sealed: bytes, ad: bytes) -> bytes:
        """Open it, or raise ``AuthenticationError``."""


class Expand(Protocol):
    """HKDF-Expand."""

    def __call__(self, prk: bytes, info: bytes, length: int = 32) -> bytes:
        """X(prk, info)."""


class ExtractExpand(Protocol):
    """HKDF."""

    def __call__(self, *, salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
        """Both steps of HKDF."""


class PassphraseKdf(Protocol):
    """The slow derivation from a passphrase."""

    def __call__(self, secret: bytes, *, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
        """32 bytes, or ``MemoryShortError``."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The primitives under the name that the config gives them. Contracts: the functions' own."""

    name: str
    aead: type[aead.Aead]
    seal: Callable[[bytes, bytes, bytes], bytes]
    unseal: Callable[[bytes, bytes, bytes], bytes]
    name_cipher: Callable[[bytes], NameSealer]
    expand: Expand
    extract_expand: ExtractExpand
    mac: Callable[[bytes, bytes], bytes]
    digest: Callable[[bytes], bytes]
    running_digest: Callable[[], kdf.RunningDigest]
    argon2id: PassphraseKdf
    kem_generate: Callable[[], tuple[bytes, bytes]]
    kem_seal: Callable[[bytes, bytes, bytes], bytes]
    kem_unseal: Callable[[bytes, bytes, bytes], bytes]


CLOAKFS_1: Final = Suite(
    name="cloakfs-1",
    aead=aead.Aead,
    seal=aead.seal,
    unseal=aead.unseal,
    name_cipher=aead.NameCipher,
    expand=kdf.expand,
    extract_expand=kdf.extract_expand,
    mac=kdf.mac,
    digest=kdf.digest,
    running_digest=kdf.running_digest,
    argon2id=kdf.argon2id,
    kem_generate=kem.generate,
    kem_seal=kem.seal,
    kem_unseal=kem.unseal,
)
_SUITES: Final = {CLOAKFS_1.name: CLOAKFS_1}


def suite_named(name: str) -> Suite:
    """The suite that a config names.

    Raises:
        NewerFormatError: this version has no suite of that name.
    """
    suite = _SUITES.get(name)
    if suite is None:
        raise NewerFormatError("the volume uses a cipher suite that this version does not know")
    return suite
