"""``cloakfs verify`` with ``--repair`` or ``--for``: the plan, the question, what was done, and how far it came.

Owns: the conversation and its result. Must not know: what is repaired and how (``encfs.volume.repair``), where times
are kept (``encfs.host.scrub``).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

from encfs.cli import findings, output, progress, sources, targets, terminal, verifications
from encfs.cli.recording import telling
from encfs.cli.secrets import SecretOptions, require_source
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import ExitCode, UsageError, VolumeInUseError
from encfs.format.audit_body import Outcome as AuditOutcome
from encfs.host.scrub import HostCheckTimes
from encfs.volume import Volume
from encfs.volume.findings import Finding, Severity
from encfs.volume.repair import Action, Done, Left, Outcome, Plan, Repair
from encfs.volume.scrub import Coverage, Scrubber
from encfs.volume.verify import Progress, Summary, Verifier

_WORDS: Final = {Outcome.DONE: "done", Outcome.SKIPPED: "NOT done", Outcome.FAILED: "FAILED"}
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for. ``seconds``: how long reading may take, None for as long as it takes."""

    repair: bool
    yes: bool
    seconds: float | None
    as_json: bool


@dataclass(slots=True)
class _Result:
    summary: Summary | None = None
    found: list[Finding] = field(default_factory=list)
    coverage: Coverage | None = None
    done: list[Done] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    declined: list[Action] = field(default_factory=list)
    lost_found: bytes = b""
    seconds: float = 0.0

    def clean(self, *, repair: bool) -> bool:
        """Nothing is wrong, or nothing is wrong any more."""
        if not repair:
            return all(one.severity is Severity.INFO for one in self.found)
        undone = [one for one in self.done if one.outcome is not Outcome.DONE]
        return not undone and not self.declined and all(one.finding.severity is Severity.INFO for one in self.left)


def run(
    target: targets.Target, paths: list[bytes], wishes: Wishes, secret: SecretOptions, *, clock: Clock = time.monotonic
) -> ExitCode:
    """Verify, and if that was asked for, repair.

    Raises:
        VolumeInUseError: it is mounted.
        UsageError: there is nobody to ask.
    """
    _check(target, wishes, secret)
    result, started = _Result(), clock()
    with unlock(target.volume, secret, read_only=not wishes.repair) as volume:
        for path in paths:
            with sources.named(path):
                volume.stat(path, follow=False)
        repair = Repair(volume) if wishes.repair else None
        _verify(volume, paths, wishes, result, clock)
        result.seconds = clock() - started
        if repair is not None:
            with _recorded(volume, result):
                _mend(repair, result, wishes)
    if not paths:
        _note(target.volume, result, wishes)
    if wishes.as_json:
        output.print_json(_as_json(target, paths, wishes, result))
    else:
        _summarize(result, wishes)
    return ExitCode.OK if result.clean(repair=wishes.repair) else ExitCode.FINDINGS


def _note(path: str, result: _Result, wishes: Wishes) -> None:
    """Remember that the volume was verified, with what is wrong in it after a repair."""
    wrong = verifications.wrong(result.found)
    if wishes.repair:
        wrong = 0 if result.clean(repair=True) else max(1, verifications.wrong(one.finding for one in result.left))
    if result.coverage is None:
        verifications.whole(path, wrong)
    else:
        verifications.part(path, result.coverage, wrong)


def _check(target: targets.Target, wishes: Wishes, secret: SecretOptions) -> None:
    if target.mountpoint is not None:
        what = "--repair" if wishes.repair else "--for"
        where = output.printable(target.mountpoint)
        hint = f"Lock it first: cloakfs lock {where}"
        raise VolumeInUseError(f"the volume is mounted at {where}, and {what} needs it for itself", hint=hint)
    if wishes.repair and not wishes.yes and not terminal.is_interactive():
        raise UsageError("repair asks before it changes anything, and there is no terminal", hint="Give --yes.")
    if wishes.repair and not wishes.yes and wishes.as_json:
        raise UsageError("with --json there is no plan to read before the question", hint="Give --yes.")
    if secret.asks:
        require_source(secret)
    config_of(target.volume)


