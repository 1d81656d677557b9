"""How far a run, a check or a trial of a backup is, on the terminal.

Owns: a bar for each part. Must not know: what is done.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from encfs.cli import progress


class StepsBar:
    """Satisfies :class:`encfs.backup.engine.Steps`. Use it in a ``with`` statement.

    Args:
        text: what stands before the bar.
        shown: whether there is one at all.
    """

    def __init__(self, text: str, *, shown: bool = True) -> None:
        self._text, self._wanted = text, shown
        self._name, self._total = "", 0
        self._shown: progress.Bar | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._shown = self._stack.enter_context(progress.bar(self._text, shown=self._wanted))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def phase(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self.done(0)

    def done(self, count: int) -> None:
        if self._shown is not None:
            self._shown.update(count, self._total, self._name)
