"""By which day somebody has to be told, if it was a breach (45 CFR 164.404 to 164.410).

Owns: these rules and their arithmetic. Must not know: whether it was a breach, where it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

DAYS: Final = 60
MANY: Final = 500
STATE_LAW: Final = (
    "State law may give less time than these dates, may ask that other offices are told, and may count other people."
)
IF_A_BREACH: Final = (
    "These are the last days, if this was a breach of unsecured protected health information. The rule says: without"
    " unreasonable delay, and in no case later."
)


@dataclass(frozen=True, slots=True)
class Deadline:
    """One duty.

    Attributes:
        code: stable, for scripts (docs/json.md).
        what: who has to be told, one sentence without a full stop.
        citation: where the rule stands.
        due: the last day.
        applies: False where it hangs on a number of people that nobody has given yet.
    """

    code: str
    what: str
    citation: str
    due: date
    applies: bool = True


def deadlines(discovered: date, people: int | None) -> list[Deadline]:
    """All that may have to be told, the earliest first.

    Args:
        discovered: the first day on which it was known, or would have been known with reasonable diligence.
        people: whose information it is; None where that is not known yet.
    """
    known, sixty = people is not None, discovered + timedelta(days=DAYS)
    found = [
        Deadline("individuals", "each person whose information it is", "45 CFR 164.404(b)", sixty),
        Deadline(
            "covered-entity",
            "where you are a business associate: the practice or plan whose information it is",
            "45 CFR 164.410(b)",
            sixty,
        ),
    ]
    if people is None or people > MANY:
        found.append(
            Deadline(
                "media",
                f"prominent media, where more than {MANY} of the people live in one State or jurisdiction",
                "45 CFR 164.406(b)",
                sixty,
                applies=known,
            )
        )
    if people is None or people >= MANY:
        what = f"HHS, together with the people, where they are {MANY} or more"
        found.append(Deadline("hhs", what, "45 CFR 164.408(b)", sixty, applies=known))
    if people is None or people < MANY:
        what = f"HHS, in the list of that calendar year, where the people are fewer than {MANY}"
        found.append(Deadline("hhs-year", what, "45 CFR 164.408(c)", end_of_list(discovered.year), applies=known))
    return sorted(found, key=lambda one: one.due)


def end_of_list(year: int) -> date:
    """The 60th day after the end of a calendar year: 1 March, and 29 February where the next one is a leap year."""
    return date(year, 12, 31) + timedelta(days=DAYS)


def next_due(found: Sequence[Deadline]) -> Deadline:
    """The one that comes first of those that are certain to apply if it was a breach."""
    return next(one for one in found if one.applies)
