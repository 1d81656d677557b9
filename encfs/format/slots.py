"""Slots as the config has them: what opens a volume.

Owns: the shape of slots (FORMAT.md section 4). Must not know: how a secret becomes a key, the config around them.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.canonical import Fields, b64, canonical_json, is_text

_KIND: Final = re.compile(r"[a-z0-9][a-z0-9+-]{0,31}")


class SlotKind(StrEnum):
    """What opens a slot: the kinds that section 4 names. There can be others, which this version cannot open."""

    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, not a secret
    KEY_FILE = "key-file"
    PASSPHRASE_AND_KEY_FILE = "passphrase+key-file"  # noqa: S105 - the same
    RECOVERY = "recovery"
    SHARES = "shares"


_KNOWN: Final = frozenset(SlotKind)
_WITHOUT_DATA: Final = _KNOWN - {SlotKind.SHARES}
_WITH_PASSPHRASE: Final = frozenset({SlotKind.PASSPHRASE, SlotKind.PASSPHRASE_AND_KEY_FILE})


_SHARE_SET: Final = struct.Struct(">HBB")


@dataclass(frozen=True, slots=True)
class ShareSet:
    """What a slot of kind ``shares`` says of its shares.

    Attributes:
        set_id: 0 to 32767, the same in each share of the set.
        threshold: how many open the slot.
        count: how many there are.

    Raises:
        FormatError: a number is outside the limits of section 4.
    """

    set_id: int
    threshold: int
    count: int

    def __post_init__(self) -> None:
        in_range = limits.SHARES_THRESHOLD_MIN <= self.threshold <= self.count <= limits.SHARES_MAX
        if not in_range or not 0 <= self.set_id <= limits.SHARE_SET_ID_MAX:
            raise FormatError("the numbers of a set of shares are outside the limits")


def encode_share_set(shares: ShareSet) -> bytes:
    """``data`` of a slot of kind ``shares``: 4 bytes."""
    return _SHARE_SET.pack(shares.set_id, shares.threshold, shares.count)


def decode_share_set(data: bytes) -> ShareSet:
    """The reverse.

    Raises:
        FormatError: it is not exactly as section 4 describes.
    """
    if len(data) != _SHARE_SET.size:
        raise FormatError("a slot does not say which shares open it")
    return ShareSet(*_SHARE_SET.unpack(data))


class KdfAlg(StrEnum):
    """How the secret of a slot becomes 32 bytes."""

    ARGON2ID = "argon2id"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Kdf:
    """The slow derivation of a passphrase slot, or none.

    Raises:
        FormatError: a parameter is outside the limits of section 4.
    """

    alg: KdfAlg
    memory_kib: int = 0
    passes: int = 0
    lanes: int = 0
    salt: bytes = b""

    def __post_init__(self) -> None:
        if self.alg is KdfAlg.NONE:
            if self.memory_kib or self.passes or self.lanes or self.salt:
                raise FormatError("a slot without key derivation has parameters for one")
        elif not (
            limits.KDF_MEMORY_KIB_MIN <= self.memory_kib <= limits.KDF_MEMORY_KIB_MAX
            and limits.KDF_PASSES_MIN <= self.passes <= limits.KDF_PASSES_MAX
            and limits.KDF_LANES_MIN <= self.lanes <= limits.KDF_LANES_MAX
            and len(self.salt) == limits.KDF_SALT_SIZE
        ):
            raise FormatError("the parameters of a key derivation are outside the limits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One way to open the volume.

    Attributes:
        kind: a :class:`SlotKind`, or the name of a kind that is unknown here.
        label: what the user calls it; not secret.
        created: seconds since 1970.
        data: what the kind needs to find its secret again, such as that secret sealed for a token; not secret.
        pub: the slot's public key.
        commit: tells whether a secret is this slot's.
        esk: the sealed private key and slot authenticator.
        erk: the root key, sealed to ``pub`` by somebody who knew the authenticator.
        auth: the authenticator, sealed under the root key.

    Raises:
        FormatError: a field has the wrong length, or the kind and the derivation do not fit.
    """

    id: bytes
    kind: str
    label: str
    created: int
    kdf: Kdf
    pub: bytes = field(repr=False)
    commit: bytes = field(repr=False)
    esk: bytes = field(repr=False)
    erk: bytes = field(repr=False)
    auth: bytes = field(repr=False)
    data: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise FormatError("the kind of a slot is no name of one")
        if (self.kdf.alg is KdfAlg.ARGON2ID) is not (self.kind in _WITH_PASSPHRASE):
            raise FormatError("the kind of a slot and its key derivation do not fit")
        if len(self.data) > limits.SLOT_DATA_MAX or (self.data and self.kind in _WITHOUT_DATA):
            raise FormatError("a slot has data that its kind does not have")
        if self.kind == SlotKind.SHARES:
            decode_share_set(self.data)
        if (
            len(self.id) != limits.SLOT_ID_SIZE
            or len(self.pub) != limits.PUBLIC_KEY_SIZE
            or len(self.commit) != limits.COMMIT_SIZE
            or len(self.esk) != limits.ESK_SIZE
            or len(self.erk) != limits.ERK_SIZE
            or len(self.auth) != limits.AUTH_SIZE
        ):
            raise FormatError("a field of a slot has the wrong length")
        if len(self.label) > limits.LABEL_MAX or not is_text(self.label):
            raise FormatError("the label of a slot is too long or not text")
        if not 0 <= self.created <= limits.U64_MAX:
            raise FormatError("the time in a slot is out of range")


