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
    "cli/test_evidence_command.py",
    "docs/test_walkthrough.py",
    "cli/test_mounting.py",
    "cli/test_incident_command.py",
    "attacks/test_config_attacks.py",
    "powercut/test_power_cuts.py",
    "programs/test_fio.py",
    "cli/test_audit_actions.py",
    "cli/test_audit_anchor.py",
    "cli/test_destroy_command.py",
    "cli/test_key_command.py",
    "cli/test_doctor_command.py",
    "reader/test_reader.py",
    "volume/test_fault_matrix.py",
    "cli/test_audit_files.py",
    "programs/test_cpython.py",
    "cli/test_share_command.py",
    "cli/test_freshness.py",
    "docs/test_story.py",
    "mount/test_checkpoint_mounted.py",
    "backup/test_backup_rclone.py",
    "programs/test_fsync.py",
    "cli/test_key_rotate.py",
    "media/test_medium_faults.py",
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
