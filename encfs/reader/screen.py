"""What the reader writes and asks: plain text, on a terminal of any system.

Owns: results on stdout, everything else on stderr, questions, the line of progress. Must not know: which command
speaks.
"""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Mapping
from typing import Final, TextIO

from encfs.errors import UsageError
from encfs.wording import human_size

_EVERY: Final = 0.2
"""Seconds between two drawings."""


def say(text: str = "") -> None:
    """A line of the result."""
    _put(sys.stdout, text + "\n")


def remark(text: str) -> None:
    """A line beside the result."""
    _write(text + "\n")


def _write(text: str) -> None:
    _put(sys.stderr, text)


def _put(stream: TextIO, text: str) -> None:
    # A console of Windows may not have a letter that a name has; a name that cannot be shown must not end the run.
    stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
    stream.flush()


def print_json(value: Mapping[str, object]) -> None:
    """The one object of a command with ``--json``. Bytes that are not UTF-8 are lone surrogates, as in PEP 383."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def is_interactive() -> bool:
    """Whether a person can be asked: stdin is a terminal."""
    return sys.stdin.isatty()


def require(what: str) -> None:
    """Refuse to wait for an answer that cannot come.

    Raises:
        UsageError: stdin is no terminal.
    """
    if not is_interactive():
        raise UsageError(
            f"{what} is needed, and there is no terminal to ask for it",
            hint="Give --passphrase-file, --key-file or --recovery-file.",
        )


class Terminal:
    """Somebody who sits there; see :class:`encfs.sheets.typed.Person`."""

    @staticmethod
    def tell(text: str, /) -> None:
        """Show lines, on stderr: stdout is for results."""
        remark(text)

    @staticmethod
    def ask(prompt: str, /) -> str:
        """A visible answer, without its newline.

        Raises:
            EOFError: Ctrl-D, or Ctrl-Z on Windows.
        """
        _write(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    @staticmethod
    def ask_hidden(prompt: str, /) -> str:
        """An answer that the terminal does not show. Raises: EOFError."""
        return getpass.getpass(prompt)


class ProgressLine:
    """One line on stderr that is written over; nothing at all where stderr is no terminal."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._moves = sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def update(self, done: int, total: int, note: str) -> None:
        """So many bytes of ``total`` are done."""
        now = time.monotonic()
        if self._moves and now >= self._next:
            self._next = now + _EVERY
            share = f"{100 * done // total:3d} %  " if total else ""
            self._draw(f"{self._verb}  {share}{human_size(done)} of {human_size(total)}, {note}")

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if self._width:
            self._draw("")
            self._width, self._next = 0, 0.0

    def _draw(self, text: str) -> None:
        _write(f"\r{text:<{self._width}}" + ("" if text else "\r"))
        self._width = len(text)
