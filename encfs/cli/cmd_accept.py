"""``cloakfs accept``: takes older state on purpose, and records who did, when and why.

Owns: what is shown and asked. Must not know: how older state is told (``encfs.host.freshness``).
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from encfs import runtime
from encfs.cli import auditing, options, output, progress, sources, targets, terminal
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of, unlock_with_memory
from encfs.errors import CloakfsError, ExitCode, UsageError, VolumeInUseError
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume
from encfs.volume.older import OlderFile, older_files

_SHOWN: Final = 20
_SYSLOG: Final = Path("/dev/log")
_SHOW_EVERY: Final = 500


@dataclass(frozen=True, slots=True)
class _Consent:
    """Who takes older state, and why."""

    login: str
    reason: str


@options.command(
    "accept",
    example="""
cloakfs accept ~/practice.vault
cloakfs accept ~/practice.vault letters/2026/mueller.txt --reason "taken back from the backup of Monday" """,
)
@click.argument("volume")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--reason", metavar="TEXT", help="Why, instead of a question. It is recorded.")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure (needed without a terminal).")
@options.json_option
@secret_options
@auditing.recorded("volume.accept")
def command(
    *, volume: str, paths: tuple[str, ...], reason: str | None, yes: bool, as_json: bool, secret: SecretOptions
) -> ExitCode:
    """Take VOLUME as it lies there, older than this machine has seen it: a backup that you restored.

    Shows what is older and why, asks for the reason, and records it with your name and the time. With a PATH only the
    files there are taken. The volume must not be mounted; nothing in it is changed.
    """
    target = targets.find(volume)
    if target.mountpoint is not None:
        where = output.printable(target.mountpoint)
        raise VolumeInUseError("the volume is mounted", hint=f"Lock it first: cloakfs lock {where}")
    config_of(target.volume)
    opened, memory = unlock_with_memory(target.volume, secret, read_only=True)
    with opened:
        if memory.state == "off":
            raise CloakfsError("this host has no memory of the volume that could be changed")
        older = _find(opened, memory, paths)
        if opened.rollback is not None and paths:
            raise UsageError("the volume is older as a whole", hint="Accept all of it: cloakfs accept VOLUME")
        consent = None
        if opened.rollback is not None or older:
            _show(opened, older, quiet=as_json)
            consent = _ask(reason, yes=yes)
            _accept(opened, memory, older, consent)
    _tell(target.volume, opened.rollback, older, consent, as_json=as_json)
    return ExitCode.OK


def _find(volume: Volume, memory: HostFreshness, paths: tuple[str, ...]) -> list[OlderFile]:
    inside = [os.fsencode(path).strip(b"/") for path in paths]
    for path in inside:
        with sources.named(path):
            volume.stat(path, follow=False)
    with progress.activity("Comparing with what this machine has seen") as shown:

        def looked_at(count: int) -> None:
            if count % _SHOW_EVERY == 0:
                shown.update(f"Comparing with what this machine has seen: {output.plural(count, 'file')}")

        return list(older_files(volume, memory, inside, looked_at))


def _show(volume: Volume, older: list[OlderFile], *, quiet: bool) -> None:
    say = output.remark if quiet else output.say
    if volume.rollback is not None:
        say(f"The volume is older than what this host has seen: {volume.rollback}.")
    for file in older[:_SHOWN]:
        say(f"{output.printable(file.path)}: {file.reason}")
    if len(older) > _SHOWN:
        say(f"... and {output.plural(len(older) - _SHOWN, 'more file', 'more files')}")


def _ask(reason: str | None, *, yes: bool) -> _Consent:
    """The consent.

    Raises:
        UsageError: there is nobody to ask, or no reason.
        EOFError: Ctrl-D, or no consent.
    """
    if reason is None or not yes:
        terminal.require("your consent", hint="In scripts give --reason TEXT and --yes.")
    if reason is None:
        reason = terminal.ask("Why is it to be accepted? ")
    if not reason.strip():
        raise UsageError("a reason is needed; it is recorded")
    if not yes and terminal.ask('Accept this older state? Type "yes": ').strip().lower() != "yes":
        raise EOFError
    return _Consent(targets.user_name(os.getuid()), reason.strip())


def _accept(volume: Volume, memory: HostFreshness, older: list[OlderFile], consent: _Consent) -> None:
    # A restored copy may still be on its way to the medium; only what is there may be remembered.
    volume.ctx.store.syncfs(volume.root_fd)
    rows = [(file.header.fid, file.header.generation) for file in older]
    whole = None
    what = output.plural(len(older), "file")
    if volume.rollback is not None:
        whole = (volume.config.seq, volume.config_digest, volume.sessions.records())
        what = f"the volume ({volume.rollback}), {what}"
    if not memory.accept(rows, whole, login=consent.login, reason=consent.reason, what=what):
        raise CloakfsError("what this host remembers cannot be written", hint="Nothing was accepted.")
    with _log() as log:
        log.warning(
            "accepted older state: volume=%s what=%s uid=%d login=%s reason=%s",
            *(volume.config.volume_id.hex(), what, os.getuid(), consent.login, output.printable(consent.reason)),
        )


@contextmanager
def _log() -> Iterator[logging.Logger]:
    """The log that a mount uses too: the system's, or else the file beside what this host remembers."""
    logger = logging.getLogger("cloakfs.host")
    handler: logging.Handler
    if _SYSLOG.exists():
        handler = logging.handlers.SysLogHandler(str(_SYSLOG), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    else:
        handler = logging.FileHandler(runtime.state_directory() / "cloakfs.log")
    handler.setFormatter(logging.Formatter("cloakfs[%(process)d]: %(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        handler.close()


def _tell(
    volume: str, rollback: str | None, older: list[OlderFile], consent: _Consent | None, *, as_json: bool
) -> None:
    if as_json:
        output.print_json(
            {
                "volume": volume,
                "accepted": consent is not None,
                "rollback": rollback,
                "files": [{"path": os.fsdecode(file.path), "reason": file.reason} for file in older],
                "login": None if consent is None else consent.login,
                "reason": None if consent is None else consent.reason,
            }
        )
    elif consent is None:
        output.say("There is nothing to accept: nothing is older than what this host has seen.")
    else:
        output.say("Accepted, and recorded. What lies there now is what this host remembers.")
