"""``cloakfs policy``, the traffic light of ``cloakfs status``, and what a policy forbids to ``cloakfs key``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
import pytest

from encfs.cli import calibration
from encfs.cli.cmd_policy import command
from encfs.core.sources import KnownSecret
from encfs.errors import ExitCode
from encfs.format.policy import Policy
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.keys import Keys
from tests.support.command import CHEAP, PASSPHRASE, Made, run
from tests.support.mounting import MountedVolume
from tests.support.pty_session import PtySession
from tests.support.volumes import RECOVERY_KEY

NEW = "seven other words that nobody guesses"


def set_rules(path: Path, policy: Policy, key: bytes = RECOVERY_KEY) -> None:
    """Without a process and without Argon2id."""
    with Keys(os.fsencode(path), KnownSecret.of(SlotKind.RECOVERY, key)) as keys:
        keys.set_policy(policy)


@pytest.fixture
def office(tmp_path: Path, secret_file: Path) -> Made:
    """A volume that was made in the year 2020."""
    recovery_file = tmp_path / "recovery"
    recovery_file.write_text(encode_recovery_key(RECOVERY_KEY))
    recovery_file.chmod(0o600)
    made = Made(tmp_path / "volume", secret_file, recovery_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1_600_000_000.0)
        Volume.create(os.fsencode(made.path), secret=PASSPHRASE.encode(), recovery_key=RECOVERY_KEY)
    return made


def fast(office: Made) -> tuple[str, str]:
    """What unlocks it without Argon2id."""
    return ("--recovery-file", str(office.recovery_file))


def light(path: Path, *secret: str) -> tuple[int, Any]:
    """Exit code of status, and its object for the policy."""
    result = run("status", "--quick", "--json", path, *secret)
    return result.code, result.json["volumes"][0]["policy"]


def test_without_a_policy_nothing_changes(office: Made) -> None:
    """Scripts that look at the exit code of status see what they saw: 0, however old the volume is."""
    assert light(office.path) == (0, None)
    shown = run("policy", office.path)
    assert (shown.code, "no rule is set" in shown.out, "nothing vouches" in shown.out) == (0, True, True)
    assert run("policy", office.path, "--json").json == {
        "volume": str(office.path),
        "policy": {"rules": {}, "light": "green", "next_due": None, "vouched": False, "checks": []},
    }


def test_set_shown_and_taken_away(office: Made) -> None:
    """What is recommended, with one rule of our own; the others stay when one is changed; "none" takes away."""
    made = run("policy", office.path, "--recommended", "--idle", "2h", *fast(office), "--json").json["policy"]
    assert made["rules"] == {
        "epoch_days": 730,
        "slot_days": 730,
        "kdf_memory_kib": 65536,
        "kdf_passes": 3,
        "passphrase_characters": 15,
        "passphrase_score": 3,
        "idle_seconds": 7200,
        "recovery_slots": 1,
    }
    assert made["vouched"]
    changed = ("--idle", "none", "--epoch-days", "none", "--kdf-memory", "1G", "--slot-days", "36500")
    rules = run("policy", office.path, *changed, *fast(office), "--json").json["policy"]["rules"]
    assert rules == {
        "slot_days": 36500,
        "kdf_memory_kib": 1 << 20,
        "kdf_passes": 3,
        "passphrase_characters": 15,
        "passphrase_score": 3,
        "recovery_slots": 1,
    }
    shown = run("policy", office.path, *fast(office)).out
    for words in ("each made anew after 36,500 days", "Argon2id with 1 GiB and 3 passes, or more", "1 or more"):
        assert words in shown
    assert "nothing vouches" not in shown


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--slot-days", "0"),
        ("--slot-days", "90d"),
        ("--epoch-days", "36501"),
        ("--idle", "59s"),
        ("--idle", "15"),
        ("--kdf-memory", "63M"),
        ("--kdf-passes", "65"),
        ("--passphrase-score", "5"),
        ("--passphrase-characters", "-1"),
        ("--recovery-keys", "some"),
    ],
)
def test_numbers_out_of_range(option: str, value: str) -> None:
    """Each is refused with its option, before a volume is looked at."""
    with pytest.raises(click.BadParameter):
        command.make_context("policy", ["/nowhere", option, value])


def test_bad_calls_change_nothing(office: Made) -> None:
    """No secret, a wrong one: each is told, and the config stays as it is."""
    before = (office.path / "cloakfs.volume").read_bytes()
    wrong = office.passphrase_file.with_name("wrong")
    wrong.write_text("wrong\n")
    wrong.chmod(0o600)
    assert run("policy", office.path, "--slot-days", "0", "--json").code == ExitCode.USAGE
    assert run("policy", office.path, "--recommended").code == ExitCode.USAGE
    assert run("policy", office.path, "--recommended", "--passphrase-file", wrong).code == ExitCode.WRONG_SECRET
    assert (office.path / "cloakfs.volume").read_bytes() == before


def test_the_traffic_light(office: Made) -> None:
    """Exit 0, 1, 2; the next date; what is wrong, in words with the command that helps; who vouches for it."""
    set_rules(office.path, Policy(slot_days=36_500, recovery_slots=1))
    code, policy = light(office.path)
    assert (code, policy["light"], policy["vouched"]) == (0, "green", False)
    assert policy["next_due"] == 1_600_000_000 + 36_500 * 86_400
    assert light(office.path, *fast(office))[1]["vouched"]

    set_rules(office.path, Policy(slot_days=36_500, others=(("a_rule_to_come", 1),)))
    code, policy = light(office.path)
    assert (code, policy["light"]) == (1, "amber")
    assert "this version cannot tell" in run("status", "--quick", office.path).out

    set_rules(office.path, Policy(epoch_days=365, kdf_passes=4, recovery_slots=2))
    code, policy = light(office.path)
    assert (code, policy["light"]) == (2, "red")
    assert [(check["rule"], check["reason"], check["light"]) for check in policy["checks"]] == [
        ("epoch_days", "overdue", "red"),
        ("kdf", "below-floor", "red"),
        ("recovery_slots", "missing", "red"),
    ]
    result = run("status", "--quick", office.path)
    assert result.code == 2
    for words in ("RED. Due since 2021-09-1", "key rotate", "key change", "--kind recovery", "nothing vouches"):
        assert words in result.out
    assert result.err == ""


def test_the_worst_of_several_counts(office: Made, tmp_path: Path) -> None:
    """And a failure keeps its own exit code."""
    other = tmp_path / "other"
    Volume.create(os.fsencode(other), secret=b"x")
    set_rules(office.path, Policy(epoch_days=1))
    assert run("status", "--quick", other, office.path).code == 2
    assert run("status", "--quick", office.path, tmp_path).code == ExitCode.NOT_A_VOLUME


def test_new_passphrases_keep_to_it(office: Made, tmp_path: Path) -> None:
    """Length, score and cost; --allow-weak does not go below; nothing is changed by what is refused."""
    set_rules(office.path, Policy(passphrase_characters=30, passphrase_score=4, kdf_passes=4))
    before = (office.path / "cloakfs.volume").read_bytes()
    new = tmp_path / "new"
    add = ("key", "add", office.path, *fast(office), "--label", "Anna", "--new-passphrase-file", new)
    for text, options, code, words in (
        ("correct horse battery", ("--allow-weak",), ExitCode.WEAK_PASSPHRASE, "30 characters (this has 21)"),
        ("a" * 40, ("--allow-weak",), ExitCode.WEAK_PASSPHRASE, "a zxcvbn score of 4"),
        (NEW, CHEAP, ExitCode.POLICY, "4 or more"),
    ):
        new.write_text(text + "\n")
        new.chmod(0o600)
        result = run(*add, *options)
        assert (result.code, words in result.err) == (code, True), result.err
    change = ("key", "change", office.path, "passphrase", *fast(office), "--new-passphrase-file", new)
    assert run(*change, *CHEAP).code == ExitCode.POLICY
    assert (office.path / "cloakfs.volume").read_bytes() == before
    assert run(*add, "--kdf-memory", "64M", "--kdf-passes", "4", "--json").json["slot"]["kdf"]["passes"] == 4


def test_the_measured_cost_is_not_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not fixed is chosen to fit, also on a machine that is much too slow for it."""
    monkeypatch.setattr(calibration, "_measure", lambda memory_kib, passes, lanes: float(memory_kib * passes * lanes))
    for fixed in ({}, {"memory_kib": 300_000}, {"passes": 7}):
        kdf = calibration.calibrate(**fixed, policy=Policy(kdf_memory_kib=262_144, kdf_passes=5)).kdf
        assert (kdf.memory_kib, kdf.passes) == (fixed.get("memory_kib", 262_144), fixed.get("passes", 5))


