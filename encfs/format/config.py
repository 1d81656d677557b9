"""The volume config: three lines of text.

Owns: FORMAT.md section 3; the shape of slots is in ``slots.py``, that of epochs in ``epochs.py``, that of the policy in
``policy.py``. Must not know: how MAC and checksum are made, which of two copies is used, where they are stored.

Rule: a config has exactly one spelling. What does not come out byte for byte when it is written
again is refused, so two readers never understand two things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from encfs.errors import FormatError, NewerFormatError
from encfs.format import base64url, limits
from encfs.format.canonical import Fields, b64, canonical_json, is_text
from encfs.format.epochs import Epoch, Rotation, epoch_object, parse_epoch, parse_rotation, rotation_object
from encfs.format.policy import NO_POLICY, Policy, parse_policy
from encfs.format.slots import Slot, parse_slot, slot_object
from encfs.units import DirId, VolumeId

_FIRST_LINE: Final = b"cloakfs-volume %d\n" % limits.FORMAT_VERSION
_ANY_FIRST_LINE: Final = re.compile(rb"cloakfs-volume ([1-9][0-9]{0,8})\n")
_LAST_LINE: Final = re.compile(rb"mac ([A-Za-z0-9_-]{43}) sum ([A-Za-z0-9_-]{22})\n")
_NEWER_HINT: Final = "Open it with a newer cloakfs."


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
    metadata: bytes = field(repr=False)
    rotations: tuple[Rotation, ...] = ()
    policy: Policy = NO_POLICY

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
        newest = max((epoch.epoch for epoch in self.epochs), default=None)
        if [epoch.epoch for epoch in self.epochs if epoch.active] != [newest]:
            raise FormatError("the config has not exactly one active epoch, the highest")
        if len(self.metadata) != limits.KEY_WRAP_SIZE:
            raise FormatError("the metadata key of the config has the wrong length")
        if len(self.rotations) > limits.ROTATIONS_MAX:
            raise FormatError("the config has too many rotations")
        if any(one.finished == 0 for one in self.rotations) is not self.rotating:
            raise FormatError("the rotations of the config do not fit its epochs")

    @property
    def rotating(self) -> bool:
        """Whether a rotation is under way: something may still be sealed under a retired epoch."""
        return len(self.epochs) > 1

    @property
    def active(self) -> Epoch:
        """The epoch under which everything new is sealed."""
        return next(epoch for epoch in self.epochs if epoch.active)

    @property
    def data_epoch(self) -> int:
        """Content keys that were drawn in older epochs than this are to be replaced; 0 for none."""
        return max((one.epoch for one in self.rotations if one.finished == 0 and one.data), default=0)

    @property
    def read_only(self) -> bool:
        """Whether the volume needs a feature that this version must know before it may write."""
        return not limits.KNOWN_RO_COMPAT.issuperset(self.features.ro_compat)


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
    fields = Fields(value)
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
        slots=tuple(parse_slot(Fields(item)) for item in fields.list("slots")),
        epochs=tuple(parse_epoch(Fields(item)) for item in fields.list("epochs")),
        metadata=fields.base64("metadata"),
        rotations=_parse_rotations(fields),
        policy=parse_policy(fields.object("policy")) if fields.has("policy") else NO_POLICY,
    )
    fields.finish()
    return config


def _parse_features(fields: Fields) -> Features:
    features = Features(
        compat=_names(fields.list("compat")),
        incompat=_names(fields.list("incompat")),
        ro_compat=_names(fields.list("ro_compat")),
    )
    fields.finish()
    return features


def _names(values: Sequence[object]) -> tuple[str, ...]:
    names = tuple(value for value in values if isinstance(value, str) and is_text(value))
    if len(names) != len(values):
        raise FormatError("a feature in the config has no name")
    return names


def _parse_rotations(fields: Fields) -> tuple[Rotation, ...]:
    if not fields.has("rotations"):
        return ()
    rotations = tuple(parse_rotation(Fields(item)) for item in fields.list("rotations"))
    if not rotations:
        raise FormatError("a config spells out that it has no rotations")
    return rotations


def _config_object(config: Config) -> dict[str, object]:
    features = config.features
    return {
        "volume_id": b64(config.volume_id),
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
        "root_dir_id": b64(config.root_dir_id),
        "rk_id": b64(config.rk_id),
        "slots": [slot_object(slot) for slot in config.slots],
        "epochs": [epoch_object(epoch) for epoch in config.epochs],
        "metadata": b64(config.metadata),
        **({"rotations": [rotation_object(one) for one in config.rotations]} if config.rotations else {}),
        **({"policy": config.policy.rules()} if config.policy != NO_POLICY else {}),
    }


def _newer(what: str) -> NewerFormatError:
    return NewerFormatError(f"the volume {what}", hint=_NEWER_HINT)
