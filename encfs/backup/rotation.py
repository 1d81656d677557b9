"""Media that take turns at one target: which one is expected, and where the others are.

Owns: their order. Must not know: what lies at a target (:mod:`encfs.backup.targets`), the terminal.

The medium whose last good run is the oldest is the next one, and one that was never used comes before it. What counts
is the order in which runs were written down, not what the clock said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from encfs.backup.plans import Plan, Result, Run
from encfs.registers import media
from encfs.registers.media import Medium, MediumState
from encfs.wording import human_date, printable

_GOOD = frozenset({Result.DONE, Result.PARTLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One medium of a backup.

    Attributes:
        label: as the backup has it.
        last: its last run that left something good, or None.
        state: by the register of media; None if that does not know the medium.
        where: who has it and where it is, by that register; empty if nobody said.
    """

    label: str
    last: Run | None
    state: MediumState | None
    where: str

    @property
    def offsite(self) -> bool:
        """Whether somebody took it out of the house."""
        return self.state is MediumState.OUT

    @property
    def usable(self) -> bool:
        """Whether it can take its turn: it is neither lost nor destroyed."""
        return self.state not in (MediumState.LOST, MediumState.DESTROYED)


def turns(plan: Plan, known: Iterable[Medium] | None = None) -> list[Turn]:
    """All labelled media of a backup, the next one first; those that are lost or destroyed come last.

    Args:
        plan: the backup.
        known: the register of media; None: it is read.

    Raises:
        RegisterError: that register is damaged; the hint says what to do. OSError.
    """
    if not plan.labels:
        return []
    there = {_key(one.label): one for one in (media.media() if known is None else known)}
    used = {_key(run.label): number for number, run in enumerate(plan.runs) if run.result in _GOOD}
    found = [_turn(plan, label, used.get(_key(label)), there.get(_key(label))) for label in plan.labels]
    # sorted() keeps the order in which they were added among those that were never used.
    return sorted(found, key=lambda one: (not one.usable, used.get(_key(one.label), -1)))


def _turn(plan: Plan, label: str, number: int | None, medium: Medium | None) -> Turn:
    return Turn(
        label=label,
        last=None if number is None else plan.runs[number],
        state=medium.state if medium else None,
        where=", ".join(one for one in (medium.holder, medium.place) if one) if medium else "",
    )


def expected(plan: Plan, known: Iterable[Medium] | None = None) -> str:
    """The label of the medium that is next; empty if there are none with labels, or none that is left.

    Raises: as :func:`turns`.
    """
    first = next(iter(turns(plan, known)), None)
    return first.label if first is not None and first.usable else ""


def takes_turns(plan: Plan, label: str) -> bool:
    """Whether a medium with this label is one of the backup. One without was, if it was used before labels came up."""
    if label:
        return _key(label) in {_key(one) for one in plan.labels}
    return not plan.labels or any(not run.label and run.result in _GOOD for run in plan.runs)


def remark(plan: Plan, label: str, known: Iterable[Medium] | None = None) -> str:
    """What is to be said when a medium is taken that is not the expected one, as sentences; empty if it is.

    Raises: as :func:`turns`.
    """
    order = turns(plan, known)
    if not order or not order[0].usable or _key(order[0].label) == _key(label):
        return ""
    due = order[0]
    used = f"last used on {human_date(due.last.ended)}" if due.last else "not used yet"
    where = f", and is with {printable(due.where)}" if due.offsite and due.where else ""
    this = f'"{printable(label)}"' if label else "The medium without a label"
    return f'{this} is taken, but "{printable(due.label)}" was expected: that one was {used}{where}.'


def in_house(plan: Plan, known: Iterable[Medium] | None = None) -> bool:
    """Whether every medium with something good on it is in the house, so that one fire takes them all.

    Media that the register does not know count as in the house. False for a backup without labels.
    Raises: as :func:`turns`.
    """
    with_runs = [one for one in turns(plan, known) if one.usable and one.last is not None]
    return bool(plan.labels) and not any(one.offsite for one in with_runs)


def _key(label: str) -> str:
    return label.casefold()
