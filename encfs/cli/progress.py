"""Progress on a terminal: a spinner for what has no length, a bar with rate and time left for what has.

Owns: whether anything moves. Must not know: what takes so long, how it is drawn (``live.py``). Where stderr is no
terminal nothing moves and nothing is written but the lines that matter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Activity(Protocol):
    """Something that goes on for an unknown time."""

    def update(self, text: str) -> None: ...


class Bar(Protocol):
    """Something that goes on for ``total`` bytes."""

    def update(self, done: int, total: int, note: str) -> None: ...
    def print(self, line: str) -> None:
        """A line of the result, on stdout."""
        ...

    def remark(self, line: str) -> None:
        """A line beside the result, on stderr."""
        ...


def is_live() -> bool:
    """Whether something may move on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _Still:
    """Neither spinner nor bar: stderr is no terminal."""

    def update(self, *_: object) -> None:
        return

    def print(self, line: str) -> None:
        click.echo(line)

    def remark(self, line: str) -> None:
        click.echo(line, err=True)


@contextmanager
def activity(text: str, *, shown: bool = True) -> Iterator[Activity]:
    """A spinner with a text, gone without a trace when the block ends."""
    if not (shown and is_live()):
        yield _Still()
        return
    from encfs.cli import live  # noqa: PLC0415 - rich is a tenth of a command's start, and most scripts see nothing of it

    with live.spinner(text) as moving:
        yield moving


@contextmanager
def bar(text: str, *, shown: bool = True) -> Iterator[Bar]:
    """A bar with percentage, bytes, rate and time left, gone without a trace when the block ends."""
    if not (shown and is_live()):
        yield _Still()
        return
    from encfs.cli import live  # noqa: PLC0415 - as above

    with live.bar(text) as moving:
        yield moving
