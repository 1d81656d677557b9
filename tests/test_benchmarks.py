"""The benchmark programs run, check themselves, and write what benchmarks/README.md says. No figure is tested."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from encfs.format.limits import CELL_SIZES

TOP = Path(__file__).resolve().parents[1]


def smoke_run(program, output, *options):
    """The document that a smoke run writes, as text."""
    command = [sys.executable, "-m", f"benchmarks.{program}", "--quick", "--output", str(output), *options]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["primitives", "library"])
def written(request, tmp_path_factory):
    """A document as text, of a program that needs no mount."""
    output = tmp_path_factory.mktemp("results") / "out.json"
    options = [] if request.param == "primitives" else ["--directory", str(output.parent)]
    return request.param, smoke_run(request.param, output, *options)


def test_document_names_machine_and_versions(written):
    """A result says what it was measured on, and with which versions."""
    program, text = written
    report = json.loads(text)
    assert (report["benchmark"], report["schema"]) == (program, 1)
    assert report["settings"]["quick"] is True
    assert report["machine"].keys() >= {"processor", "cores", "memory_gib", "kernel", "system", "load_average"}
    assert report["versions"].keys() >= {"cloakfs", "python", "cryptography", "openssl"}


def test_document_names_no_host_and_no_path(written):
    """A result can be published: no host, no path of the machine, nobody's name."""
    strings = list(_strings(json.loads(written[1])))
    assert [text for text in strings if text.startswith(("/", "~"))] == []
    assert not {platform.node(), getpass.getuser(), str(TOP)} & set(strings)


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def test_primitives_measure_every_cell_size_against_the_raw_call(tmp_path):
    """Sealing and opening are there for each cell size with one thread and with two, with what we add to the call."""
    results = json.loads(smoke_run("primitives", tmp_path / "out.json"))["results"]
    cells = {(e["what"], e["cell_size"], e["threads"]): e for e in results if e["what"].startswith("cells/")}
    assert cells.keys() == {
        (f"cells/{what}", size, threads) for what in ("seal", "open") for size in CELL_SIZES for threads in (1, 2)
    }
    for entry in cells.values():
        assert entry["unit"] == "us per cell"
        assert entry["overhead"] > 0
        assert entry["mb_per_s"].keys() == entry["time"].keys() == {"raw", "core"}
        assert all(spread["low"] <= spread["median"] <= spread["high"] for spread in entry["time"].values())
    others = {"name/seal", "name/open", "header/seal", "header/open", "hkdf/expand", "argon2id/minimal"}
    assert others <= {entry["what"] for entry in results}
