"""Which runs stay: the newest of each day, week and month (the brief of docs/backup.md; FORMAT.md 18, "Run id")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from encfs.backup.manifest import RunHead
from encfs.backup.plans import Keep
from encfs.backup.retention import kept

_START = datetime(2026, 11, 2, 2, 30, tzinfo=UTC)  # A Monday.


def _run(when: datetime, tail: int = 0) -> RunHead:
    run = f"{int(when.timestamp() * 1000):016x}{tail:016x}"
    return RunHead(
        plan="", run=run, volume="", engine="copy", label="", snapshot="", checkpoint="", mounted=False, previous=""
    )


def _days(runs: list[RunHead], ids: set[str]) -> list[str]:
    return [f"{datetime.fromtimestamp(one.made_at, UTC):%m-%d %H}" for one in runs if one.run in ids]


def test_three_weeks_of_days() -> None:
    """Of 21 daily runs: the last 3 days, the last of each of 2 weeks, the last of each of 2 months."""
    runs = [_run(_START + timedelta(days=day)) for day in range(-5, 21)]
    stay = kept(runs, Keep(daily=3, weekly=2, monthly=2), zone=UTC)
    assert _days(runs, stay) == ["10-31 02", "11-15 02", "11-20 02", "11-21 02", "11-22 02"]


def test_the_newest_of_a_day_stays() -> None:
    """Not the first one; and the newest of all, whatever is kept."""
    runs = [_run(_START + timedelta(hours=hour)) for hour in (0, 5, 10)]
    assert _days(runs, kept(runs, Keep(daily=1, weekly=0, monthly=0), zone=UTC)) == ["11-02 12"]
    assert _days(runs, kept(runs, Keep(daily=0, weekly=0, monthly=0), zone=UTC)) == ["11-02 12"]
    assert kept([], Keep()) == set()


def test_days_without_a_run_do_not_count() -> None:
    """Whoever was away for a month has the runs from before it still."""
    runs = [_run(_START), _run(_START + timedelta(days=1)), _run(_START + timedelta(days=40))]
    assert len(kept(runs, Keep(daily=3, weekly=0, monthly=0), zone=UTC)) == 3


def test_a_day_is_one_of_the_zone() -> None:
    """Half past midnight in the practice is another day than half past eleven before it."""
    late = datetime(2026, 11, 2, 22, 30, tzinfo=UTC)
    runs = [_run(late), _run(late + timedelta(hours=1))]
    assert len(kept(runs, Keep(daily=2, weekly=0, monthly=0), zone=UTC)) == 1
    assert len(kept(runs, Keep(daily=2, weekly=0, monthly=0), zone=timezone(timedelta(hours=1)))) == 2


@given(
    st.lists(st.integers(0, 400 * 24), min_size=1, max_size=60, unique=True),
    st.tuples(st.integers(0, 9), st.integers(0, 6), st.integers(0, 13)),
)
def test_what_always_holds(hours: list[int], counts: tuple[int, int, int]) -> None:
    """The newest stays; no more than asked for; more runs in front never take the newest of a period away."""
    keep = Keep(daily=counts[0], weekly=counts[1], monthly=counts[2])
    runs = [_run(_START + timedelta(hours=hour)) for hour in hours]
    stay = kept(runs, keep, zone=UTC)
    ordered = sorted(runs, key=lambda one: one.run)
    assert ordered[-1].run in stay
    assert len(stay) <= max(1, sum(counts))
    assert stay == kept([one for one in runs if one.run in stay], keep, zone=UTC)
