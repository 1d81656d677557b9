"""encfs/evidence/made.py: times of a document read the same wherever its pages are made."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from encfs.evidence import made
from encfs.wording import human_date, human_time

NOW = 1_795_798_421  # 2026-11-27
DAY = 86_400


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer in Germany; afterwards the zone is as it was."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_summer_and_winter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hour of three years and each second around a change of the clocks, told in New York as in Berlin."""
    body = made.fields(NOW)
    change = 1_774_746_000  # 2026-03-29 01:00 UTC
    times = [*range(NOW - 3 * 365 * DAY, NOW, 3607), *range(change - 3, change + 3), NOW]
    there = [human_time(at) for at in times]
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    assert human_time(NOW) != there[-1]
    with made.shown(body) as zone:
        assert [human_time(at) for at in times] == there
        assert human_date(NOW) == "2026-11-27"
        assert zone == "CET, UTC+01:00"
    assert human_time(NOW) != there[-1]


@pytest.mark.usefixtures("berlin")
def test_one_zone_all_the_year(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single step."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    body = made.fields(NOW)
    assert body["zone"]["steps"] == [[0, 20_700]]
    with made.shown(body) as zone:
        assert zone.endswith("UTC+05:45")


@pytest.mark.parametrize("steps", [[], [[1, 0], [0, 0]], "x", [[0]], None])
def test_what_is_no_zone(steps: object) -> None:
    """Refused."""
    with pytest.raises((TypeError, ValueError)), made.shown({"zone": {"name": "x", "steps": steps}}):
        pass


def test_what_makes_pages() -> None:
    """All that their bytes depend on."""
    assert set(made.made_with()) == {"cloakfs", "fpdf2", "fonttools", "fonts", "zlib"}
