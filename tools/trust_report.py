#!/usr/bin/env python3
"""Writes docs/trust-report.md from what tests told with tests/support/evidence.py; tools/trust-report runs both.

Exit status: 0 written and complete, 1 written but a table is missing, 2 usage.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
REPORT = TOP / "docs" / "trust-report.md"

TABLES = {
    "attacks": "Each attack was made on the lower files of a closed volume, which was then mounted and verified. "
    "Nothing but what THREAT_MODEL.md section 3 names came of it: no wrong byte was read, the rest stayed readable, "
    "and the daemon lived.",
    "freshness": "Old state that was put back on a host that had seen newer state (FORMAT.md section 13), and what "
    "must not raise an alarm.",
    "checkpoint": "What a checkpoint finds (FORMAT.md section 12), and what stands against the checkpoint itself.",
    "crashes": "A case is one point at which the power was cut, the process killed, or a call the last to reach the "
    "medium. After each the volume opened; what had been fsynced was there, unchanged and in full; no false alarm. "
    "A power cut is checked against every workload that had begun, and counts in the row of each.",
    "faults": "A case is one system call of one operation that failed once with that error. After each: the right "
    "errno, nothing hangs or leaks, old data intact, `verify` clean.",
    "media": "Real media that were full, broken or pulled out: loop devices and FUSE filesystems below the volume.",
    "limits": "Lower filesystems that lack something: a clear errno, or a fallback that FORMAT.md names.",
    "repair": "What `verify --repair` and `rescue` do. Nothing is ever deleted.",
    "fuzz": "A case is one input, damaged or made up. Each was parsed, or refused with an error of ours, in bounded "
    "work and memory.",
    "mutants": "Each promise was broken on purpose in a copy of the source (tests/mutants.toml), and its tests failed. "
    "A test that cannot fail proves nothing.",
}
"""The tables that a report must have, in its order, with what one case is."""

OPERATION_AND_ERRNO = re.compile(r"(?P<operation>.+): (?P<call>[a-z_ ]+ )?(?P<errno>E[A-Z0-9]+|short [a-z ]+)")


@dataclass
class Row:
    """All evidence of one row."""

    cases: int = 0
    notes: set[str] = field(default_factory=set)
    figures: dict[str, set[str] | int] = field(default_factory=dict)

    def add(self, cases: int, note: str, figures: dict[str, int | str]) -> None:
        self.cases += cases
        self.notes |= {note} if note else set()
        for name, value in figures.items():
            here = self.figures.setdefault(name, 0 if isinstance(value, int) else set())
            if isinstance(here, set):
                here.add(str(value))
            else:
                self.figures[name] = here + int(value)

    def outcome(self) -> str:
        """Notes and figures in one cell."""
        said = sorted(self.notes)
        for name, value in sorted(self.figures.items()):
            said.append(f"{name}: {', '.join(sorted(value)) if isinstance(value, set) else format(value, ',')}")
        return "; ".join(said) or "held"


Evidence = dict[str, dict[str, Row]]


def read_evidence(lines: list[str]) -> Evidence:
    """Rows by table; those of the same name are added up."""
    found: Evidence = {}
    for line in lines:
        one = json.loads(line)
        row = found.setdefault(one["table"], {}).setdefault(one["row"], Row())
        row.add(one["cases"], one["note"], one["figures"])
    return found


def cell(text: str) -> str:
    """Text that stays inside its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table; columns after the first that hold numbers only are set to the right."""
    right = [all(re.fullmatch(r"[\d,]*", row[n]) for row in rows) and n > 0 for n in range(len(head))]
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("--:" if number else "---" for number in right) + "|",
    ]
    return lines + ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]


def section(name: str, rows: dict[str, Row]) -> list[str]:
    """One table of the report."""
    lines = ["", f"## {name.capitalize()}", "", TABLES.get(name, ""), ""]
    matrix = {row: OPERATION_AND_ERRNO.fullmatch(row) for row in rows}
    cells = {row: match for row, match in matrix.items() if match} if name == "faults" else {}
    if cells:
        lines += [*fault_matrix({row: (match["operation"], match["errno"]) for row, match in cells.items()}, rows), ""]
    rest = [(row, f"{rows[row].cases:,}", rows[row].outcome()) for row in sorted(rows) if row not in cells]
    if rest:
        lines += table((name, "cases", "outcome"), rest)
    return lines


def fault_matrix(places: dict[str, tuple[str, str]], rows: dict[str, Row]) -> list[str]:
    """Operations down, errors across, cases in the cells."""
    errors = sorted({error for _, error in places.values()})
    counts: dict[str, dict[str, int]] = {}
    for row, (operation, error) in places.items():
        here = counts.setdefault(operation, {})
        here[error] = here.get(error, 0) + rows[row].cases
    body = [
        (operation, *(f"{here[error]:,}" if error in here else "" for error in errors))
        for operation, here in sorted(counts.items())
    ]
    return table(("operation", *errors), body)


def summary(evidence: Evidence) -> list[str]:
    """One line for each table."""
    rows = []
    for name in [*TABLES, *sorted(set(evidence) - set(TABLES))]:
        here = evidence.get(name, {})
        state = "all held" if here else "**missing**"
        rows.append((name, f"{len(here):,}", f"{sum(row.cases for row in here.values()):,}", state))
    return table(("table", "rows", "cases", "outcome"), rows)


def missing(evidence: Evidence) -> list[str]:
    """Tables that should be there."""
    return [name for name in TABLES if not evidence.get(name)]


def render(evidence: Evidence, about: list[tuple[str, str]]) -> str:
    """The whole report."""
    lines = [
        "# Trust report",
        "",
        "For whoever has to decide whether to keep their only copy of something in cloakfs. It says what was tried to",
        "lose or to fake data, how often, and what came of it. `THREAT_MODEL.md` says what is promised, and what not;",
        "this page is the evidence, written by the tests themselves. A row is here only if its test ran and passed.",
        "",
        "Make it again with `tools/trust-report` (`--slow`: with the tests that take minutes and hours). Do not edit.",
        "",
        *table(("made with", ""), about),
        "",
        "## Summary",
        "",
        *summary(evidence),
    ]
    gaps = missing(evidence)
    if gaps:
        lines += ["", f"**This report is not complete.** No evidence was given for: {', '.join(gaps)}."]
    for name in [*TABLES, *sorted(set(evidence) - set(TABLES))]:
        if evidence.get(name):
            lines += section(name, evidence[name])
    lines += [
        "",
        "## What is not promised",
        "",
        "`THREAT_MODEL.md` section 5 lists what is visible, what is not authenticated and what cannot be helped;",
        "section 6 the accepted risks, each with its reason. Section 4 says on which media the promises about crashes",
        "hold. No outside audit has taken place (section 7). Tests can show that something fails, never that nothing",
        "does: what is not in the tables above was not tried.",
        "",
    ]
    return "\n".join(lines)


def describe() -> list[tuple[str, str]]:
    """Where and with what the evidence was made."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", TOP, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = " with changes" if git("status", "--porcelain", "--", "encfs", "tests", "tools") else ""
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = [
        f"{name} {metadata.version(name)}" for name in ("cryptography", "argon2-cffi", "pyfuse3", "hypothesis")
    ]
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return [
        ("commit", commit + changed),
        ("date", today),
        ("kernel", kernel),
        ("Python", python),
        ("libraries", ", ".join(libraries)),
    ]


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evidence", type=Path, help="the file that CLOAKFS_EVIDENCE named")
    parser.add_argument("--out", type=Path, default=REPORT, help="where to write the report")
    args = parser.parse_args(argv)
    evidence = read_evidence(args.evidence.read_text(encoding="utf-8").splitlines())
    args.out.write_text(render(evidence, describe()), encoding="utf-8")
    cases = sum(row.cases for rows in evidence.values() for row in rows.values())
    print(f"{sum(map(len, evidence.values())):,} rows, {cases:,} cases")
    gaps = missing(evidence)
    if gaps:
        print(f"trust-report: no evidence for: {', '.join(gaps)}", file=sys.stderr)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
