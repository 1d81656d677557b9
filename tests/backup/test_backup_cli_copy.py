"""``cloakfs backup`` with sealed copies on sticks: set up, made, looked at, ended (FORMAT.md 17 and 18)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from encfs.backup import plans
from encfs.backup.plans import KeyKind, Place, Result
from encfs.errors import ExitCode
from encfs.registers import media
from encfs.registers.media import MediumKind
from tests.cli.test_audit_command import recorded
from tests.support.backup_office import Office, tree
from tests.support.pty_session import PtySession


def _told(action: str) -> list[tuple[str, str]]:
    """What the audit log has of an action."""
    return [(one["action"], one["outcome"]) for one in recorded() if one["action"] == action]


# -- set up, made, looked at -------------------------------------------------------------------------------------------


def test_from_init_to_end(office: Office) -> None:
    """Each command says what it did, writes it down, and ends with 0; what is on the stick stays after the end."""
    office.stick("a").plug()
    said = office.init("--label", "Blue 1", "--place", "offsite", "--guard", "40", "--keep-daily", "3")
    assert said.out.splitlines()[0] == f"Set up: {office.volume.path} is backed up to {office.place}."
    plan = office.plan
    assert (plan.guard, plan.place, plan.key, plan.labels) == (40, Place.OFFSITE, KeyKind.VOLUME, ("Blue 1",))
    assert (plan.keep.daily, plan.keep.weekly, plan.keep.monthly) == (3, 5, 12)
    medium = media.medium("blue 1")
    assert (medium.kind, medium.volumes) == (MediumKind.BACKUP, (plan.volume_id,))

    said = office.good("run", office.volume.path)
    assert "  run        done " in said.out
    assert "read back" in said.out
    run = office.last
    assert (run.result, run.label, run.why, run.not_whole) == (Result.DONE, "Blue 1", "", 0)
    assert run.files >= 30
    assert run.new_bytes == run.verified > 30 * 512

    (listed,) = office.good("list", "--json").json["backups"]
    assert [one["run"] for one in listed["runs"]] == [run.id]
    assert listed["runs"][0]["noted"]["files"] == run.files
    said = office.good("verify", office.volume.path)
    assert "all of it is as it was taken" in said.out
    checked = office.plan.last_checked()
    assert checked is not None
    assert (checked.run, checked.why) == (run.id, "")
    assert checked.bytes > 0

    held = tree(office.place)
    office.good("end", office.volume.path, "--why", "another stick", "--yes")
    assert plans.plans() == []
    assert tree(office.place) == held
    for action, outcomes in {
        "backup.init": ["done"],
        "backup.run": ["begun", "done"],
        "backup.verify": ["begun", "done"],
        "backup.end": ["done"],
    }.items():
        assert [outcome for _, outcome in _told(action)] == outcomes
    said = office.good("drill", "--from", office.place, "--full", "--recovery-file", office.secret, "--json")
    assert said.json["passed"] is True
    assert said.json["drill"]["found"]["files"] == 30


def test_only_what_is_new_is_written(office: Office) -> None:
    """One file of thirty changed: the next run writes that one, and says what had changed."""
    office.stick("a").plug()
    office.init()
    office.good("run")
    office.write(1, "new")
    office.good("run")
    assert office.last.new_files <= 3
    assert (office.last.changed, office.last.removed) == (1, 0)
    office.good("run")
    assert (office.last.changed, office.last.removed, office.last.new_bytes < 20_000) == (0, 0, True)


def test_status(office: Office) -> None:
    """3 while something is to be done, 0 when two targets are there and one is off-site; what is told is what is."""
    assert office.call("status").out.startswith("No backup is set up")
    office.stick("a").plug()
    office.init("--label", "A")
    said = office.call("status", office.volume.path, "--json")
    (one,) = said.json["volumes"]
    assert (said.code, one["missing"]) == (3, ["a target with a good run", "one that is off-site"])
    assert [check["code"] for check in one["checks"]] == ["backup-rule"]
    office.good("run")
    (one,) = office.call("status", "--json").json["volumes"]
    (backup,) = one["backups"]
    assert backup["last"]["run"] == backup["last_good"]["run"] == office.last.id
    assert (backup["overdue"], backup["verified"], backup["expected"]) == (False, None, "A")
    assert [due["what"] for due in backup["drills"]] == ["sample", "full"]
    assert backup["media"] == [{"label": "A", "last": office.last.ended, "offsite": False, "lost": False}]
    text = office.call("status").out
    assert "missing: a second target, and one that is off-site" in text


def test_two_targets_of_which_one_is_off_site_are_enough(office: Office) -> None:
    """Two sticks that take turns, one of them checked out."""
    for name in ("A", "B"):
        stick = office.stick(name)
        stick.plug()
        office.init("--label", name)
        office.good("run")
        stick.pull()
    assert office.call("status").code == ExitCode.FINDINGS
    media.check_out("A", holder="Anna")
    said = office.call("status")
    assert said.code == 0
    assert "rule  two targets, one of them off-site" in said.out
    assert "medium A" in said.out
    assert "off-site, expected next" in said.out


# -- the rotation ------------------------------------------------------------------------------------------------------


def test_any_stick_of_the_set_is_taken(office: Office) -> None:
    """Also the one that is not expected, which is said; each has its own runs."""
    sticks = {name: office.stick(name) for name in ("A", "B")}
    for name, stick in sticks.items():
        stick.plug()
        office.init("--label", name)
        stick.pull()
    assert office.plan.labels == ("A", "B")
    sticks["B"].plug()
    said = office.good("run")
    assert '"B" is taken, but "A" was expected' in said.err
    sticks["B"].pull()
    sticks["A"].plug()
    said = office.good("run")
    assert "expected" not in said.err
    assert [run.label for run in office.plan.runs] == ["B", "A"]
    (listed,) = office.good("list", "--json").json["backups"]
    assert (listed["label"], len(listed["runs"])) == ("A", 1)


def test_a_stick_of_another_backup(office: Office) -> None:
    """Or an empty one, or none: 33, nothing is written there, and the run is written down as failed."""
    own, empty = office.stick("own"), office.stick("empty")
    own.plug()
    office.init("--label", "A")
    own.pull()
    before = tree(office.place)
    assert office.call("run").code == ExitCode.WRONG_MEDIUM
    assert tree(office.place) == before
    empty.plug()
    said = office.call("run")
    assert said.code == ExitCode.WRONG_MEDIUM
    assert "it is none of this backup yet" in said.err
    assert tree(empty.held) == {}
    empty.pull()
    own.plug()
    (own.held / "cloakfs.backup").write_bytes(b"something else\n")
    held = tree(own.held)
    assert office.call("run").code == ExitCode.BACKUP
    assert tree(own.held) == held
    assert [run.result for run in office.plan.runs] == [Result.FAILED] * 3


# -- init refuses, and leaves nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("ftp://nas/x",), ExitCode.USAGE, "clear text"),
        (("http://nas/x",), ExitCode.USAGE, "clear text"),
        (("{base}/elsewhere",), ExitCode.USAGE, "same disk"),
        (("{base}/practice.vault/backup",), ExitCode.USAGE, "in the volume itself"),
        (("{base}/nowhere/at/all",), ExitCode.USAGE, "same disk"),
        (("{place}", "--sheet", "{base}/s.pdf"), ExitCode.USAGE, "no key of its own"),
        (("{place}", "--engine", "restic"), ExitCode.USAGE, "recovery sheet"),
        (("{place}", "--engine", "restic", "--backup-slot"), ExitCode.USAGE, "--backup-slot goes with copy"),
        (("{place}", "--engine", "restic", "--sheet", "{place}/s.pdf"), ExitCode.USAGE, "medium of the backup"),
        (("{place}", "--engine", "restic", "--sheet", "{base}/recovery"), ExitCode.NOT_EMPTY, "exists already"),
        (("{place}", "--engine", "restic", "--sheet", "{base}/no/s.pdf"), ExitCode.USAGE, "nothing can be written"),
        (("{place}", "--label", "two\nlines"), ExitCode.USAGE, "label"),
        (("sftp:a@nas:x",), ExitCode.USAGE, "only restic goes over sftp"),
        (("sftp:a@nas:x", "--engine", "copy"), ExitCode.USAGE, "does not go over sftp"),
        (("sftp:a@nas:x", "--engine", "restic", "--label", "A"), ExitCode.USAGE, "carried away"),
        (("rclone:nas:x", "--engine", "restic"), ExitCode.USAGE, "rclone"),
    ],
)
def test_what_init_refuses(office: Office, words: tuple[str, ...], code: ExitCode, text: str) -> None:
    """Before anything is written: not at the target, in the register, or on this computer."""
    office.stick("a").plug()
    filled = [one.format(base=office.base, place=office.place) for one in words]
    before = tree(office.base)
    said = office.call("init", office.volume.path, *filled)
    assert (said.code, text in said.err) == (code, True), said
    after = {name: held for name, held in tree(office.base).items() if not name.startswith("host-state")}
    assert after == {name: held for name, held in before.items() if not name.startswith("host-state")}
    assert not list((office.base / "host-state").glob("backup-*/*"))
    assert plans.plans() == []


def test_a_place_with_other_files(office: Office) -> None:
    """Or of another backup: nothing is written among them."""
    office.stick("a").plug()
    (office.place / "holiday.jpg").write_bytes(b"x")
    said = office.call("init", office.volume.path, office.place)
    assert (said.code, tree(office.place)) == (ExitCode.NOT_EMPTY, {"holiday.jpg": b"x"})
    (office.place / "holiday.jpg").unlink()
    office.init("--label", "A")
    office.good("end", office.volume.path, "--why", "x", "--yes")
    held = tree(office.place)
    said = office.call("init", office.volume.path, office.place)
    assert (said.code, tree(office.place)) == (ExitCode.WRONG_MEDIUM, held)


def test_a_target_that_is_too_small(office: Office) -> None:
    """Is seen before, and both figures are told."""
    office.stick("a", "1m").plug()
    said = office.call("init", office.volume.path, office.place)
    assert said.code == ExitCode.BACKUP
    assert "the target is too small: the volume takes" in said.err
    assert tree(office.place) == {}


def test_an_init_that_fails_at_its_end_is_as_if_it_never_was(office: Office) -> None:
    """The target cannot be written to: the backup is ended in the register, and can be set up later."""
    stick = office.stick("a")
    stick.plug()
    stick.read_only(on=True)
    said = office.call("init", office.volume.path, office.place / "here", "--label", "A")
    assert said.code != 0
    assert plans.plans() == []
    assert [outcome for _, outcome in _told("backup.init")] == ["failed"]
    stick.read_only(on=False)
    assert tree(office.place) == {}
    office.good("init", office.volume.path, office.place / "here", "--label", "A")
    assert (office.place / "here/cloakfs.backup").is_file()


def test_an_init_that_a_power_cut_ended_is_gone_on_with(office: Office) -> None:
    """It is in the register, and the target has no marker yet: the same command writes it. Then it says so."""
    office.stick("a").plug()
    office.init("--label", "A")
    marker = (office.place / "cloakfs.backup").read_bytes()
    (office.place / "cloakfs.backup").unlink()
    assert office.call("run").code == ExitCode.WRONG_MEDIUM
    office.init("--label", "A")
    assert len((office.place / "cloakfs.backup").read_bytes()) == len(marker)
    said = office.call("init", office.volume.path, office.place, "--label", "A")
    assert (said.code, "set up already" in said.err) == (ExitCode.USAGE, True)
    said = office.call("init", office.volume.path, office.place, "--label", "B", "--guard", "30")
    assert (said.code, "only a medium can be added" in said.err) == (ExitCode.USAGE, True)
    assert office.plan.labels == ("A",)


# -- the guard ---------------------------------------------------------------------------------------------------------


def test_too_much_has_changed(office: Office) -> None:
    """20 of 30 files: 32, nothing is written to the target and nothing taken away, until somebody says so."""
    office.stick("a").plug()
    office.init("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0")
    office.good("run")
    first = office.last.id
    held = tree(office.place)
    office.write(20, "ransom")
    said = office.call("run")
    assert said.code == ExitCode.BACKUP_GUARD
    assert "nothing was written, and no older run is taken away" in said.err
    assert tree(office.place) == held
    run = office.last
    assert (run.result, run.changed, run.removed, run.before) == (Result.GUARD, 20, 0, 30)
    assert _told("backup.run")[-1] == ("backup.run", "refused")
    assert "ATTENTION: the backup of" in office.call("status").out

    assert office.call("run", "--accept-changes").code == ExitCode.USAGE
    assert office.call("run", "--yes").code == ExitCode.USAGE
    assert tree(office.place) == held
    office.good("run", "--accept-changes", "--yes")
    (listed,) = office.good("list", "--json").json["backups"]
    assert [one["run"] for one in listed["runs"]] == [first, office.last.id]
    office.write(1, "later")
    office.good("run")
    (listed,) = office.good("list", "--json").json["backups"]
    assert listed["runs"][0]["run"] == first


def test_fewer_than_twenty_files_may_all_change(office: Office, tmp_path: Path) -> None:
    """And new files are no change, however many."""
    office.stick("a").plug()
    office.init()
    office.good("run")
    office.write(19, "changed")
    office.write(200, start=100)
    office.good("run")
    assert office.last.changed == 19


def test_accepted_by_a_typed_yes(office: Office) -> None:
    """Anything else changes nothing; what had changed is told before."""
    office.stick("a").plug()
    office.init()
    office.good("run")
    office.write(20, "ransom")
    office.call("run")
    for answer, code in (("y", ExitCode.USAGE), ("yes", ExitCode.OK)):
        with PtySession("backup", "run", str(office.volume.path), "--accept-changes") as session:
            assert "of 30 files 20 are not as at the last run" in session.expect("Type yes")
            session.answer(": ", answer)
            assert session.end() == code
        assert (office.last.result is Result.DONE) is (code is ExitCode.OK)


# -- which backup is meant ---------------------------------------------------------------------------------------------


def test_one_that_fails_keeps_no_other_from_being_made(office: Office) -> None:
    """The exit status is that of the failure; each is written down."""
    office.stick("a").plug()
    office.good("init", office.volume.path, office.place / "one")
    office.good("init", office.volume.path, office.place / "two")
    shutil.rmtree(office.place / "one")
    said = office.call("run", "--json")
    assert said.code == ExitCode.BACKUP
    one, two = said.json["runs"]
    assert (one["result"], one["error"]["exit_code"], one["pruned"]) == ("failed", 31, None)
    assert (two["result"], two["error"]) == ("done", None)
    assert [plan.runs[-1].result for plan in plans.plans()] == [Result.FAILED, Result.DONE]
    said = office.call("verify", office.volume.path, "--run", "00" * 16)
    assert (said.code, "--run is a run of one backup" in said.err) == (ExitCode.USAGE, True)
    said = office.call("end", office.volume.path, "--why", "x", "--yes")
    assert (said.code, "several backups" in said.err) == (ExitCode.USAGE, True)
    office.good("run", office.volume.path, "--target", office.place / "two")
    said = office.call("run", office.volume.path, "--target", "/nowhere")
    assert (said.code, "no backup goes there" in said.err) == (ExitCode.USAGE, True)


def test_a_volume_that_is_somewhere_else(office: Office) -> None:
    """It is found where it was opened last; a stranger in its place is not taken for it; nothing there is an error."""
    office.stick("a").plug()
    office.init()
    office.good("run")
    moved = office.base / "moved.vault"
    office.volume.path.rename(moved)
    said = office.call("run")
    assert (said.code, "is not at" in said.err) == (ExitCode.BACKUP, True)
    assert office.last.result is Result.FAILED
    office.volume.path = moved
    assert office.call("status", office.volume.path).code == ExitCode.FINDINGS
    office.good("list", office.volume.path)
