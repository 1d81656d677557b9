"""What opens a volume: one small interface for every kind of secret.

Owns: the interface, and the kinds whose secret is bytes that somebody gives. Must not know: prompts, files, devices,
the config around a slot.

A kind that keeps its secret elsewhere (a token, a key service) is a class with these three attributes, in
``encfs/kinds``; what it needs to find the secret again lies in the slot's ``data`` (FORMAT.md section 4).
tests/unit/core/test_sources.py is the contract.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from encfs.core.slots import SlotSecret
from encfs.format.slots import Kdf, Slot, SlotKind, decode_share_set

NOUNS: Final = {
    SlotKind.PASSPHRASE: "passphrase",
    SlotKind.KEY_FILE: "key file",
    SlotKind.PASSPHRASE_AND_KEY_FILE: "passphrase or key file",
    SlotKind.RECOVERY: "recovery key",
    SlotKind.SHARES: "set of shares",
}
"""What a message calls the secret of a kind."""


class UnlockSource(Protocol):
    """A secret that may open slots of one kind.

    Attributes:
        kind: of the slots that are tried.
        noun: what a message calls it: "the ... is wrong".
    """

    @property
    def kind(self) -> str: ...
    @property
    def noun(self) -> str: ...

    def secret_for(self, slot: Slot) -> SlotSecret | None:
        """The secret for a slot of this kind; None if it certainly is not this one's.

        Raises:
            SlotDamagedError: the slot's ``data`` is not what it was; other slots are tried all the same.
            UnlockError: whoever keeps the secret does not give it.
        """
        ...


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """A source whose secret is at hand, the same for every slot. The repr does not show it.

    Args:
        kind: of the slots.
        passphrase, key: as :class:`~encfs.core.slots.SlotSecret`.
    """

    kind: SlotKind
    passphrase: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, kind: SlotKind, secret: bytes) -> KnownSecret:
        """For the kinds that take one thing: passphrase bytes, or the 32 bytes of a key file or recovery key."""
        return cls(kind, passphrase=secret) if kind is SlotKind.PASSPHRASE else cls(kind, key=secret)

    @property
    def noun(self) -> str:
        """As a message calls it."""
        return NOUNS[self.kind]

    def secret_for(self, slot: Slot) -> SlotSecret:
        """The same for each."""
        del slot
        return SlotSecret(self.passphrase, self.key)


def for_passphrase(passphrase: bytes, key: bytes | None, slots: Collection[Slot]) -> list[UnlockSource]:
    """What a passphrase, with the key of a key file or without, may open of these slots; to be tried in this order."""
    if key is None:
        return [KnownSecret.of(SlotKind.PASSPHRASE, passphrase)]
    both = KnownSecret(SlotKind.PASSPHRASE_AND_KEY_FILE, passphrase, key)
    alone = KnownSecret.of(SlotKind.KEY_FILE, key)
    return [both, alone] if any(slot.kind == SlotKind.KEY_FILE for slot in slots) else [both]


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A source whose secret came from enough shares of one set. The repr does not show it.

    Args:
        set_id: of the shares.
        key: the 32 bytes that they gave.
    """

    set_id: int
    key: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        """Of the slots."""
        return SlotKind.SHARES

    @property
    def noun(self) -> str:
        """As a message calls it."""
        return NOUNS[SlotKind.SHARES]

    def secret_for(self, slot: Slot) -> SlotSecret | None:
        """For the slot of this set; the shares of another set gave something else."""
        if decode_share_set(slot.data).set_id != self.set_id:
            return None
        return SlotSecret(key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSlot:
    """A slot to be made.

    Attributes:
        kind, label, kdf, data: as in :class:`~encfs.format.slots.Slot`.
        secret: what it will open with.
    """

    kind: str
    label: str
    kdf: Kdf
    secret: SlotSecret = field(repr=False)
    data: bytes = field(default=b"", repr=False)
