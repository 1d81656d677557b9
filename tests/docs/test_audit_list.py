"""docs/json.md lists every action of the audit log, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.audit_actions import documented

SOURCE = Path(__file__).resolve().parents[2] / "encfs"
_WORD = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")
_TELLERS = frozenset({"tell", "telling", "recorded", "_recorded", "_note", "_own", "_record"})


def _first_text(call: ast.Call) -> str | None:
    """The action in a call of those that record one: ``tell("a.b")``, ``tell(*("a.b", ...))``, ``action="a.b"``."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    places: list[ast.expr] = [word.value for word in call.keywords if word.arg == "action"]
    if name in _TELLERS:
        places += call.args[:1]
    for place in places:
        found = place.value.elts[0] if isinstance(place, ast.Starred) and isinstance(place.value, ast.Tuple) else place
        if isinstance(found, ast.JoinedStr) and isinstance(found.values[0], ast.Constant):
            found = ast.Constant(f"{found.values[0].value}NAME")
        if isinstance(found, ast.Constant) and isinstance(found.value, str) and _WORD.fullmatch(found.value.lower()):
            return found.value
    return None


def actions_of(tree: ast.AST, families: set[str]) -> Iterator[str]:
    """What a module records: what it says where it records, and every word of one of the families."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (told := _first_text(node)) is not None:
            yield told
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value
            if _WORD.fullmatch(word) and word.partition(".")[0] in families:
                yield word


def test_every_action_is_in_the_list_and_no_other() -> None:
    """By what the source says, both ways."""
    families = {action.partition(".")[0] for action in documented()}
    found = set()
    for path in SOURCE.rglob("*.py"):
        found |= set(actions_of(ast.parse(path.read_text(encoding="utf-8")), families))
    assert found == set(documented())


def test_an_action_that_is_not_in_the_list_would_be_seen() -> None:
    """Of a new family where it is recorded, and of a known one anywhere."""
    tree = ast.parse(
        'tell("dentist.visited", x); tell(*("b.c", 1), d=2); A(action="e.f"); X = "volume.new"; tell(f"g.{h}")'
    )
    assert set(actions_of(tree, {"volume"})) == {"dentist.visited", "b.c", "e.f", "volume.new", "g.NAME"}
