"""encfs/evidence/citations.py: every check that a rule points to is one that something makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from encfs.evidence import pack
from encfs.evidence.citations import CITATIONS

SOURCE = Path(__file__).resolve().parents[2] / "encfs"
PARTS = {"volumes", "media", "exceptions", "log", *pack.REGISTERS}
# What an auditor asks for (HHS audit protocol).
ASKED = (
    *("164.312(a)(2)(iv)", "164.312(b)", "164.312(c)(1)", "164.312(d)", "164.312(e)(1)", "164.308(a)(1)(ii)(D)"),
    *("164.308(a)(7)", "164.310(d)(1)", "164.310(d)(2)(i)", "164.310(d)(2)(iii)", "164.310(d)(2)(iv)", "164.316(b)"),
    *("164.402", "164.414"),
)


def test_every_code_is_one_of_a_check() -> None:
    """A slip in a code would make a rule look as if nothing had been found."""
    files = [path for path in SOURCE.rglob("*.py") if path.name != "citations.py"]
    texts = "".join(path.read_text(encoding="utf-8") for path in files)
    wanted = {code for one in CITATIONS for code in one.codes}
    assert len(wanted) > 20
    assert {code for code in wanted if f'"{code}"' not in texts} == set()


def test_every_part_is_one_of_a_pack() -> None:
    """So is each part that a rule is shown by."""
    assert {part for one in CITATIONS for part in one.shows} <= PARTS


@pytest.mark.parametrize("rule", ASKED)
def test_the_rules_an_auditor_asks_for(rule: str) -> None:
    """Each is in the index."""
    assert any(rule in one.rule for one in CITATIONS)