def test_the_last_recovery_key_stays(office: Made) -> None:
    """Refused before anything is asked; allowed when the rule is gone."""
    set_rules(office.path, Policy(recovery_slots=1))
    remove = ("key", "remove", str(office.path), "recovery key", *fast(office))
    result = run(*remove)
    assert (result.code, "wants a recovery key" in result.err) == (ExitCode.POLICY, True)
    set_rules(office.path, Policy())
    assert run(*remove, "--yes").code == 0


def test_set_by_hand_and_kept_to(office: Made) -> None:
    """The passphrase is asked for; a new passphrase that is too weak for the policy is told, and asked for again."""
    with PtySession("policy", str(office.path), "--passphrase-characters", "30") as session:
        session.answer("Passphrase of", PASSPHRASE)
        session.expect("30 characters, or more")
        session.expect("GREEN")
        assert session.end() == 0
    assert PASSPHRASE not in session.text
    with PtySession("key", "add", str(office.path), "--label", "Anna", "--allow-weak", *CHEAP) as session:
        session.answer("Passphrase of", PASSPHRASE)
        session.answer("New passphrase: ", "correct horse battery staple")
        session.expect("30 characters (this has 28)")
        session.answer("New passphrase: ", NEW)
        session.answer("The same again: ", NEW)
        session.expect("The slot Anna is added")
        assert session.end() == 0


