"""encfs/backup/drills.py: the register of drills, and who may certify one (FORMAT.md 17)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from encfs.audit.home import host_signer
from encfs.backup import drills
from encfs.backup.drill_record import DrillOutcome, People, as_json
from encfs.backup.drills import Drill
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import AuthenticationError, CloakfsError, FormatError, RegisterError, UsageError
from encfs.evidence import drill_document
from encfs.registers.ledger import Ledger
from tests.cli.test_audit_command import recorded
from tests.support.drills import record


@pytest.fixture
def anna() -> Drill:
    """One that Anna Weber made from her own account."""
    return drills.note(record())


def test_a_drill_is_noted(anna: Drill, host_memory: Path) -> None:
    """It comes back as it was written, by its id or the beginning of that, and is in the audit log."""
    (found,) = drills.drills()
    assert found == anna
    assert (found.brought, found.certified, found.action) == (None, None, None)
    assert drills.find(anna.record.id) == drills.find(anna.record.id[:5].upper()) == anna
    for text in ("", anna.record.id[:3], "zzzz", anna.record.id + "0"):
        with pytest.raises(UsageError, match=r"no such drill|more than one"):
            drills.find(text)
    assert [one["action"] for one in recorded()] == ["register.drills"]
    assert (host_memory / "registers" / "drills").stat().st_mode & 0o777 == 0o600


def test_a_second_person_certifies(anna: Drill) -> None:
    """Name, time, account and note are kept; once."""
    after = drills.certify(anna.record.id, by="Bert Maier", note="opened one in the viewer")
    assert after == drills.find(anna.record.id)
    assert after.certified is not None
    assert (after.certified.by, after.certified.uid, after.certified.shared) == ("Bert Maier", os.getuid(), False)
    with pytest.raises(UsageError, match="already"):
        drills.certify(anna.record.id, by="Carla")
    assert len(Ledger("drills").entries()) == 2


@pytest.mark.parametrize("by", ["Anna Weber", "anna weber", "ANNA  WEBER", "anna", "Anna"])
def test_the_same_person_does_not(anna: Drill, by: str) -> None:
    """Neither under the name nor under the login, however it is spelled; also from another account."""
    with pytest.raises(UsageError, match="who made a drill does not certify it"):
        drills.certify(anna.record.id, by=by)
    assert drills.find(anna.record.id).certified is None


def test_nor_the_same_account(anna: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name from the account that made the drill is refused."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(UsageError, match="the account from which"):
        drills.certify(anna.record.id, by="Bert Maier")
    assert drills.find(anna.record.id).certified is None


def test_root_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's account may certify what was made from it by somebody with a name; and that is written down."""
    monkeypatch.setattr(os, "getuid", lambda: 0)
    named = drills.note(record(people=People(login="root", uid=0, name="Anna Weber")))
    nameless = drills.note(record(people=People(login="root", uid=0)))
    for by in ("root", "Anna Weber"):
        with pytest.raises(UsageError, match="who made a drill"):
            drills.certify(named.record.id, by=by)
    certified = drills.certify(named.record.id, by="Bert Maier").certified
    assert certified is not None
    assert certified.shared
    with pytest.raises(UsageError, match="does not say by whom"):
        drills.certify(nameless.record.id, by="Bert Maier")


def test_a_failed_drill_wants_an_action() -> None:
    """Certified is only what somebody does something about; then both stand there."""
    one = drills.note(record(outcome=DrillOutcome.FAILED))
    with pytest.raises(UsageError, match="what is done about it"):
        drills.certify(one.record.id, by="Bert")
    drills.set_action(one.record.id, text="a new stick", owner="Carla", due=2_000_000)
    after = drills.certify(one.record.id, by="Bert")
    assert after.action is not None
    assert (after.action.text, after.action.owner, after.action.due, after.action.done) == (
        "a new stick",
        "Carla",
        2_000_000,
        None,
    )
    assert drills.set_action(one.record.id, text="two sticks", owner="Eva", due=3).action.owner == "Eva"  # type: ignore[union-attr]
    done = drills.end_action(one.record.id, "bought").action
    assert done is not None
    assert (done.text, done.done) == ("two sticks", "bought")
    with pytest.raises(UsageError, match="nothing is to be done"):
        drills.end_action(one.record.id, "again")


