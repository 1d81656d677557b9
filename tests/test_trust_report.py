"""tools/trust_report.py: the tables of the trust report are exactly what the tests told, and nothing is left out."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.evidence import record

TOP = Path(__file__).resolve().parents[1]


def load() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("trust_report", TOP / "tools" / "trust_report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trust_report"] = module
    spec.loader.exec_module(module)
    return module


report = load()
ABOUT = [("commit", "0123456789ab"), ("date", "2026-11-22"), ("kernel", "Linux 6.1 x86_64")]


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for evidence."""
    path = tmp_path / "evidence"
    monkeypatch.setenv("CLOAKFS_EVIDENCE", str(path))
    return path


def rendered(evidence: Path) -> str:
    """The report of the evidence so far."""
    return report.render(report.read_evidence(evidence.read_text().splitlines()), ABOUT)


def part(text: str, heading: str) -> list[str]:
    """The table lines under one heading."""
    after = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in after.splitlines() if line.startswith("|")]


def test_rows_of_one_name_are_added_up(evidence: Path) -> None:
    """Cases and numbers are sums over all runs of a row; words are kept once each."""
    record("crashes", "kill -9", cases=40, note="opened", restarts=2, medium="xfs")
    record("crashes", "kill -9", cases=1010, note="opened", restarts=3, medium="ext4")
    record("crashes", "a first row")
    assert part(rendered(evidence), "Crashes") == [
        "| crashes | cases | outcome |",
        "|---|--:|---|",
        "| a first row | 1 | held |",
        "| kill -9 | 1,050 | opened; medium: ext4, xfs; restarts: 5 |",
    ]


def test_fault_matrix(evidence: Path) -> None:
    """Faults of the form "operation: errno" are a matrix of counts; others stay rows."""
    record("faults", "write: EIO", cases=3)
    record("faults", "write: short write", cases=2)
    record("faults", "unlock: ENOSPC", cases=4)
    record("faults", "write: EIO", cases=1)
    record("faults", "something else", cases=7, note="said | so")
    assert part(rendered(evidence), "Faults") == [
        "| operation | EIO | ENOSPC | short write |",
        "|---|--:|--:|--:|",
        "| unlock |  | 4 |  |",
        "| write | 4 |  | 2 |",
        "| faults | cases | outcome |",
        "|---|--:|---|",
        "| something else | 7 | said \\| so |",
    ]


def test_order_does_not_matter(evidence: Path) -> None:
    """Test processes finish in any order; the report is the same."""
    for name in reversed(report.TABLES):
        for row in ("b", "a"):
            record(name, row, cases=2, note=row, words=row)
    lines = evidence.read_text().splitlines()
    texts = [report.render(report.read_evidence(some), ABOUT) for some in (lines, sorted(lines), lines[::-1])]
    assert texts[0] == texts[1] == texts[2]
    found = [line.removeprefix("## ").lower() for line in texts[0].splitlines() if line.startswith("## ")]
    assert found == ["summary", *report.TABLES, "what is not promised"]
    assert "not complete" not in texts[0]


def test_summary_and_missing_tables(evidence: Path) -> None:
    """A table that nobody gave evidence for is named, above everything else; an unknown one is shown."""
    record("fuzz", "config", cases=1200)
    record("surprise", "row", cases=2)
    text = rendered(evidence)
    summary = part(text, "Summary")
    assert "| fuzz | 1 | 1,200 | all held |" in summary
    assert "| attacks | 0 | 0 | **missing** |" in summary
    assert "| surprise | 1 | 2 | all held |" in summary
    named = re.search(r"No evidence was given for: (.*)\.", text)
    assert named is not None
    assert named[1].split(", ") == [name for name in report.TABLES if name != "fuzz"]


def test_the_command(evidence: Path, tmp_path: Path) -> None:
    """The report is written in any case; a missing table is exit status 1. Broken evidence is no report."""
    out = tmp_path / "report.md"
    record("fuzz", "config")
    command = [sys.executable, str(TOP / "tools" / "trust_report.py"), str(evidence), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no evidence for: attacks" in done.stderr
    assert "not complete" in out.read_text()
    for name in report.TABLES:
        record(name, "row")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    text = out.read_text()
    assert "not complete" not in text
    # It is the same on every machine that has the same versions: no path, no host, no time of day.
    assert str(TOP) not in text
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text
    assert re.search(r"\d\d:\d\d", text) is None
    evidence.write_text("not JSON\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert out.read_text() == text


def test_nothing_is_recorded_outside_of_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary test run writes no evidence."""
    monkeypatch.delenv("CLOAKFS_EVIDENCE", raising=False)
    monkeypatch.chdir(tmp_path)
    record("fuzz", "config")
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "host-state"])


def test_lines_of_many_processes(evidence: Path) -> None:
    """One line is one write, so lines of test processes at the same time stay whole."""
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            for step in range(200):
                record("fuzz", f"row {number}", cases=step)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    rows = report.read_evidence(evidence.read_text().splitlines())["fuzz"]
    assert {name: row.cases for name, row in rows.items()} == {f"row {n}": sum(range(200)) for n in range(4)}
    assert all(set(json.loads(line)) >= {"table", "row", "cases"} for line in evidence.read_text().splitlines())


REPORT = TOP / "docs" / "trust-report.md"


def first_cells(lines: list[str]) -> set[str]:
    """What stands in the first column of a table below its head."""
    return {line.split("|")[1].strip() for line in lines[2:]}


def test_the_report_in_docs() -> None:
    """docs/trust-report.md was made by this renderer, and has every attack of THREAT_MODEL.md's table and no other."""
    text = REPORT.read_text(encoding="utf-8")
    summary = first_cells(part(text, "Summary"))
    assert set(report.TABLES) <= summary
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", (TOP / "THREAT_MODEL.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = first_cells(part(text, "Attacks")) if "## Attacks" in text else set()
    if "not complete" in text:
        assert shown <= set(named)
    else:
        assert shown == set(named)
