"""Which runs are kept on a target.

Owns: that choice. Must not know: what a run is besides its time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import UTC, date, datetime, tzinfo

from encfs.backup.manifest import RunHead
from encfs.backup.plans import Keep


def kept(runs: Iterable[RunHead], keep: Keep, *, zone: tzinfo | None = None) -> set[str]:
    """Ids of the runs that stay: the newest of each of the newest days, weeks and months that have one.

    The newest run always stays, whatever is kept.

    Args:
        runs: all on one target.
        keep: how many periods of each kind.
        zone: whose days are meant; None for the local one.
    """
    ordered = sorted(runs, key=lambda one: one.run, reverse=True)
    stay = {ordered[0].run} if ordered else set()
    for count, period in ((keep.daily, _day), (keep.weekly, _week), (keep.monthly, _month)):
        seen: set[Hashable] = set()
        for run in ordered:
            name = period(_date(run, zone))
            if name not in seen and len(seen) < count:
                seen.add(name)
                stay.add(run.run)
    return stay


def _date(run: RunHead, zone: tzinfo | None) -> date:
    return datetime.fromtimestamp(run.made_at, UTC).astimezone(zone).date()


def _day(when: date) -> Hashable:
    return when


def _week(when: date) -> Hashable:
    return when.isocalendar()[:2]


def _month(when: date) -> Hashable:
    return when.year, when.month
