"""``cloakfs backup certify``; where drills are told: status, doctor, inventory, evidence (FORMAT.md 17, "Drill")."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from encfs.backup import drills, plans
from encfs.backup.drill_record import DrillOutcome, People
from encfs.backup.drills import Drill
from encfs.backup.plans import EngineKind, Keep, KeyKind, Place, Plan, Result, Run
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import ExitCode
from encfs.evidence import checking, drill_document
from encfs.registers import volumes
from encfs.units import VolumeId
from tests.cli.test_audit_command import recorded
from tests.support.command import run
from tests.support.drills import MANIFEST, record
from tests.support.volumes import LowerVolume

DAY = 86400
VOLUME = "0e" * 16


@pytest.fixture
def anna() -> Drill:
    """A trial that passed, of Anna's."""
    return drills.note(record(at=int(time.time()) - DAY))


def test_a_drill_is_certified(anna: Drill, tmp_path: Path) -> None:
    """Told, in the register, in the audit log, and on signed pages that can be checked."""
    out = tmp_path / "drill.pdf"
    done = run(
        *("backup", "certify", anna.record.id[:6], "--by", "Bert Maier", "--note", "opened two", "--out", out, "--json")
    )
    assert (done.code, done.err) == (0, "")
    assert done.json["out"] == str(out)
    assert done.json["drill"]["id"] == anna.record.id
    assert done.json["drill"]["certified"]["by"] == "Bert Maier"
    document = checking.check(out.read_bytes())
    assert document.pages is checking.Pages.SAME
    assert document.document.body["certified"]["note"] == "opened two"
    (told,) = [one for one in recorded() if one["action"] == "backup.certify"]
    assert (told["outcome"], told["detail"]) == ("done", {"drill": anna.record.id})
    again = run("backup", "certify", anna.record.id, "--by", "Carla")
    assert (again.code, "already" in again.err) == (ExitCode.USAGE, True)


def test_who_made_it_is_refused(anna: Drill) -> None:
    """Exit status 2, nothing in the register, and the refusal in the audit log."""
    done = run("backup", "certify", anna.record.id, "--by", "anna WEBER")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert drills.find(anna.record.id).certified is None
    (told,) = [one for one in recorded() if one["action"] == "backup.certify"]
    assert told["outcome"] == "refused"


def test_a_failed_one_with_its_action(tmp_path: Path) -> None:
    """What is done about it comes before who certifies it, in one command; the document has both."""
    one = drills.note(record(outcome=DrillOutcome.FAILED, at=int(time.time())))
    drill_id, out = one.record.id, tmp_path / "drill.json"
    assert run("backup", "certify", drill_id, "--by", "Bert").code == ExitCode.USAGE
    assert run("backup", "certify", drill_id, "--by", "Bert", "--action", "new stick").code == ExitCode.USAGE
    assert drills.find(drill_id).action is None
    done = run(
        *("backup", "certify", drill_id, "--by", "Bert", "--action", "new stick", "--owner", "Eva"),
        *("--due", "2099-01-31", "--out", out),
    )
    assert done.code == 0
    assert "new stick (Eva, due 2099-01-31)" in done.out
    body = open_document(out.read_bytes(), drills.KIND).body
    assert (body["action"]["owner"], body["certified"]["by"]) == ("Eva", "Bert")
    assert run("backup", "certify", drill_id, "--action-done", "bought").code == 0
    assert run("backup", "certify", drill_id, "--action-done", "again").code == ExitCode.USAGE


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--note", "x"),
        ("--owner", "x", "--due", "2099-01-01"),
        ("--by", "x", "--out", "/nowhere/at/all.pdf"),
        ("--by", "x", "--due", "soon", "--action", "x", "--owner", "y"),
    ],
)
def test_what_makes_no_sense(anna: Drill, options: tuple[str, ...]) -> None:
    """Refused before anything is written."""
    assert run("backup", "certify", anna.record.id, *options).code == ExitCode.USAGE
    assert drills.drills() == [anna]


@pytest.mark.parametrize("ending", ["json", "pdf"])
def test_a_drill_of_another_computer(ending: str, tmp_path: Path) -> None:
    """Its file is enough: it stands in the register here, and is certified here. A changed one is refused."""
    other = Signer(Algorithm.ED25519, bytes(range(32)))
    foreign = Drill(record=record(host="clean", people=People(login="root", uid=0)), noted=1)
    body = drill_document.body(foreign, login="")
    signed = sign_document(other, kind=drills.KIND, made_at=int(time.time()), host="clean", body=body)
    file = tmp_path / f"drill.{ending}"
    file.write_bytes(signed if ending == "json" else drill_document.pdf(signed))
    bad = tmp_path / "bad"
    bad.write_bytes(file.read_bytes().replace(b'"files":5', b'"files":6'))
    refused = run("backup", "certify", bad, "--by", "Bert")
    assert (refused.code, drills.drills()) == (ExitCode.DAMAGED_DATA, [])
    done = run("backup", "certify", file, "--by", "Bert", "--json")
    assert done.code == 0
    assert done.json["drill"]["brought"] == {"host": "clean", "signer": other.public.fingerprint()}
    assert run("backup", "certify", foreign.record.id[:8], "--by", "Carla").code == ExitCode.USAGE


