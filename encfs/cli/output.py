"""What is written for people and for scripts.

Owns: results on stdout (text or one JSON object) and remarks on stderr; how sizes, times and names of files are spelled
comes from ``encfs/wording.py``. Must not know: which command speaks.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from encfs.wording import human_date, human_duration, human_size, human_time, plural, printable

__all__ = [
    "bold",
    "coloured",
    "human_date",
    "human_duration",
    "human_size",
    "human_time",
    "plural",
    "print_csv",
    "print_json",
    "print_table",
    "printable",
    "remark",
    "say",
    "warn",
]


def say(text: str = "") -> None:
    """A line of the result."""
    click.echo(text)


def remark(text: str) -> None:
    """A line beside the result: stderr, so that what is piped stays clean."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Something the user should know although the command goes on."""
    click.echo(f"cloakfs: warning: {text}", err=True)


def print_json(value: Mapping[str, object]) -> None:
    """The one object of a command with ``--json``. Bytes that are not UTF-8 are lone surrogates, as in PEP 383."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """A table with the names of its columns, safe to open in a spreadsheet. What is None or missing is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = ["" if (value := row.get(column)) is None else str(value) for column in columns]
        # A spreadsheet takes what begins so for a formula.
        writer.writerow([f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value for value in values])
    sys.stdout.flush()


def _plain() -> bool:
    return not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"


def bold(text: str) -> str:
    """``text``, in bold on a terminal that wants it."""
    return text if _plain() else click.style(text, bold=True)


def coloured(text: str, colour: str) -> str:
    """``text``, in one of click's colours on a terminal that wants them. It has to be clear without."""
    return text if _plain() else click.style(text, fg=colour)


def print_table(rows: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """Two columns; an empty left cell continues the row above."""
    width = max((len(left) for left, _ in rows), default=0)
    for left, right in rows:
        say(f"{indent}{left:<{width}}  {right}".rstrip())
