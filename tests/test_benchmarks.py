"""The benchmark programs run, check themselves, and write what benchmarks/README.md says. No figure is tested."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("pyfuse3")

from benchmarks import core
from benchmarks.core import thread_counts
from benchmarks.harness import layers
from benchmarks.harness.file_layers import Files, VolumeCalls
from benchmarks.harness.memory_store import MemoryStore
from benchmarks.harness.workloads.steps import FailedError, WrongBytesError
from encfs.bench.primitives import CellRun
from encfs.format.limits import CELL_SIZES
from encfs.volume import Volume

TOP = Path(__file__).resolve().parents[1]
LAYERS = ["aead", "core", "memory", "tmpfs", "handlers", "mount"]


def smoke_run(program, output, *options):
    """The document that a smoke run writes, as text."""
    command = [sys.executable, "-m", f"benchmarks.{program}", "--quick", "--output", str(output), *options]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The document of core as text."""
    return smoke_run("core", tmp_path_factory.mktemp("results") / "out.json")


def test_document_names_machine_and_versions(written):
    """A result says what it was measured on, and with which versions."""
    report = json.loads(written)
    assert (report["benchmark"], report["schema"]) == ("core", 1)
    assert report["settings"]["quick"] is True
    assert report["machine"].keys() >= {"processor", "cores", "memory_gib", "kernel", "system", "load_average"}
    assert report["versions"].keys() >= {"cloakfs", "python", "cryptography", "openssl"}


def test_document_names_no_host_and_no_path(written):
    """A result can be published: no host, no path of the machine, nobody's name."""
    strings = list(_strings(json.loads(written)))
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


def test_core_measures_every_cell_size_against_the_raw_call(written):
    """Sealing and opening are there for each cell size and thread count, with what we add to the call."""
    results = json.loads(written)["results"]
    cells = {(e["what"], e["cell_size"], e["threads"]): e for e in results if e["what"].startswith("cells/")}
    counts = thread_counts(len(os.sched_getaffinity(0)))
    assert cells.keys() == {
        (f"cells/{what}", size, threads) for what in ("seal", "open") for size in CELL_SIZES for threads in counts
    }
    for entry in cells.values():
        assert entry["unit"] == "us per cell"
        assert entry["overhead"] > 0
        assert entry["mb_per_s"].keys() == entry["time"].keys() == {"raw", "core"}
        assert all(spread["low"] <= spread["median"] <= spread["high"] for spread in entry["time"].values())
    others = {"name/seal", "name/open", "header/seal", "header/open", "hkdf/expand", "argon2id/minimal"}
    assert others <= {entry["what"] for entry in results}


@pytest.mark.parametrize(("processors", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_thread_counts_double_up_to_all_processors(processors, counts):
    """One, twice as many and so on, and all."""
    assert thread_counts(processors) == counts


@pytest.mark.mount
def test_core_measures_every_layer_over_the_one_below(written):
    """Each operation is there on each layer, from the bottom up, with what the layer adds to the one below."""
    found = {e["what"]: e for e in json.loads(written)["results"] if e["what"].startswith("layers/")}
    assert found.keys() == {f"layers/{operation.name}" for operation in layers.OPERATIONS}
    for what, entry in found.items():
        names = [name for name in LAYERS if (what, name) != ("layers/look_up", "mount") or os.geteuid() == 0]
        assert list(entry["time"]) == names
        assert {name: over["below"] for name, over in entry["over_below"].items()} == dict(zip(names[1:], names))
        assert all(spread["low"] > 0 for spread in entry["time"].values())


@contextmanager
def memory_at(path):
    """A volume in a memory store, and that store."""
    Volume.create(os.fsencode(path), secret=b"secret")
    store = MemoryStore(path)
    with Volume.unlock(os.fsencode(path), b"secret", store=store) as volume:
        yield volume, store


class Lying:
    """The calls of a layer that gives back the bytes of a large file with one bit changed."""

    def __init__(self, calls):
        self._calls = calls

    def __getattr__(self, name):
        return getattr(self._calls, name)

    def read(self, handle, offset, size):
        found = bytearray(self._calls.read(handle, offset, size))
        found[-1] ^= 1
        return bytes(found)


def test_wrong_bytes_in_a_layer_end_the_measurement(tmp_path):
    """A layer that gives back other bytes than were written has no figure, and it says which and where."""
    with memory_at(tmp_path / "volume") as (volume, _):
        layer = Files("memory", Lying(VolumeCalls(volume)))
        with pytest.raises(WrongBytesError, match="write 1 MiB, layer memory: something else came back"):
            layers.measure([layer], layers.QUICK, 1)


def test_wrong_bytes_end_the_run_without_figures(monkeypatch, capsys, tmp_path):
    """The program then writes no document, says why, and fails."""
    output = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["core", "--quick", "--output", str(output)])
    monkeypatch.setattr(core.signal, "signal", lambda *_: None)
    monkeypatch.setattr(CellRun, "intact", lambda _: False)
    assert core.main() == 1
    assert "failed: what was sealed did not open to the same bytes" in capsys.readouterr().err
    assert not output.exists()


def test_failing_layer_ends_the_measurement(tmp_path):
    """What fails below says at which operation and in which layer."""
    with memory_at(tmp_path / "volume") as (volume, _):
        calls = VolumeCalls(volume)
        calls.unlink = lambda _: os.unlink(tmp_path / "nothing here")
        with pytest.raises(FailedError, match=r"unlink, layer memory: .*No such file"):
            layers.measure([Files("memory", calls)], layers.QUICK, 1)


def test_volume_in_memory_is_a_volume(tmp_path):
    """What is done to it is there, in full, when it is unlocked again; nothing of it reached the directory."""
    path = tmp_path / "volume"
    content = os.urandom(300_000)
    with memory_at(path) as (volume, store):
        before = {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}
        volume.make_directory(b"letters")
        volume.write_file(b"letters/a", content)
        volume.make_symlink(b"link", b"letters/b")
        volume.rename(b"letters/a", b"letters/b")
        volume.write_file(b"gone", b"x")
        volume.remove(b"gone")
    with Volume.unlock(os.fsencode(path), b"secret", store=store) as volume:
        assert volume.recovery is None
        assert b"".join(volume.read_file(b"link")) == content
        assert [entry.name for entry in volume.list_directory()] == [b"letters", b"link"]
    assert {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()} == before
