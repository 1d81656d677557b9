"""The table "Attack by attack" of THREAT_MODEL.md, from the list of attacks.

Owns: its words. Must not know: whether the outcomes hold; ``tests/attacks`` does.
"""

from __future__ import annotations

from tests.support.corruption import ATTACKS, Attack, Outcome

HEAD = ["| attack | what is done | what becomes of it | `verify` says | else |", "|---|---|---|---|---|"]


def rows() -> list[str]:
    """The lines of the table."""
    return HEAD + [_row(one) for one in ATTACKS.values()]


def _row(one: Attack) -> str:
    words = [f"`{one.name}`", one.does, _becomes(one), _says(one), _else(one)]
    return "| " + " | ".join(words) + " |"


def _becomes(one: Attack) -> str:
    refused = f"refused, exit {one.exit_code}"
    if one.outcome is Outcome.FRESHNESS:
        return f"**{one.outcome}**: {refused if one.exit_code else 'EIO'}"
    return f"**{one.outcome}**, exit {one.exit_code}" if one.outcome is Outcome.REFUSED else f"**{one.outcome}**"


def _says(one: Attack) -> str:
    said = [", ".join(f"`{code}`" for code in one.codes)] if one.codes else []
    if one.checkpoint:
        said.append(f"with `--checkpoint`: `{one.checkpoint}`")
    return "; ".join(said) or "-"


def _else(one: Attack) -> str:
    return f"limit: {one.limit.rstrip('.')}" if one.limit else "-"
