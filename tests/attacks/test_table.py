"""The table in THREAT_MODEL.md says what the attacks say, and the attacks say what the tests prove."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from encfs.volume.findings import Code
from tests.attacks import (
    test_cells,
    test_config_attacks,
    test_old_state,
    test_old_volume,
    test_places,
    test_regions,
    test_root,
)
from tests.support.corruption import ATTACKS, Attack, Outcome
from tests.support.corruption.table import HEAD, rows

TOP = Path(__file__).resolve().parents[2]
TEXT = (TOP / "THREAT_MODEL.md").read_text(encoding="utf-8")
ALL = pytest.mark.parametrize("attack", ATTACKS.values(), ids=lambda attack: attack.name)


def test_the_table_is_the_list_of_attacks() -> None:
    """Each attack is a row, each row is an attack, and the words are those that the tests assert.

    Where this fails: ``tools/corrupt.py table`` prints the table as it should be.
    """
    found = [line for line in TEXT.splitlines() if line.startswith("| `") and line.split("`")[1] in ATTACKS]
    assert found == rows()[len(HEAD) :]
    assert "\n".join(rows()) in TEXT
    block = TEXT.split(HEAD[0])[1].split("\n\n")[0]
    assert block.count("\n| `") == len(ATTACKS)


@ALL
def test_every_limit_is_documented(attack: Attack) -> None:
    """What is not noticed is said in section 5 or 6 (THREAT_MODEL.md), in the words that the table points to."""
    limits = TEXT.split("\n## 5. ")[1].split("\n## 7. ")[0]
    assert attack.limit in re.sub(r"\s+", " ", limits)
    unnoticed = attack.outcome in (Outcome.LIMIT, Outcome.FRESHNESS, Outcome.CHECKPOINT)
    assert attack.limit or not unnoticed
    assert attack.checkpoint or attack.outcome is not Outcome.CHECKPOINT


@ALL
def test_codes_and_exit_codes_exist(attack: Attack) -> None:
    """What the table calls a finding is one, and what it calls an exit code too."""
    assert {*attack.codes, *filter(None, [attack.checkpoint])} <= set(Code)
    assert attack.exit_code in [int(code) for code in ExitCode]
    assert bool(attack.exit_code) or attack.outcome is not Outcome.REFUSED


@ALL
def test_every_attack_has_a_case(attack: Attack) -> None:
    """No attack of the table is without a test that does it on a real volume."""
    modules = (test_regions, test_places, test_old_state)
    tried = {case.attack for module in modules for case in module.CASES} | {case.attack for _, case in test_cells.ALL}
    tried |= {name for name, _ in test_config_attacks.CASES} | {one.name for one in test_config_attacks.SESSIONS}
    assert attack.name in tried | set(test_old_volume.NAMES) | set(test_root.NAMES)


@ALL
def test_attacks_are_described(attack: Attack) -> None:
    """Names are stable words, and the sentence is one."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", attack.name)
    assert attack.does
    assert attack.does[0].isupper()
    assert "|" not in attack.does
