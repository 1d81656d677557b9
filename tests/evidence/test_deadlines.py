"""Dates of 45 CFR 164.404 to 164.410, and how times are read (docs/incident.md)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import UsageError
from encfs.evidence.deadlines import deadlines, end_of_list, next_due
from encfs.evidence.when import Span, at_second, parse_span

BERLIN = ZoneInfo("Europe/Berlin")


def by_code(discovered: date, people: int | None) -> dict[str, tuple[date, bool]]:
    """Due and whether it is certain, of each."""
    return {one.code: (one.due, one.applies) for one in deadlines(discovered, people)}


@pytest.mark.parametrize(
    ("discovered", "due"),
    [
        (date(2026, 11, 20), date(2027, 1, 19)),
        (date(2027, 12, 31), date(2028, 2, 29)),  # The next year is a leap year.
        (date(2028, 1, 1), date(2028, 3, 1)),
        (date(2027, 1, 1), date(2027, 3, 2)),
        (date(2028, 2, 29), date(2028, 4, 29)),
    ],
)
def test_sixty_days(discovered: date, due: date) -> None:
    """164.404(b): no later than 60 calendar days after discovery, over the end of the year and through leap days."""
    assert by_code(discovered, 12)["individuals"] == (due, True)
    assert by_code(discovered, 12)["covered-entity"] == (due, True)


@pytest.mark.parametrize(
    ("year", "due"),
    [(2026, date(2027, 3, 1)), (2027, date(2028, 2, 29)), (2028, date(2029, 3, 1)), (2099, date(2100, 3, 1))],
)
def test_the_list_of_the_year(year: int, due: date) -> None:
    """164.408(c): 60 days after the end of the calendar year; 2100 is no leap year."""
    assert end_of_list(year) == due
    for discovered in (date(year, 1, 1), date(year, 12, 31)):
        assert by_code(discovered, 499)["hhs-year"] == (due, True)


@pytest.mark.parametrize(
    ("people", "codes"),
    [
        (0, {"individuals", "covered-entity", "hhs-year"}),
        (499, {"individuals", "covered-entity", "hhs-year"}),
        (500, {"individuals", "covered-entity", "hhs"}),
        (501, {"individuals", "covered-entity", "hhs", "media"}),
    ],
)
def test_how_many_people(people: int, codes: set[str]) -> None:
    """HHS at once from 500 on (164.408(b)); the media where more than 500 are of one State (164.406)."""
    found = by_code(date(2026, 11, 20), people)
    assert set(found) == codes
    assert all(certain for _, certain in found.values())


def test_nobody_has_counted_yet() -> None:
    """All of them are shown; those that hang on the number are not certain, and none of them is the next one due."""
    found = by_code(date(2026, 11, 20), None)
    assert {code for code, (_, certain) in found.items() if not certain} == {"hhs", "hhs-year", "media"}
    assert next_due(deadlines(date(2026, 1, 2), None)).due == date(2026, 3, 3)
    assert [one.due for one in deadlines(date(2026, 1, 2), None)] == sorted(
        one.due for one in deadlines(date(2026, 1, 2), None)
    )


@given(st.dates(date(1900, 1, 1), date(2500, 1, 1)), st.one_of(st.none(), st.integers(0, 10_000)))
def test_against_counting_on_fingers(discovered: date, people: int | None) -> None:
    """Each date again, one day after the other."""
    day = discovered
    for _ in range(60):
        day += timedelta(days=1)
    end = date(discovered.year + 1, 1, 1)
    for _ in range(59):
        end += timedelta(days=1)
    for one in deadlines(discovered, people):
        assert one.due == (end if one.code == "hhs-year" else day)


def utc(*when: int) -> int:
    """Milliseconds since 1970."""
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-20 14:30", utc(2026, 11, 20, 13, 30), utc(2026, 11, 20, 13, 31) - 1),
        ("2026-11-20T14:30:05", utc(2026, 11, 20, 13, 30, 5), utc(2026, 11, 20, 13, 30, 6) - 1),
        ("2026-11-20 14:30Z", utc(2026, 11, 20, 14, 30), utc(2026, 11, 20, 14, 31) - 1),
        ("2026-11-20 14:30-0500", utc(2026, 11, 20, 19, 30), utc(2026, 11, 20, 19, 31) - 1),
        ("2026-11-20 14:30:00+05:30", utc(2026, 11, 20, 9, 0), utc(2026, 11, 20, 9, 0, 1) - 1),
        (" 2026-11-20 ", utc(2026, 11, 19, 23, 0), utc(2026, 11, 20, 23, 0) - 1),
        # The day on which summer time ends has 25 hours, and one of them twice.
        ("2026-10-25", utc(2026, 10, 24, 22, 0), utc(2026, 10, 25, 23, 0) - 1),
        ("2026-10-25 02:30", utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 31) - 1),
        ("2026-03-29", utc(2026, 3, 28, 23, 0), utc(2026, 3, 29, 22, 0) - 1),
    ],
)
def test_times(text: str, first: int, last: int) -> None:
    """A minute is all of that minute, a day all of that day, an hour that comes twice is both."""
    assert parse_span(text, BERLIN) == Span(first, last, text.strip())


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-02-29", "20.11.2026", "2026-11-20 25:00", "14:30"]
)
def test_no_times(text: str) -> None:
    """What is no time is refused, with an example."""
    with pytest.raises(UsageError, match="is no time") as caught:
        parse_span(text, timezone.utc)  # noqa: UP017 - any zone
    assert "2026-11-20 14:30" in caught.value.hint


def test_a_second_of_a_register() -> None:
    """All of that second."""
    assert at_second(10, "told") == Span(10_000, 10_999, "told")
