"""How backups and their runs are told: on the terminal, and as JSON (docs/json.md).

Owns: the words and the fields. Must not know: how a run is made, what is due when.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from encfs.backup.plans import Plan, Result, Run
from encfs.cli import output
from encfs.outcomes import of

NAMES_SHOWN: Final = 10
_COLOURS: Final = {Result.DONE: "green", Result.PARTLY: "green", Result.FAILED: "red", Result.GUARD: "red"}
_SAID: Final = {Result.DONE: "done", Result.PARTLY: "done", Result.FAILED: "FAILED", Result.GUARD: "HELD"}


def title(plan: Plan) -> str:
    """A backup, in one line."""
    return output.bold(f"{output.printable(plan.volume)} -> {output.printable(plan.target)}")


def plan_row(plan: Plan) -> dict[str, Any]:
    """What docs/json.md has of a backup."""
    return {
        "plan": plan.id,
        "volume": plan.volume,
        "volume_id": plan.volume_id,
        "engine": str(plan.engine),
        "target": plan.target,
        "place": str(plan.place),
        "key": str(plan.key),
        "keep": {"daily": plan.keep.daily, "weekly": plan.keep.weekly, "monthly": plan.keep.monthly},
        "guard": plan.guard,
        "schedule": plan.schedule or None,
        "labels": list(plan.labels),
        "since": plan.since,
    }


def run_row(run: Run) -> dict[str, Any]:
    """What docs/json.md has of a run that is in the register."""
    return {
        "run": run.id or None,
        "label": run.label or None,
        "result": str(run.result),
        "begun": run.begun,
        "ended": run.ended,
        "files": run.files,
        "bytes": run.bytes,
        "new_files": run.new_files,
        "new_bytes": run.new_bytes,
        "changed": run.changed,
        "removed": run.removed,
        "before": run.before,
        "not_whole": run.not_whole,
        "verified": run.verified,
        "why": run.why or None,
    }


def result(run: Run) -> str:
    """How a run ended, in a word."""
    return output.coloured(_SAID[run.result], _COLOURS[run.result])


def amount(run: Run) -> str:
    """What a good run has, and what was new in it."""
    has = f"{output.plural(run.files, 'file')}, {output.human_size(run.bytes)}"
    new = f"new {output.plural(run.new_files, 'file')}, {output.human_size(run.new_bytes)}"
    gone = f", gone {run.removed:,}" if run.removed else ""
    return f"{has}; {new}{gone}"


def show_names(names: Iterable[bytes]) -> None:
    """Names of files, for whoever may see them: on the terminal, the first ones."""
    found = list(names)
    for name in found[:NAMES_SHOWN]:
        output.say(f"  {output.printable(name) or '(the top)'}")
    if len(found) > NAMES_SHOWN:
        output.say(f"  and {len(found) - NAMES_SHOWN:,} more")


def error_row(exc: BaseException | None) -> Any:  # noqa: ANN401 - an object of JSON, or null
    """What docs/json.md has of a failure, as of one of a whole command; None: there was none."""
    return None if exc is None else of(exc).as_json["error"]


def show_failure(exc: BaseException) -> None:
    """On stderr, as a command that ends so would tell it."""
    output.remark(f"cloakfs: {of(exc).text}")
