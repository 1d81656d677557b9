"""The units that lock everything and that anchor (docs/systemd) say what systemd understands, and run what there is."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from encfs.cli import audit_anchor, cmd_lock

TOP = Path(__file__).resolve().parents[1]
UNITS = [TOP / "docs/systemd" / name for name in ("cloakfs-lock.service", "user/cloakfs-lock.service")]
ANCHORING = [TOP / "docs/systemd" / name for name in ("cloakfs-anchor.service", "cloakfs-anchor.timer")]


def test_both_lock_everything() -> None:
    """One for the machine, one for a user; both call an option that exists."""
    for unit in UNITS:
        (command,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        assert shlex.split(command.removeprefix("ExecStart=")) == ["cloakfs", "lock", "--all"]
    assert "--all" in CliRunner().invoke(cmd_lock.command, ["--help"]).output


def test_the_anchor_is_made_with_options_that_exist() -> None:
    """Those of the example in the unit, which stand where the unit reads them."""
    text = ANCHORING[0].read_text()
    (command,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert shlex.split(command.removeprefix("ExecStart=")) == ["cloakfs", "audit", "anchor", "$ANCHOR"]
    (example,) = [line for line in text.splitlines() if line.startswith("#   ANCHOR=")]
    help_text = CliRunner().invoke(audit_anchor.anchor, ["--help"]).output
    used = [word for word in shlex.split(example.partition("=")[2]) if word.startswith("--")]
    assert used == ["--syslog", "--ca"]
    assert all(option in help_text for option in used)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", [*UNITS, *ANCHORING], ids=lambda unit: f"{unit.parent.name}-{unit.name}")
def test_systemd_understands_them(unit: Path, tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say, where cloakfs is installed."""
    program = tmp_path / "cloakfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    for each in {unit, *(ANCHORING if unit in ANCHORING else [])}:
        (tmp_path / each.name).write_text(each.read_text().replace("ExecStart=cloakfs", f"ExecStart={program}"))
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
