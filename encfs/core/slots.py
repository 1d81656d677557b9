"""Slots: how a passphrase or a recovery key becomes the root key.

Owns: FORMAT.md section 4. Must not know: where the secret was typed, the config around the slot.

Rule: the commitment is compared before any AEAD is tried, so that one forged ciphertext cannot
test many passphrases at once. A root key comes only from somebody who knew the slot's authenticator:
the public key alone is no proof, everybody can read it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Final

from encfs.crypto import rng
from encfs.crypto.kdf import Label, constant_time_equal
from encfs.crypto.suite import Suite
from encfs.errors import AuthenticationError, FormatError, SlotDamagedError, UsageError, WrongSecretError
from encfs.format import limits
from encfs.format.slots import Kdf, KdfAlg, Slot, slot_binding
from encfs.units import VolumeId

_KEK_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class SlotSecret:
    """What a slot is made with and opened with. The repr shows neither.

    Attributes:
        passphrase: its bytes (:func:`passphrase_bytes`); empty for a kind without one.
        key: 32 bytes; empty for a kind that has a passphrase only.
    """

    passphrase: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class OpenedSlot:
    """What a secret opens. The repr shows neither."""

    root_key: bytes = field(repr=False)
    authenticator: bytes = field(repr=False)


def new_argon2id(*, memory_kib: int, passes: int, lanes: int) -> Kdf:
    """Argon2id with these parameters and a fresh salt.

    Raises:
        FormatError: a parameter is outside the limits of section 4.
    """
    return Kdf(KdfAlg.ARGON2ID, memory_kib, passes, lanes, rng.random_bytes(limits.KDF_SALT_SIZE))


def make_slot(
    suite: Suite,
    *,
    volume_id: VolumeId,
    rk_id: bytes,
    root_key: bytes,
    kind: str,
    label: str,
    created: int,
    kdf: Kdf,
    secret: SlotSecret,
    data: bytes = b"",
) -> Slot:
    """A new slot that opens with ``secret``.

    Raises:
        FormatError: the label or ``data`` is too long, or ``kdf`` does not fit ``kind``.
        MemoryShortError: the derivation needs more memory than is free.
    """
    slot_id = rng.random_bytes(limits.SLOT_ID_SIZE)
    kek, commit = _derive(suite, volume_id, slot_id, kdf, secret)
    private, pub = suite.kem_generate()
    authenticator = rng.random_bytes(limits.AUTHENTICATOR_SIZE)
    return Slot(
        id=slot_id,
        kind=kind,
        label=label,
        created=created,
        kdf=kdf,
        pub=pub,
        commit=commit,
        esk=suite.seal(
            kek, _esk_aad(suite, volume_id, slot_id, slot_binding(kdf, kind, pub, data)), private + authenticator
        ),
        erk=seal_root_key(
            suite,
            volume_id=volume_id,
            slot_id=slot_id,
            rk_id=rk_id,
            pub=pub,
            authenticator=authenticator,
            root_key=root_key,
        ),
        auth=seal_authenticator(
            suite, volume_id=volume_id, slot_id=slot_id, root_key=root_key, authenticator=authenticator
        ),
        data=data,
    )


def seal_root_key(
    suite: Suite,
    *,
    volume_id: VolumeId,
    slot_id: bytes,
    rk_id: bytes,
    pub: bytes,
    authenticator: bytes,
    root_key: bytes,
) -> bytes:
    """``erk`` of a slot. Needs the slot's authenticator but no secret: the old root key opens ``auth``.

    Raises:
        FormatError: ``pub`` is not a public key.
    """
    return suite.kem_seal(pub, _erk_info(volume_id, slot_id, rk_id, authenticator), root_key)


def seal_authenticator(
    suite: Suite, *, volume_id: VolumeId, slot_id: bytes, root_key: bytes, authenticator: bytes
) -> bytes:
    """``auth`` of a slot: made anew with each ``erk``, under the root key that is in it."""
    return suite.seal(suite.expand(root_key, Label.SLOT_AUTH), _auth_aad(volume_id, slot_id), authenticator)


def open_authenticator(suite: Suite, volume_id: VolumeId, slot: Slot, root_key: bytes) -> bytes:
    """The authenticator in ``auth``, for somebody who holds the root key but not the slot's secret.

    Raises:
        SlotDamagedError: ``auth`` does not open.
    """
    try:
        authenticator = suite.unseal(suite.expand(root_key, Label.SLOT_AUTH), _auth_aad(volume_id, slot.id), slot.auth)
    except AuthenticationError as exc:
        raise _damaged() from exc
    return authenticator


def check_authenticator(suite: Suite, volume_id: VolumeId, slot: Slot, opened: OpenedSlot) -> None:
    """That ``auth`` agrees with ``esk``: else the next new root key would not reach this slot.

    Raises:
        SlotDamagedError: it does not open, or to something else.
    """
    kept = open_authenticator(suite, volume_id, slot, opened.root_key)
    if not constant_time_equal(kept, opened.authenticator):
        raise _damaged()


def open_slot(suite: Suite, volume_id: VolumeId, rk_id: bytes, slot: Slot, secret: SlotSecret) -> OpenedSlot:
    """The root key and the authenticator. ``check_authenticator`` is for later, when the MAC is right.

    Raises:
        WrongSecretError: the secret is not this slot's.
        SlotDamagedError: the secret is right, but the sealed keys do not open.
        MemoryShortError: the derivation needs more memory than is free.
    """
    kek, commit = _derive(suite, volume_id, slot.id, slot.kdf, secret)
    if not constant_time_equal(commit, slot.commit):
        raise WrongSecretError("this does not open the slot")
    binding = slot_binding(slot.kdf, slot.kind, slot.pub, slot.data)
    try:
        opened = suite.unseal(kek, _esk_aad(suite, volume_id, slot.id, binding), slot.esk)
        private, authenticator = opened[: -limits.AUTHENTICATOR_SIZE], opened[-limits.AUTHENTICATOR_SIZE :]
        root_key = suite.kem_unseal(private, _erk_info(volume_id, slot.id, rk_id, authenticator), slot.erk)
    except (AuthenticationError, FormatError) as exc:
        raise _damaged() from exc
    if len(root_key) != limits.KEY_SIZE:
        raise _damaged()
    return OpenedSlot(root_key, authenticator)


def passphrase_bytes(text: str) -> bytes:
    """The bytes of a typed passphrase: NFC, UTF-8.

    Raises:
        UsageError: it is empty, or not text.
    """
    try:
        return _not_empty(unicodedata.normalize("NFC", text).encode("utf-8"))
    except UnicodeEncodeError:
        # Not chained: the exception carries the passphrase.
        raise UsageError("the passphrase is not valid text") from None


def passphrase_from_raw(raw: bytes) -> bytes:
    """The bytes of a passphrase from a file, a descriptor or a command.

    Raises:
        UsageError: it is empty.
    """
    if raw.endswith(b"\n"):
        raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _not_empty(raw)
    return passphrase_bytes(text)


def _not_empty(secret: bytes) -> bytes:
    if not secret:
        raise UsageError("the passphrase is empty")
    return secret


def _derive(suite: Suite, volume_id: VolumeId, slot_id: bytes, kdf: Kdf, secret: SlotSecret) -> tuple[bytes, bytes]:
    """KEK and commitment."""
    slow = b""
    if kdf.alg is KdfAlg.ARGON2ID:
        slow = suite.argon2id(
            secret.passphrase, salt=kdf.salt, memory_kib=kdf.memory_kib, passes=kdf.passes, lanes=kdf.lanes
        )
    keys = suite.extract_expand(
        salt=volume_id + slot_id, ikm=slow + secret.key, info=Label.SLOT, length=_KEK_SIZE + limits.COMMIT_SIZE
    )
    return keys[:_KEK_SIZE], keys[_KEK_SIZE:]


def _esk_aad(suite: Suite, volume_id: VolumeId, slot_id: bytes, binding: bytes) -> bytes:
    return Label.ESK + volume_id + slot_id + suite.digest(binding)


def _erk_info(volume_id: VolumeId, slot_id: bytes, rk_id: bytes, authenticator: bytes) -> bytes:
    return Label.ERK + volume_id + slot_id + rk_id + authenticator


def _auth_aad(volume_id: VolumeId, slot_id: bytes) -> bytes:
    return Label.SLOT_AUTH + volume_id + slot_id


def _damaged() -> SlotDamagedError:
    return SlotDamagedError(
        "the passphrase or key is right, but its slot in the config is damaged",
        hint="Use another passphrase or key, or the recovery key, or restore the config from a backup.",
    )
