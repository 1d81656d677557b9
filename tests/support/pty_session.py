"""A command on a terminal of its own, and somebody who reads what it says and types answers.

Nothing here sleeps: every answer waits for the text that asks for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")
SECONDS = 60.0


class PtySession:
    """``cloakfs``, or another ``program``, with ``arguments`` on a terminal of 100 columns.

    ``stdout_to``: a descriptor for its standard output instead of the terminal. ``more``: for the process (``Popen``).
    """

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        stdout_to: int | None = None,
        program: Sequence[str] = (sys.executable, "-m", "encfs"),
        **more: Any,
    ) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.text = ""
        self._raw = b""
        self._seen = 0
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=slave,
            stdout=slave if stdout_to is None else stdout_to,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the child has one thread
            env={**os.environ, "TERM": "xterm", **(env or {})},
            **more,
        )
        os.close(slave)

    def _read(self, deadline: float) -> bool:
        """Read some more; false at the end of the terminal."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            raise AssertionError(f"the terminal stays silent. So far:\n{self.text}")
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # EIO: the last process with the terminal has closed it.
            return False
        self._raw += piece
        self.text = _ESCAPES.sub("", self._raw.decode("utf-8", "replace"))
        return bool(piece)

    def expect(self, text: str) -> str:
        """Wait until ``text`` appears behind what was expected before; returns all up to its end."""
        return self.expect_one_of(text)[1]

    def expect_one_of(self, *texts: str) -> tuple[str, str]:
        """Wait for whichever of ``texts`` is the first to appear; returns which, and all up to its end."""
        deadline = time.monotonic() + SECONDS
        while not (found := [(at, text) for text in texts if (at := self.text.find(text, self._seen)) >= 0]):
            if not self._read(deadline):
                raise AssertionError(f"it ended without saying {' or '.join(map(repr, texts))}. It said:\n{self.text}")
        at, text = min(found)
        before = self.text[self._seen : at + len(text)]
        self._seen = at + len(text)
        return text, before

    def send(self, text: str) -> None:
        """Type ``text``, as it is."""
        os.write(self._master, text.encode())

    def answer(self, prompt: str, line: str) -> None:
        """Wait for a prompt and type a line."""
        self.expect(prompt)
        self.send(line + "\n")

    def end(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
