"""tests/mutants.toml, the list of promises that are broken on purpose, fits the source; tools/mutants.py works."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOP = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    """A program under tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOP / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mutants = load("mutants")
LIST = mutants.read_list()


@pytest.mark.parametrize("mutant", LIST, ids=lambda mutant: mutant.name)
def test_each_break_can_still_be_made(mutant):
    """The text that a break replaces is in its file exactly once, and the tests named with it are there."""
    assert (TOP / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    files = [name for name in mutant.tests if name.startswith("tests/")]
    assert files
    assert [name for name in files if not (TOP / name.split("::")[0]).exists()] == []


def test_names_are_unique_and_promises_are_told():
    """The trust report has one row for each break."""
    names = [mutant.name for mutant in LIST]
    assert len(set(names)) == len(names) >= 30
    assert all(mutant.promise for mutant in LIST)


TINY = """
[[mutant]]
name = "caught"
promise = "one"
file = "encfs/units.py"
old = "from"
new = "from"
tests = ["tests/x.py"]
"""


def test_a_break_whose_text_is_gone_is_an_error(tmp_path):
    """A break that cannot be made is told, not passed over."""
    (tmp_path / "list.toml").write_text(TINY)
    (one,) = mutants.read_list(tmp_path / "list.toml")
    (tmp_path / "encfs").mkdir()
    (tmp_path / "encfs" / "units.py").write_text("nothing of the kind")
    with pytest.raises(ValueError, match="0 times"):
        one.apply(tmp_path)


@pytest.mark.parametrize(("status", "caught"), [(0, ""), (1, "test_a.py::test_b"), (2, ""), (5, ""), (-1, "")])
def test_only_a_failed_test_counts(monkeypatch, capsys, status, caught):
    """Tests that pass, cannot be collected or do not end have caught nothing."""
    said = "FAILED tests/volume/test_a.py::test_b - AssertionError"
    monkeypatch.setattr(mutants, "copy_source", lambda _: None)
    monkeypatch.setattr(mutants.Mutant, "apply", lambda *_: None)
    monkeypatch.setattr(mutants, "run_tests", lambda *_: (status, said))
    assert mutants.attempt(LIST[0]) == caught
    assert bool(capsys.readouterr().err) is not bool(caught)


def test_what_was_caught_is_recorded(monkeypatch, tmp_path, capsys):
    """A caught break is a row of the report; one that was missed is an exit status."""
    evidence = tmp_path / "evidence"
    monkeypatch.setenv("CLOAKFS_EVIDENCE", str(evidence))
    monkeypatch.setattr(mutants, "baseline", lambda _: {"test_x.py::test_fails_anyhow"})
    monkeypatch.setattr(mutants, "attempt", lambda one: "" if one == LIST[1] else "test_a.py::test_b")
    assert mutants.main([LIST[0].name, LIST[1].name]) == 1
    lines = [json.loads(line) for line in evidence.read_text().splitlines()]
    assert [line["row"] for line in lines] == [f"{LIST[0].promise} ({LIST[0].name})"]
    assert "MISSED" in capsys.readouterr().out
