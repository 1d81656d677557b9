"""One run of a backup from its beginning to what is written down of it, however it ends.

Owns: the guard, how an end is put in words for the register, when old runs are taken away. Must not know: how files are
copied, the terminal, the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from encfs.backup import retention
from encfs.backup.engine import Change, Engine, Guard, Made, Steps
from encfs.backup.manifest import RunHead
from encfs.backup.plans import Plan, Result, Run
from encfs.errors import BackupError, CloakfsError, GuardError
from encfs.format.backup import Taken
from encfs.wording import human_date, plural

GUARD_LEAST: Final = 20
"""Fewer files than these may change, whatever share of all they are."""
AHEAD: Final = 86_400
"""Seconds by which a run may be dated ahead of the clock; beyond that one of the clocks was wrong."""
REGRETTED: Final = 35 * 86_400
"""Seconds for which a run stays behind which more had changed than the guard lets pass."""
_WHY_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        run: for the register.
        made: what is on the target now; None if it did not come so far.
        failure: why it failed or was held; None if it did not.
    """

    run: Run
    made: Made | None = field(repr=False)
    failure: BaseException | None = None


class Watch:
    """The guard of one run: what it was shown, and whether that is too much.

    Args:
        percent: of files that may be changed, replaced or removed.
        accepted: somebody has looked, and wants the run whatever has changed.
    """

    def __init__(self, percent: int, *, accepted: bool) -> None:
        self._percent = percent
        self._accepted = accepted
        self.seen: Change | None = None

    def __call__(self, change: Change) -> None:
        """Raises: GuardError: too much has changed."""
        self.seen = change
        if self._accepted or not is_too_much(change, self._percent):
            return
        raise GuardError(
            f"{words(change)}: that is more than the {self._percent} % which may change between two runs, so nothing"
            " was written, and no older run is taken away",
            hint="Look at the files first: has a program encrypted or deleted them? If so, take this computer off the"
            " network, and do not touch the backup (docs/backup.md). If all is well: cloakfs backup run VOLUME"
            " --accept-changes",
        )


def is_too_much(change: Change, percent: int) -> bool:
    """Whether more than this share of the files, and not just a few, is no longer as it was."""
    concerned = change.changed + change.replaced + change.removed
    return concerned >= GUARD_LEAST and change.share * 100 > percent


