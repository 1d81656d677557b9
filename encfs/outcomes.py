"""What a failure of a command is to whoever called it: an exit code, a message, what to do next.

Owns: this translation, for every command line of ours. Must not know: where it is written, options.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from encfs.errors import CloakfsError, ExitCode
from encfs.wording import as_text

# Of the disk or of what lies on it. EUCLEAN is of Linux alone.
_DISK_NAMES: Final = ("EIO", "ENODEV", "ENXIO", "ESTALE", "ENOSPC", "EDQUOT", "EFBIG", "EUCLEAN")
_DISK_ERRORS: Final = frozenset(getattr(errno, name) for name in _DISK_NAMES if hasattr(errno, name))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a failed command ends.

    Attributes:
        code: its exit status.
        message: what went wrong, for the user.
        hint: what to do next, or empty.
        details: what ``--json`` adds.
    """

    code: ExitCode
    message: str
    hint: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The message, with its hint on a line of its own."""
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    @property
    def as_json(self) -> dict[str, object]:
        """The object of docs/json.md."""
        error = {"name": self.code.name, "exit_code": int(self.code), "message": self.message, "hint": self.hint}
        return {"error": {**error, **self.details}}


def of(exc: BaseException) -> Outcome:
    """What an exception that ends a command means."""
    if isinstance(exc, KeyboardInterrupt | EOFError):
        return Outcome(ExitCode.INTERRUPTED, "interrupted")
    if isinstance(exc, CloakfsError):
        return Outcome(exc.exit_code, str(exc), exc.hint, getattr(exc, "details", {}))
    if isinstance(exc, OSError):
        return Outcome(ExitCode.LOWER_IO if exc.errno in _DISK_ERRORS else ExitCode.FAILURE, sentence(exc))
    if isinstance(exc, MemoryError):
        return Outcome(ExitCode.NO_MEMORY, "not enough memory", "Close other programs and try again.")
    hint = "This is a mistake in cloakfs. Run it again with --debug and report what it shows."
    return Outcome(ExitCode.FAILURE, f"internal error ({type(exc).__name__})", hint)


def sentence(exc: OSError) -> str:
    """An ``OSError`` as a person says it: the path, then the reason."""
    reason = exc.strerror or str(exc) or type(exc).__name__
    named = (exc.filename, exc.filename2)
    paths = [as_text(name) if isinstance(name, bytes) else name for name in named if isinstance(name, str | bytes)]
    return ": ".join([*paths, reason[:1].lower() + reason[1:]])
