"""How far a restore is, on the terminal, and what of it does not come back.

Owns: the line for each entry that is not restored. Must not know: what is done.
"""

from __future__ import annotations

from encfs.cli import output
from encfs.cli.backup_bar import StepsBar


class RestoreBar(StepsBar):
    """Satisfies :class:`encfs.backup.restoring.Watcher`. Use it in a ``with`` statement.

    Attributes:
        parts: names of those that have begun.
    """

    def __init__(self) -> None:
        super().__init__("Restoring")
        self.parts: list[str] = []

    def __exit__(self, *unused: object) -> None:
        super().__exit__(*unused)
        self._shown = None

    def phase(self, name: str, total: int) -> None:
        self.parts.append(name)
        super().phase(name, total)

    def failed(self, path: bytes, reason: str) -> None:
        """One entry is not restored."""
        line = f"not restored: {output.printable(path) or '/'}: {reason}"
        if self._shown is None:
            output.remark(line)
        else:
            self._shown.remark(line)
