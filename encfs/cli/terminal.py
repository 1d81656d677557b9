"""The conversation with a person: questions and answers on the controlling terminal.

Owns: ``/dev/tty``. Must not know: what is asked for. Prompts never touch stdout, which is for results, nor
stderr, which may be a log file.
"""

from __future__ import annotations

import getpass
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from encfs.errors import UsageError


def is_interactive() -> bool:
    """Whether a person can be asked: stdin is a terminal."""
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # Closed, or never there.
        return False


def require(what: str, *, hint: str) -> None:
    """Refuse to wait for an answer that cannot come.

    Raises:
        UsageError: stdin is no terminal.
    """
    if not is_interactive():
        raise UsageError(f"{what} is needed, and there is no terminal to ask for it", hint=hint)


@contextmanager
def _tty() -> Iterator[io.TextIOWrapper]:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # A terminal that does not control us is still one; only reading and writing need two descriptors then.
        fd = os.dup(sys.stdin.fileno())
    with io.TextIOWrapper(io.FileIO(fd, "w+"), errors="surrogateescape") as stream:
        yield stream


def tell(text: str) -> None:
    """Write lines to the terminal."""
    with _tty() as tty:
        tty.write(text + "\n")


def ask(prompt: str) -> str:
    """A visible answer, without its newline.

    Raises:
        EOFError: Ctrl-D.
    """
    with _tty() as tty:
        tty.write(prompt)
        tty.flush()
        line = tty.readline()
        if not line:
            tty.write("\n")
            raise EOFError
    return line.rstrip("\n")


def ask_hidden(prompt: str) -> str:
    """An answer that the terminal does not show.

    Raises:
        EOFError: Ctrl-D.
    """
    return getpass.getpass(prompt)


def clear() -> None:
    """Empty the screen."""
    if _has_screen():
        with _tty() as tty:
            tty.write("\x1b[2J\x1b[H")


@contextmanager
def private_screen() -> Iterator[None]:
    """The terminal's second screen: what is shown there is in no scrollback afterwards."""
    if not _has_screen():
        yield
        return
    with _tty() as tty:
        tty.write("\x1b[?1049h\x1b[2J\x1b[H")
    try:
        yield
    finally:
        with _tty() as tty:
            tty.write("\x1b[?1049l")


def _has_screen() -> bool:
    return os.environ.get("TERM", "dumb") not in ("dumb", "")
