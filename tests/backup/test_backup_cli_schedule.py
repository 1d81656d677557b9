"""``cloakfs backup schedule``: units that systemd understands, in the right place; nothing where it does not work."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from encfs.backup import schedule, standing
from encfs.backup.standing import SCHEDULED
from encfs.errors import ExitCode, UsageError
from tests.cli.test_audit_command import recorded
from tests.support.backup_office import Office

VOLUME_ID = "0123456789abcdef" * 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where units go, and a systemctl that writes down what it is told, and fails if a file says so."""
    programs, units = tmp_path / "programs", tmp_path / "units"
    programs.mkdir()
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ ! -e {tmp_path}/fails ] || exit 1\n')
    systemctl.chmod(0o755)
    (programs / "cloakfs").write_text("#!/bin/sh\n")
    (programs / "cloakfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("CLOAKFS_SYSTEMD_DIRECTORY", str(units))
    return units


def _set_up(office: Office) -> None:
    office.stick("a").plug()
    office.good("init", office.volume.path, office.place / "one")


def _settings(path: Path) -> list[tuple[str, str]]:
    return [
        (key, value)
        for line in path.read_text().splitlines()
        if not line.startswith(("#", "[")) and line
        for key, _, value in [line.partition("=")]
    ]


def test_it_runs_each_day_and_makes_up_for_what_was_missed(office: Office, folder: Path, tmp_path: Path) -> None:
    """Both units are written, and the timer is on; backups of the volume are overdue after 26 hours then."""
    _set_up(office)
    office.good("init", office.volume.path, office.place / "two")
    said = office.good("schedule", office.volume.path, "--at", "2:05")
    assert said.out.startswith("Each day at 02:05.")
    service, timer = schedule.names(office.volume_id)
    assert sorted(os.listdir(folder)) == [service, timer]
    assert ("OnCalendar", "*-*-* 02:05:00") in _settings(folder / timer)
    assert ("Persistent", "true") in _settings(folder / timer)
    assert ("WantedBy", "timers.target") in _settings(folder / timer)
    (command,) = [value for key, value in _settings(folder / service) if key == "ExecStart"]
    assert shlex.split(command)[1:] == ["backup", "run", str(office.volume.path)]
    assert (tmp_path / "told").read_text() == f"daemon-reload\nenable --now {timer}\n"
    for plan in office.plans:
        assert plan.schedule == "02:05"
        assert standing.standing(plan, plan.since).due == plan.since + SCHEDULED
    told = [one["detail"]["at"] for one in recorded() if one["action"] == "backup.schedule"]
    assert told == ["02:05", "02:05"]


def test_a_backup_that_comes_later_is_made_by_the_same_timer(office: Office, folder: Path) -> None:
    """So it has the same schedule."""
    _set_up(office)
    office.good("schedule", office.volume.path, "--at", "23:00")
    office.good("init", office.volume.path, office.place / "two")
    assert [plan.schedule for plan in office.plans] == ["23:00", "23:00"]
    assert folder.is_dir()


def test_off(office: Office, folder: Path, tmp_path: Path) -> None:
    """The timer is stopped, the units are gone; twice does no harm. The end of the last backup does the same."""
    _set_up(office)
    for end in (("schedule", "--off"), ("end", "--why", "x", "--yes")):
        office.good("schedule", office.volume.path, "--at", "02:05")
        (tmp_path / "told").unlink()
        office.good(end[0], office.volume.path, *end[1:])
        assert os.listdir(folder) == []
        _, timer = schedule.names(office.volume_id)
        assert (tmp_path / "told").read_text() == f"disable --now {timer}\ndaemon-reload\n"
        if end[0] == "schedule":
            assert office.plan.schedule == ""
            assert office.good("schedule", office.volume.path, "--off").out.startswith("There was no timer.")


def test_where_systemd_does_not_do_it(office: Office, folder: Path, tmp_path: Path) -> None:
    """Nothing is written down, so that nothing waits for a timer that is not there."""
    _set_up(office)
    (tmp_path / "fails").touch()
    said = office.call("schedule", office.volume.path, "--at", "02:05")
    assert (said.code, "systemctl daemon-reload failed" in said.err) == (ExitCode.FAILURE, True)
    assert office.plan.schedule == ""
    assert folder.is_dir()


def test_without_systemd(office: Office, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear error with what to do; --print shows both units, and writes nothing."""
    _set_up(office)
    (folder.parent / "programs/systemctl").unlink()
    monkeypatch.setattr("encfs.stick.programs._MORE", ())
    monkeypatch.setenv("PATH", str(folder.parent / "programs"))
    said = office.call("schedule", office.volume.path, "--at", "02:05")
    assert (said.code, "there is no systemd here" in said.err, "cron" in said.err) == (ExitCode.FAILURE, True, True)
    shown = office.good("schedule", office.volume.path, "--at", "02:05", "--print", "--json").json["units"]
    assert sorted(shown) == sorted(schedule.names(office.volume_id))
    assert (folder.exists(), office.plan.schedule) == (False, "")


@pytest.mark.parametrize("words", [(), ("--at", "25:00"), ("--at", "2"), ("--at", "02:05", "--off")])
def test_what_makes_no_sense(office: Office, folder: Path, words: tuple[str, ...]) -> None:
    """No time, none that there is, or both."""
    _set_up(office)
    assert office.call("schedule", office.volume.path, *words).code == ExitCode.USAGE
    assert not folder.exists()


def test_times() -> None:
    """One spelling for each minute of a day."""
    assert schedule.time_of("0:00") == "00:00"
    assert schedule.time_of(" 23:59 ") == "23:59"
    for wrong in ("24:00", "12:60", "12", "12:5", "-1:00", "noon", "12:00:00", ""):
        with pytest.raises(UsageError):
            schedule.time_of(wrong)


@pytest.mark.parametrize("name", ["a b.vault", 'quo"te', "100 %h $HOME", "back\\slash", "umläut", "line\nbreak"])
def test_names_are_names(name: str, tmp_path: Path) -> None:
    """Whatever a directory is called: systemd takes the line as it is meant, and no other line begins in it."""
    made = schedule.units(VOLUME_ID, f"/srv/{name}", at="02:05", program="/usr/bin/cloakfs", system=True)
    lines = made.service.splitlines()
    (command,) = [line for line in lines if line.startswith("ExecStart=")]
    assert command.startswith('ExecStart="/usr/bin/cloakfs" backup run "/srv/')
    assert not [line for line in lines if line.startswith(("break", "ExecStop"))]
    if shutil.which("systemd-analyze") is not None:
        _verify(made, tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("system", [True, False])
def test_systemd_understands_them(tmp_path: Path, *, system: bool) -> None:
    """``systemd-analyze verify`` has nothing to say."""
    _verify(
        schedule.units(VOLUME_ID, "/srv/p.vault", at="02:05", program="/usr/bin/cloakfs", system=system),
        tmp_path,
        system=system,
    )


def _verify(made: schedule.Units, tmp_path: Path, *, system: bool = True) -> None:
    program = tmp_path / "cloakfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, text in ((made.service_name, made.service), (made.timer_name, made.timer)):
        (tmp_path / name).write_text(text.replace("/usr/bin/cloakfs", str(program)))
    manager = "--system" if system else "--user"
    done = subprocess.run(
        ["systemd-analyze", manager, "--man=no", "--recursive-errors=no", "verify", str(tmp_path / made.timer_name)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of root are the system's; those of others are below their configuration."""
    monkeypatch.delenv("CLOAKFS_SYSTEMD_DIRECTORY", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert schedule.directory() == Path("/etc/systemd/system")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/anna/.config")
    assert schedule.directory() == Path("/home/anna/.config/systemd/user")
