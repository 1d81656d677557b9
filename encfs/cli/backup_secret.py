"""The key of a backup, from a file or from somebody who has its recovery sheet.

Owns: the question. Must not know: what the key opens, whether it is the right one.
"""

from __future__ import annotations

from typing import Final

from encfs.cli import terminal
from encfs.cli.output import printable
from encfs.cli.secrets import SecretOptions, read_file
from encfs.errors import UsageError
from encfs.format.recovery_key import GROUPS
from encfs.sheets.typed import complain, recovery_key_in, type_recovery_key

_TRIES: Final = 3


def backup_key(secret: SecretOptions, *, target: str = "", option: str = "--recovery-file") -> bytes:
    """A backup key of 32 bytes, which the options name, or that is typed in, with three tries.

    Args:
        secret: where it is to come from; with nothing given it is asked for.
        target: of the backup, for the question; empty where that is clear.
        option: which one a script gives.

    Raises:
        UsageError: something else is given, there is nobody to ask, or it was mistyped three times.
        OSError: the file cannot be read. EOFError, KeyboardInterrupt: the user gives up.
    """
    if secret.recovery_file is not None:
        return recovery_key_in(read_file(secret.recovery_file))
    if secret.given and not secret.recovery:
        raise UsageError(
            "this backup opens with its backup key alone, which is on its recovery sheet",
            hint=f"Leave the other secrets out and type it, or give {option} FILE.",
        )
    terminal.require("the recovery key of the backup", hint=f"Give {option} FILE.")
    at = f" at {printable(target)}" if target else ""
    with terminal.private_screen():
        terminal.tell(f"The key on the recovery sheet of the backup{at}, all {GROUPS} groups.")
        for _ in range(_TRIES - 1):
            try:
                return type_recovery_key(terminal, "  groups: ")
            except UsageError as exc:
                complain(terminal, exc)
        return type_recovery_key(terminal, "  groups: ")
