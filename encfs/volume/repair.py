"""Repair: what strict verification has found is put right as far as that goes, and nothing is ever deleted.

Owns: the order of plan, report, steps and a second look; what happens when a step fails. Must not know: how people are
asked (``encfs/cli``), what each step does (``repair_steps.py``).

The volume is unlocked for writing. Its session is recorded CLEAN before the first step (FORMAT.md section 11): every
step is whole by itself, and a repair that is killed must not make the next start take damage for a crash's doing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from errno import EDQUOT, ENODEV, ENOSPC, ENXIO, ESTALE

from encfs.errors import DataError, LowerIOError, MediumGoneError
from encfs.volume.checkpoint import find_header as from_checkpoint
from encfs.volume.findings import Finding
from encfs.volume.lost_found import REPORT, LostFound
from encfs.volume.repair_actions import Action, FindHeader, Left, Plan
from encfs.volume.repair_plan import Planner
from encfs.volume.repair_steps import Hands
from encfs.volume.verify import Step, Verifier
from encfs.volume.volume import Volume

__all__ = ["Action", "Done", "Left", "Outcome", "Plan", "Repair"]

_NO_ROOM = (ENOSPC, EDQUOT)
_GONE = (ENODEV, ENXIO, ESTALE)


class Outcome(StrEnum):
    """What became of an action."""

    DONE = "done"
    SKIPPED = "skipped"
    """There was no room for the copy that comes first. Nothing was changed."""
    FAILED = "failed"
    NOT_REACHED = "not-reached"
    """Repair was stopped before."""


@dataclass(frozen=True, slots=True)
class Done:
    """An action and what became of it; ``touched`` are plain paths to be verified again."""

    action: Action
    outcome: Outcome
    reason: str
    touched: tuple[bytes, ...]


class Repair:
    """One run of repair. Plan and apply may be called in turn until nothing is left that can be done.

    Args:
        volume: unlocked for writing, with no file open.
        now: the clock.
        find_header: looks a file's header up in the newest checkpoint.

    Raises:
        ReadOnlyError: the volume is open read-only.
    """

    def __init__(
        self, volume: Volume, *, now: Callable[[], float] = time.time, find_header: FindHeader = from_checkpoint
    ) -> None:
        volume.ctx.require_writable()
        volume.sessions.end()
        self._volume = volume
        self._find_header = find_header
        self._started = now()
        self._renew()
        self._lost = LostFound(volume, self._started)
        self._all: list[tuple[Action, Done | None]] = []

    def _renew(self) -> None:
        self._volume.renew()
        # The config vouches for it: work goes on where the root's own record is what is damaged.
        self._volume.tree.root.dir_id = self._volume.config.root_dir_id

    @property
    def lost_found(self) -> bytes:
        """The plain path of this run's directory in lost+found; it is there once something was done."""
        return self._lost.path

    def plan(self, findings: Iterable[Finding]) -> Plan:
        """What can be done about findings of a verification. Nothing is changed.

        Raises:
            OSError: the store failed.
        """
        self._renew()
        found = list(findings)
        plan = Planner(self._volume, self._lost, self._find_header).plan(found)
        # What was done in vain would be done in vain for ever.
        taken = {_aim(action) for action, done in self._all if done is not None and done.outcome is Outcome.DONE}
        vain = {action.lower_path for action in plan.actions if _aim(action) in taken}
        left = [Left(one, "repair has tried, and it is still so") for one in found if one.lower_path in vain]
        return Plan([one for one in plan.actions if _aim(one) not in taken], [*plan.left, *left], plan.moving)

    def apply(self, plan: Plan, *, stop: Callable[[], bool] = lambda: False) -> Generator[Done, None, None]:
        """Take the steps of a plan, one for each item of the result. After a break-off ``close`` the iterator.

        Raises:
            MediumGoneError, OSError: the medium is gone.
        """
        self._lost.sweep()
        if not plan.actions:
            return
        first = len(self._all)
        self._all += [(action, None) for action in plan.actions]
        try:
            room = self._report()
            hands = Hands(self._volume, self._lost, plan.moving)
            for number, action in enumerate(plan.actions, first):
                if not room:
                    done = Done(action, Outcome.SKIPPED, "there is no room on the disk, not even for the report", ())
                elif stop():
                    done = Done(action, Outcome.NOT_REACHED, "repair was stopped before", ())
                else:
                    done = self._take(hands, action)
                self._all[number] = (action, done)
                yield done
        finally:
            self._finish()

    def _take(self, hands: Hands, action: Action) -> Done:
        if action.bytes and not self._lost.has_room(action.bytes):
            return Done(action, Outcome.SKIPPED, "there is no room on the disk for the copy that comes first", ())
        try:
            return Done(action, Outcome.DONE, "", tuple(action.step.apply(hands)))
        except MediumGoneError:
            raise
        except OSError as exc:
            if exc.errno in _GONE:
                raise
            if exc.errno in _NO_ROOM:
                return Done(action, Outcome.SKIPPED, "there is no room on the disk", ())
            return Done(action, Outcome.FAILED, exc.strerror or str(exc), ())
        except (DataError, LowerIOError) as exc:
            return Done(action, Outcome.FAILED, str(exc), ())

    def look_again(self, touched: Iterable[bytes]) -> Iterator[Step]:
        """Verify what was touched; the findings are for the next plan, or are what is left."""
        self._renew()
        for path in touched:
            try:
                yield from Verifier(self._volume, [path]).run()
            except (FileNotFoundError, DataError):
                continue  # It has moved on, or the directory above it has a finding of its own.

    # -- the report ------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Write down what was done; if that is nothing, leave no trace."""
        self._renew()
        if any(done is not None and done.outcome is Outcome.DONE for _, done in self._all):
            self._report()
            return
        try:
            self._volume.remove(self._lost.path + b"/" + REPORT)
        except FileNotFoundError:
            pass
        self._lost.tidy()

    def _report(self) -> bool:
        """Write the report anew, in one step. Whether there was room for it."""
        text = self._text().encode()
        try:
            self._lost.keep(REPORT, lambda offset, size: text[offset : offset + size])
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise
            return False
        return True

    def _text(self) -> str:
        when = datetime.fromtimestamp(self._started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines = [f"Repair of {when}", ""]
        if any(done is None for _, done in self._all):
            lines += ["This repair has not come to its end: entries marked as planned may have been done or not.", ""]
        for number, (action, done) in enumerate(self._all, 1):
            lines += [*_entry(number, action, done), ""]
        return "\n".join(lines)


def _aim(action: Action) -> tuple[str, bytes, str]:
    return action.code, action.lower_path, action.text


def _entry(number: int, action: Action, done: Done | None) -> list[str]:
    head = "planned" if done is None else "done" if done.outcome is Outcome.DONE else "NOT DONE"
    lines = [
        f"{number}. {_printable(os.fsdecode(action.path)) or '/'}",
        f"   found: {action.found} [{action.code}]",
        f"   {head}: {_printable(action.text)}",
        f"   lost: {action.loss or 'nothing'}",
        f"   it was below at: {_printable(os.fsdecode(action.lower_path))}",
    ]
    if done is not None and done.reason:
        lines.append(f"   why: {done.reason}")
    return lines


def _printable(text: str) -> str:
    """Names are chosen by others: what could steer a terminal, or is no text, is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
