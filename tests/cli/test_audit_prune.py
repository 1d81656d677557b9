"""``cloakfs audit prune`` (docs/audit.md, FORMAT.md section 16, "Pruning")."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from tests.cli.test_audit_command import recorded
from tests.support.audit_logs import years_here
from tests.support.command import run
from tests.support.pty_session import PtySession


@pytest.fixture
def log(host_memory: Path) -> Path:
    """The directory of a log of seven years."""
    years_here()
    return host_memory / "audit"


def there(log: Path) -> dict[str, bytes]:
    """Segments and their bytes."""
    return {path.name: path.read_bytes() for path in sorted(log.glob("log-*"))}


def test_what_is_old_goes_and_verify_tells_of_it(log: Path) -> None:
    """With --yes, for scripts: what went, with its SHA-256; verify and show go on, the rest is where it was."""
    # Six years are counted from the last record.
    recorded()
    before = there(log)
    done = run("audit", "prune", "--yes", "--json")
    assert done.code == 0
    removed = done.json["removed"]
    assert [f"log-{each['segment']:08}" for each in removed] == sorted(set(before) - set(there(log))) != []
    assert {name: data for name, data in there(log).items() if name in list(before)[:-1]} == {
        name: before[name] for name in list(before)[len(removed) : -1]
    }
    assert done.json["keep_days"] == 2196
    report = run("audit", "verify", "--json")
    assert report.code == 0
    assert report.json["pruned"] == [[0, removed[-1]["last"]]]
    (stone,) = report.json["tombstones"]
    assert (stone["first"], stone["last"], stone["uid"]) == (0, removed[-1]["last"], os.getuid())
    assert [each["sha256"] for each in stone["segments"]] == [each["sha256"] for each in removed]
    text = run("audit", "verify").out
    assert f"0 to {removed[-1]['last']}, on " in text
    assert "Nothing is wrong." in text
    (told,) = [each for each in recorded() if each["action"] == "log.prune"]
    assert told["detail"] == {"keep_days": 2196, "last": removed[-1]["last"], "segments": len(removed)}
    again = run("audit", "prune", "--yes", "--json").json
    assert (again["removed"], again["finished"]) == ([], [])
    assert again["next"] is not None


def test_it_asks_first(log: Path) -> None:
    """What would go is shown; without a terminal it is refused, and only "yes" is a yes."""
    before = there(log)
    refused = run("audit", "prune")
    assert refused.code == ExitCode.USAGE
    assert "log-00000001" in refused.out
    with PtySession("audit", "prune") as session:
        session.expect("log-00000001")
        session.answer('Type "yes": ', "y")
        assert session.end() == ExitCode.INTERRUPTED
    assert there(log) == before
    with PtySession("audit", "prune") as session:
        session.answer('Type "yes": ', "yes")
        session.expect("Removed.")
        assert session.end() == 0
    assert "log-00000001" not in there(log)


@pytest.mark.parametrize("keep", ["5y", "2195d", "1d", "60s"])
def test_less_than_six_years_is_refused(log: Path, keep: str) -> None:
    """With the reason; nothing goes, and no option allows it."""
    before = there(log)
    refused = run("audit", "prune", "--yes", "--keep", keep)
    assert refused.code == ExitCode.USAGE
    assert "45 CFR 164.316(b)(2)" in refused.err
    assert there(log) == before
    assert run("audit", "prune", "--yes", "--keep", "8y").code == 0
    assert there(log) == before


def test_what_cannot_be_removed_is_left_for_another_go(log: Path, tmp_path: Path) -> None:
    """A segment that came back from a backup: verify says what to do, and that does it."""
    shutil.copytree(log, tmp_path / "backup")
    assert run("audit", "prune", "--yes").code == 0
    shutil.copy(tmp_path / "backup" / "log-00000002", log / "log-00000002")
    found = run("audit", "verify")
    assert found.code == ExitCode.FINDINGS
    assert "cloakfs audit prune" in found.out
    assert run("audit", "prune", "--yes", "--json").json["finished"] == [2]
    assert run("audit", "verify").code == 0
    (log / "log-00000002").write_bytes((tmp_path / "backup" / "log-00000003").read_bytes())
    assert run("audit", "verify").code == ExitCode.FINDINGS
    refused = run("audit", "prune", "--yes")
    assert (log / "log-00000002").exists()
    assert refused.code in {0, ExitCode.AUDIT}


def test_before_anything_was_done() -> None:
    """There is no log."""
    assert run("audit", "prune").code == ExitCode.AUDIT
