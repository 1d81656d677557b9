"""What every test run needs, however it was started."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A run in the background of a script is started with SIGINT ignored, and so would be every command that tests
# interrupt. A handler here gives the commands the default action back (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is a host of its own: what commands remember of volumes stays in its temporary directory."""
    memory = tmp_path / "host-state"
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(memory))
    return memory
