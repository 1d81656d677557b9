"""``benchmarks.scale`` measures every point, looks at every byte, and leaves nothing behind. No figure is tested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scale as program
from benchmarks.harness import interrupts, scale_files, scale_sizes, scaling
from benchmarks.harness.comparing import compare
from benchmarks.harness.peers import Peer
from benchmarks.harness.scaling import QUICK

TOP = Path(__file__).resolve().parents[1]

# Programs at once are forked; pytest's workers have threads, of which the forked work uses nothing.
forks = pytest.mark.filterwarnings("ignore:.*use of fork\\(\\):DeprecationWarning")
POINTS = {
    "files": QUICK.files,
    "entries": QUICK.entries,
    "sparse": QUICK.sparse,
    "dense": QUICK.dense,
    "clients": QUICK.clients,
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the program on a directory that stands for a mount; its exit status, document or None, and what it says."""

    def run(*options):
        output, store = tmp_path / "out.json", tmp_path / "store"
        store.mkdir()
        monkeypatch.setattr(program.filesystems, "cloakfs", lambda _: Peer("cloakfs", ""))
        command = ["scale", "--quick", "--directory", str(store), "--output", str(output), *options]
        monkeypatch.setattr(sys, "argv", command)
        status = program.main()
        assert os.listdir(store) == []
        document = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
        return status, document, capsys.readouterr()

    return run


def figures(document):
    """Of each row: the sizes that have a figure."""
    found = {}
    for entry in document["results"]:
        spread = (entry.get("time") or entry["rate"])["cloakfs"]
        assert spread["low"] <= spread["median"] <= spread["high"]
        found.setdefault(entry["what"], []).append(entry["size"])
    return found


@forks
def test_every_operation_has_a_figure_at_every_point(run):
    """The document has each row of each series, and the table says of each whether it stays flat."""
    status, document, said = run()
    assert status == 0
    expected = {
        f"scale/{series.name}/{operation.name}": list(POINTS[series.name])
        for series, _ in program.SERIES.values()
        for operation in series.operations
    }
    # Directories that stand for mounts share their process, which is none: one figure of memory for each series.
    memory = {f"scale/{name}/memory": [POINTS[name][-1]] for name in POINTS}
    rates = {f"scale/clients/mix/{whose}": list(QUICK.clients) for whose in ("all", "each")}
    assert figures(document) == {**expected, **rates, **memory}
    judged = sum(len(series.operations) for series, _ in program.SERIES.values()) - 1  # No mount, no time for it.
    assert said.out.count(", flat") + said.out.count(", GROWS") == judged
    assert str(TOP) not in json.dumps(document)


