"""What moves on a terminal: the spinner and the bar of ``progress.py``.

Owns: the only use of rich. Must not know: whether there is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from encfs.cli.output import human_size


class _Spinner:
    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=None)

    def update(self, text: str) -> None:
        self._progress.update(self._task, description=text)


class _LiveBar:
    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=None, note="")

    def update(self, done: int, total: int, note: str) -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)

    def print(self, line: str) -> None:
        # Where both streams are the terminal, the line has to come between bar and bar.
        if sys.stdout.isatty():
            self.remark(line)
        else:
            click.echo(line)

    def remark(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Amount(ProgressColumn):
    """Done and total, in the units that the results use."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        return Text(f"{human_size(int(task.completed))} of {human_size(int(task.total))}")


class _Rate(ProgressColumn):
    """Bytes in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{human_size(int(speed))}/s")


def _console() -> Console:
    return Console(stderr=True, highlight=False)


@contextmanager
def spinner(text: str) -> Iterator[_Spinner]:
    """A spinner with a text, gone without a trace when the block ends."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=_console(), transient=True) as progress:
        yield _Spinner(progress, text)


@contextmanager
def bar(text: str) -> Iterator[_LiveBar]:
    """A bar with percentage, bytes, rate and time left, gone without a trace when the block ends."""
    columns = (
        TextColumn("{task.description}", markup=False),
        # Short enough for 80 columns: a full line would wrap when somebody types.
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f}%"),
        _Amount(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=_console(), transient=True) as progress:
        yield _LiveBar(progress, text)
