"""CPython's own tests of files, with their temporary files on a mount.

The same tests run on a plain directory first: what fails or is skipped there says nothing about us.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import TIMEOUT, environment

pytestmark = [pytest.mark.mount, pytest.mark.programs]

MODULES = (
    "test_os", "test_shutil", "test_mmap", "test_fcntl", "test_tempfile", "test_posix", "test_largefile",
    "test_sqlite3",
)  # fmt: skip
# Most of what these ask of a filesystem the others ask too; SQLite has tests of its own here.
SLOW = ("test_tempfile", "test_posix", "test_sqlite3")
# Differences that are decisions, with the reason.
KNOWN = {
    # FORMAT.md, "Extended attributes": a lower symlink cannot carry the attribute that holds ours.
    "test.test_shutil.TestCopy.test_copyxattr_symlinks",
}
# The interpreter itself, not the virtual environment's: Debian's finds its tests, and test_os counts on it.
PYTHON = getattr(sys, "_base_executable", sys.executable)

FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('test.' + sys.argv[1]) is None)"


def run_tests(place: Path, results: Path, modules: tuple[str, ...], *resources: str) -> dict[str, str]:
    """Run CPython's tests with everything temporary in ``place``; returns "ok", "skipped" or "failed" by test."""
    place.mkdir()
    command = [PYTHON, "-m", "test", "--junit-xml", str(results), "--tempdir", str(place), *resources, *modules]
    temporary = {name: str(place) for name in ("TMPDIR", "TEMP", "TMP")}
    ended = subprocess.run(
        command, cwd=place, env=environment(**temporary), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=TIMEOUT, check=False,
    )  # fmt: skip
    print(ended.stdout[-20000:], ended.stderr[-5000:])
    outcome: dict[str, str] = {}
    for case in ET.parse(results).iter("testcase"):
        children = {child.tag for child in case}
        failed, skipped = children & {"failure", "error"}, "skipped" in children or case.get("result") == "skipped"
        # One test may be told of several times, once for each of its subtests.
        if failed or outcome.get(case.attrib["name"]) != "failed":
            outcome[case.attrib["name"]] = "failed" if failed else "skipped" if skipped else "ok"
    return outcome


def compare(plain: dict[str, str], mounted: dict[str, str]) -> None:
    """Fail when a test that passes on a plain directory does not on the mount."""
    assert plain.keys() == mounted.keys()
    worse = {name: mounted[name] for name in plain if plain[name] == "ok" and mounted[name] != "ok"}
    assert worse.keys() - KNOWN == set(), worse


def need_module(module: str) -> None:
    """Skip what this Python comes without. Debian's has its tests in libpython3.11-testsuite, but not test_sqlite3."""
    found = subprocess.run([PYTHON, "-c", FIND, module], check=False)
    if found.returncode != 0:
        pytest.skip(f"{PYTHON} comes without {module}")


@pytest.mark.parametrize("module", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in MODULES])
def test_cpython(volume: MountedVolume, base: Path, module: str) -> None:
    """A module of CPython's tests does on the mount what it does on a plain directory."""
    need_module(module)
    plain = run_tests(base / "plain", base / "plain.xml", (module,))
    assert "ok" in plain.values()
    compare(plain, run_tests(volume.path / "tests", base / "mounted.xml", (module,)))


@pytest.mark.slow
def test_cpython_with_large_files(volume: MountedVolume, base: Path) -> None:
    """The tests that need files beyond 2 and 4 GiB."""
    modules = ("test_largefile", "test_mmap", "test_os")
    need_module("test_largefile")
    plain = run_tests(base / "plain", base / "plain.xml", modules, "-u", "largefile")
    compare(plain, run_tests(volume.path / "tests", base / "mounted.xml", modules, "-u", "largefile"))
