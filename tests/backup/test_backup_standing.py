"""encfs/backup/standing.py: what is overdue, what failed, and two targets of which one is off-site (the issue)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from encfs.backup import plans as register
from encfs.backup.plans import Checked, Place, Plan, Result, Run
from encfs.backup.standing import (
    BY_HAND,
    COUNTED,
    DAY,
    SCHEDULED,
    checks,
    copies,
    lights,
    missing,
    rule_checks,
    rule_lights,
    standing,
)
from encfs.checks import Light
from encfs.evidence import pack_checks
from encfs.evidence.log_facts import LogFacts
from encfs.registers.ledger import Ledger
from encfs.registers.media import Medium, MediumKind, MediumState
from encfs.wording import human_date
from tests.support.drills import plan

NOW = 100 * DAY
LOG = LogFacts(
    log_id="",
    seq=0,
    head="",
    frames=1,
    first_at=0,
    last_at=0,
    intact=(),
    sealed=None,
    problems={},
    clock_steps=0,
    counts=None,
    events=None,
)


def _run(at: int, result: Result = Result.DONE, **more: Any) -> Run:
    return Run(id="01" * 16, label="", result=result, begun=at - 5, ended=at, **more)


def _plan(*runs: Run, **more: Any) -> Plan:
    return plan(runs=runs, since=NOW - 20 * DAY, place=Place.ONSITE, **more)


def _codes(one: Plan, now: float = NOW) -> list[tuple[str, Light]]:
    return [(check.code, check.light) for check in lights(one, now)]


def _medium(label: str, state: MediumState) -> Medium:
    kind = MediumKind.BACKUP
    more: dict[str, Any] = {"volumes": (), "holder": "Anna", "place": "", "due": None, "since": 0}
    return Medium(label=label, serial="", kind=kind, state=state, **more)


# -- overdue -----------------------------------------------------------------------------------------------------------


def test_with_a_schedule_after_26_hours_without_one_after_8_days() -> None:
    """To the second, since the last good run."""
    for schedule, length in (("02:30", SCHEDULED), ("", BY_HAND)):
        one = _plan(_run(NOW - length), schedule=schedule)
        assert (standing(one, NOW).due, standing(one, NOW).overdue) == (NOW, False)
        assert standing(one, NOW + 1).overdue
        assert _codes(one, NOW + 1) == [("backup-overdue", Light.RED)]
    assert (SCHEDULED, BY_HAND) == (26 * 3600, 8 * DAY)


def test_a_backup_that_was_never_made() -> None:
    """Is overdue from when it was set up on."""
    assert _codes(replace(_plan(), since=NOW - BY_HAND)) == []
    (light,) = lights(replace(_plan(), since=NOW - BY_HAND - 1), NOW)
    assert "was never made" in light.found


def test_what_counts_is_a_good_run() -> None:
    """What was partly taken is good; a failure or a held run behind it is red, and makes nothing younger."""
    assert _codes(_plan(_run(NOW - 60, Result.PARTLY))) == []
    failed = _plan(_run(NOW - 9 * DAY), _run(NOW - 60, Result.FAILED, why="the target is gone"))
    assert _codes(failed) == [("backup-failed", Light.RED), ("backup-overdue", Light.RED)]
    assert "the target is gone" in next(lights(failed, NOW)).found
    held = _plan(_run(NOW - 90), _run(NOW - 60, Result.GUARD, why="60 of 100 files"))
    assert _codes(held) == [("backup-guard", Light.RED)]
    assert "--accept-changes" in next(lights(held, NOW)).remedy
    assert _codes(_plan(_run(NOW - 90, Result.FAILED), _run(NOW - 60))) == []


def test_a_run_that_is_dated_ahead_shows_nothing() -> None:
    """A clock that was wrong for an hour must not keep everything green for years."""
    one = _plan(_run(NOW - 9 * DAY), _run(NOW + 400 * DAY))
    assert (standing(one, NOW).good or _run(0)).ended == NOW - 9 * DAY
    assert _codes(one) == [("backup-overdue", Light.RED)]
    assert not standing(replace(_plan(), since=NOW + 400 * DAY), NOW).overdue
    assert standing(replace(_plan(), since=NOW + 400 * DAY), NOW + BY_HAND).due == NOW + 2 * BY_HAND


def test_damage_that_was_found_is_red_until_it_is_read_back_again() -> None:
    """Whatever runs follow."""
    bad = Checked(at=NOW - 60, label="", run="01" * 16, bytes=9, why="1 thing is damaged or missing")
    one = _plan(_run(NOW - 90), checks=(bad,))
    assert _codes(one) == [("backup-damaged", Light.RED)]
    assert _codes(replace(one, checks=(bad, replace(bad, why="")))) == []


# -- two targets, one of them off-site ---------------------------------------------------------------------------------


def _missing(plans: list[Plan], *media: Medium) -> list[str]:
    return missing(copies(plans, media), NOW)


def test_two_targets_one_of_them_off_site() -> None:
    """One target, two at one place, two of which one is elsewhere."""
    here, there = _plan(_run(NOW - 60)), replace(_plan(_run(NOW - 60)), place=Place.OFFSITE)
    assert _missing([_plan()]) == ["a target with a good run", "one that is off-site"]
    assert _missing([here]) == ["a second target", "one that is off-site"]
    assert _missing([there]) == ["a second target"]
    assert _missing([here, here]) == ["one that is off-site"]
    assert _missing([here, there]) == []


def test_media_that_take_turns() -> None:
    """Each with a good run is a target; off-site while it is out; none while it is lost or destroyed."""
    runs = (replace(_run(NOW - 60), label="A"), replace(_run(NOW - 60), label="B"))
    one = _plan(*runs, labels=("A", "B"))
    assert _missing([one]) == ["one that is off-site"]
    assert _missing([one], _medium("a", MediumState.OUT)) == []
    assert _missing([one], _medium("A", MediumState.LOST)) == ["a second target", "one that is off-site"]
    assert _missing([one], _medium("A", MediumState.DESTROYED), _medium("B", MediumState.OUT)) == ["a second target"]
    assert _missing([_plan(runs[0], labels=("A", "B"))], _medium("B", MediumState.OUT)) == [
        "a second target",
        "one that is off-site",
    ]


def test_a_target_that_is_many_weeks_old_does_not_count() -> None:
    """Nor one that is dated ahead."""
    old = replace(_plan(_run(NOW - COUNTED - 1)), place=Place.OFFSITE)
    assert _missing([_plan(_run(NOW - 60)), old]) == ["a second target", "one that is off-site"]
    just = replace(_plan(_run(NOW - COUNTED)), place=Place.OFFSITE)
    assert _missing([_plan(_run(NOW - 60)), just]) == []
    ahead = replace(_plan(_run(NOW + 9 * DAY)), place=Place.OFFSITE)
    assert _missing([_plan(_run(NOW - 60)), ahead]) == ["a second target", "one that is off-site"]


def test_the_rule_is_a_light_for_each_volume() -> None:
    """Two volumes with a target each have not two."""
    one, other = _plan(_run(NOW - 60)), replace(_plan(_run(NOW - 60)), volume_id="0f" * 16, place=Place.OFFSITE)
    found = list(rule_lights([one, other], [], NOW))
    assert [(check.code, check.light) for check in found] == [("backup-rule", Light.AMBER)] * 2
    assert "missing: a second target, and one that is off-site" in found[0].found


def test_a_register_that_is_damaged_is_red() -> None:
    """Never green because nothing could be read; and nothing at all where no backup is set up."""
    assert (checks(), rule_checks()) == ([], [])
    Ledger(register.NAME).append("something", {"plan": "x"})
    assert [(one.code, one.light) for one in checks()] == [("register", Light.RED)]
    assert [(one.code, one.light) for one in rule_checks()] == [("register", Light.RED)]


@pytest.mark.parametrize("name", ["the patient's \x1b[2J.vault", "a b.vault"])
def test_remedies_can_be_pasted(name: str) -> None:
    """Whatever the volume is called."""
    (check,) = lights(replace(_plan(), since=0, volume=f"/srv/{name}"), NOW)
    assert "\x1b" not in check.found + check.remedy
    assert check.remedy.startswith("cloakfs backup run '/srv/")


def test_packs_say_it() -> None:
    """Amber without a backup, and with one of which no run is good; green with one, by its date."""

    def light() -> tuple[Light, str]:
        found = next(iter(pack_checks.of_host(LOG, {"backups": Ledger(register.NAME).entries()})))
        assert found.code == "backup"
        return found.light, found.found

    assert light()[0] is Light.AMBER
    one = replace(_plan(), id="0a" * 16, runs=())
    register.add(one)
    assert light() == (Light.AMBER, "a backup is set up, and no run of it is there yet")
    register.note_run(one.id, _run(NOW, Result.FAILED))
    assert light()[0] is Light.AMBER
    register.note_run(one.id, _run(NOW))
    register.note_run(one.id, _run(NOW + DAY, Result.GUARD))
    assert light() == (Light.GREEN, f"the last good run was on {human_date(NOW)}; 1 backup set up here")
