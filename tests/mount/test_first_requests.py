"""The first moments of a mount."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.mounting import MountedVolume

pytestmark = pytest.mark.mount

# Waits for the mount and changes its root directory from the first moment on.
_AT_ONCE = """
import os, sys
path = sys.argv[1]
outside = os.stat(os.path.dirname(path)).st_dev
while os.stat(path).st_dev == outside:
    pass
for number in range(1000):
    os.close(os.open(f"{path}/{number}", os.O_CREAT | os.O_RDWR, 0o600))
"""


def test_a_program_that_does_not_wait(mounted: MountedVolume) -> None:
    """The daemon never waits for an answer of its own: work that starts with the mount is done, and so is the mount."""
    mounted.lock()
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _AT_ONCE, str(mounted.path)]) as program:
            mounted.mount()
            assert program.wait(timeout=60) == 0
        assert len(os.listdir(mounted.path)) == 1000
        for name in os.listdir(mounted.path):
            (mounted.path / name).unlink()
        mounted.lock()
