"""The command's entry: the group of commands, and how every failure ends.

Owns: the list of commands, how a failure is told (``encfs/outcomes.py`` says what it means). Must not
know: what a command does. Nothing heavy is imported here: ``cloakfs --version`` answers at once.

Rules: no traceback without ``--debug``. Nothing but results goes to stdout; with ``--json`` that is one
object, also when the command fails (docs/json.md).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import FrameType
from typing import Final, NoReturn, TextIO

import click
from click.shell_completion import CompletionItem

from encfs import __version__, outcomes
from encfs.errors import ExitCode
from encfs.outcomes import Outcome

_COMMANDS: Final = {
    "create": "Make a new volume in an empty directory.",
    "mount": "Unlock a volume and show its files at a mount point.",
    "lock": "Unmount, write everything to the disk, drop the keys.",
    "status": "Tell what is mounted, and what a volume is made of.",
    "doctor": "Say what on this machine and its volumes is in the way of safe work.",
    "stick": "Make an encrypted stick; take one out so that nothing is lost.",
    "key": "Show, add, change and remove what opens a volume.",
    "policy": "Show and set the rules for the keys of a volume.",
    "cat": "Write one file of a volume to standard output.",
    "export": "Copy files out of a volume, without a mount.",
    "accept": "Take older state, such as a restored backup, on purpose.",
    "verify": "Read and authenticate everything; repair what is wrong, if asked to.",
    "rescue": "Copy what is good of a damaged file.",
    "checkpoint": "Write a sealed list of everything, for verify to compare with later.",
    "destroy": "Destroy the keys of a volume for good, with a certificate.",
    "handover": "Make a verified copy of a volume for somebody else, with a receipt.",
    "incident": "A stick or a computer is lost: what can be shown, and who has to be told.",
    "backup": "Back volumes up, and try whether they can be restored.",
    "restore": "Bring files, or a whole volume, back from a backup.",
    "audit": "Show and prove what was done with volumes on this computer.",
    "media": "Keep a register of sticks and disks: who has which, and which is lost.",
    "evidence": "Make a signed pack of what can be shown of volumes; check one on any computer.",
    "exception": "Keep a register of data that is not encrypted, and until when that holds.",
    "inventory": "List every volume, medium and share, and how they stand.",
    "scan": "Look for patient files that lie outside of volumes.",
    "share": "Share a folder of a volume with Windows and Mac desks, through Samba.",
    "bench": "Measure what encryption costs on this machine and medium.",
    "completion": "Print the script that completes commands in bash, zsh or fish.",
}

EXIT_CODES: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "something else went wrong; the message says what (status, doctor, share check: amber)",
    ExitCode.USAGE: "the command line makes no sense (status, doctor, share check: red)",
    ExitCode.FINDINGS: "verify, checkpoint or restore found something wrong; scan found likely patient files",
    ExitCode.WRONG_SECRET: "wrong passphrase, recovery key or other secret",
    ExitCode.CONFIG_DAMAGED: "both copies of the volume's config are damaged",
    ExitCode.SLOT_DAMAGED: "the passphrase is right, but its key slot is damaged",
    ExitCode.CONFIG_FORGED: "somebody changed the config",
    ExitCode.NEWER_FORMAT: "the volume needs a newer cloakfs",
    ExitCode.NOT_A_VOLUME: "the directory holds no volume",
    ExitCode.VOLUME_IN_USE: "the volume is open somewhere else",
    ExitCode.NOT_EMPTY: "what must be empty or new is not",
    ExitCode.NO_FUSE: "FUSE, /dev/fuse or pyfuse3 is missing",
    ExitCode.MOUNTPOINT: "the mount point cannot be used",
    ExitCode.BUSY: "programs still use the mount",
    ExitCode.NOT_MOUNTED: "there is no such mount",
    ExitCode.WEAK_PASSPHRASE: "a new passphrase is too easy to guess",
    ExitCode.NO_MEMORY: "the key derivation needs more memory than is free",
    ExitCode.LOWER_IO: "the disk underneath failed, is full, or is gone",
    ExitCode.DAMAGED_DATA: "something on the disk is not what cloakfs wrote",
    ExitCode.NOT_FOUND: "no such path in the volume",
    ExitCode.READ_ONLY: "a change was asked of a read-only volume",
    ExitCode.ROLLBACK: "the volume is older than what this machine has seen of it",
    ExitCode.POLICY: "the policy of the volume forbids it",
    ExitCode.AUDIT: "the audit log cannot be written, or something in it is wrong",
    ExitCode.BACKUP: "a backup or its target cannot be used",
    ExitCode.BACKUP_GUARD: "backup run: too much has changed since the run before; nothing was written",
    ExitCode.WRONG_MEDIUM: "what is at the target is not a medium of this backup",
    ExitCode.TOKEN: "a token, its key or its library is missing or fails",
    ExitCode.WRONG_PIN: "the PIN of a token is wrong; the token counts such tries",
    ExitCode.INTERRUPTED: "Ctrl-C",
}

_GROUP_HELP: Final = """\
An encrypted folder on any disk, seen in plain text only while it is unlocked.

