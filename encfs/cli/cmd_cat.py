"""``cloakfs cat``: one file of a volume on standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator

import click

from encfs.cli import auditing, options, output, progress, sources, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import ExitCode, UsageError
from encfs.volume.source import Source


@options.command(
    "cat",
    example="""
cloakfs cat ~/practice.vault letters/2026/mueller.txt
cloakfs cat ~/practice.vault scan.pdf > scan.pdf""",
)
@click.argument("volume")
@click.argument("path")
@secret_options
@auditing.recorded("volume.cat")
def command(*, volume: str, path: str, secret: SecretOptions) -> ExitCode:
    """Write the file at PATH inside VOLUME to standard output.

    VOLUME is a volume directory or a mount point. A volume that is not mounted is unlocked for this one read; a
    mounted one is read through its mount, and no passphrase is needed.
    """
    inside = os.fsencode(path)
    with sources.open_source(targets.find(volume), secret) as source:
        with sources.named(inside):
            entry = source.stat(inside, follow=True)
        if stat.S_ISDIR(entry.mode):
            raise UsageError(f"{output.printable(path)} is a directory", hint="Copy directories with: cloakfs export")
        if not stat.S_ISREG(entry.mode):
            raise UsageError(f"{output.printable(path)} is no regular file, so it has no content")
        _write_out(source, inside, entry.size)
    return ExitCode.OK


def _write_out(source: Source, path: bytes, size: int) -> None:
    # A bar beside the content itself, or beside a pager, would be in the way.
    to_file = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    done = 0
    with progress.bar("Reading", shown=to_file) as shown:
        for piece in _pieces(source, path):
            sys.stdout.buffer.write(piece)
            done += len(piece)
            shown.update(done, max(size, done), "")
    sys.stdout.buffer.flush()


def _pieces(source: Source, path: bytes) -> Iterator[bytes]:
    """The content; what goes wrong with reading it, and only that, has the path."""
    with sources.named(path):
        yield from source.read(path)