# -- verifying -------------------------------------------------------------------------------------------------


def _verify(volume: Volume, paths: list[bytes], wishes: Wishes, result: _Result, clock: Clock) -> None:
    with _verifier(volume, paths, wishes, result, clock) as verifier, progress.bar("Verifying") as shown:
        for step in verifier.run():
            if isinstance(step, Finding):
                result.found.append(step)
                if not wishes.as_json:
                    shown.print(findings.line(step))
            elif isinstance(step, Progress):
                count = len(result.found)
                note = output.plural(step.files, "entry", "entries") + (f", {count} found" if count else "")
                shown.update(step.bytes, step.total_bytes, note)
        result.summary = verifier.summary


@contextmanager
def _verifier(volume: Volume, paths: list[bytes], wishes: Wishes, result: _Result, clock: Clock) -> Iterator[Verifier]:
    if wishes.seconds is None:
        yield Verifier(volume, paths)
        return
    end, began = clock() + wishes.seconds, time.time()
    times = HostCheckTimes(volume.config.volume_id, volume.ctx.ring.metadata.freshness_key)
    try:
        scrubber = Scrubber(volume, paths, times, lambda: clock() >= end)
        yield scrubber
        result.coverage = scrubber.coverage
        if result.coverage.complete and not paths:
            times.flush()
            times.forget_before(began - 1)
    finally:
        times.close()
        for problem in times.problems:
            output.warn(problem)


# -- repairing -------------------------------------------------------------------------------------------------


@contextmanager
def _recorded(volume: Volume, result: _Result) -> Iterator[None]:
    """One record of what was done and what was not, also where something stops it half-way."""
    with telling("volume.repair", volume.config.volume_id) as told:
        try:
            yield
        finally:
            outcomes = Counter(str(one.outcome) for one in result.done)
            told.detail |= {name: outcomes[name] for name in ("done", "skipped", "failed", "not-reached")}
            told.detail |= {"declined": len(result.declined), "left": len(result.left)}
        if result.declined and not result.done:
            told.outcome = AuditOutcome.REFUSED
        elif not result.clean(repair=True):
            told.outcome = AuditOutcome.FAILED


def _mend(repair: Repair, result: _Result, wishes: Wishes) -> None:
    """Plan, ask, do; what comes to light behind a repaired directory is a plan of its own."""
    found = list(result.found)
    while True:
        plan = repair.plan(found)
        result.left += plan.left
        if not wishes.as_json:
            _show(plan, repair.lost_found)
        if not plan.actions:
            return
        if not (wishes.yes or _agreed(len(plan.actions), again=bool(result.done))):
            result.declined += plan.actions
            return
        took = _apply(repair, plan, wishes, result)
        if not any(one.outcome is Outcome.DONE for one in took):
            return
        result.lost_found = repair.lost_found
        found = _look_again(repair, [path for one in took for path in one.touched], wishes)


def _show(plan: Plan, lost_found: bytes) -> None:
    for one in plan.left:
        output.say(f"left alone: {findings.where(one.finding)}: {one.reason} [{one.finding.code}]")
    if not plan.actions:
        return
    output.say()
    output.say(f"Repair would do {output.plural(len(plan.actions), 'thing')}:")
    for number, action in enumerate(plan.actions, 1):
        output.say(f"  {number}. {output.printable(action.path) or '/'}: {output.printable(action.text)}")
        if action.loss:
            output.say(f"     lost: {action.loss}")
    copied = sum(action.bytes for action in plan.actions)
    room = f" It takes {output.human_size(copied)} of room." if copied else ""
    output.say(
        f"Nothing is deleted. A report will be in {output.printable(lost_found)}/report.txt in the volume.{room}"
    )


def _agreed(count: int, *, again: bool) -> bool:
    things = output.plural(count, "more thing" if again else "thing")
    return terminal.ask(f"Repair {things}? [y/N] ").strip().lower() in ("y", "yes")


