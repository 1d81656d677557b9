"""Backups as the register has them, without a register."""

from __future__ import annotations

from typing import Any

from encfs.backup.plans import EngineKind, Keep, KeyKind, Place, Plan, Result, Run

PLAN = "0b" * 16
VOLUME = "0c" * 16
DAY = 86_400
SINCE = 1_790_000_000


def a_plan(*labels: str, **other: Any) -> Plan:
    """One with media that have these labels."""
    fields: dict[str, Any] = {
        "id": PLAN,
        "volume_id": VOLUME,
        "volume": "/srv/practice.vault",
        "engine": EngineKind.COPY,
        "target": "/media/backup",
        "place": Place.ONSITE,
        "key": KeyKind.VOLUME,
        "keep": Keep(),
        "guard": 50,
        "since": SINCE,
        "labels": labels,
    }
    return Plan(**fields | other)


def a_run(day: int, label: str = "", result: Result = Result.DONE) -> Run:
    """One that ended so many days after the backup began."""
    at = SINCE + day * DAY
    return Run(id=f"{at * 1000:016x}" + "00" * 8, label=label, result=result, begun=at - 60, ended=at)