def test_given_up_at_the_prompt(office: Made) -> None:
    """Ctrl-C changes nothing."""
    before = (office.path / "cloakfs.volume").read_bytes()
    with PtySession("policy", str(office.path), "--recommended") as session:
        session.expect("Passphrase of")
        session.send("\x03")
        assert session.end() == ExitCode.INTERRUPTED
    assert (office.path / "cloakfs.volume").read_bytes() == before


def test_of_a_mounted_volume(mounted: MountedVolume) -> None:
    """Set while it is in use; the daemon vouches for the config that it opened, and for no other."""
    assert run("policy", mounted.path, "--json").json["policy"]["vouched"]
    set_it = ("--slot-days", "400", "--passphrase-file", mounted.secret_file)
    assert run("policy", mounted.path, *set_it).code == 0
    status = run("status", "--quick", mounted.path)
    assert (status.code, "the config was changed since the mount" in status.out) == (0, True)
    assert (mounted.path / "a.txt").read_text() == "Dear colleague\n"


@pytest.mark.parametrize(("asked", "seconds"), [((), 3600), (("--idle", "2h"), 3600), (("--idle", "15m"), 900)])
def test_a_mount_is_idle_no_longer_than_the_policy_says(
    mounted: MountedVolume, asked: tuple[str, ...], seconds: int
) -> None:
    """FORMAT.md section 3, ``idle_seconds``: without being asked, and whatever longer time is asked for."""
    secret = ("--passphrase-file", mounted.secret_file)
    assert run("policy", mounted.path, "--idle", "1h", *secret).code == 0
    assert run("lock", mounted.path).code == 0
    status = run("mount", mounted.lower, mounted.path, *asked, *secret, "--log", mounted.log, "--json").json["mount"]
    assert status["idle"]["seconds"] == seconds
