"""What was looked at on this host, with a traffic light and a remedy (``cloakfs doctor``, ``cloakfs share check``).

Owns: the light and its order, the shape of one answer. Must not know: what is looked at, how it is shown
(``encfs/cli/checks_view.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Light(IntEnum):
    """How something stands; the number is the exit status of ``cloakfs status``, ``doctor`` and ``share check``."""

    GREEN = 0
    AMBER = 1
    RED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One answer.

    Attributes:
        code: stable, for scripts (docs/json.md): lower-case words with hyphens.
        title: what was looked at, in a few words.
        light: green; amber: could not be seen, or is worth a look; red: data or its secrecy is at risk.
        found: what was found, one sentence without a full stop.
        remedy: what to do, best a command; empty where nothing is to be done.
    """

    code: str
    title: str
    light: Light
    found: str
    remedy: str = ""


def worst(checks: Iterable[Checked]) -> Light:
    """The light of all of them together; green if there is none."""
    return max((check.light for check in checks), default=Light.GREEN)