# -- where it is told --------------------------------------------------------------------------------------------------


def _plan(volume: str, volume_id: str, *, ended: int) -> Plan:
    plan = Plan(
        id=os.urandom(16).hex(),
        volume_id=volume_id,
        volume=volume,
        engine=EngineKind.COPY,
        target="/media/stick/backup",
        place=Place.OFFSITE,
        key=KeyKind.VOLUME,
        keep=Keep(),
        guard=50,
        since=ended,
    )
    plans.add(plan)
    for when in (ended, int(time.time()) - 60):
        run_ = Run(id="0" * 32, label="", result=Result.DONE, begun=when - 9, ended=when, manifest=MANIFEST)
        plans.note_run(plan.id, run_)
    return plan


@pytest.fixture
def backed_up(tmp_path: Path) -> tuple[LowerVolume, Plan]:
    """A volume with a backup that was made 40 days ago for the first time, and a minute ago for the last."""
    made = LowerVolume(tmp_path / "practice.vault")
    with made.unlock(read_only=True) as volume:
        volume_id = volume.config.volume_id.hex()
    return made, _plan(str(made.path), volume_id, ended=int(time.time()) - 40 * DAY)


def _tried(plan: Plan, **more: object) -> Drill:
    return drills.note(record(plan=plan.id, volume=plan.volume_id, at=int(time.time()) - 60, **more))  # type: ignore[arg-type]


def test_overdue_is_red(backed_up: tuple[LowerVolume, Plan]) -> None:
    """``status`` ends with 2, ``doctor`` is red; after a trial both are what they were without a backup."""
    _, plan = backed_up
    before = run("status", "--json")
    codes = [(one["code"], one["light"]) for one in before.json["registers"]]
    assert (before.code, codes) == (2, [("drill-overdue", "red")])
    told = run("status")
    assert (told.code, "cloakfs backup drill" in told.out) == (2, True)
    doctor = run("doctor", "--json")
    assert "drill-overdue" in doctor.out
    assert doctor.code == 2
    _tried(plan)
    assert run("status", "--json").code == 0
    assert "drill-overdue" not in run("doctor", "--json").out


def test_a_failed_one_is_red(backed_up: tuple[LowerVolume, Plan]) -> None:
    """At once, whatever passed before."""
    _, plan = backed_up
    _tried(plan)
    _tried(plan, outcome=DrillOutcome.FAILED)
    status = run("status", "--json")
    assert (status.code, [one["code"] for one in status.json["registers"]]) == (2, ["drill-failed"])


def test_the_inventory_has_the_last_one_that_passed(backed_up: tuple[LowerVolume, Plan]) -> None:
    """And the last backup; a failed trial is none."""
    made, plan = backed_up
    _tried(plan, outcome=DrillOutcome.FAILED)
    assert _backup(made)["drill"] is None
    passed = _tried(plan)
    told = _backup(made)
    assert (told["last"], told["drill"]) == (plans.plans()[0].runs[-1].ended, passed.record.took.began)


def _backup(made: LowerVolume) -> dict[str, int | None]:
    with made.unlock(read_only=True) as volume:
        config = volume.config
    volumes.note_created(config.volume_id.hex(), str(made.path), config.created)
    (one,) = [each for each in run("inventory", "--json").json["volumes"] if each["path"] == str(made.path)]
    found: dict[str, int | None] = one["backup"]
    return found


def test_the_evidence_reads_the_register(backed_up: tuple[LowerVolume, Plan], tmp_path: Path) -> None:
    """Check ``drill``: never tried; tried, not certified; certified by whom. It answers 164.308(a)(7)(ii)(D)."""
    made, plan = backed_up

    def drill_check(number: int) -> tuple[str, str, str | None]:
        out = tmp_path / f"pack{number}.json"
        assert run("evidence", made.path, "--json", out).code == 0
        body = json.loads(out.read_text())["body"]
        (check,) = [one for one in body["checks"] if one["code"] == "drill"]
        (rule,) = [one for one in body["citations"] if one["rule"].endswith("164.308(a)(7)(ii)(D)")]
        return check["light"], check["found"], rule["light"]

    light, found, rule = drill_check(0)
    assert (light, "never restored" in found, rule) == ("amber", True, "red")
    one = _tried(plan)
    light, found, rule = drill_check(1)
    assert (light, "no second person" in found, rule) == ("amber", True, "amber")
    drills.certify(one.record.id, by="Bert Maier")
    light, found, rule = drill_check(2)
    assert (light, "certified by Bert Maier" in found, rule) == ("green", True, "green")


def test_nothing_names_a_file(backed_up: tuple[LowerVolume, Plan], host_memory: Path) -> None:
    """The volume ids of the records are those of the audit log, too."""
    _, plan = backed_up
    _tried(plan)
    ids = {one["volume_id"] for one in recorded() if one["action"] == "register.drills"}
    assert ids == {VolumeId(bytes.fromhex(plan.volume_id)).hex()}
    assert (host_memory / "registers" / "drills").exists()