\b
  cloakfs create ~/practice.vault
  cloakfs mount ~/practice.vault ~/practice
  cloakfs lock ~/practice

Each command has --help with examples.
"""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a failure is told.

    Attributes:
        program: what a message begins with.
        as_json: whether the error also goes to stdout as an object.
        debug: whether tracebacks are shown.
    """

    program: str = "cloakfs"
    as_json: bool = False
    debug: bool = False


class _Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: clean up as after Ctrl-C, then die of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Group(click.Group):
    """Loads the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = import_module(f"encfs.cli.cmd_{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without loading every command for its help: somebody waits with a finger on the Tab key."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), text) for code, text in EXIT_CODES.items()])


@click.group(cls=_Group, help=_GROUP_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cloakfs", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks and what the library logs.")
def cloakfs() -> None:
    """The group; what it holds is in ``_COMMANDS``."""


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    if "_CLOAKFS_COMPLETE" in os.environ:
        cloakfs.main(prog_name="cloakfs")
    arguments = sys.argv[1:]
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    manners = Manners(as_json="--json" in options, debug="--debug" in options)
    sys.exit(run(lambda: _dispatch(arguments), manners))


def _dispatch(arguments: list[str]) -> ExitCode:
    try:
        with cloakfs.make_context("cloakfs", arguments) as context:
            result = cloakfs.invoke(context)
    except click.exceptions.Exit as exc:
        return ExitCode(exc.exit_code)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return ExitCode.USAGE
    return result if isinstance(result, ExitCode) else ExitCode.OK


def run(action: Callable[[], ExitCode], manners: Manners) -> ExitCode:
    """Do ``action`` and tell whatever goes wrong: the only place where exit codes are made.

    Returns:
        The exit status. SIGTERM, SIGHUP and a closed pipe do not come back: the process dies of the signal.
    """
    from encfs.memory import process  # noqa: PLC0415 - not for those who only load this module

    process.protect()
    _keep_standard_streams()
    logging.getLogger("cloakfs").addHandler(logging.StreamHandler() if manners.debug else logging.NullHandler())
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has set SIGHUP to be ignored: it stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        try:
            code = action()
            sys.stdout.flush()
        except BrokenPipeError:
            _die_of(signal.SIGPIPE)
        return code
    except _Terminated as exc:
        _die_of(exc.number)
    except click.exceptions.Abort:
        return _tell(manners, outcomes.of(KeyboardInterrupt()))
    except click.ClickException as exc:
        return _tell(manners, Outcome(ExitCode.USAGE, exc.format_message(), _usage_hint(exc)))
    except (KeyboardInterrupt, Exception) as exc:  # noqa: BLE001 - the last resort: a user never sees a traceback
        return _tell(manners, outcomes.of(exc))


def _keep_standard_streams() -> None:
    """Where the caller closed stdin, stdout or stderr, no file that is opened later may take its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole process


def default_signals() -> None:
    """Take back what :func:`run` set: a daemon about to start has its own way to end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _terminate:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise _Terminated(number)


def _die_of(number: int) -> NoReturn:
    """End as if nobody had caught the signal, which is what shells and service managers look at."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError("internal error: the process outlived its own signal")


def _usage_hint(exc: click.ClickException) -> str:
    context = getattr(exc, "ctx", None)
    return f"See: {context.command_path} --help" if isinstance(context, click.Context) else ""


def _tell(manners: Manners, outcome: Outcome) -> ExitCode:
    """The message and its hint on stderr, the object on stdout; the code is passed on."""
    if manners.debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    for stream, text in (
        (sys.stdout, json.dumps(outcome.as_json) if manners.as_json else ""),
        (sys.stderr, f"{manners.program}: {outcome.text}"),
    ):
        try:
            if text:
                click.echo(text, file=stream)
            stream.flush()
        except OSError:
            _give_up_on(stream)  # Closed, or on a full disk: the exit status says it all the same.
    return outcome.code


def _give_up_on(stream: TextIO) -> None:
    """What is still in its buffer goes nowhere; else Python complains at exit and changes the status."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