def slot_binding(kdf: Kdf, kind: str, pub: bytes, data: bytes = b"") -> bytes:
    """B of section 4: the clear fields of a slot that its sealed private key is bound to."""
    return canonical_json({**_data_object(data), "kdf": _kdf_object(kdf), "kind": str(kind), "pub": b64(pub)})


def parse_slot(fields: Fields) -> Slot:
    """One slot.

    Raises:
        FormatError: it is not exactly as section 4 describes.
    """
    kind = fields.text("kind")
    slot = Slot(
        id=fields.base64("id"),
        kind=SlotKind(kind) if kind in _KNOWN else kind,
        label=fields.text("label"),
        created=fields.integer("created"),
        kdf=_parse_kdf(fields.object("kdf")),
        pub=fields.base64("pub"),
        commit=fields.base64("commit"),
        esk=fields.base64("esk"),
        erk=fields.base64("erk"),
        auth=fields.base64("auth"),
        data=_parse_data(fields),
    )
    fields.finish()
    return slot


def _parse_data(fields: Fields) -> bytes:
    if not fields.has("data"):
        return b""
    data = fields.base64("data")
    if not data:
        raise FormatError("a slot spells out that it has no data")
    return data


def _parse_kdf(fields: Fields) -> Kdf:
    match fields.text("alg"):
        case KdfAlg.NONE:
            kdf = Kdf(KdfAlg.NONE)
        case KdfAlg.ARGON2ID:
            kdf = Kdf(
                KdfAlg.ARGON2ID,
                memory_kib=fields.integer("memory_kib"),
                passes=fields.integer("passes"),
                lanes=fields.integer("lanes"),
                salt=fields.base64("salt"),
            )
        case _:
            raise FormatError("a slot names an unknown key derivation")
    fields.finish()
    return kdf


def slot_object(slot: Slot) -> dict[str, object]:
    """As it stands in the config."""
    return {
        **_data_object(slot.data),
        "id": b64(slot.id),
        "kind": str(slot.kind),
        "label": slot.label,
        "created": slot.created,
        "kdf": _kdf_object(slot.kdf),
        "pub": b64(slot.pub),
        "commit": b64(slot.commit),
        "esk": b64(slot.esk),
        "erk": b64(slot.erk),
        "auth": b64(slot.auth),
    }


def _data_object(data: bytes) -> dict[str, object]:
    """Left out where there is none, so that a config has one spelling."""
    return {"data": b64(data)} if data else {}


def _kdf_object(kdf: Kdf) -> dict[str, object]:
    if kdf.alg is KdfAlg.NONE:
        return {"alg": kdf.alg.value}
    return {
        "alg": kdf.alg.value,
        "memory_kib": kdf.memory_kib,
        "passes": kdf.passes,
        "lanes": kdf.lanes,
        "salt": b64(kdf.salt),
    }
