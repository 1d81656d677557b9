"""encfs/backup/drill_due.py: when a backup is to be tried again, and what is red (issue: monthly, full yearly)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from encfs.backup import drills as register
from encfs.backup.drill_due import DAY, MONTH, YEAR, What, checks, due, lights
from encfs.backup.drill_record import DrillOutcome
from encfs.backup.drills import Action, Brought, Drill
from encfs.backup.plans import Result, Run
from encfs.checks import Light
from tests.support.drills import MANIFEST, drill, plan

FIRST = 1_000_000
FAILED, BROKEN = DrillOutcome.FAILED, DrillOutcome.BROKEN_OFF


def _at(drills: list[Drill], now: int, **of_plan: Any) -> dict[What, tuple[int, bool]]:
    return {one.what: (one.at, one.overdue) for one in due(drills, [plan(first=FIRST, **of_plan)], now)}


def _lights(drills: list[Drill], now: int, **of_plan: Any) -> list[tuple[str, Light]]:
    return [(one.code, one.light) for one in lights(drills, [plan(first=FIRST, **of_plan)], now)]


def test_before_the_first() -> None:
    """A month after the first run a sample is due, a year after it all of it; to the second."""
    assert _at([], FIRST) == {What.SAMPLE: (FIRST + MONTH, False), What.FULL: (FIRST + YEAR, False)}
    assert _at([], FIRST + MONTH)[What.SAMPLE][1] is False
    assert _at([], FIRST + MONTH + 1)[What.SAMPLE][1] is True
    assert _at([], FIRST + YEAR + 1)[What.FULL][1] is True


def test_nothing_to_restore_is_never_due() -> None:
    """A backup of which no run has succeeded has nothing to be tried."""
    failed = Run(id="", label="", result=Result.FAILED, begun=1, ended=2)
    assert due([], [plan(runs=()), plan(runs=(failed,))], FIRST * 10) == []


def test_after_one() -> None:
    """A sample counts for the month alone, a full one for both; what failed or was broken off for neither."""
    at = FIRST + 10 * DAY
    assert _at([drill(at=at)], at) == {What.SAMPLE: (at + MONTH, False), What.FULL: (FIRST + YEAR, False)}
    assert _at([drill(at=at, full=True)], at) == {What.SAMPLE: (at + MONTH, False), What.FULL: (at + YEAR, False)}
    assert _at([drill(at=at, outcome=BROKEN)], at) == _at([], at)
    assert _at([drill(at=at, plan="ff" * 16)], at) == _at([], at)
    assert _at([drill(at=at, full=True), drill(at=at + DAY)], at)[What.SAMPLE][0] == at + DAY + MONTH


def test_a_failed_one_is_due_at_once() -> None:
    """Until another one passes; one that passed before does not help."""
    at = FIRST + 10 * DAY
    before, failed = drill(at=at), drill(at=at + DAY, outcome=FAILED)
    assert _at([before, failed], at + DAY + 61)[What.SAMPLE] == (at + DAY + 60, True)
    assert _lights([failed, before], at + 2 * DAY) == [("drill-failed", Light.RED)]
    assert _lights([before, failed, drill(at=at + 2 * DAY)], at + 2 * DAY) == []
    (told,) = lights([failed], [plan(first=FIRST)], at + 2 * DAY)
    assert "1 thing is not as it was taken" in told.found
    assert "cloakfs backup drill /srv/practice.vault" in told.remedy


def test_clocks() -> None:
    """What is dated ahead of the clock shows nothing; a first run that is, does not put a trial off for ever."""
    now = FIRST + 40 * DAY
    assert _at([drill(at=now + 2 * DAY)], now)[What.SAMPLE][1] is True
    assert _at([drill(at=now + 3600)], now)[What.SAMPLE][1] is False
    far = plan(first=FIRST * 1000)
    assert {one.at for one in due([], [far], now)} == {now + MONTH, now + YEAR}


def test_of_another_computer() -> None:
    """One that was brought counts only if it was of a manifest whose digest this computer had noted."""
    at, now = FIRST + 35 * DAY, FIRST + 36 * DAY
    source = Brought(host="clean", made_at=1, signer="", digest="")
    brought = replace(drill(at=at), brought=source)
    assert _at([brought], now)[What.SAMPLE][1] is False
    assert _at([brought], now, manifest="cd" * 32)[What.SAMPLE][1] is True
    assert _at([drill(at=at)], now, manifest="cd" * 32)[What.SAMPLE][1] is False
    assert brought.record.manifest.digest == MANIFEST


def test_lights() -> None:
    """Green is not told; a week before a sample and two before a full one it is amber, then red."""
    assert _lights([], FIRST + MONTH - 8 * DAY) == []
    assert _lights([], FIRST + MONTH - 6 * DAY) == [("drill-soon", Light.AMBER)]
    assert _lights([], FIRST + MONTH + 1) == [("drill-overdue", Light.RED)]
    sample = drill(at=FIRST + YEAR - 10 * DAY)
    assert _lights([sample], FIRST + YEAR - 9 * DAY) == [("drill-soon", Light.AMBER)]
    (told,) = lights([sample], [plan(first=FIRST)], FIRST + YEAR + 1)
    assert (told.light, told.remedy) == (Light.RED, "cloakfs backup drill /srv/practice.vault --full")


def test_an_action_that_is_late() -> None:
    """What somebody was to do about a failure is red when its day is past, until it is done; also of an old drill."""
    at = FIRST + 10 * DAY
    one = replace(drill(at=at), action=Action(text="a new stick", owner="Carla", due=at + DAY))
    assert _lights([one], at + DAY) == []
    assert _lights([one], at + DAY + 1) == [("drill-action", Light.RED)]
    assert one.action is not None
    assert _lights([replace(one, action=replace(one.action, done="bought"))], at + 2 * DAY) == []


def test_a_register_that_cannot_be_read_is_red(host_memory: Any) -> None:
    """A damaged register is told, and is no green."""
    assert checks(FIRST) == []
    register.note(drill().record)
    path = host_memory / "registers" / "drills"
    path.write_bytes(path.read_bytes()[:-10])
    (told,) = checks(FIRST)
    assert (told.code, told.light) == ("register", Light.RED)
    with pytest.raises(Exception, match="damaged"):
        register.drills()
