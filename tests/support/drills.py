"""Records of drills and plans of backups, made up for what follows from them."""

from __future__ import annotations

import os
from typing import Any

from encfs.backup.drill_record import DrillOutcome, FoundIn, Manifested, Method, People, Record, Took
from encfs.backup.drills import Drill
from encfs.backup.plans import EngineKind, Keep, KeyKind, Place, Plan, Result, Run

PLAN, VOLUME = "0d" * 16, "0e" * 16
DAY = 86400
MANIFEST = "ab" * 32


def record(
    *,
    at: int = 1_000_000,
    outcome: DrillOutcome = DrillOutcome.PASSED,
    full: bool = False,
    plan: str = PLAN,
    people: People | None = None,
    **more: Any,
) -> Record:
    """Of a drill that began at ``at``, seconds since 1970."""
    failed = outcome is DrillOutcome.FAILED
    made = {
        "id": os.urandom(8).hex(),
        "plan": plan,
        "volume": VOLUME,
        "engine": EngineKind.COPY,
        "run": "0" * 32,
        "target": "/media/stick/backup",
        "label": "Blue 1",
        "serial": "4C53",
        "place": "safe",
        "manifest": Manifested(made_at=at - DAY, digest=MANIFEST, signer="aa", host="server", files=20, bytes=5000),
        "people": people or People(login="anna", uid=1000, name="Anna Weber"),
        "host": "laptop",
        "other_host": True,
        "method": Method(full=full, seed=7, population=20, picked=20 if full else 5),
        "key": "recovery sheet",
        "scratch": "memory",
        "found": FoundIn(files=4 if failed else 5, bytes=1000, tag_failures=int(failed), extra=0 if full else None),
        "took": Took(began=at, ended=at + 60, ms=1500, estimate=7200, age=DAY),
        "outcome": outcome,
        "why": "the target is gone" if outcome is DrillOutcome.BROKEN_OFF else "",
        "program": "0.1.0",
    }
    return Record(**{**made, **more})  # type: ignore[arg-type]


def drill(**of_record: Any) -> Drill:
    """As the register has it."""
    made = record(**of_record)
    return Drill(record=made, noted=made.took.ended)


def plan(*, first: int = 1_000_000, plan_id: str = PLAN, manifest: str = MANIFEST, **more: Any) -> Plan:
    """Of a backup that was made once, at ``first``; with ``runs=()`` never."""
    run = Run(id="0" * 32, label="Blue 1", result=Result.DONE, begun=first - 60, ended=first, manifest=manifest)
    made = {
        "id": plan_id,
        "volume_id": VOLUME,
        "volume": "/srv/practice.vault",
        "engine": EngineKind.COPY,
        "target": "/media/stick/backup",
        "place": Place.OFFSITE,
        "key": KeyKind.VOLUME,
        "keep": Keep(),
        "guard": 50,
        "since": first - DAY,
        "runs": (run,),
    }
    return Plan(**{**made, **more})  # type: ignore[arg-type]
