"""The registers of media and of exceptions (encfs/registers, FORMAT.md section 17)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.errors import RegisterError, UsageError
from encfs.registers import exceptions, media
from encfs.registers.ledger import Ledger
from encfs.registers.media import MediumKind, MediumState

VOLUME = "ab" * 16
Step = Callable[[], object]


def steps(label: str) -> dict[str, Step]:
    """Every change of a medium, by its name in the register."""
    return {
        "check-out": lambda: media.check_out(label, holder="Anna"),
        "check-in": lambda: media.check_in(label),
        "lost": lambda: media.lost(label, lost_at=5),
        "found": lambda: media.found(label),
        "destroyed": lambda: media.destroyed(label),
        "volume": lambda: media.set_content(label, serial="S", filesystem="", volumes=[VOLUME]),
    }


WAYS = {
    MediumState.IN: (),
    MediumState.OUT: ("check-out",),
    MediumState.LOST: ("lost",),
    MediumState.DESTROYED: ("destroyed",),
}
ALLOWED = {
    MediumState.IN: {"check-out": "out", "lost": "lost", "destroyed": "destroyed", "volume": "in"},
    MediumState.OUT: {"check-in": "in", "lost": "lost", "destroyed": "destroyed", "volume": "out"},
    MediumState.LOST: {"found": "in", "destroyed": "destroyed", "volume": "lost"},
    MediumState.DESTROYED: {},
}


def test_a_stick_s_way() -> None:
    """Added, taken, back, lost, found: who has it, where, since when, and what the register shows of it."""
    added = media.add("Blue 1", serial="4C53", filesystem="1A2B-3C4D", volumes=[VOLUME], holder="Eva", place="safe")
    assert (added.kind, added.state, added.holder, added.place) == (MediumKind.STICK, "in", "Eva", "safe")
    out = media.check_out("blue 1", holder="Anna", place="home", due=1_000)
    assert (out.label, out.state, out.holder, out.place, out.due) == ("Blue 1", "out", "Anna", "home", 1_000)
    assert [one.label for one in media.overdue(1_001)] == ["Blue 1"]
    assert media.overdue(1_000) == []
    back = media.check_in("BLUE 1")
    assert (back.state, back.holder, back.place, back.due) == ("in", "Eva", "safe", None)
    assert media.overdue(9_999) == []
    gone = media.lost("Blue 1", lost_at=77)
    assert (gone.state, gone.lost_at) == ("lost", 77)
    assert media.found("Blue 1", place="desk").place == "desk"
    (one,) = media.media()
    assert one == media.medium("blue 1")
    assert (one.serial, one.filesystem, one.volumes) == ("4C53", "1A2B-3C4D", (VOLUME,))
    assert media.media_of(VOLUME) == [one]
    assert media.media_of("cd" * 16) == []
    kinds = [entry.kind for entry in media.history("blue 1")]
    assert kinds == ["add", "check-out", "check-in", "lost", "found"]
    assert {entry.data["label"] for entry in Ledger("media").entries()} == {"Blue 1"}


def test_what_was_due_and_is_lost_is_not_overdue_any_more() -> None:
    """It is lost, which is told as such."""
    media.add("A")
    media.check_out("A", holder="Anna", due=10)
    media.lost("A", lost_at=11)
    assert media.overdue(12) == []


@pytest.mark.parametrize("state", list(MediumState))
def test_every_step_from_every_state(state: MediumState) -> None:
    """What cannot be is refused with how the medium stands, and nothing is written."""
    number = 0
    for name in steps(""):
        number += 1
        label = f"M{number}"
        media.add(label, holder="Eva", place="safe")
        for way in WAYS[state]:
            steps(label)[way]()
        before = Ledger("media").entries()
        if name in ALLOWED[state]:
            steps(label)[name]()
            assert media.medium(label).state == ALLOWED[state][name]
            continue
        with pytest.raises(UsageError) as caught:
            steps(label)[name]()
        assert str(caught.value).startswith(f"{label} is ") or str(caught.value).startswith(f"{label} was ")
        assert "Nothing was written" in caught.value.hint
        assert Ledger("media").entries() == before


def test_unknown_taken_and_bad_labels() -> None:
    """Each with a message; a label that differs in case only is the same."""
    media.add("Blue")
    with pytest.raises(UsageError, match="already"):
        media.add("BLUE")
    for one in (lambda: media.medium("red"), lambda: media.history("red"), lambda: media.check_in("red")):
        with pytest.raises(UsageError, match="no medium red"):
            one()
    for label in ("", "  ", " Blue", "a\nb", "a\x1b[31m", "x" * 1001, "a\udcffb"):
        with pytest.raises(UsageError):
            media.add(label)
    with pytest.raises(UsageError, match="holder"):
        media.check_out("Blue", holder="")
    assert len(Ledger("media").entries()) == 1


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("check-in", {"label": "A", "place": ""}),
        (
            "add",
            {"label": "a", "kind": "stick", "serial": "", "filesystem": "", "volumes": [], "holder": "", "place": ""},
        ),
        ("check-out", {"label": "A", "holder": "Anna", "place": ""}),
        ("check-out", {"label": "A", "holder": "Anna", "place": "", "due": True}),
        ("volume", {"label": "A", "serial": "", "filesystem": "", "volumes": [1]}),
        ("lost", {"label": "A", "lost_at": 1, "more": 1}),
        ("lost", {"label": "B", "lost_at": 1}),
        ("stolen", {"label": "A"}),
    ],
)
def test_an_entry_that_cannot_follow_is_damage(host_memory: Path, kind: str, data: dict[str, object]) -> None:
    """Signed and chained it may be: a register that contradicts itself is not read, nothing is added, and all stays."""
    media.add("A")
    Ledger("media").append(kind, data)
    before = (host_memory / "registers" / "media").read_bytes()
    with pytest.raises(RegisterError, match="at entry 1"):
        media.media()
    with pytest.raises(RegisterError, match="at entry 1"):
        media.add("B")
    with pytest.raises(RegisterError, match="at entry 1"):
        media.lost("A", lost_at=1)
    assert (host_memory / "registers" / "media").read_bytes() == before


def one_exception(review: int) -> exceptions.DataException:
    """An exception that holds until ``review``."""
    return exceptions.add(
        dataset="old X-ray archive",
        reason="too slow a disk",
        controls="locked room",
        approver="Dr. Weber",
        review=review,
    )


def test_an_exception_s_life() -> None:
    """Added, overdue, renewed by somebody else, withdrawn; then it cannot be renewed, and is not overdue."""
    first, second = one_exception(100), one_exception(5_000)
    assert (first.id, second.id) == ("E1", "E2")
    assert first.added == first.reviewed <= int(time.time())
    assert [one.id for one in exceptions.overdue(101)] == ["E1"]
    assert exceptions.overdue(100) == []
    renewed = exceptions.renew("e1", approver="Dr. Klein", review=200)
    assert (renewed.id, renewed.approver, renewed.review, renewed.dataset) == ("E1", "Dr. Klein", 200, first.dataset)
    assert exceptions.overdue(101) == []
    assert exceptions.withdraw("E1").withdrawn is not None
    assert [one.id for one in exceptions.overdue(9_999)] == ["E2"]
    for refused in (lambda: exceptions.withdraw("E1"), lambda: exceptions.renew("E1", approver="X", review=1)):
        with pytest.raises(UsageError, match="was withdrawn"):
            refused()
    with pytest.raises(UsageError, match="no exception E9"):
        exceptions.withdraw("E9")
    assert [one.id for one in exceptions.exceptions()] == ["E1", "E2"]


def test_an_exception_without_a_word() -> None:
    """Each of the four is needed."""
    good = {"dataset": "d", "reason": "r", "controls": "c", "approver": "a"}
    for name in good:
        with pytest.raises(UsageError, match=name):
            exceptions.add(**{**good, name: ""}, review=1)
    assert exceptions.exceptions() == []


@pytest.mark.parametrize(
    ("kind", "data"),
    [("withdraw", {"id": "E7"}), ("renew", {"id": "E1", "review": 1}), ("forget", {"id": "E1"})],
)
def test_an_exception_s_entry_that_cannot_follow(kind: str, data: dict[str, object]) -> None:
    """Damage, as with media."""
    one_exception(1)
    Ledger("exceptions").append(kind, data)
    with pytest.raises(RegisterError, match="at entry 1"):
        exceptions.exceptions()
    with pytest.raises(RegisterError, match="at entry 1"):
        one_exception(2)
