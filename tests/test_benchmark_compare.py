"""``benchmarks.compare`` on documents made here: what it names, and its exit status."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.compare import main

TOP = Path(__file__).resolve().parents[1]
SAME, SLOWER, NOT_COMPARED = 0, 1, 2


def spread(median, width=0.02):
    """Median and range of samples that lie so close."""
    return {"median": median, "low": median * (1 - width), "high": median * (1 + width)}


def document(benchmark, results, **more):
    """A result with a machine and settings."""
    return {
        "benchmark": benchmark,
        "schema": 1,
        "machine": {"processor": "one", "cores": 2, "load_average": {"before": 0.1, "after": 1.0}},
        "versions": {"cloakfs": "1", "python": "3.11.7", "commit": "abc"},
        "settings": {"quick": False, "repetitions": 5, "large_mib": 32},
        **more,
        "results": results,
    }


def layers(**medians):
    """A result of core with one operation; the difference of each layer has a narrow range."""
    names = list(medians)
    return document(
        "core",
        [
            {
                "what": "layers/unlink",
                "title": "unlink",
                "unit": "us per operation",
                "others_share": 0.03,
                "time": {name: spread(value) for name, value in medians.items()},
                "over_below": {
                    name: {"below": below, "difference": spread(medians[name] - medians[below], 0.001)}
                    for below, name in pairwise(names)
                },
            }
        ],
    )


def peers(ratio, width=0.05, against="bare", what="untar", seconds=1.0):
    """A result of peers with one step, in which cloakfs is so many times as fast as one peer."""
    step = {
        "group": "tree",
        "what": what,
        "title": what,
        "seconds": {"cloakfs": spread(seconds), against: spread(seconds * ratio)},
        "ratio": {against: ratio},
        "ratio_range": {against: [ratio * (1 - width), ratio * (1 + width)]},
        "best": None,
    }
    return document(
        "peers",
        [{"store": "memory", "filesystem": "tmpfs", "steps": [step], "peak_megabytes": {}}],
        peers={"cloakfs": {"version": "1"}, against: {"version": "7"}},
    )


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """The program on two documents (or bytes): exit status, standard output, standard error."""

    def run(old, new, *options):
        files = []
        for name, content in (("old.json", old), ("new.json", new)):
            files.append(tmp_path / name)
            files[-1].write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, files), *options])
        return main(), *capsys.readouterr()

    return run


def as_json(result):
    """What was printed with --json."""
    return json.loads(result[1])


def names(changes):
    """Of changes."""
    return [change["name"] for change in changes]


def test_same_result_has_no_change(compare):
    """A result against itself: everything is within the noise."""
    old = layers(aead=2.0, core=4.0)
    result = compare(old, old, "--json")
    assert result[0] == SAME
    assert as_json(result) == {
        "compared": "absolute figures; the machine has to be the same",
        "warnings": [],
        "slower": [],
        "faster": [],
        "within_noise": 2,
        "only_old": [],
        "only_new": [],
    }


def test_slower_layer_is_named_with_where_it_is(compare):
    """What became slower is named, the layer that did it apart from those that lie on it."""
    result = compare(
        layers(tmpfs=10.0, handlers=20.0, mount=50.0), layers(tmpfs=10.0, handlers=30.0, mount=60.0), "--json"
    )
    assert result[0] == SLOWER
    slower = {change["name"]: (change["times"], change["where"]) for change in as_json(result)["slower"]}
    assert slower == {
        "layers/unlink handlers": (1.5, "in this layer"),
        "layers/unlink mount": (1.2, "from below"),
    }


def test_text_names_what_is_slower(compare):
    """People read the same in a table."""
    status, text, _ = compare(layers(tmpfs=10.0, handlers=20.0), layers(tmpfs=10.0, handlers=30.0))
    assert status == SLOWER
    row = next(line for line in text.splitlines() if line.startswith("layers/unlink handlers"))
    assert row.split()[2:5] == ["20.0", "30.0", "1.50"]
    assert text.endswith("1 slower, 0 faster, 1 within the noise\n")


def test_faster_is_no_failure(compare):
    """What became faster is named, and the exit status is 0."""
    result = compare(layers(core=4.0), layers(core=2.0), "--json")
    assert result[0] == SAME
    assert names(as_json(result)["faster"]) == ["layers/unlink core"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(spread(10.0, 0.001), spread(10.4, 0.001), id="less than 5 %"),
        pytest.param(spread(10.0, 0.2), spread(12.0, 0.01), id="ranges overlap"),
        pytest.param(
            {"median": 10.0, "low": 9.9, "high": 10.1}, {"median": 12.0, "low": 11.0, "high": 16.0},
            id="nearer than half a range",
        ),
    ],
)  # fmt: skip
def test_noise_is_no_change(compare, old, new):
    """Each of the three conditions alone keeps a figure within the noise."""
    first = layers(core=10.0)
    second = copy.deepcopy(first)
    first["results"][0]["time"]["core"], second["results"][0]["time"]["core"] = old, new
    result = compare(first, second, "--json")
    assert result[0] == SAME
    assert as_json(result)["within_noise"] == 1


def test_rate_that_falls_is_slower(compare):
    """Of a rate more is better, whether the unit or the key says that it is one."""
    old = document(
        "scale",
        [
            {"what": "read", "files": 1000, "unit": "MB/s", "cloakfs": spread(500.0)},
            {"what": "stat", "files": 1000, "rate": {"cloakfs": spread(100.0)}},
        ],
    )
    new = copy.deepcopy(old)
    new["results"][0]["cloakfs"], new["results"][1]["rate"]["cloakfs"] = spread(250.0), spread(200.0)
    result = compare(old, new, "--json")
    assert result[0] == SLOWER
    assert names(as_json(result)["slower"]) == ["read files=1000 cloakfs"]
    assert names(as_json(result)["faster"]) == ["stat files=1000 rate cloakfs"]


def test_entries_are_told_apart_by_their_numbers(compare):
    """The order of entries does not count, the whole numbers in them do."""
    old = document("scale", [{"what": "list", "entries": n, "seconds": spread(float(n))} for n in (1, 100, 10000)])
    new = copy.deepcopy(old)
    new["results"].reverse()
    assert compare(old, new)[0] == SAME


def test_peers_are_compared_by_ratio(compare):
    """A machine that is twice as slow today changes nothing; a ratio that fell does."""
    assert compare(peers(2.0, seconds=1.0), peers(2.0, seconds=2.0))[0] == SAME
    result = compare(peers(2.0, seconds=1.0), peers(1.0, seconds=1.0), "--json")
    assert result[0] == SLOWER
    assert as_json(result)["compared"] == "ratios against a filesystem of the same run"
    assert names(as_json(result)["slower"]) == ["memory (tmpfs): untar, against bare"]
    assert as_json(result)["slower"][0]["times"] == 2.0


def test_missing_entries_are_named(compare):
    """What only one of the results has is named, and is no failure."""
    old = peers(2.0)
    new = copy.deepcopy(old)
    new["results"][0]["steps"] += peers(3.0, what="cp")["results"][0]["steps"]
    result = compare(old, new, "--json")
    assert result[0] == SAME
    assert (as_json(result)["only_old"], as_json(result)["only_new"]) == ([], ["memory (tmpfs): cp, against bare"])


def _with(path, value):
    """A result of core in which one thing is other."""
    found = layers(core=4.0)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (_with(["benchmark"], "scale"), "benchmark is 'core' and 'scale'"),
        (_with(["schema"], 2), "schema is 1 and 2"),
        (_with(["settings", "large_mib"], 64), "large_mib is 32 and 64"),
        (_with(["settings", "quick"], True), "smoke run"),
        (_with(["results"], []), "no figure in common"),
        (_with(["results", 0, "time", "core", "median"], "fast"), "not a whole result"),
        (_with(["machine"], None), "not a whole result"),
        (b'{"benchmark": "core", ', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[]", "not a result"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_compared_says_why(compare, other, said):
    """Another kind, other settings, a smoke run, nothing in common, damage: status 2, and the reason."""
    status, output, errors = compare(layers(core=4.0), other)
    assert (status, output) == (NOT_COMPARED, "")
    assert said in errors


def test_missing_file_says_so(tmp_path):
    """The command: a file that is not there is no traceback."""
    command = [sys.executable, "-m", "benchmarks.compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (NOT_COMPARED, "")
    assert "a.json cannot be read: No such file or directory" in result.stderr


def test_no_common_reference_cannot_be_compared(compare):
    """Results of peers that were measured against nobody in common."""
    status, _, errors = compare(peers(2.0, against="bare"), peers(2.0, against="gocryptfs"))
    assert status == NOT_COMPARED
    assert "no figure in common" in errors


@pytest.mark.parametrize(
    ("path", "value", "warning"),
    [
        (["machine", "processor"], "two", "another machine: processor is 'one' and 'two'"),
        (["versions", "python"], "3.12.1", "another version: python is '3.11.7' and '3.12.1'"),
        (["settings", "repetitions"], 1, "the second result has fewer than three repetitions"),
    ],
)
def test_other_circumstances_are_a_warning_before_all_else(compare, path, value, warning):
    """Another machine or version, or too few samples, is said first; the comparison is made all the same."""
    status, text, _ = compare(layers(core=4.0), _with(path, value))
    assert status == SAME
    assert text.startswith(f"warning: {warning}")


def test_other_commit_and_load_are_no_warning(compare):
    """That is what results are compared for, and what a machine has at any time."""
    new = _with(["versions", "commit"], "def")
    new["machine"]["load_average"] = {"before": 3.0, "after": 3.0}
    assert as_json(compare(layers(core=4.0), new, "--json"))["warnings"] == []


def test_other_version_of_a_peer_is_a_warning(compare):
    """A ratio can change because the peer did."""
    new = peers(2.0, against="gocryptfs")
    new["peers"]["gocryptfs"]["version"] = "8"
    result = as_json(compare(peers(2.0, against="gocryptfs"), new, "--json"))
    assert result["warnings"] == ["another version of a peer: gocryptfs is '7' and '8'"]
