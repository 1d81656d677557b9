"""What a long piece of work yields where its caller has to do something before the next step.

Owns: the few things a step can ask for. Must not know: the work, who does it in which thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from encfs.volume.file import OpenFile


@dataclass(frozen=True, slots=True)
class Waiting:
    """Before the next step ``call`` has to be done. It waits for the medium: a daemon does it in a thread."""

    call: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Turn:
    """Before the next step nobody may be at work on ``file`` in another thread."""

    file: OpenFile


@dataclass(frozen=True, slots=True)
class Alone:
    """As :class:`Waiting`, and nobody else may use ``file`` while ``call`` is done."""

    file: OpenFile
    call: Callable[[], object]


def carry_out(step: object) -> None:
    """Do what a step asks for, where nobody else uses the volume."""
    if isinstance(step, Waiting | Alone):
        step.call()