def change_last_byte(path: Path) -> None:
    """To another one than it was."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def files_of(made) -> list[Path]:
    """All files of a point that was just made."""
    return sorted(Path(made._top).rglob("file *")) if hasattr(made, "_top") else [Path(made._path)]


@pytest.mark.parametrize(
    ("series", "home", "maker"),
    [
        ("files", scale_files._Filled, "fill"),
        ("sparse", scale_sizes._File, "make"),
        ("dense", scale_sizes._File, "make"),
    ],
)
def test_wrong_bytes_end_the_run(run, monkeypatch, series, home, maker):
    """Other bytes than were written end it: no figures, and the exit status and the text say so."""
    make = getattr(home, maker)

    def make_and_damage(self):
        make(self)
        for path in files_of(self):
            change_last_byte(path)

    monkeypatch.setattr(home, maker, make_and_damage)
    status, document, said = run("--only", series)
    assert (status, document) == (1, None)
    assert "failed: " in said.err


@forks
@pytest.mark.parametrize("series", ["files", "entries", "clients"])
def test_wrong_bytes_in_a_small_file_end_the_run(run, monkeypatch, series):
    """A new file of the right size that holds something else ends it."""
    monkeypatch.setattr(scale_files, "_write", lambda path: Path(path).write_bytes(bytes(scale_files._SIZE)))
    status, document, said = run("--only", series)
    assert (status, document) == (1, None)
    assert "something else came back than was written" in said.err


def test_rates_are_those_of_the_same_samples():
    """Four programs that together need 10 us for each operation do 100,000 in a second, each of them 25,000."""
    operation = scaling.Operation("mix", "mixed", shared=True)
    entries = list(scaling._entries(scale_files.CLIENTS, operation, 4, [1e-5, 8e-6, 2e-5]))
    found = {entry["what"]: (entry.get("time") or entry["rate"])["cloakfs"] for entry in entries}
    assert found == {
        "scale/clients/mix": {"median": 10.0, "low": 8.0, "high": 20.0},
        "scale/clients/mix/all": {"median": 100_000.0, "low": 50_000.0, "high": 125_000.0},
        "scale/clients/mix/each": {"median": 25_000.0, "low": 12_500.0, "high": 31_250.0},
    }
    assert [row[-1] for row in scaling.table_of(scale_files.CLIENTS, entries).rows] == ["-", "-", "-"]


@forks
def test_wrong_bytes_that_a_program_reads_end_the_run(run, monkeypatch):
    """What a forked process finds ends the run too."""
    write = scale_files.write_file
    monkeypatch.setattr(
        scale_files, "write_file", lambda path, data, call: write(path, bytes(len(data) - 1) + data[-1:], call)
    )
    status, document, said = run("--only", "clients")
    assert (status, document) == (1, None)
    assert "failed: " in said.err


def test_no_room_leaves_a_dense_file_out(run, monkeypatch):
    """A file for which there is no room is left out, and that is said."""
    monkeypatch.setattr(scale_sizes, "_ROOM", 1e12)
    status, document, said = run("--only", "dense")
    assert status == 0
    assert document["results"] == []
    assert said.err.count("left out: there is no room") == len(QUICK.dense)


@pytest.mark.parametrize(
    ("costs", "verdict"),
    [({1: 5.0, 10: 10.0}, "2.00, flat"), ({1: 5.0, 10: 4.0, 100: 9.0}, "2.25, GROWS"), ({1: 5.0}, "-")],
)
def test_what_grows_is_called_so(costs, verdict):
    """The largest point against the cheapest one: twice is flat, more is not."""
    entries = [
        {
            "what": "scale/files/create",
            "size": size,
            "title": "create",
            "unit": "us",
            "time": {"cloakfs": {"median": cost, "low": cost, "high": cost}},
        }
        for size, cost in costs.items()
    ]
    (row,) = scaling.table_of(scale_files.FILES, entries).rows
    assert row[-1] == verdict


def test_two_results_can_be_compared(run):
    """``benchmarks.compare`` knows the points of two documents as the same ones."""
    _, document, _ = run("--only", "sparse")
    document["settings"]["quick"] = False
    found = compare(document, document)
    assert {change.name for change in found.changes} >= {f"scale/sparse/read size={size} cloakfs" for size in (1, 8)}
    assert (found.slower, found.faster, found.only_old, found.only_new) == ([], [], [], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_a_checkpoint(number):
    """What is being done is done to its end; the status is that of a shell, and the handlers are those of before."""
    before = signal.getsignal(number)
    done = []
    with pytest.raises(SystemExit) as ended, interrupts.held_back():
        signal.raise_signal(number)
        done.append("to its end")
        interrupts.checkpoint()
        done.append("more")
    assert (ended.value.code, done, signal.getsignal(number)) == (128 + number, ["to its end"], before)
    with pytest.raises(SystemExit), interrupts.held_back():
        signal.raise_signal(number)
    with interrupts.held_back():
        interrupts.checkpoint()


# The group of the program gets the signal while the command in argv[1] runs, as from a terminal.
_SIGNALLED = """
import os, sys
from benchmarks import scale
from benchmarks.harness import filesystems
run, number, word = filesystems.run, sys.argv.pop(1), sys.argv.pop(1)
def signalled(name, command, environment):
    if word in command:
        command = ("sh", "-c", f'kill -s {number} -- -{os.getpgrp()} && exec "$@"', "sh", *command)
    return run(name, command, environment)
filesystems.run = signalled
sys.exit(scale.main())
"""


@pytest.mark.mount
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse")
@pytest.mark.parametrize(
    ("number", "while_"),
    [
        (signal.SIGINT, "mount"),
        (signal.SIGTERM, "lock"),
        pytest.param(signal.SIGTERM, "mount", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "lock", marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_nothing_mounted(tmp_path, number, while_):
    """Also while something is mounted or taken off: no mount, no process, no file, and no document."""
    output = tmp_path / "out.json"
    command = [sys.executable, "-c", _SIGNALLED, str(int(number)), while_, "--quick", "--only", "files"]
    command += ["--directory", str(tmp_path), "--output", str(output)]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False, start_new_session=True)
    assert result.returncode == 128 + number, result.stderr
    assert os.listdir(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert [line for line in command_lines() if str(tmp_path) in line] == []


def command_lines():
    """Of all processes that there are."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.mark.slow
@pytest.mark.mount
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse")
def test_a_real_mount_is_measured_and_nothing_is_left(tmp_path):
    """It mounts cloakfs, as often as there are points, and takes all of them off."""
    output, store = tmp_path / "out.json", tmp_path / "store"
    store.mkdir()
    command = [sys.executable, "-m", "benchmarks.scale", "--quick", "--only", "files", "sparse"]
    command += ["--directory", str(store), "--output", str(output)]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = figures(json.loads(output.read_text(encoding="utf-8")))
    assert found["scale/files/memory"] == list(QUICK.files)
    assert found["scale/sparse/append"] == list(QUICK.sparse)
    assert os.listdir(store) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
