"""Where passphrases, key files, recovery keys and shares come from.

Owns: the options ``--passphrase-file``, ``--passphrase-fd``, ``--passphrase-command``, ``--key-file``,
``--recovery-file``, ``--recovery``, ``--share-file`` and ``--shares``, and what they say. Must not know: which volume
it is for (``unlocking.py``), how a secret becomes a key (FORMAT.md section 4 is in ``encfs.core.slots``), kinds whose
secret lies elsewhere (``elsewhere.py``).

Rules: an option given means that nothing is asked. No secret is ever in a message, an argument or the environment.
"""

from __future__ import annotations

import errno
import functools
import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click

from encfs.cli import elsewhere, output, shares, terminal
from encfs.core.slots import passphrase_from_raw
from encfs.core.sources import KnownSecret, UnlockSource, for_passphrase
from encfs.errors import (
    UnlockError,
    UsageError,
)
from encfs.format.key_file import decode_key_file
from encfs.format.slots import Slot, SlotKind
from encfs.sheets.typed import recovery_key_in

_F = TypeVar("_F", bound=Callable[..., Any])
_SECRET_MAX: Final = 1 << 16
SCRIPT_HINT: Final = (
    "Give --passphrase-file, --passphrase-fd or --passphrase-command (for mount(8): -o passphrase-file=...)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOptions:
    """Where the secret shall come from. With nothing given it is asked for.

    A key file opens a volume alone, or together with a passphrase, as the volume's slots want it.

    Raises:
        UsageError: more than one source is given.
    """

    passphrase_file: str | None = None
    passphrase_fd: int | None = None
    passphrase_command: str | None = None
    key_file: str | None = None
    recovery_file: str | None = None
    recovery: bool = False
    share_files: tuple[str, ...] = ()
    shares: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [
            self.passphrase_file is not None,
            self.passphrase_fd is not None,
            self.passphrase_command is not None,
            self.recovery_file is not None,
            self.recovery,
            bool(self.elsewhere),
            bool(self.share_files),
            self.shares,
        ]
        if sum(given) > 1:
            raise UsageError("there is more than one source of the passphrase or recovery key", hint="Give only one.")
        if self.key_file is not None and (self.elsewhere or self.shares or self.share_files):
            raise UsageError("a key file goes with a passphrase only", hint="Give only one.")
        if self.key_file is not None and (self.recovery or self.recovery_file is not None):
            raise UsageError("a recovery key opens the volume without a key file", hint="Give only one.")

    @property
    def has_passphrase(self) -> bool:
        """Whether one of the sources of a passphrase is given."""
        return not (self.passphrase_file is None and self.passphrase_fd is None and self.passphrase_command is None)

    @property
    def asks(self) -> bool:
        """Whether a person certainly has to answer."""
        files = self.key_file is not None or self.recovery_file is not None or self.share_files
        return not (self.has_passphrase or self.elsewhere or files)

    @property
    def given(self) -> bool:
        """Whether any of the options was used."""
        return self.recovery or self.shares or not self.asks

    @property
    def asked_noun(self) -> str:
        """What a person is asked for."""
        return "the first share" if self.shares else "the recovery key" if self.recovery else "the passphrase"


def passphrase_options(function: _F) -> _F:
    """The three sources of a passphrase, collected into the argument ``secret``."""

    @click.option("--passphrase-file", metavar="FILE", help="Read the passphrase from a file (one line).")
    @click.option("--passphrase-fd", metavar="N", type=click.IntRange(min=0), help="Read it from an open descriptor.")
    @click.option("--passphrase-command", metavar="COMMAND", help="Run a command (no shell) and take what it prints.")
    @functools.wraps(function)
    def collected(
        *, passphrase_file: str | None, passphrase_fd: int | None, passphrase_command: str | None, **rest: object
    ) -> object:
        options = SecretOptions(
            passphrase_file=passphrase_file,
            passphrase_fd=passphrase_fd,
            passphrase_command=passphrase_command,
            key_file=_text(rest.pop("key_file", None)),
            recovery_file=_text(rest.pop("recovery_file", None)),
            recovery=bool(rest.pop("recovery", False)),
            share_files=tuple(map(str, rest.pop("share_file", ()))),  # type: ignore[call-overload]  # of click
            shares=bool(rest.pop("shares", False)),
            elsewhere=elsewhere.take_opening(rest),
        )
        return function(secret=options, **rest)

    return collected  # type: ignore[return-value]  # the same command, with other parameters


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def secret_options(function: _F) -> _F:
    """The sources of a passphrase or key, of whatever kind, collected into the argument ``secret``."""
    options = secret_options_but_shares(function)
    return click.option("--shares", is_flag=True, help="Ask for shares of the key, in any order.")(options)


def secret_options_but_shares(function: _F) -> _F:
    """The same without ``--shares``, for the command that calls so how many it makes."""
    options = passphrase_options(function)
    options = click.option("--key-file", metavar="FILE", help="Use a key file, alone or with the passphrase.")(options)
    options = click.option("--recovery", is_flag=True, help="Ask for the recovery key, not the passphrase.")(options)
    options = click.option("--recovery-file", metavar="FILE", help="Use the recovery key in a file.")(options)
    options = click.option(
        "--share-file", metavar="FILE", multiple=True, help="Use the share in a file; give as many as are needed."
    )(options)
    return elsewhere.opening_options(options)


def require_source(options: SecretOptions) -> None:
    """Refuse early what could not be asked later.

    Raises:
        UsageError: the secret must be asked for, and there is nobody to ask.
    """
    if options.asks:
        terminal.require(options.asked_noun, hint=SCRIPT_HINT)


def given_sources(options: SecretOptions, slots: Collection[Slot]) -> list[UnlockSource]:
    """What the options give for a volume that has these slots: each may open it, in this order.

    With a key file alone it is what opens a slot of its own; whether a passphrase has to be asked for as well is seen
    when it does not.

    Raises:
        UsageError: it is empty, too long, or not a recovery key, key file or share.
        UnlockError: the command failed, or the volume has no shares.
        OSError: the file or descriptor cannot be read.
    """
    if options.share_files:
        return [shares.from_files([(name, read_file(name)) for name in options.share_files], slots)]
    if options.recovery_file is not None:
        return [KnownSecret.of(SlotKind.RECOVERY, recovery_key_in(read_file(options.recovery_file)))]
    key = None if options.key_file is None else decode_key_file(read_file(options.key_file))
    if not options.has_passphrase:
        assert key is not None
        return [KnownSecret.of(SlotKind.KEY_FILE, key)]
    return for_passphrase(passphrase_from_options(options), key, slots)


def passphrase_from_options(options: SecretOptions) -> bytes:
    """The bytes of a passphrase from its file, descriptor or command.

    Raises:
        UsageError, UnlockError, OSError: as :func:`given_sources`.
    """
    if options.passphrase_file is not None:
        return passphrase_from_raw(read_file(options.passphrase_file))
    if options.passphrase_fd is not None:
        return passphrase_from_raw(_read_fd(options.passphrase_fd))
    if options.passphrase_command is not None:
        return passphrase_from_raw(_run(options.passphrase_command))
    raise AssertionError("internal error: no source of a passphrase is given")


def read_file(path: str, *, public: bool = False) -> bytes:
    """The content of a file that holds a secret; a warning if others can read it, but for what is ``public``.

    Raises:
        UsageError: it is longer than any secret. OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not public and stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            output.warn(f"other users of this machine can read {output.printable(path)}; better: chmod 600")
        return _read_all(fd, path)
    finally:
        os.close(fd)


def _read_fd(fd: int) -> bytes:
    try:
        return _read_all(fd, f"descriptor {fd}")
    except (OSError, OverflowError) as exc:
        if isinstance(exc, OverflowError) or exc.errno == errno.EBADF:
            raise UsageError(f"--passphrase-fd {fd}: this descriptor is not open for reading") from exc
        raise


def _read_all(fd: int, name: str) -> bytes:
    pieces = []
    size = 0
    while piece := os.read(fd, _SECRET_MAX):
        pieces.append(piece)
        size += len(piece)
        if size > _SECRET_MAX:
            raise UsageError(f"{output.printable(name)}: longer than 64 KiB, so this is no passphrase or key")
    return b"".join(pieces)


def _run(command: str) -> bytes:
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise UsageError(f"--passphrase-command: {exc}".lower()) from exc
    if not words:
        raise UsageError("--passphrase-command: the command is empty")
    try:
        # It may ask on the terminal itself: stdin and stderr are ours, only stdout is taken.
        process = subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0)
    except OSError as exc:
        raise UnlockError(f"the passphrase command cannot be run: {words[0]}: {exc.strerror}") from exc
    with process:
        assert process.stdout is not None
        try:
            found = _read_all(process.stdout.fileno(), "the output of the passphrase command")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        how = f"exit status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise UnlockError(f"the passphrase command failed with {how}")
    return found
