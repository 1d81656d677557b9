#!/usr/bin/env python3
"""Writes docs/man/*.1 from the help of every command, and docs/completion/* from click; tools/man runs it.

    tools/man              write them, and take away pages of commands that are gone
    tools/man --check      exit 1 and name them if what is there differs

A page has what ``--help`` has: the same sentences, options and examples. Nothing is written by hand.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from encfs import __version__  # noqa: E402
from encfs.cli import cmd_completion  # noqa: E402
from encfs.cli.main import EXIT_CODES, cloakfs  # noqa: E402

MAN = TOP / "docs" / "man"
COMPLETION = TOP / "docs" / "completion"
# Of the version that is being made, not of the day on which a page was written: the same source makes the same bytes.
DATE = "2026-11-27"


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page, and its text."""
    context = click.Context(cloakfs, info_name="cloakfs", **cloakfs.context_settings)
    yield "cloakfs.1", _page(cloakfs, context)
    yield from _pages_below(cloakfs, context)


def completions() -> Iterator[tuple[str, str]]:
    """The same of each shell's completion."""
    for shell, name in cmd_completion.FILES.items():
        yield name, cmd_completion.script(shell)


def _pages_below(group: click.Group, parent: click.Context) -> Iterator[tuple[str, str]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        yield _name(context) + ".1", _page(command, context)
        if isinstance(command, click.Group):
            yield from _pages_below(command, context)


def _name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _page(command: click.Command, context: click.Context) -> str:
    name = _name(context)
    lines = [
        '.\\" Written by tools/man from the help of the command.',
        f'.TH {_text(name.upper())} 1 {DATE} "cloakfs {__version__}" "cloakfs"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(_summary(command))}",
        ".SH SYNOPSIS",
        f".B {_text(context.command_path)}",
        _text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(inspect.cleandoc(command.help or "")),
    ]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_commands(command, context)]
    lines += [".SH OPTIONS", *_options(command, context)]
    if command.epilog:
        lines += [".SH EXAMPLES", *_paragraphs(command.epilog.replace("Example:\n", "", 1))]
    lines += [".SH EXIT STATUS", *_exit_status(context), ".SH SEE ALSO", _see_also(command, context)]
    return "\n".join(lines) + "\n"


def _summary(command: click.Command) -> str:
    """The first sentence, without its full stop, as ``whatis`` shows it."""
    first = re.sub(r"\s+", " ", (command.help or "").strip().split("\n\n")[0])
    sentence = re.split(r"\.(?: |$)", first, maxsplit=1)[0]
    return sentence[:1].lower() + sentence[1:]


def _paragraphs(text: str) -> Iterator[str]:
    """Click's paragraphs; one that begins with a backspace keeps its lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        if paragraph.lstrip(" ").startswith("\b"):
            yield from (".nf", *(_text(line) for line in paragraph.split("\n")[1:] if line.strip()), ".fi")
        else:
            yield from _filled(paragraph)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if isinstance(param, click.Option) and record is not None:
            yield from (".TP", f".B {_text(record[0])}", *_filled(record[1]))


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        page = f"{_name(context)}-{name}"
        yield from (".TP", f".BR {_text(page)} (1)", *_filled(_first_sentence(command)))


def _first_sentence(command: click.Command) -> str:
    summary = _summary(command)
    return summary[:1].upper() + summary[1:] + "."


def _exit_status(context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        yield "The numbers are the same for every command:"
        yield ".BR cloakfs (1)"
        yield "lists them. 0 is success."
        return
    for code, text in EXIT_CODES.items():
        yield from (".TP", f".B {int(code)}", _text(text))


def _see_also(command: click.Command, context: click.Context) -> str:
    names = ["cloakfs"] if context.parent is not None else []
    if context.parent is not None and context.parent.parent is not None:
        names.append(_name(context.parent))
    if isinstance(command, click.Group):
        names += [f"{_name(context)}-{name}" for name in command.list_commands(context)]
    return "\n".join(
        f".BR {_text(name)} (1){',' if number + 1 < len(names) else ''}" for number, name in enumerate(names)
    )


def _filled(text: str) -> Iterator[str]:
    """Lines that people can read in a diff; roff fills them anew."""
    for line in textwrap.wrap(text, 76, break_long_words=False, break_on_hyphens=False):
        yield _text(line)


def _text(text: str) -> str:
    """Text as roff prints it: dashes are dashes, nothing at the start of a line is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    escaped = escaped.replace("'", "\\(aq").replace("`", "\\(ga").replace('"', "\\(dq")
    return "\\&" + escaped if escaped.startswith((".", "\\(aq")) else escaped


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if something differs")
    arguments = parser.parse_args()
    wanted = {MAN / name: text for name, text in pages()} | {COMPLETION / name: text for name, text in completions()}
    there = {path for folder in (MAN, COMPLETION) for path in folder.glob("*")}
    wrong = sorted(path for path, text in wanted.items() if path not in there or path.read_text() != text)
    gone = sorted(there - set(wanted))
    if arguments.check:
        for path in [*wrong, *gone]:
            print(f"{path.relative_to(TOP)} is not what the help says: run tools/man")
        return 1 if wrong or gone else 0
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in gone:
        path.unlink()
    print(f"{len(wanted)} files, {len(wrong)} written, {len(gone)} taken away")
    return 0


if __name__ == "__main__":
    sys.exit(main())
