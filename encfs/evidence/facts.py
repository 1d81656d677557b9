"""What is known of one volume, from its config, from what this host has written down, or both.

Owns: putting it together, and how sure each part of it is. Must not know: what follows from it, secrets, the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from encfs.format.canonical import Fields
from encfs.format.config import Config
from encfs.format.slots import SlotKind
from encfs.host.verified import Verified, last_verified
from encfs.registers import configs, heartbeat, volumes
from encfs.registers.heartbeat import Beat
from encfs.registers.media import Medium, media_of
from encfs.registers.volumes import KnownVolume
from encfs.share import plan
from encfs.share.places import places
from encfs.units import VolumeId
from encfs.volume.told import config_json


class Vouched(StrEnum):
    """Who says that the config of a volume is as it is told here."""

    OPENED = "opened"
    """Its keys: it is open, or was opened for this."""
    AS_IT_LIES = "as-it-lies"
    """Nobody: it was read without a key."""
    REMEMBERED = "remembered"
    """This host, which wrote it down when it was opened here; the volume cannot be reached now."""
    UNKNOWN = "unknown"
    """It is not known what the config says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """One slot, without any secret. ``cost``: of guessing a passphrase, in words; empty where there is none."""

    id: str
    kind: str
    label: str
    created: int
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationFacts:
    """One replacement of keys; ``finished`` is 0 while it is under way."""

    epoch: int
    reason: str
    started: int
    finished: int
    data: bool
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """What a config says.

    Attributes:
        created: of the volume. All in it is encrypted since then: a volume is sealed from its first byte.
        key_since: when the keys in use now began.
        rules: of its policy, by name.
    """

    created: int
    suite: str
    cell_size: int
    key_since: int
    slots: tuple[SlotFacts, ...]
    rotations: tuple[RotationFacts, ...]
    rules: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts:
    """All that is known of a volume.

    Attributes:
        volume_id: hexadecimal.
        path: where it is, or was last.
        vouched: for the config and what follows from it.
        noted: when the config was written down here, where it is remembered.
        mounted: whether it is open here now.
        known: what the register of volumes has; None if it was never opened here.
        beat: how it was last seen here.
        verified: when all of it was last read here.
        media: those on which it is.
        shares: the names under which this host shares it.
    """

    volume_id: str
    path: str
    vouched: Vouched
    config: ConfigFacts | None
    noted: int | None
    mounted: bool
    known: KnownVolume | None
    beat: Beat | None
    verified: Verified | None
    media: tuple[Medium, ...]
    shares: tuple[str, ...]

    @property
    def encrypted_since(self) -> int | None:
        """When the volume was made, if that is known."""
        if self.config is not None:
            return self.config.created
        return None if self.known is None else self.known.created


def snapshot(config: Config) -> dict[str, Any]:
    """What is written down of a config whenever the volume is opened: all that a report may need, and no key."""
    told = config_json(config)
    return {
        "created": config.created,
        "suite": config.suite,
        "cell_size": config.cell_size,
        "key_since": config.active.created,
        "slots": told["slots"],
        "rotations": [
            {
                "epoch": one.epoch,
                "reason": str(one.reason),
                "started": one.started,
                "finished": one.finished,
                "data": one.data,
                "files": one.files,
            }
            for one in config.rotations
        ],
        "policy": config.policy.rules(),
    }


def config_facts(taken: Mapping[str, Any]) -> ConfigFacts:
    """The inverse of :func:`snapshot`, as far as it matters.

    Raises:
        FormatError: it is none.
    """
    fields = Fields(taken)
    rules = fields.object("policy")
    return ConfigFacts(
        created=fields.integer("created"),
        suite=fields.text("suite"),
        cell_size=fields.integer("cell_size"),
        key_since=fields.integer("key_since"),
        slots=tuple(_slot(Fields(one)) for one in fields.list("slots")),
        rotations=tuple(_rotation(Fields(one)) for one in fields.list("rotations")),
        rules={name: rules.integer(name) for name in rules.names()},
    )


def collect(volume_id: VolumeId, path: str, config: Config | None, *, opened: bool, mounted: bool) -> VolumeFacts:
    """All that is known of a volume.

    Args:
        volume_id: which.
        path: where it is; empty if that is not known.
        config: as it is now; None if it cannot be reached.
        opened: whether its keys vouch for that config.
        mounted: whether it is open here.

    Raises:
        RegisterError: a register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    name = volume_id.hex()
    known, noted = volumes.known_volume(name), None
    facts = None
    vouched = Vouched.UNKNOWN
    if config is not None:
        facts = config_facts(snapshot(config))
        vouched = Vouched.OPENED if opened else Vouched.AS_IT_LIES
    elif (before := configs.remembered(name)) is not None:
        facts, noted, vouched = config_facts(before.config), before.at, Vouched.REMEMBERED
    where = path or ("" if known is None else known.path)
    return VolumeFacts(
        volume_id=name,
        path=where,
        vouched=vouched,
        config=facts,
        noted=noted,
        mounted=mounted,
        known=known,
        beat=heartbeat.beat_of(name),
        verified=last_verified(volume_id),
        media=tuple(media_of(name)),
        shares=tuple(_shares(where)),
    )


def has_recovery(slots: Sequence[SlotFacts]) -> bool:
    """Whether something opens the volume that is on paper."""
    return any(slot.kind in {SlotKind.RECOVERY, SlotKind.SHARES} for slot in slots)


def _slot(fields: Fields) -> SlotFacts:
    kdf = fields.object("kdf")
    cost = ""
    if kdf.has("memory_kib"):
        memory, passes = kdf.integer("memory_kib") // 1024, kdf.integer("passes")
        cost = f"Argon2id, {memory} MiB, {passes} {'pass' if passes == 1 else 'passes'}"
    return SlotFacts(
        id=fields.text("id"),
        kind=fields.text("kind"),
        label=fields.text("label"),
        created=fields.integer("created"),
        cost=cost,
    )


def _rotation(fields: Fields) -> RotationFacts:
    return RotationFacts(
        epoch=fields.integer("epoch"),
        reason=fields.text("reason"),
        started=fields.integer("started"),
        finished=fields.integer("finished"),
        data=fields.boolean("data"),
        files=fields.integer("files"),
    )


def _shares(path: str) -> list[str]:
    if not path:
        return []
    here = places()
    specs = ((name, plan.of_name(name, here)) for name in plan.names(here))
    return [name for name, spec in specs if spec is not None and spec.volume == path]
