"""Parts of the audit log by time and volume, its forms, and keys that are not its own (docs/audit.md)."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from encfs.audit.home import AUDITOR_KEY, home
from encfs.crypto import kem
from encfs.errors import ExitCode
from encfs.volume import Volume
from tests.cli.test_audit_command import recorded
from tests.support.audit_logs import years_here
from tests.support.command import PASSPHRASE, Made, run
from tests.support.evidence import record


def seqs(*options: str) -> list[int]:
    """Numbers of the tests' records in a part, as a script gets them."""
    return [each["seq"] for each in recorded(*options) if each["action"] == "test"]


@pytest.fixture
def months() -> list[dict[str, object]]:
    """A log with a record every thirty days for two years; all of them."""
    years_here(years=2)
    return [each for each in recorded() if each["action"] == "test"]


def local(seconds: float) -> datetime:
    """Here."""
    return datetime.fromtimestamp(seconds).astimezone()


def test_since_and_until(months: list[dict[str, object]]) -> None:
    """Days, times and how long ago, in the zone of this computer, both ends included; a day is all of that day."""
    times = {int(str(each["seq"])): float(str(each["time"])) for each in months}
    some = sorted(times)
    first, last = some[4], some[9]
    since, until = local(times[first]), local(times[last])
    assert seqs("--since", f"{since:%Y-%m-%d}", "--until", f"{until:%Y-%m-%d}") == some[4:10]
    assert seqs("--since", f"{since + timedelta(days=1):%Y-%m-%d}", "--until", f"{until:%Y-%m-%d}") == some[5:10]
    assert seqs("--until", f"{until - timedelta(days=1):%Y-%m-%d}") == some[:9]
    assert seqs("--since", f"{since:%Y-%m-%dT%H:%M}")[0] == first
    assert seqs("--since", f"{since + timedelta(minutes=1):%Y-%m-%d %H:%M}")[0] == some[5]
    assert seqs("--until", f"{until:%Y-%m-%dT%H:%M}")[-1] == last
    days = int((time.time() - times[last]) // 86400)
    assert seqs("--since", f"{days + 1}d")[0] == last
    assert seqs("--until", f"{days + 1}d")[-1] == some[8]
    assert seqs("--since", "2y")[-1] == some[-1]
    assert seqs("--since", f"{local(time.time() + 86400):%Y-%m-%d}") == []


@pytest.mark.parametrize(
    "wrong", [("--since", "yesterday"), ("--until", "2026-13-01"), ("--since", "2026-02-02", "--until", "2026-02-01")]
)
def test_what_is_no_time(months: list[dict[str, object]], wrong: tuple[str, ...]) -> None:
    """A usage error that says how times are given, from each command that takes them; nothing is recorded."""
    for command in ("show", "export", "review"):
        refused = run("audit", command, *wrong)
        assert (refused.code, refused.out) == (ExitCode.USAGE, "")
        assert "2026-11-01T08:00" in refused.err
    # The clock of the months before this was another one.
    assert {each["action"] for each in recorded()} - {"clock.sync", "clock.step"} == {"test", "log.read"}
    assert months


def test_the_log_is_verified_as_a_whole(months: list[dict[str, object]], host_memory: Path) -> None:
    """Also where only the last days are shown: a change of two years ago is told."""
    assert months
    segment = host_memory / "audit" / "log-00000001"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shown = run("audit", "show", "--since", "10d")
    assert (shown.code, "something in the log is wrong" in shown.err) == (0, True)


def own(records: list[dict[str, Any]]) -> list[str]:
    """What commands record of volumes; registers and notices have records of their own."""
    return [each["action"] for each in records if each["action"].startswith("volume.")]


def test_by_volume(volume: Made, tmp_path: Path) -> None:
    """Its directory, its id, and none of another volume; what is no volume is refused."""
    other = tmp_path / "other"
    Volume.create(os.fsencode(other), secret=PASSPHRASE.encode(), recovery_key=os.urandom(32))
    assert run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file).code == 0
    run("verify", other, "--recovery-file", volume.recovery_file)
    mine = recorded("--volume", str(volume.path))
    assert own(mine) == ["volume.unlock", "volume.cat"]
    (name,) = {each["volume_id"] for each in mine}
    assert recorded("--volume", name) == mine
    theirs = recorded("--volume", str(other))
    assert own(theirs) == ["volume.unlock", "volume.verify"]
    assert {each["volume_id"] for each in theirs}.isdisjoint({name, None})
    lines = run("audit", "export", "--volume", name, "--since", "1h").out.splitlines()
    assert [json.loads(line) for line in lines] == mine
    assert run("audit", "show", "--volume", tmp_path).code == ExitCode.NOT_A_VOLUME
    assert recorded("--volume", "00" * 16) == []


def test_cef(volume: Made) -> None:
    """One event a line; a label cannot end a line or begin a field."""
    fast = ("--recovery-file", str(volume.recovery_file))
    run("key", "rename", volume.path, "passphrase", "An|na = \\ x", *fast)
    run("key", "rename", volume.path, "An|na = \\ x", "passphrase", *fast)
    exported = run("audit", "export", "--format", "cef")
    assert exported.code == 0
    lines = exported.out.splitlines()
    assert all(line.startswith("CEF:0|cloakfs|cloakfs|") for line in lines)
    _, done = [line for line in lines if "|key.rename done|3|rt=" in line]
    assert r"An|na \= \\\\ x" in done
    exports = [each for each in recorded() if each["action"] == "log.export"]
    assert exports[0]["detail"] == {"records": len(lines), "form": "cef"}


def test_the_key_of_another_practice(volume: Made, tmp_path: Path) -> None:
    """A clear word and exit status 10, from each command; it is not said that the log was edited."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    own, foreign = tmp_path / "own.key", tmp_path / "foreign.key"
    foreign.write_bytes(AUDITOR_KEY.encode(kem.generate()[0]))
    foreign.chmod(0o600)
    assert run("audit", "key", "--out", own).code == 0
    for command in ("show", "verify", "export", "review"):
        refused = run("audit", command, "--auditor-key", foreign)
        assert (refused.code, refused.out) == (ExitCode.WRONG_SECRET, "")
        assert "not the one of the audit log on this computer" in refused.err
        assert "another practice" in refused.err
        assert "edited" not in refused.err.lower()
    assert (
        run("audit", "verify", "--json", "--auditor-key", foreign).json["error"]["exit_code"] == ExitCode.WRONG_SECRET
    )
    assert run("audit", "verify").code == 0
    assert run("audit", "verify", "--auditor-key", own).code == 0
    record("audit", "an auditor key of another practice: told as such", cases=5)


def test_a_wrong_key_is_told_from_a_log_that_was_exchanged(volume: Made, host_memory: Path, tmp_path: Path) -> None:
    """The right key with a log for another auditor is a finding, not a wrong key."""
    run("cat", volume.path, "empty", "--recovery-file", volume.recovery_file)
    own = tmp_path / "own.key"
    assert run("audit", "key", "--out", own).code == 0
    segment = host_memory / "audit" / "log-00000001"
    whole = segment.read_bytes()
    # The public key of the auditor in the head.
    segment.write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    found = run("audit", "verify", "--json", "--auditor-key", own)
    assert found.code == ExitCode.FINDINGS
    assert found.json["problems"]
    with home() as here:
        assert here.auditor_key() is None
