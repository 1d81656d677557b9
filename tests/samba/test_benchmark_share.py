"""``benchmarks.share`` measures every step on both shares, looks at every byte, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_smoke_run(place: Path, tmp_path: Path) -> None:
    """Each step has a figure of both shares and a ratio; the directory that it worked in is empty again."""
    output = tmp_path / "share.json"
    command = [sys.executable, "-m", "benchmarks.share", "--quick", "--directory", place, "--output", output]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())["results"]
    assert [entry["what"] for entry in results] == ["list-warm", "list-cold", "upload", "download"]
    for entry in results:
        assert set(entry["seconds"]) == {"practice", "bare"}
        assert entry["ratio"] > 0
    assert list(place.iterdir()) == []