def words(change: Change) -> str:
    """What has changed, for people."""
    parts = [
        (change.changed, "changed"),
        (change.replaced, "replaced by others"),
        (change.removed, "gone"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    concerned = change.changed + change.replaced + change.removed
    verb = "is" if concerned == 1 else "are"
    return f"of {plural(change.before, 'file')} {concerned:,} {verb} not as at the last run ({told or 'none'})"


def make(
    engine: Engine, plan: Plan, *, label: str, accepted: bool, steps: Steps, now: Callable[[], float] = time.time
) -> Ended:
    """Make a run.

    Args:
        engine: of the plan; its target is there.
        plan: what it is a run of.
        label: of the medium that is there, or empty.
        accepted: however much has changed.
        steps: is told how far it is.
        now: seconds since 1970.
    """
    begun = int(now())
    watch: Guard = Watch(plan.guard, accepted=accepted)
    base = Run(id="", label=label, result=Result.FAILED, begun=begun, ended=begun)
    try:
        made = engine.run(watch, steps)
    except BaseException as exc:  # noqa: BLE001 - also of Ctrl-C it is written down; the caller raises it again
        return Ended(failed(_with_change(base, watch), exc, ended=int(now())), None, exc)
    return Ended(_done(_with_change(base, watch, made.change), made, ended=int(now())), made)


def failed(run: Run, exc: BaseException, *, ended: int) -> Run:
    """What is written down of a run that ``exc`` has ended."""
    result = Result.GUARD if isinstance(exc, GuardError) else Result.FAILED
    return replace(run, result=result, ended=ended, why=reason(exc))


def reason(exc: BaseException) -> str:
    """Why something failed, as it is written down: one line without a name of a file in a volume."""
    if isinstance(exc, CloakfsError):
        text = str(exc)
    elif isinstance(exc, OSError):
        text = exc.strerror or "the system refused"
    elif isinstance(exc, Exception):
        text = f"internal error ({type(exc).__name__})"
    else:
        text = "it was interrupted"
    return "".join(one if one.isprintable() else " " for one in text)[:_WHY_MAX].strip()


def _with_change(run: Run, watch: Guard, change: Change | None = None) -> Run:
    seen = change if change is not None else watch.seen if isinstance(watch, Watch) else None
    if seen is None:
        return run
    return replace(run, changed=seen.changed + seen.replaced, removed=seen.removed, before=seen.before)


def _done(run: Run, made: Made, *, ended: int) -> Run:
    manifest = made.manifest
    others = manifest.not_whole()
    return replace(
        run,
        id=manifest.head.run,
        label=manifest.head.label,
        result=Result.PARTLY if others else Result.DONE,
        ended=ended,
        files=manifest.files,
        bytes=manifest.bytes,
        new_files=made.new_files,
        new_bytes=made.new_bytes,
        not_whole=len(others),
        verified=made.verified,
        manifest=manifest.digest,
        why=_partly(made) if others else "",
    )


def _partly(made: Made) -> str:
    """Which kinds of files are not whole, and how many of each."""
    meant = {
        Taken.OLDER: "as an earlier run took it",
        Taken.LIVE: "taken while it was written to",
        Taken.MISSING: "not in the backup",
    }
    counts = {kind: sum(one.taken is kind for one in made.manifest.items) for kind in meant}
    return "; ".join(f"{plural(count, 'file')} {meant[kind]}" for kind, count in counts.items() if count)


# -- taking old runs away ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What became of older runs.

    Attributes:
        removed: how many were taken away.
        left: how many are there.
        bytes: that are free again, 0 if that is not known.
        why_not: why none was taken away although there may be too many; empty if there is no such reason.
    """

    removed: int
    left: int
    bytes: int = 0
    why_not: str = ""


def prune(engine: Engine, plan: Plan, steps: Steps, *, now: float) -> Pruned:
    """Take away the runs that need not be kept. Only ever called behind a good run.

    While the clock is behind a run that is on the target, days cannot be told apart, and nothing is taken away.

    Args:
        engine: of the plan.
        plan: with the run that was just made.
        steps: is told how far it is.
        now: seconds since 1970.

    Raises:
        BackupError, OSError: it could not be done; complete runs are still so.
    """
    heads = engine.runs()
    if not heads:
        raise BackupError("the run that was just made is not on the target", hint="See: cloakfs backup verify")
    ahead = max(one.made_at for one in heads)
    if ahead > now + AHEAD:
        return Pruned(
            removed=0,
            left=len(heads),
            why_not=f"a run on the target is dated {human_date(ahead)}, which is still to come: the clock of this"
            " computer is wrong, or was",
        )
    kept = retention.kept(heads, plan.keep) | before_great_changes(heads, plan, now)
    if len(kept) == len(heads):
        return Pruned(removed=0, left=len(heads))
    freed = engine.prune(sorted(kept), steps)
    return Pruned(removed=len(heads) - len(kept), left=len(kept), bytes=freed)


def before_great_changes(heads: Sequence[RunHead], plan: Plan, now: float) -> set[str]:
    """Runs that stay for some weeks because the next one was made although too much had changed.

    Whoever said yes may have been wrong, and the run before is then what everything has to come back from.
    """
    stay = set()
    for run in plan.runs:
        great = is_too_much(
            Change(before=run.before, changed=run.changed, replaced=0, removed=run.removed, added=0), plan.guard
        )
        if run.id and great and run.ended > now - REGRETTED:
            earlier = [one.run for one in heads if one.run < run.id]
            stay |= {max(earlier)} if earlier else set()
    return stay
