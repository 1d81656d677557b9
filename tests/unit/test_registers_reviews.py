"""When the audit log has to be reviewed, and what is kept of a review (FORMAT.md section 17, docs/audit.md)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from encfs.audit.home import directory, home
from encfs.audit.reading import read_log
from encfs.checks import Light
from encfs.core.audit_verify import LogVerifier
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import RegisterError
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import AuditBody, Outcome
from encfs.registers import reviews
from encfs.registers.reviews import EVERY_DAYS, Counts, Review, covered, due

DAY = 86_400
LOG = {"id": "00" * 16, "seq": 3, "head": "11" * 32}


def review(since: int, until: int) -> Review:
    """One of a time."""
    summary = {"since": since, "until": until}
    return Review(0, until, 0, "Dr. Weber", (), LOG, summary, "")


def add(since: float, until: float) -> Review:
    """One more in the register of this user."""
    return reviews.add(reviews.content("Dr. Weber", [], LOG, {"since": int(since), "until": int(until)}))


def test_due_a_quarter_after_what_was_reviewed_without_a_break() -> None:
    """A time that nobody looked at holds it back, whatever was reviewed behind it."""
    assert EVERY_DAYS == 92
    assert due([], 1000) == 1000 + 92 * DAY
    assert covered([review(900, 2000), review(2000, 3000)], 1000) == 3000
    assert covered([review(2000, 3000), review(900, 2000)], 1000) == 3000
    assert covered([review(900, 2000), review(2001, 3000)], 1000) == 2000
    assert covered([review(1001, 3000)], 1000) == 1000
    # What was pruned needs no review any more.
    assert covered([review(900, 2000), review(2500, 3000)], 2600) == 3000


def test_overdue_shows_in_doctor() -> None:
    """Nothing where there is no log; then green, amber after a quarter, green again after a review."""
    assert reviews.checks() == []
    with home() as here:
        here.log()
    (young,) = reviews.checks()
    assert (young.code, young.light) == ("audit-review", Light.GREEN)
    now = time.time() + 93 * DAY
    (late,) = reviews.checks(now)
    assert (late.light, late.remedy) == (Light.AMBER, "cloakfs audit review")
    assert "never" in late.found
    add(0, now)
    assert reviews.checks(now)[0].light is Light.GREEN
    (later,) = reviews.checks(now + 93 * DAY)
    assert (later.light, "quarter" in later.found) == (Light.AMBER, True)


def test_a_damaged_register_is_red() -> None:
    """It is told, with what to do; reading it raises."""
    with home() as here:
        here.log()
    add(0, 10)
    path = directory().parent / "registers" / "reviews"
    path.write_bytes(path.read_bytes().replace(b"Weber", b"Faber"))
    (check,) = reviews.checks()
    assert (check.light, "registers/reviews" in check.remedy) == (Light.RED, True)
    with pytest.raises(RegisterError):
        reviews.reviews()


def test_what_is_counted(host_memory: Path) -> None:
    """By action and outcome; refused unlocks and damaged data apart; and what verifying has found."""
    some = [("volume.unlock", Outcome.DONE), ("volume.unlock", Outcome.REFUSED), ("volume.unlock", Outcome.REFUSED)]
    some += [("volume.integrity", Outcome.FAILED), ("key.add", Outcome.BEGUN), ("key.add", Outcome.DONE)]
    with home() as here:
        log = here.log()
        for action, outcome in some:
            log.record(NO_VOLUME, AuditBody(action=action, outcome=outcome, uid=0))
        verifier, counts = LogVerifier(CLOAKFS_1, here.auditor_key()), Counts()
        for taken in read_log(here, verifier):
            counts.add(taken)
    assert host_memory == directory().parent
    found = counts.summary(verifier, since_ms=1999, until_ms=5000, steps=2)
    assert found == {
        "since": 1,
        "until": 5,
        "records": 6,
        "actions": {
            "key.add": {"begun": 1, "done": 1},
            "volume.integrity": {"failed": 1},
            "volume.unlock": {"done": 1, "refused": 2},
        },
        "refused_unlocks": 2,
        "integrity_failures": 1,
        "gaps": 0,
        "clock_steps": 2,
        "problems": {},
        "frames": 7,
        "anchored": None,
        "pruned": [],
    }
    made = reviews.add(reviews.content("Dr. Weber", ["two wrong passphrases: Anna"], LOG, found))
    assert reviews.reviews() == [made]
    assert (made.reviewer, made.findings, made.summary) == ("Dr. Weber", ("two wrong passphrases: Anna",), found)
