"""encfs/registers/configs.py: what configs said when volumes were opened here (FORMAT.md section 17)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encfs.errors import RegisterError
from encfs.registers import configs
from encfs.registers.configs import note, remembered
from encfs.registers.ledger import Ledger

ONE, OTHER = "11" * 16, "22" * 16
CONFIG: dict[str, Any] = {"created": 5, "slots": [{"label": "Anna"}]}


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of its own."""
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "state"))


def test_only_what_is_new_is_written_down() -> None:
    """Opening a volume each day does not fill the register; a change, and a change back, are entries."""
    for config in (CONFIG, CONFIG, CONFIG | {"created": 6}, CONFIG, CONFIG):
        note(ONE, config)
    note(OTHER, CONFIG)
    note(ONE, CONFIG)
    entries = Ledger("configs").entries()
    assert [(entry.kind, entry.data["volume_id"], entry.data["config"]["created"]) for entry in entries] == [
        ("opened", ONE, 5),
        ("opened", ONE, 6),
        ("opened", ONE, 5),
        ("opened", OTHER, 5),
    ]


def test_the_latest_and_the_latest_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a stick is what was known when it was lost."""
    for at in (100, 200):
        monkeypatch.setattr("encfs.registers.ledger.time.time", lambda at=at: at)
        note(ONE, {"created": at})
    assert remembered(OTHER) is None
    latest = remembered(ONE)
    assert latest is not None
    assert (latest.at, latest.config) == (200, {"created": 200})
    before = remembered(ONE, 199)
    assert before is not None
    assert before.config == {"created": 100}
    assert remembered(ONE, 99) is None


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("closed", {"volume_id": ONE, "config": {}}),
        ("opened", {"volume_id": ONE}),
        ("opened", {"volume_id": 1, "config": {}}),
        ("opened", {"volume_id": ONE, "config": {}, "more": 1}),
    ],
)
def test_what_no_version_wrote(kind: str, data: dict[str, Any]) -> None:
    """Signed, and still no entry of this register."""
    Ledger(configs.NAME).append(kind, data)
    with pytest.raises(RegisterError, match="at entry 0"):
        remembered(ONE)
    with pytest.raises(RegisterError):
        note(ONE, CONFIG)
