"""The man pages are what the help says, and the programs that show them have nothing to complain about."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
PAGES = sorted((TOP / "docs/man").glob("*.1"))


def test_pages_and_completion_are_current() -> None:
    """Whoever changes a command or an option runs tools/man."""
    command = [sys.executable, str(TOP / "tools/man_pages.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_groff_has_no_warning() -> None:
    """With all its warnings on; every page comes out with its sections."""
    for page in PAGES:
        done = subprocess.run(
            ["groff", "-ww", "-man", "-Tascii", "-P-cbou", str(page)], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", page.name
        assert "EXIT STATUS" in done.stdout
        assert page.stem in done.stdout


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc")
def test_mandoc_has_no_warning() -> None:
    """It is stricter than groff."""
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *map(str, PAGES)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_page_says_what_the_help_says() -> None:
    """Options with their words, the example as it is typed, and exit codes in the page of the group."""
    mount = (TOP / "docs/man/cloakfs-mount.1").read_text()
    assert ".B \\-\\-read\\-only\nChange nothing, neither files nor the volume.\n" in mount
    assert "\n  cloakfs mount \\(ti/practice.vault \\(ti/practice\n" in mount
    assert (
        ".B 28\nthe volume is older than what this machine has seen of it\n" in (TOP / "docs/man/cloakfs.1").read_text()
    )
    assert (TOP / "docs/man/cloakfs-key-add.1").exists()
