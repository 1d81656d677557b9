"""encfs/backup/rotation.py: whose turn it is among labelled media (FORMAT.md 18)."""

from __future__ import annotations

import pytest

from encfs.backup import rotation
from encfs.backup.plans import Result
from encfs.errors import RegisterError
from encfs.registers import media
from tests.support.backup_plans import a_plan, a_run


def order(*labels: str, runs: tuple = ()) -> list[str]:
    """Labels in their order, with the next one first."""
    return [one.label for one in rotation.turns(a_plan(*labels, runs=runs))]


def test_turns() -> None:
    """Those that were never used come first, in the order in which they were added; then the one used longest ago."""
    assert order("C", "A", "B") == ["C", "A", "B"]
    assert order("A", "B", "C", runs=(a_run(1, "A"),)) == ["B", "C", "A"]
    three = (a_run(1, "A"), a_run(2, "B"), a_run(3, "C"))
    assert order("A", "B", "C", runs=three) == ["A", "B", "C"]
    assert order("A", "B", "C", runs=(*three, a_run(4, "B"))) == ["A", "C", "B"]
    assert order() == []
    assert rotation.expected(a_plan()) == ""


def test_only_good_runs_count() -> None:
    """A run that failed left nothing new on the medium; one that is partly good did."""
    runs = (a_run(1, "A"), a_run(2, "B"), a_run(3, "A", Result.FAILED), a_run(4, "A", Result.GUARD))
    assert order("A", "B", runs=runs) == ["A", "B"]
    assert order("A", "B", runs=(*runs, a_run(5, "A", Result.PARTLY))) == ["B", "A"]
    assert order("A", "B", runs=(a_run(1, "A", Result.FAILED),)) == ["A", "B"]


def test_a_wrong_clock() -> None:
    """The order of runs is that in which they were written down, whatever the clock said then."""
    assert order("A", "B", "C", runs=(a_run(9000, "A"), a_run(2, "B"), a_run(3, "C"))) == ["A", "B", "C"]


def test_labels_in_another_case() -> None:
    """A label is the same in any case, in runs and in the register of media."""
    media.add("STICK a")
    media.check_out("stick A", holder="Anna", place="at home")
    (turn,) = rotation.turns(a_plan("Stick A", runs=(a_run(1, "stick a"),)))
    assert (turn.label, turn.last, turn.where, turn.offsite) == ("Stick A", a_run(1, "stick a"), "Anna, at home", True)
    assert rotation.takes_turns(a_plan("Stick A"), "sTICK A")


def test_lost_media() -> None:
    """One that is lost or destroyed is not expected any more; when it is found, it is."""
    for label in ("A", "B"):
        media.add(label)
    media.lost("A", lost_at=1)
    plan = a_plan("A", "B", "C", runs=(a_run(1, "A"), a_run(2, "B"), a_run(3, "C")))
    assert [(one.label, one.usable) for one in rotation.turns(plan)] == [("B", True), ("C", True), ("A", False)]
    media.destroyed("B")
    assert rotation.expected(plan) == "C"
    media.found("A")
    assert rotation.expected(plan) == "A"


def test_the_remark() -> None:
    """Any medium is taken; it is said which one was expected, when it was used and who has it."""
    plan = a_plan("A", "B", runs=(a_run(1, "A"), a_run(2, "B")))
    assert rotation.remark(plan, "a") == ""
    assert rotation.remark(plan, "B") == '"B" is taken, but "A" was expected: that one was last used on 2026-09-22.'
    media.add("A")
    media.check_out("A", holder="Bert", place="bank")
    assert rotation.remark(plan, "B").endswith("last used on 2026-09-22, and is with Bert, bank.")
    fresh = a_plan("A", "B")
    assert rotation.remark(fresh, "B") == (
        '"B" is taken, but "A" was expected: that one was not used yet, and is with Bert, bank.'
    )
    assert rotation.remark(fresh, "").startswith("The medium without a label is taken")
    assert rotation.remark(a_plan(), "") == ""


def test_in_house() -> None:
    """All that is good lies in the house, unless somebody took out a medium that was used."""
    plan = a_plan("A", "B", runs=(a_run(1, "A"),))
    assert rotation.in_house(plan)
    for label in ("A", "B"):
        media.add(label)
    media.check_out("B", holder="Anna")
    assert rotation.in_house(plan), "there is nothing on it yet"
    media.check_out("A", holder="Anna")
    assert not rotation.in_house(plan)
    media.check_in("A")
    assert rotation.in_house(plan)
    assert not rotation.in_house(a_plan())


def test_a_damaged_register(host_memory: object) -> None:
    """Nothing is guessed from a register of media that was changed; without labels it is not read."""
    media.add("A")
    (host_memory / "registers" / "media").write_bytes(b"{}\n")  # type: ignore[operator]
    with pytest.raises(RegisterError):
        rotation.turns(a_plan("A"))
    assert rotation.turns(a_plan()) == []
