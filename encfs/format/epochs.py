"""Epochs of a volume's keys, and what is known of their rotations.

Owns: the shape of epochs and rotations in the config (FORMAT.md sections 5 and 14). Must not know: keys' use, when a
rotation is wise, how one is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.canonical import Fields, b64


class RotationReason(StrEnum):
    """Why keys were replaced."""

    SCHEDULE = "schedule"
    STAFF = "staff"
    COMPROMISE = "compromise"


_REASONS: Final = {str(reason): reason for reason in RotationReason}
_COUNTS: Final = ("files", "directories", "cells")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch and its wrapped key; ``created``: when it began, seconds since 1970.

    Raises:
        FormatError: the number or the wrapped key cannot be one.
    """

    epoch: int
    created: int
    active: bool
    wrap: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= limits.EPOCH_MAX or len(self.wrap) != limits.KEY_WRAP_SIZE:
            raise FormatError("an epoch of the config is out of range")
        if not 0 <= self.created <= limits.U64_MAX:
            raise FormatError("an epoch of the config is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One rotation.

    Attributes:
        epoch: the one that began with it.
        started, finished: seconds since 1970; ``finished`` is 0 while it is under way.
        data: whether content keys are replaced too.
        files, directories, cells: headers, records and cells that were sealed anew in the run that finished it.

    Raises:
        FormatError: a number is out of range, or counts stand where nothing is finished.
    """

    epoch: int
    reason: RotationReason
    started: int
    finished: int = 0
    data: bool = False
    files: int = 0
    directories: int = 0
    cells: int = 0

    def __post_init__(self) -> None:
        numbers = (self.started, self.finished, self.files, self.directories, self.cells)
        if not 0 < self.epoch <= limits.EPOCH_MAX or not all(0 <= one <= limits.U64_MAX for one in numbers):
            raise FormatError("a number of a rotation is out of range")
        if not self.finished and (self.files or self.directories or self.cells):
            raise FormatError("a rotation has counts, but no end")


def parse_epoch(fields: Fields) -> Epoch:
    """Raises: FormatError."""
    state = fields.text("state")
    if state not in ("active", "retired"):
        raise FormatError("an epoch is in an unknown state")
    epoch = Epoch(
        epoch=fields.integer("epoch"),
        created=fields.integer("created"),
        active=state == "active",
        wrap=fields.base64("wrap"),
    )
    fields.finish()
    return epoch


def epoch_object(epoch: Epoch) -> dict[str, object]:
    """The inverse."""
    return {
        "epoch": epoch.epoch,
        "created": epoch.created,
        "state": "active" if epoch.active else "retired",
        "wrap": b64(epoch.wrap),
    }


def parse_rotation(fields: Fields) -> Rotation:
    """Raises: FormatError."""
    reason, data = _REASONS.get(fields.text("reason")), fields.integer("data")
    if reason is None or data not in (0, 1):
        raise FormatError("a rotation has an unknown reason or extent")
    counts = {name: fields.integer(name) for name in _COUNTS}
    rotation = Rotation(
        epoch=fields.integer("epoch"),
        reason=reason,
        started=fields.integer("started"),
        finished=fields.integer("finished"),
        data=bool(data),
        **counts,
    )
    fields.finish()
    return rotation


def rotation_object(rotation: Rotation) -> dict[str, object]:
    """The inverse."""
    return {
        "epoch": rotation.epoch,
        "reason": str(rotation.reason),
        "started": rotation.started,
        "finished": rotation.finished,
        "data": int(rotation.data),
        **{name: getattr(rotation, name) for name in _COUNTS},
    }
