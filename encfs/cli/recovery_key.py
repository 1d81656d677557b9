"""The recovery key of a new volume: shown once and proven, or written to a file.

Owns: how it is laid out for paper. Must not know: what it opens; its digits are in ``encfs.format.recovery_key``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from encfs.cli import terminal
from encfs.cli.output import printable
from encfs.crypto.kdf import constant_time_equal
from encfs.errors import UsageError, WrongSecretError
from encfs.format.recovery_key import encode_recovery_key
from encfs.sheets.typed import type_recovery_key

_TRIES: Final = 3
_ON_A_LINE: Final = 5


def prove(key: bytes, volume: str) -> None:
    """Show the key on a screen of its own, and ask for it back.

    An empty answer shows it again: nothing depends on the key yet, and a slip of the pen can still be put right.

    Raises:
        WrongSecretError: three answers were wrong.
        EOFError, KeyboardInterrupt: the user gives up.
    """
    with terminal.private_screen():
        _show(key, volume)
        terminal.tell("Type it from the paper, all groups; case, spaces and dashes do not matter.")
        terminal.tell("(An empty line shows the key again. Ctrl-C gives up; then nothing is made.)\n")
        if _is_typed_back(key, lambda: _show(key, volume)):
            return
    raise WrongSecretError(
        "the recovery key was not typed back, so nothing was made",
        hint="Write it down and try again; or --recovery-out FILE, or --no-recovery.",
    )


def prove_sheet(key: bytes, sheet: str) -> None:
    """Ask for the key that is on a sheet of paper; it is not shown.

    Args:
        key: what is on it.
        sheet: where it was printed to, for the user.

    Raises:
        WrongSecretError: three answers were wrong.
        EOFError, KeyboardInterrupt: the user gives up.
    """
    with terminal.private_screen():
        terminal.tell(
            f"The sheet is in {sheet}. When it is on paper, type the key from there, all groups;\n"
            "case, spaces and dashes do not matter.\n"
            "(An empty line gives up. Then no slot is made, and a sheet that was printed opens nothing.)\n"
        )
        if _is_typed_back(key, None):
            return
    raise WrongSecretError(
        "the recovery key was not typed back, so no slot was made", hint="Destroy the sheet, and try again."
    )


def _is_typed_back(key: bytes, remind: Callable[[], None] | None) -> bool:
    """Whether one of three answers is the key; ``remind`` comes after an empty line, which gives up where it is None.

    Raises:
        EOFError, KeyboardInterrupt: the user gives up.
    """
    wrong = 0
    while wrong < _TRIES:
        try:
            if constant_time_equal(type_recovery_key(terminal, "Recovery key: "), key):
                return True
            problem = "this is a recovery key, but not this one"
        except UsageError as exc:
            problem = str(exc)
        except EOFError:
            if remind is None:
                raise
            remind()
            continue
        wrong += 1
        terminal.tell(f"Not right: {problem}.")
    return False


def _show(key: bytes, volume: str) -> None:
    terminal.clear()
    terminal.tell(
        f"Recovery key of {printable(volume)}\n\n"
        "It opens the volume when the passphrase is lost. Write it on paper, and keep the\n"
        "paper where nobody finds it together with the volume. It is shown only here.\n\n"
        f"{_for_paper(key)}\n"
    )
    terminal.ask("Press Enter when you have it on paper. The key then leaves the screen. ")
    terminal.clear()


def show_backup(key: bytes, target: str) -> None:
    """Show the key of a backup on a screen of its own.

    Raises:
        EOFError, KeyboardInterrupt: the user ends it; the key has left the screen.
    """
    with terminal.private_screen():
        terminal.tell(
            f"Key of the BACKUP to {printable(target)}\n\n"
            "It opens the backup when this computer is lost. Write it on paper, and keep the\n"
            f"paper apart from the backup.\n\n{_for_paper(key)}\n"
        )
        terminal.ask("Press Enter when you have it on paper. The key then leaves the screen. ")
        terminal.clear()


def _for_paper(key: bytes) -> str:
    """Lines of groups with their numbers above, which a message about a mistyped group names."""
    groups = encode_recovery_key(key).split("-")
    lines = []
    for start in range(0, len(groups), _ON_A_LINE):
        some = groups[start : start + _ON_A_LINE]
        lines.append("    " + "   ".join(f"{number:<5}" for number in range(start + 1, start + len(some) + 1)).rstrip())
        lines.append("    " + "   ".join(some) + "\n")
    return "\n".join(lines)


def write_file(path: str, key: bytes, volume: str) -> None:
    """Write the key to a new file, readable by its owner only, as ``--recovery-file`` takes it.

    Raises:
        OSError: it exists, or cannot be written; then nothing of it is left.
    """
    day = time.strftime("%Y-%m-%d")
    text = f"# cloakfs recovery key of {printable(volume)}, made {day}\n{encode_recovery_key(key)}\n"
    # A terminal or printer device may be named too; only a regular file must be new.
    new = os.O_EXCL | os.O_CREAT if not os.path.exists(path) else 0
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | new, 0o600)
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
        if new:
            os.fsync(fd)
    except BaseException:
        if new:
            os.unlink(path)
        raise
    finally:
        os.close(fd)
