"""``cloakfs audit review`` (docs/audit.md; 45 CFR 164.308(a)(1)(ii)(D))."""

from __future__ import annotations

import json
import time
from pathlib import Path

from encfs.core.documents import open_document
from encfs.errors import ExitCode
from tests.cli.test_audit_command import recorded
from tests.support.audit_logs import years_here
from tests.support.command import Made, run
from tests.support.pty_session import PtySession

SOMEBODY = ("--reviewer", "Dr. Weber")


def light() -> tuple[str, str]:
    """What doctor says of it."""
    checks = {check["code"]: check for check in run("doctor", "--json").json["checks"]}
    return checks["audit-review"]["light"], checks["audit-review"]["remedy"]


def test_a_review_in_a_script(volume: Made, tmp_path: Path) -> None:
    """What happened is counted, what was found is kept and signed, once in the register and once in a file."""
    fast, wrong = ("--recovery-file", str(volume.recovery_file)), tmp_path / "wrong"
    wrong.write_text("no such words at all here")
    wrong.chmod(0o600)
    run("cat", volume.path, "letters/a.txt", *fast)
    run("verify", volume.path, "--passphrase-file", wrong)
    out = tmp_path / "review.json"
    made = run(
        "audit", "review", *SOMEBODY, "--finding", "one wrong passphrase", "--finding", "b", "--out", out, "--json"
    )
    assert made.code == 0
    assert made.json["summary"]["actions"]["volume.unlock"] == {"done": 1, "refused": 1}
    assert (made.json["summary"]["refused_unlocks"], made.json["summary"]["problems"]) == (1, {})
    assert (made.json["reviewer"], made.json["findings"]) == ("Dr. Weber", ["one wrong passphrase", "b"])
    document = open_document(out.read_bytes(), "review")
    checked = run("evidence", "--check", out)
    assert (checked.code, "Dr. Weber" in checked.out, "one wrong passphrase" in checked.out) == (0, True, True)
    assert document.body == {name: made.json[name] for name in ("reviewer", "findings", "log", "summary")}
    assert out.stat().st_mode & 0o777 == 0o600
    assert "letters" not in out.read_text()
    actions = [(each["action"], each["object"]) for each in recorded()]
    assert ("register.reviews", "review") in actions
    (told,) = [each for each in recorded() if each["action"] == "log.review"]
    assert told["detail"] == {"review": 0, "records": made.json["summary"]["records"], "findings": 2}
    assert run("audit", "verify").code == 0
    again = run("audit", "review", *SOMEBODY, "--no-findings", "--out", out)
    assert again.code == ExitCode.NOT_EMPTY
    second = run("audit", "review", *SOMEBODY, "--no-findings", "--json").json
    assert second["summary"]["since"] == made.json["summary"]["until"]
    listed = run("audit", "review", "--list", "--json").json
    assert [each["findings"] for each in listed["reviews"]] == [["one wrong passphrase", "b"], []]
    assert not listed["overdue"]
    text = run("audit", "review", "--list").out
    assert "one wrong passphrase" in text
    assert "no findings" in text


def test_a_review_on_a_terminal(volume: Made) -> None:
    """The counts are shown, a name and findings are asked for, and nothing is kept without a yes."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    for consent, status in (("no", ExitCode.INTERRUPTED), ("yes", 0)):
        with PtySession("audit", "review") as session:
            session.expect("volume.cat")
            session.expect("nothing in it is wrong")
            session.answer("Who reviews this? ", "Anna")
            session.answer("that is all) ", "all as expected")
            session.answer("that is all) ", "")
            session.answer('with 1 finding? Type "yes": ', consent)
            assert session.end() == status
    (kept,) = run("audit", "review", "--list", "--json").json["reviews"]
    assert (kept["reviewer"], kept["findings"]) == ("Anna", ["all as expected"])


def test_what_makes_no_review(volume: Made, host_memory: Path, tmp_path: Path) -> None:
    """No name, no opinion, two opinions; no opinion of a log in which something is wrong; no key to read it."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    for options in (
        (),
        SOMEBODY,
        ("--no-findings",),
        (*SOMEBODY, "--finding", " "),
        ("--reviewer", " ", "--no-findings"),
    ):
        assert run("audit", "review", *options).code == ExitCode.USAGE
    assert run("audit", "review", *SOMEBODY, "--no-findings", "--finding", "x").code == ExitCode.USAGE
    assert run("audit", "key", "--out", tmp_path / "key").code == 0
    sealed = run("audit", "review", *SOMEBODY, "--no-findings")
    assert (sealed.code, "--auditor-key" in sealed.err) == (ExitCode.USAGE, True)
    segment = host_memory / "audit" / "log-00000001"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    with_key = (*SOMEBODY, "--auditor-key", str(tmp_path / "key"))
    wrong = run("audit", "review", *with_key, "--no-findings")
    assert (wrong.code, "made of that" in wrong.err) == (ExitCode.USAGE, True)
    assert run("audit", "review", "--list", "--json").json["reviews"] == []
    told = run("audit", "review", *with_key, "--finding", "record 3 was changed; the police know", "--json")
    assert told.code == 0
    assert told.json["summary"]["problems"] == {"edited": 1}


def test_overdue_until_it_was_reviewed() -> None:
    """A year nobody looked: amber in doctor; half of it reviewed changes nothing; all of it does."""
    years_here(years=1)
    assert light() == ("amber", "cloakfs audit review")
    assert "It is overdue." in run("audit", "review", "--list").out
    half = run("audit", "review", *SOMEBODY, "--no-findings", "--since", "100d", "--json").json
    assert half["summary"]["records"] > 0
    assert light()[0] == "amber"
    full = run("audit", "review", *SOMEBODY, "--no-findings", "--json").json
    assert full["summary"]["records"] > half["summary"]["records"]
    assert light() == ("green", "")


def test_the_future_is_not_reviewed() -> None:
    """An end that lies ahead is now."""
    years_here(years=0.2)
    made = run("audit", "review", *SOMEBODY, "--no-findings", "--until", "2999-01-01", "--json").json
    assert made["summary"]["until"] <= time.time()


def test_anchors_are_held_against_the_log(volume: Made, elsewhere: Path) -> None:
    """A right one is part of the review; one that is of no log here wants a finding."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    anchors = elsewhere / "anchors"
    assert run("audit", "anchor", anchors).code == 0
    good = run("audit", "review", *SOMEBODY, "--no-findings", "--anchors", anchors, "--json").json["summary"]
    assert (good["problems"], good["anchored"] is not None) == ({}, True)
    line = json.loads(anchors.read_text())
    anchors.write_text(json.dumps({**line, "log": "00" * 16}) + "\n")
    refused = run("audit", "review", *SOMEBODY, "--no-findings", "--anchors", anchors)
    assert (refused.code, "anchor-foreign" in refused.out) == (ExitCode.USAGE, True)
