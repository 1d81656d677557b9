"""What every test run needs, however it was started."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# A run in the background of a script is started with SIGINT ignored, and so would be every command that tests
# interrupt. A handler here gives the commands the default action back (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is mounted for several tests at once remembers here; each test has a directory of its own besides.
_SHARED_MEMORY = tempfile.mkdtemp(prefix="cloakfs-host-state-")
atexit.register(shutil.rmtree, _SHARED_MEMORY, ignore_errors=True)
os.environ["CLOAKFS_STATE_DIRECTORY"] = _SHARED_MEMORY


@pytest.fixture(autouse=True)
def host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is a host of its own: what commands remember of volumes stays in its temporary directory."""
    memory = tmp_path / "host-state"
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(memory))
    return memory
