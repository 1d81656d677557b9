"""``benchmarks.backup`` measures each step, looks at every byte, goes on where it was broken off, leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.backup import STEPS, Sample, Samples, results_of
from benchmarks.harness.backup_peers import ALL, RESTIC, RSYNC
from benchmarks.harness.peers import PeerError
from benchmarks.harness.practice_files import Files
from benchmarks.harness.workloads.steps import WrongBytesError
from tests.support import blockdev

TOP = Path(__file__).resolve().parents[1]
SETTINGS = {"files": 3}
needs_all = [
    *blockdev.needs_filesystem("ext4"),
    pytest.mark.skipif(not all(map(shutil.which, ("restic", "rsync"))), reason="needs restic and rsync"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The document of a smoke run with all contenders."""
    base = tmp_path_factory.mktemp("backup")
    store, output = base / "store", base / "out.json"
    store.mkdir()
    command = [sys.executable, "-m", "benchmarks.backup", "--quick", "--targets", str(store), "--output", str(output)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.listdir(store) == []
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.mount
@pytest.mark.slow
@pytest.mark.parametrize("who", [pytest.param(name, marks=needs_all) for name in ALL])
def test_every_step_is_measured_on_every_contender(written, who):
    """Time, CPU time and bytes of each step, and what the contender was told."""
    assert [entry["what"] for entry in written["results"]] == list(STEPS)
    for entry in written["results"]:
        for what in ("seconds", "cpu", "written_mb"):
            assert entry[what].keys() == set(ALL)
            assert entry[what][who]["low"] <= entry[what][who]["median"] <= entry[what][who]["high"]
        assert entry["seconds"][who]["low"] > 0
    first, unchanged = (entry["written_mb"][who]["median"] for entry in written["results"][:2])
    assert unchanged < first / 2
    assert first >= written["settings"]["gigabytes"] * 1000 * 0.9
    assert written["peers"][who]["settings"]


def test_files_that_came_back_otherwise_are_no_figure(tmp_path):
    """One bit, one missing and one too many: each ends the run. What was saved again has changed everywhere."""
    files = Files(12, 60_000)
    places = [tmp_path / "a", tmp_path / "b"]
    files.fill(places)
    before = {path.name: path.read_bytes() for path in places[0].rglob("*.pdf")}
    assert sum(map(len, before.values())) == files.bytes
    assert files.change(places, 0.25) == 3
    after = {path.name: path.read_bytes() for path in places[1].rglob("*.pdf")}
    assert sum(before[name] != after[name] for name in before) == 3
    for place in places:
        files.check(place, "it")
    victim = next(path for path in places[0].rglob("*.pdf") if path.stat().st_size)
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WrongBytesError, match="it: a file that was restored has other bytes"):
        files.check(places[0], "it")
    victim.unlink()
    with pytest.raises(WrongBytesError, match="1 files are missing or too many"):
        files.check(places[0], "it")
    (places[1] / "more").touch()
    with pytest.raises(WrongBytesError, match="1 files are missing or too many"):
        files.check(places[1], "it")


def test_a_run_that_was_broken_off_goes_on(tmp_path, capsys):
    """Whole repetitions are kept; one that is not whole counts for nothing until it was taken again."""
    file = tmp_path / "samples"
    names = (RESTIC, RSYNC)
    samples = Samples(file, SETTINGS, len(STEPS) * 2)
    assert results_of(samples, names) == []
    for step in STEPS:
        for who, seconds in zip(names, (4.0, 2.0), strict=True):
            samples.add(Sample(step, who, 0, seconds, 0.5, 1000))
    samples.add(Sample("first", RESTIC, 1, 9.0, 0.5, 1000))
    capsys.readouterr()
    again = Samples(file, SETTINGS, len(STEPS) * 2)
    assert (again.is_whole(0), again.is_whole(1)) == (True, False)
    results = results_of(again, names)
    assert [entry["seconds"][RESTIC]["high"] for entry in results] == [4.0] * 4
    assert results[0]["ratio"] == {RESTIC: {RSYNC: 0.5}, RSYNC: {RESTIC: 2.0}}
    for step in STEPS:
        for who in names:
            again.add(Sample(step, who, 1, 6.0, 0.5, 1000))
    assert [entry["seconds"][RESTIC]["high"] for entry in results_of(again, names)] == [6.0] * 4
    with pytest.raises(PeerError, match="other settings"):
        Samples(file, {"files": 4}, len(STEPS) * 2)
