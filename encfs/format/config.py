"""The volume config: three lines of text.

Owns: FORMAT.md section 3 and the shape of slots and epochs (sections 4 and 5). Must not know: how
MAC and checksum are made, which of two copies is used, where they are stored.

Rule: a config has exactly one spelling. What does not come out byte for byte when it is written
again is refused, so two readers never understand two things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from encfs.errors import FormatError, NewerFormatError
from encfs.format import base64url, limits
from encfs.units import DirId, VolumeId

_FIRST_LINE: Final = b"cloakfs-volume %d\n" % limits.FORMAT_VERSION
_ANY_FIRST_LINE: Final = re.compile(rb"cloakfs-volume ([1-9][0-9]{0,8})\n")
_LAST_LINE: Final = re.compile(rb"mac ([A-Za-z0-9_-]{43}) sum ([A-Za-z0-9_-]{22})\n")
_KIND: Final = re.compile(r"[a-z0-9][a-z0-9+-]{0,31}")
_T = TypeVar("_T")
_NEWER_HINT: Final = "Open it with a newer cloakfs."


class SlotKind(StrEnum):
    """What opens a slot: the kinds that section 4 names. There can be others, which this version cannot open."""

    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, not a secret
    KEY_FILE = "key-file"
    PASSPHRASE_AND_KEY_FILE = "passphrase+key-file"  # noqa: S105 - the same
    RECOVERY = "recovery"


_KNOWN: Final = frozenset(SlotKind)
_WITH_PASSPHRASE: Final = frozenset({SlotKind.PASSPHRASE, SlotKind.PASSPHRASE_AND_KEY_FILE})


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
        if len(self.data) > limits.SLOT_DATA_MAX or (self.data and self.kind in _KNOWN):
            raise FormatError("a slot has data that its kind does not have")
        if (
            len(self.id) != limits.SLOT_ID_SIZE
            or len(self.pub) != limits.PUBLIC_KEY_SIZE
            or len(self.commit) != limits.COMMIT_SIZE
            or len(self.esk) != limits.ESK_SIZE
            or len(self.erk) != limits.ERK_SIZE
            or len(self.auth) != limits.AUTH_SIZE
        ):
            raise FormatError("a field of a slot has the wrong length")
        if len(self.label) > limits.LABEL_MAX or not _is_text(self.label):
            raise FormatError("the label of a slot is too long or not text")
        if not 0 <= self.created <= limits.U64_MAX:
            raise FormatError("the time in a slot is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch and its wrapped key.

    Raises:
        FormatError: the number or the wrapped key cannot be one.
    """

    epoch: int
    active: bool
    wrap: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= limits.EPOCH_MAX or len(self.wrap) != limits.EPOCH_WRAP_SIZE:
            raise FormatError("an epoch of the config is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Names of what a reader must know to open (incompat), to write (ro_compat), or need not know."""

    compat: tuple[str, ...] = ()
    incompat: tuple[str, ...] = ()
    ro_compat: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of a config but MAC and checksum.

    Raises:
        FormatError: a field is out of range, or the fields contradict each other.
    """

    volume_id: VolumeId
    seq: int
    created: int
    suite: str = limits.SUITE_NAME
    cell_size: int
    features: Features = Features()
    min_reader: int = limits.FORMAT_VERSION
    root_dir_id: DirId
    rk_id: bytes
    slots: tuple[Slot, ...]
    epochs: tuple[Epoch, ...]

    def __post_init__(self) -> None:
        if (
            len(self.volume_id) != limits.VOLUME_ID_SIZE
            or len(self.root_dir_id) != limits.DIR_ID_SIZE
            or len(self.rk_id) != limits.ROOT_KEY_ID_SIZE
        ):
            raise FormatError("an id in the config has the wrong length")
        if not (1 <= self.seq <= limits.U64_MAX and 0 <= self.created <= limits.U64_MAX):
            raise FormatError("a number in the config is out of range")
        if self.cell_size not in limits.CELL_SIZES:
            raise FormatError("the config names an unknown cell size")
        if len(self.slots) > limits.SLOTS_MAX or len({slot.id for slot in self.slots}) != len(self.slots):
            raise FormatError("the config has too many slots, or one twice")
        if len({epoch.epoch for epoch in self.epochs}) != len(self.epochs):
            raise FormatError("the config has an epoch twice")
        if sum(epoch.active for epoch in self.epochs) != 1:
            raise FormatError("the config has not exactly one active epoch")

    @property
    def read_only(self) -> bool:
        """Whether the volume needs a feature that this version must know before it may write."""
        return not limits.KNOWN_RO_COMPAT.issuperset(self.features.ro_compat)


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def signed_bytes(config: Config) -> bytes:
    """Lines 1 and 2 with their newlines: what MAC and checksum are over.

    Raises:
        FormatError: the config is longer than 1 MiB.
    """
    line = canonical_json(_config_object(config))
    if len(line) > limits.CONFIG_MAX:
        raise FormatError("the config is too long")
    return b"%b%b\n" % (_FIRST_LINE, line)


def assemble(signed: bytes, mac: bytes, checksum: bytes) -> bytes:
    """The whole file."""
    return b"%bmac %b sum %b\n" % (signed, base64url.encode(mac), base64url.encode(checksum))


def split(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Take a file apart, whatever the version of its first line.

    Returns:
        The signed bytes, the MAC (32 bytes), and the checksum (16 bytes). None is checked.

    Raises:
        NewerFormatError: the first line names another version, and the rest is not as in version 1.
        FormatError: this is not a config.
    """
    end = raw.rfind(b"\n", 0, -1) + 1
    last = _LAST_LINE.fullmatch(raw, end)
    # The length is the cheapest test that nothing large is parsed; the two short lines add some.
    if last is None or raw.count(b"\n") != 3 or len(raw) > limits.CONFIG_MAX + 128:
        if is_newer(raw):
            raise _newer("has a newer format")
        raise FormatError("the config has not the form of three lines")
    return raw[:end], base64url.decode(last[1]), base64url.decode(last[2])


def is_newer(raw: bytes) -> bool:
    """Whether the first line names another version than this one."""
    first = _ANY_FIRST_LINE.match(raw)
    return first is not None and int(first[1]) != limits.FORMAT_VERSION


def parse_config(signed: bytes) -> Config:
    """Read lines 1 and 2.

    Raises:
        NewerFormatError: a newer cloakfs wrote it, or it needs a feature or suite unknown here.
        FormatError: it is not a config of version 1.
    """
    if is_newer(signed):
        raise _newer("has a newer format")
    if not signed.startswith(_FIRST_LINE) or not signed.endswith(b"\n"):
        raise FormatError("the config does not begin as one")
    line = signed[len(_FIRST_LINE) : -1]
    if len(line) > limits.CONFIG_MAX:
        raise FormatError("the config is too long")
    try:
        value = json.loads(line.decode("ascii"))
        canonical = canonical_json(value)
    except (ValueError, RecursionError) as exc:
        raise FormatError("the config is not JSON") from exc
    # Also refuses keys given twice: only one of the two comes out again.
    if canonical != line:
        raise FormatError("the config is not canonical JSON")
    fields = _Fields(value)
    # What makes a reader stop comes first: the rest may have changed its shape with it.
    features = _parse_features(fields.object("features"))
    if fields.integer("min_reader") > limits.FORMAT_VERSION:
        raise _newer("asks for a newer version")
    if not limits.KNOWN_INCOMPAT.issuperset(features.incompat):
        raise _newer("needs a feature that this version does not know")
    suite = fields.text("suite")
    if suite != limits.SUITE_NAME:
        raise _newer("uses a cipher suite that this version does not know")
    config = Config(
        volume_id=VolumeId(fields.base64("volume_id")),
        seq=fields.integer("seq"),
        created=fields.integer("created"),
        suite=suite,
        cell_size=fields.integer("cell_size"),
        features=features,
        min_reader=fields.integer("min_reader"),
        root_dir_id=DirId(fields.base64("root_dir_id")),
        rk_id=fields.base64("rk_id"),
        slots=tuple(_parse_slot(_Fields(item)) for item in fields.list("slots")),
        epochs=tuple(_parse_epoch(_Fields(item)) for item in fields.list("epochs")),
    )
    fields.finish()
    return config


def slot_binding(kdf: Kdf, kind: str, pub: bytes, data: bytes = b"") -> bytes:
    """B of section 4: the clear fields of a slot that its sealed private key is bound to."""
    return canonical_json({**_data_object(data), "kdf": _kdf_object(kdf), "kind": str(kind), "pub": _b64(pub)})


class _Fields:
    """One JSON object, each of whose fields is taken with its type. Raises ``FormatError``."""

    __slots__ = ("_taken", "_values")

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise FormatError("a part of the config is not an object")
        self._values: Mapping[str, object] = value
        self._taken: set[str] = set()

    def _take(self, name: str, kind: type[_T]) -> _T:
        self._taken.add(name)
        value = self._values.get(name)
        # True is an int to Python, but not to the format.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise FormatError("a field of the config is missing or has the wrong type")
        return value

    def has(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str) -> int:
        return self._take(name, int)

    def text(self, name: str) -> str:
        return self._take(name, str)

    def base64(self, name: str) -> bytes:
        try:
            return base64url.decode(self.text(name).encode("ascii"))
        except UnicodeEncodeError as exc:
            raise FormatError("a field of the config is not base64url") from exc

    def list(self, name: str) -> Sequence[object]:
        return self._take(name, list)

    def object(self, name: str) -> _Fields:
        return _Fields(self._take(name, dict))

    def finish(self) -> None:
        if len(self._taken) != len(self._values):
            raise FormatError("the config has a field that version 1 does not have")


def _parse_features(fields: _Fields) -> Features:
    features = Features(
        compat=_names(fields.list("compat")),
        incompat=_names(fields.list("incompat")),
        ro_compat=_names(fields.list("ro_compat")),
    )
    fields.finish()
    return features


def _names(values: Sequence[object]) -> tuple[str, ...]:
    names = tuple(value for value in values if isinstance(value, str) and _is_text(value))
    if len(names) != len(values):
        raise FormatError("a feature in the config has no name")
    return names


def _parse_slot(fields: _Fields) -> Slot:
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


def _parse_data(fields: _Fields) -> bytes:
    if not fields.has("data"):
        return b""
    data = fields.base64("data")
    if not data:
        raise FormatError("a slot spells out that it has no data")
    return data


def _parse_kdf(fields: _Fields) -> Kdf:
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


def _parse_epoch(fields: _Fields) -> Epoch:
    state = fields.text("state")
    if state not in ("active", "retired"):
        raise FormatError("an epoch is in an unknown state")
    epoch = Epoch(epoch=fields.integer("epoch"), active=state == "active", wrap=fields.base64("wrap"))
    fields.finish()
    return epoch


def _config_object(config: Config) -> dict[str, object]:
    features = config.features
    return {
        "volume_id": _b64(config.volume_id),
        "seq": config.seq,
        "created": config.created,
        "suite": config.suite,
        "cell_size": config.cell_size,
        "features": {
            "compat": list(features.compat),
            "incompat": list(features.incompat),
            "ro_compat": list(features.ro_compat),
        },
        "min_reader": config.min_reader,
        "root_dir_id": _b64(config.root_dir_id),
        "rk_id": _b64(config.rk_id),
        "slots": [_slot_object(slot) for slot in config.slots],
        "epochs": [
            {"epoch": epoch.epoch, "state": "active" if epoch.active else "retired", "wrap": _b64(epoch.wrap)}
            for epoch in config.epochs
        ],
    }


def _slot_object(slot: Slot) -> dict[str, object]:
    return {
        **_data_object(slot.data),
        "id": _b64(slot.id),
        "kind": str(slot.kind),
        "label": slot.label,
        "created": slot.created,
        "kdf": _kdf_object(slot.kdf),
        "pub": _b64(slot.pub),
        "commit": _b64(slot.commit),
        "esk": _b64(slot.esk),
        "erk": _b64(slot.erk),
        "auth": _b64(slot.auth),
    }


def _data_object(data: bytes) -> dict[str, object]:
    """Left out where there is none, so that a config has one spelling."""
    return {"data": _b64(data)} if data else {}


def _kdf_object(kdf: Kdf) -> dict[str, object]:
    if kdf.alg is KdfAlg.NONE:
        return {"alg": kdf.alg.value}
    return {
        "alg": kdf.alg.value,
        "memory_kib": kdf.memory_kib,
        "passes": kdf.passes,
        "lanes": kdf.lanes,
        "salt": _b64(kdf.salt),
    }


def _b64(data: bytes) -> str:
    return base64url.encode(data).decode("ascii")


def _is_text(text: str) -> bool:
    """Whether it can be encoded: a lone surrogate, which JSON can spell, cannot and would fail when shown."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _newer(what: str) -> NewerFormatError:
    return NewerFormatError(f"the volume {what}", hint=_NEWER_HINT)
