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

# The modules that take longest, the longest first. Several processes begin with them: one of these begun last would run
# alone in the end, while the other processors have nothing to do.
LONGEST = (
    "cli/test_mounting.py",
    "powercut/test_power_cuts.py",
    "programs/test_sqlite.py",
    "cli/test_key_command.py",
    "volume/test_fault_matrix.py",
    "mount/test_autolock.py",
    "attacks/test_cells.py",
    "cli/test_key_rotate.py",
    "mount/test_kill.py",
    "mount/test_directories.py",
    "mount/test_checkpoint_mounted.py",
    "cli/test_freshness.py",
    "mount/test_freshness_mount.py",
    "programs/test_git.py",
    "cli/test_seven_slots.py",
    "mount/test_metadata.py",
    "programs/test_postgresql.py",
    "mount/test_durability.py",
    "mount/test_state_machine.py",
)

# What is mounted for several tests at once remembers here; each test has a directory of its own besides.
_SHARED_MEMORY = tempfile.mkdtemp(prefix="cloakfs-host-state-")
atexit.register(shutil.rmtree, _SHARED_MEMORY, ignore_errors=True)
os.environ["CLOAKFS_STATE_DIRECTORY"] = _SHARED_MEMORY


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of several processes (``--no-loadscope-reorder``) the longest modules are handed out first."""
    if hasattr(config, "workerinput"):
        rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True)
def host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is a host of its own: what commands remember of volumes stays in its temporary directory."""
    memory = tmp_path / "host-state"
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(memory))
    return memory
