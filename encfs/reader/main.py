"""The reader's command line: which commands there are, and how every failure ends.

Owns: argparse, exit statuses (those of cloakfs). Must not know: what a command does.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from encfs import __version__, outcomes
from encfs.errors import ExitCode, UsageError
from encfs.reader import extracting, looking, screen
from encfs.reader.unlocking import add_options

_PROGRAM: Final = "cloakfs-reader"
_ABOUT: Final = """\
Reads a cloakfs volume where cloakfs is not installed: on Linux, macOS and Windows, without FUSE and without being
an administrator. Nothing is ever written to the volume."""
_EXAMPLES: Final = """\
examples (on Windows write `py cloakfs-reader.pyz`, on Linux and macOS `python3 cloakfs-reader.pyz`):
  cloakfs-reader.pyz list practice.vault
  cloakfs-reader.pyz extract practice.vault letters/2026 --to Documents
  cloakfs-reader.pyz verify practice.vault

What is extracted lies on this machine in plain text. The exit status is that of cloakfs (README, "Exit codes")."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"See: {self.prog} --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog=_PROGRAM, description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, action: Callable[[argparse.Namespace], ExitCode], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        made.add_argument("volume", help="the volume directory: the one that holds cloakfs.volume")
        made.add_argument("--json", action="store_true", help="print one JSON object (docs/json.md)")
        made.add_argument("--debug", action="store_true", help="show tracebacks")
        made.set_defaults(run=action)
        return made

    command("info", looking.info, "tell what the volume is and what opens it; no secret is needed")
    listing = command("list", looking.show, "show the files of the volume")
    listing.add_argument("path", nargs="?", default="/", help="a directory or file in the volume; else all")
    listing.add_argument("-r", "--recursive", action="store_true", help="with everything below")
    extract = command("extract", extracting.run, "copy files out of the volume, in plain text")
    extract.add_argument("paths", nargs="*", metavar="PATH", help="what to copy, with its directories; else all")
    extract.add_argument("--to", required=True, metavar="DIR", help="where to; it is made if it is not there")
    extract.add_argument("--overwrite", action="store_true", help="replace files that are there")
    verify = command("verify", looking.verify, "read and authenticate everything, and change nothing")
    verify.add_argument("paths", nargs="*", metavar="PATH", help="what to read; else all")
    for parts in (listing, extract, verify):
        add_options(parts)
    return parser


def main(arguments: Sequence[str]) -> ExitCode:
    """Run one command line. Returns: the exit status."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    logging.getLogger("cloakfs").addHandler(logging.NullHandler())
    try:
        options = _parser().parse_args(arguments)
        code: ExitCode = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has had enough. What is left in the buffer goes nowhere, else Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except (KeyboardInterrupt, Exception) as exc:  # noqa: BLE001 - the last resort: a user never sees a traceback
        if debug:
            traceback.print_exc()
        outcome = outcomes.of(exc)
        if as_json:
            screen.print_json(outcome.as_json)
        screen.remark(f"{_PROGRAM}: {outcome.text}")
        return outcome.code
    return code
