"""The units that lock everything (docs/systemd) say what systemd understands, and run what there is."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from encfs.cli import cmd_lock

TOP = Path(__file__).resolve().parents[1]
UNITS = [TOP / "docs/systemd" / name for name in ("cloakfs-lock.service", "user/cloakfs-lock.service")]


def test_both_lock_everything() -> None:
    """One for the machine, one for a user; both call an option that exists."""
    for unit in UNITS:
        (command,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        assert shlex.split(command.removeprefix("ExecStart=")) == ["cloakfs", "lock", "--all"]
    assert "--all" in CliRunner().invoke(cmd_lock.command, ["--help"]).output


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_systemd_understands_them(unit: Path, tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say, where cloakfs is installed."""
    program = tmp_path / "cloakfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("ExecStart=cloakfs", f"ExecStart={program}"))
    manager = "--user" if unit.parent.name == "user" else "--system"
    command = ["systemd-analyze", manager, "--man=no", "--recursive-errors=no", "verify", str(copy)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
