"""The policy of a volume: the rules that its owner has set for its keys.

Owns: the field ``policy`` of the config (FORMAT.md section 3). Must not know: what follows from a rule, the clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.canonical import Fields

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_DAYS: Final = (1, 36_500)

RANGES: Final = {
    "epoch_days": _DAYS,
    "slot_days": _DAYS,
    "kdf_memory_kib": (limits.KDF_MEMORY_KIB_MIN, limits.KDF_MEMORY_KIB_MAX),
    "kdf_passes": (limits.KDF_PASSES_MIN, limits.KDF_PASSES_MAX),
    "passphrase_characters": (1, 64),
    "passphrase_score": (1, 4),
    "idle_seconds": (60, 604_800),
    "recovery_slots": (1, limits.SLOTS_MAX),
    "file_events": (1, 2),
}
"""The rules that this version knows, each with its lowest and highest number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules; None where one is not set. What each says is in FORMAT.md section 3.

    Attributes:
        others: rules of a newer version, by name, in order.

    Raises:
        FormatError: a number is out of its range, or a name is none.
    """

    epoch_days: int | None = None
    slot_days: int | None = None
    kdf_memory_kib: int | None = None
    kdf_passes: int | None = None
    passphrase_characters: int | None = None
    passphrase_score: int | None = None
    idle_seconds: int | None = None
    recovery_slots: int | None = None
    file_events: int | None = None
    others: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise FormatError("a rule of the policy is out of range")
        for name, value in self.others:
            if not _NAME.fullmatch(name) or name in RANGES or not 0 <= value <= limits.U64_MAX:
                raise FormatError("a rule of the policy has no name, or is out of range")

    def rules(self) -> dict[str, int]:
        """Those that are set, by name, as they stand in the config."""
        known = {name: getattr(self, name) for name in RANGES}
        return {name: value for name, value in known.items() if value is not None} | dict(self.others)


NO_POLICY: Final = Policy()


def parse_policy(value: Fields) -> Policy:
    """The rules of a config that has some.

    Raises:
        FormatError: it is not exactly as section 3 describes.
    """
    rules = {name: value.integer(name) for name in sorted(value.names())}
    if not rules:
        raise FormatError("a config spells out that it has no policy")
    known = {name: number for name, number in rules.items() if name in RANGES}
    return Policy(**known, others=tuple((name, number) for name, number in rules.items() if name not in RANGES))
