#!/usr/bin/env python3
"""Breaks each promise on purpose and looks whether its tests notice.

tests/mutants.toml lists the breaks. Each is made in a temporary copy of the source, never in place, and the tests
named with it are run against the copy: they have to fail. Before that they are run on an unchanged copy, where they
have to pass. What was caught goes to the trust report where CLOAKFS_EVIDENCE names a file.

Exit status: 0 every break was caught, 1 one was not, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
LIST = TOP / "tests" / "mutants.toml"
COPIED = (
    "encfs",
    "tests",
    "tools",
    "docs",
    "packaging",
    "pyproject.toml",
    "requirements.lock",
    "FORMAT.md",
    "THREAT_MODEL.md",
    "README.md",
)
# Some promises are checked at the end of a test, where a failure is an ERROR; one in collecting has another status.
_FAILED = re.compile(r"^(?:FAILED|ERROR) (?:\S*/)?([\w.-]+\.py::\w+)", re.MULTILINE)
_TESTS_FAILED = 1
"""pytest's exit status for that; 2 and above mean that it could not run them."""
# A break can make something hang; a test that hangs has noticed nothing.
_SECONDS = 3600


@dataclass(frozen=True)
class Mutant:
    """One break: ``old`` occurs once in ``file`` and becomes ``new``; one of ``tests`` (pytest ids) must fail then."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, top: Path) -> None:
        """Make the break below ``top``.

        Raises:
            ValueError: the text is not there exactly once.
        """
        path = top / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: its text occurs {text.count(self.old)} times in {self.file}, not once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def read_list(path: Path = LIST) -> list[Mutant]:
    """All breaks, in the order of the file."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def copy_source(to: Path) -> None:
    """What tests need of the project."""
    for name in COPIED:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, to / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / name)


def run_tests(top: Path, tests: tuple[str, ...], *more: str) -> tuple[int, str]:
    """pytest's exit status and what it said, for tests on the source below ``top``."""
    python = TOP / ".venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "CLOAKFS_EVIDENCE"}
    # Derandomized: a break is caught in every run or in none. Plain: a diff of two files takes pytest minutes.
    environment |= {"PYTHONPATH": str(top), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    command = [
        python,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "-m",
        "not slow",
        *more,
        *tests,
    ]
    try:
        done = subprocess.run(
            command, cwd=top, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, "the tests did not come to an end"
    return done.returncode, done.stdout + done.stderr


def attempt(mutant: Mutant) -> str:
    """The test that caught a break; empty if none did."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-mutant-") as name:
        top = Path(name)
        copy_source(top)
        try:
            mutant.apply(top)
        except ValueError as exc:
            print(exc, file=sys.stderr)
            return ""
        status, said = run_tests(top, mutant.tests, "-x")
    failed = _FAILED.search(said)
    if status == _TESTS_FAILED and failed:
        return failed[1]
    # An error while collecting is no answer to the question.
    print(f"{mutant.name}: pytest ended with {status}\n{said[-3000:]}", file=sys.stderr)
    return ""


def baseline(mutants: list[Mutant]) -> set[str] | None:
    """Names of test functions that fail while nothing is broken; None if that cannot be told."""
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with tempfile.TemporaryDirectory(prefix="cloakfs-mutant-") as name:
        copy_source(Path(name))
        status, said = run_tests(Path(name), tests)
    if status:
        print(f"not all tests pass on the unchanged source:\n{said[-6000:]}", file=sys.stderr)
    return set(_FAILED.findall(said)) if status in (0, _TESTS_FAILED) else None


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    sys.path.insert(0, str(TOP))
    from tests.support.evidence import record  # noqa: PLC0415 - found by the line above

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these breaks (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("--list", action="store_true", help="show the names and end")
    args = parser.parse_args(argv)
    mutants = [mutant for mutant in read_list() if not args.names or mutant.name in args.names]
    if args.list or not mutants:
        print("\n".join(mutant.name for mutant in mutants) or "no such break")
        return 0 if mutants else 2
    failing = baseline(mutants)
    if failing is None:
        return 1
    missed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for mutant, caught in zip(mutants, pool.map(attempt, mutants), strict=True):
            if caught in failing:
                print(f"{mutant.name}: {caught} fails without it", file=sys.stderr)
                caught = ""  # noqa: PLW2901 - it was no catch
            print(f"{'caught' if caught else 'MISSED'}  {mutant.name}: {caught}", flush=True)
            if caught:
                record("mutants", f"{mutant.promise} ({mutant.name})", note=f"caught by {caught}")
            missed += not caught
    print(f"{len(mutants) - missed} of {len(mutants)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