def _apply(repair: Repair, plan: Plan, wishes: Wishes, result: _Result) -> list[Done]:
    """What was done, which is in ``result`` already when something stops it half-way."""
    took: list[Done] = []
    with closing(repair.apply(plan)) as steps, progress.bar("Repairing") as shown:
        for one in steps:
            took.append(one)
            result.done.append(one)
            shown.update(len(took), len(plan.actions), "")
            if not wishes.as_json:
                where = output.printable(one.action.path) or "/"
                shown.print(
                    f"{_WORDS.get(one.outcome, 'NOT done')}: {where}" + (f": {one.reason}" if one.reason else "")
                )
    return took


def _look_again(repair: Repair, touched: list[bytes], wishes: Wishes) -> list[Finding]:
    found = []
    with progress.bar("Verifying again") as shown:
        for step in repair.look_again(touched):
            if isinstance(step, Finding):
                found.append(step)
                if not wishes.as_json and step.severity is not Severity.INFO:
                    shown.print(findings.line(step))
            elif isinstance(step, Progress):
                shown.update(step.bytes, step.total_bytes, "")
    return found


# -- the result ------------------------------------------------------------------------------------------------


def _summarize(result: _Result, wishes: Wishes) -> None:
    assert result.summary is not None
    read = f"Read {output.plural(result.summary.files, 'file')}, {output.human_size(result.summary.bytes)}"
    output.say(f"{read} in {result.seconds:.1f} s.")
    if result.coverage is not None:
        _say_coverage(result.coverage)
    if not result.found:
        output.say(output.bold("All that was read is authentic."))
        return
    if not wishes.repair:
        output.say(f"{output.bold(output.plural(len(result.found), 'finding') + '.')} See above and docs/findings.md.")
        return
    done = sum(one.outcome is Outcome.DONE for one in result.done)
    if done:
        kept = output.printable(result.lost_found)
        output.say(f"Repaired {output.plural(done, 'thing')}. What left its place is in {kept} in the volume.")
    if result.declined:
        output.say("Nothing was changed." if not done else "The rest was not changed.")
    elif result.clean(repair=True):
        output.say(output.bold("Nothing is wrong any more."))
    else:
        left = len(result.left) + sum(one.outcome is not Outcome.DONE for one in result.done)
        output.say(output.bold(f"Not repaired: {output.plural(left, 'thing')}; see above."))


def _say_coverage(coverage: Coverage) -> None:
    if not coverage.listed:
        output.say("The time was up before all files were found: give it more.")
        return
    told = f"Checked {coverage.checked:,} of {output.plural(coverage.files, 'file')} in this go"
    if coverage.complete:
        output.say(f"{told}: all of them.")
        return
    if coverage.never:
        told += f"; {coverage.never:,} not yet at all"
    if coverage.oldest is not None:
        told += f"; of the others the oldest check is of {output.human_time(coverage.oldest)}"
    output.say(f"{told}. Go on with the same command.")


def _as_json(target: targets.Target, paths: list[bytes], wishes: Wishes, result: _Result) -> dict[str, object]:
    assert result.summary is not None
    coverage = None if result.coverage is None else {**asdict(result.coverage), "complete": result.coverage.complete}
    repaired: dict[str, object] | None = None
    if wishes.repair:
        repaired = {
            "lost_found": os.fsdecode(result.lost_found) or None,
            "actions": [
                *(_action(one.action, str(one.outcome), one.reason) for one in result.done),
                *(_action(action, "declined", "") for action in result.declined),
            ],
            "left": [{**findings.as_json(one.finding), "reason": one.reason} for one in result.left],
        }
    return {
        "volume": target.volume,
        "mounted": False,
        "paths": [os.fsdecode(path) for path in paths],
        "clean": result.clean(repair=wishes.repair),
        "seconds": round(result.seconds, 3),
        "summary": asdict(result.summary),
        "checkpoint": None,
        "findings": [findings.as_json(finding) for finding in result.found],
        "coverage": coverage,
        "repair": repaired,
    }


def _action(action: Action, outcome: str, reason: str) -> dict[str, object]:
    return {
        "code": str(action.code),
        "path": os.fsdecode(action.path),
        "lower_path": os.fsdecode(action.lower_path),
        "found": action.found,
        "text": action.text,
        "loss": action.loss,
        "bytes": action.bytes,
        "outcome": outcome,
        "reason": reason,
    }
