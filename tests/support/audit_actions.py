"""The list of what the audit log records, as docs/json.md has it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
_HEAD = "| `action` | is recorded | `detail` |\n|---|---|---|\n"
_RULES = "policy.set"


@functools.cache
def documented() -> dict[str, frozenset[str]]:
    """The details of each action. Those of ``policy.set`` are the rules."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(_HEAD)
    assert found
    actions: dict[str, frozenset[str]] = {}
    for line in rest.partition("\n\n")[0].splitlines():
        names, _, details = line.split("|")[1:-1]
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in actions, name
            actions[name] = frozenset(re.findall(r"`([a-z_-]+)`", details))
    return actions


def check(records: Iterable[Mapping[str, Any]]) -> None:
    """Every record of a log is one that the page knows, with no other details."""
    for each in records:
        action = each["action"]
        if action == "test":
            continue  # What tests of the log itself write.
        if action.startswith("register."):
            action = "register.NAME"
        assert action in documented(), action
        assert action == _RULES or each["detail"].keys() <= documented()[action], each
