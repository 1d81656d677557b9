"""What the Debian package does when it is installed and removed: its scripts, run with made-up tables of mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PARTS = Path(__file__).resolve().parents[2] / "packaging" / "deb"
MOUNTS = "proc /proc proc rw 0 0\n/srv/v.vault /srv/my\\040files fuse.cloakfs rw 0 0\n"


def run(tmp_path: Path, script: str, *arguments: str, mounts: str = "") -> subprocess.CompletedProcess[str]:
    """A script of the package as dpkg calls it, on a machine with those mounts."""
    (tmp_path / "mounts").write_text(mounts)
    text = (PARTS / script).read_text().replace("/proc/self/mounts", f"{tmp_path}/mounts")
    assert text.startswith("#!/bin/sh\n")
    return subprocess.run(["sh", "-c", text, script, *arguments], capture_output=True, text=True, check=False)


def test_removal_waits_until_all_is_locked(tmp_path: Path) -> None:
    """With a volume mounted it ends, and names the place and what to do; an upgrade and a clean removal go on."""
    kept = run(tmp_path, "prerm", "remove", mounts=MOUNTS)
    assert (kept.returncode, kept.stdout) == (1, "")
    assert "  /srv/my\\040files\n" in kept.stderr
    assert "cloakfs lock --all" in kept.stderr
    assert "/proc" not in kept.stderr
    for arguments, mounts in ((("upgrade", "0.2"), MOUNTS), (("remove",), MOUNTS.splitlines()[0])):
        done = run(tmp_path, "prerm", *arguments, mounts=mounts)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", ["prerm", "postinst", "postrm"])
def test_an_unknown_call_is_refused(tmp_path: Path, script: str) -> None:
    """A script that dpkg calls with something new does not guess."""
    done = run(tmp_path, script, "dance")
    assert (done.returncode, "'dance'" in done.stderr) == (1, True)
