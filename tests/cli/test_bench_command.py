"""``cloakfs bench`` from outside: what it prints, what it refuses, and that it leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Result, run
from tests.support.mounting import wait_for

MOUNTED = ["write", "read", "random_read", "random_write", "create", "list", "read_small", "rename", "delete"]
SMALL = ("--size", "2M")
# The command with less to do; what it does is the same.
_LESS = """
from encfs.bench import caches, primitives
from encfs.cli import calibration, cmd_bench
from encfs.cli.main import main
primitives._SAMPLES, primitives._SAMPLE_SECONDS = 2, 0.001
calibration._MEMORY_KIB_MAX = 1 << 16
"""
_FEW = "cmd_bench._PAGES, cmd_bench._FILES, cmd_bench._REPETITIONS = 50, 50, 1\n"
_USER = "caches._DROP_CACHES = cmd_bench.Path('/dev/null/none')\n"
_MAIN = "main()"
QUICK = ("-c", _LESS + _FEW + _MAIN)
QUICK_USER = ("-c", _LESS + _FEW + _USER + _MAIN)
QUICKLY_MOUNTED = ("-c", _LESS + _USER + _MAIN)


def nothing_left(directory: Path) -> bool:
    """Neither a folder of ours nor a mount."""
    return not [*directory.glob(".cloakfs-bench-*")] and str(directory) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One run for several tests."""
    directory = tmp_path_factory.mktemp("bench")
    return directory, run("bench", directory, *SMALL, "--json", "--plot", directory / "picture.svg", program=QUICK)


def test_json_has_every_part(measured: tuple[Path, Result]) -> None:
    """docs/json.md: figures of all parts with both sides, the cost of a passphrase, the verdict."""
    directory, result = measured
    assert result.code == 0, result.err
    seen = result.json
    parts = {one["part"] for one in seen["figures"]}
    if Path("/dev/fuse").exists():
        assert parts == {"primitives", "library", "mounted"}
        assert [one["name"] for one in seen["figures"] if one["part"] == "mounted"] == MOUNTED
        assert len(seen["verdict"]) == 3
        told = {one["name"] for one in seen["figures"] if one["cold"] is not None}
        assert told - {"read_memory"} == {"read_medium", "read", "random_read", "list", "read_small"}
    for one in seen["figures"]:
        assert len(one["rates"]) == 2
        assert all(low <= one["rates"][side] <= high for side, (low, high) in one["spread"].items())
    assert seen["argon2id"]["memory_kib"] >= 65_536
    assert seen["settings"]["large"] == 2 << 20
    assert nothing_left(directory)


def test_picture_is_drawn(measured: tuple[Path, Result]) -> None:
    """--plot writes an SVG that names the rows, and nothing else is left."""
    directory, _ = measured
    assert [path.name for path in directory.iterdir()] == ["picture.svg"]
    assert (directory / "picture.svg").read_text().startswith("<?xml")


def test_nothing_of_the_scratch_volume_is_remembered(tmp_path: Path) -> None:
    """The host's memory knows of no volume that is gone; and a user is told what came from memory."""
    state = tmp_path / "state"
    (tmp_path / "here").mkdir()
    result = run("bench", tmp_path / "here", *SMALL, env={"CLOAKFS_STATE_DIRECTORY": str(state)}, program=QUICK_USER)
    assert result.code == 0, result.err
    assert "A new passphrase here: Argon2id with" in result.out
    assert "not root: small files and names were read from memory" in result.err
    if Path("/dev/fuse").exists():
        assert re.search(r"^  read small files .*  from memory$", result.out, re.MULTILINE)
    assert not [*state.rglob("*.sqlite")]


def test_picture_of_an_unknown_kind_is_refused_first(tmp_path: Path) -> None:
    """Exit 2 before anything is measured."""
    result = run("bench", tmp_path, "--plot", tmp_path / "picture.pdf")
    assert result.code == 2
    assert "neither in .svg nor in .png" in result.err
    assert [*tmp_path.iterdir()] == []


def test_no_room(tmp_path: Path) -> None:
    """A medium without room is told before anything is written: exit 24."""
    result = run("bench", tmp_path, "--size", "900T")
    assert result.code == 24
    assert "MiB free" in result.err
    assert "--size" in result.err
    assert nothing_left(tmp_path)


def test_too_small_a_file(tmp_path: Path) -> None:
    """A size that measures nothing is refused."""
    assert run("bench", tmp_path, "--size", "4096").code == 2


@pytest.mark.mount
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped while the scratch volume is mounted: no mount, no folder."""
    if not Path("/dev/fuse").exists():
        pytest.skip("no /dev/fuse")
    command = [sys.executable, *QUICKLY_MOUNTED, "bench", str(tmp_path), "--size", "16M"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(
            lambda: str(tmp_path) in Path("/proc/self/mountinfo").read_text(), "the scratch volume is mounted", 200
        )
        os.kill(process.pid, number)
        code = process.wait(120)
    assert code == (130 if number is signal.SIGINT else -signal.SIGTERM)
    assert nothing_left(tmp_path)


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse")
def test_an_isolated_command_stays_isolated(tmp_path: Path) -> None:
    """As the Debian package starts it, it runs no folder named encfs in the working directory, nor does its mount."""
    (tmp_path / "encfs").mkdir()
    (tmp_path / "encfs" / "__init__.py").write_text("raise SystemExit('somebody else')\n")
    result = run("bench", tmp_path, *SMALL, "--json", program=("-I", *QUICK), cwd=tmp_path)
    assert result.code == 0, result.err
    assert "mounted" in {one["part"] for one in result.json["figures"]}