def test_what_was_broken_off_is_not_certified() -> None:
    """It shows nothing."""
    one = drills.note(record(outcome=DrillOutcome.BROKEN_OFF))
    with pytest.raises(UsageError, match="broken off"):
        drills.certify(one.record.id, by="Bert")


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * 1001, " Bert"])
def test_texts(anna: Drill, text: str) -> None:
    """What cannot stand in a register is refused before anything is written."""
    drill_id = anna.record.id
    for call in (
        lambda: drills.certify(drill_id, by=text),
        lambda: drills.set_action(drill_id, text=text, owner="Eva", due=1),
        lambda: drills.set_action(drill_id, text="x", owner=text, due=1),
        lambda: drills.end_action(drill_id, text),
    ):
        with pytest.raises(UsageError):
            call()
    assert len(Ledger("drills").entries()) == 1


def test_of_another_computer(anna: Drill) -> None:
    """A document of another computer is taken in once, with who signed it; any changed bit of it is refused."""
    other = Signer(Algorithm.ED25519, bytes(range(32)))
    foreign = record(host="clean")
    body = drill_document.body(Drill(record=foreign, noted=1), login="")
    signed = sign_document(other, kind="drill", made_at=77, host="clean", body=body)
    for position in range(0, len(signed) - 1, 7):
        changed = bytearray(signed)
        changed[position] ^= 1
        with pytest.raises((FormatError, AuthenticationError, CloakfsError)):
            drills.bring(bytes(changed))
    brought = drills.bring(signed)
    assert brought.record == foreign
    assert brought.brought is not None
    assert (brought.brought.host, brought.brought.made_at) == ("clean", 77)
    assert brought.brought.signer == other.public.fingerprint() != host_signer().public.fingerprint()
    assert drills.bring(signed) == brought
    assert len(drills.drills()) == 2
    forged = drill_document.body(Drill(record=record(id=foreign.id), noted=1), login="")
    again = sign_document(other, kind="drill", made_at=77, host="clean", body={**forged})
    with pytest.raises(FormatError, match="another drill with the same id"):
        drills.bring(sign_document(other, kind="drill", made_at=77, host="clean", body=_with_target(again)))
    with pytest.raises(FormatError):
        drills.bring(sign_document(other, kind="handover", made_at=77, host="clean", body=body))
    assert len(drills.drills()) == 2


def _with_target(signed: bytes) -> dict[str, Any]:
    body = dict(open_document(signed).body)
    body["record"] = {**body["record"], "target": "/elsewhere"}
    return body


def test_the_account_of_another_computer_is_another_account() -> None:
    """Numbers of accounts mean nothing across computers; names do."""
    other = Signer(Algorithm.ED25519, bytes(range(32)))
    foreign = record(people=People(login="root", uid=os.getuid(), name=""))
    body = drill_document.body(Drill(record=foreign, noted=1), login="")
    one = drills.bring(sign_document(other, kind="drill", made_at=7, host="clean", body=body))
    with pytest.raises(UsageError, match="who made a drill"):
        drills.certify(one.record.id, by="ROOT")
    certified = drills.certify(one.record.id, by="Bert").certified
    assert certified is not None
    assert not certified.shared


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("certify", {"drill": "00" * 8, "by": "x", "note": "", "shared": False}),
        ("action", {"drill": "00" * 8, "text": "x", "owner": "y", "due": 1}),
        ("action-done", {"drill": "THIS", "text": "x"}),
        ("certify", {"drill": "THIS", "by": "x", "note": "", "shared": 0}),
        ("certify", {"drill": "THIS", "by": "x", "note": "", "shared": False, "more": 1}),
        ("odd", {"drill": "THIS"}),
        ("drill", "TWICE"),
        ("drill", {"id": "zz"}),
    ],
)
def test_what_does_not_fit_is_damage(anna: Drill, kind: str, data: Any) -> None:
    """An entry that says what it cannot is never read past: the register is told as damaged, and takes no more."""
    if data == "TWICE":
        data = as_json(anna.record)
    elif data.get("drill") == "THIS":
        data = {**data, "drill": anna.record.id}
    Ledger("drills").append(kind, data)
    with pytest.raises(RegisterError, match='the register "drills"'):
        drills.drills()
    with pytest.raises(RegisterError):
        drills.note(record())


def test_the_same_drill_is_not_noted_twice(anna: Drill) -> None:
    """Two that bring the same one at once: one of them is told, and the register stays whole."""
    with pytest.raises(UsageError, match="already"):
        drills.note(anna.record)
    assert drills.drills() == [anna]
