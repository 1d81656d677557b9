"""``cloakfs rescue``: what still authenticates of a damaged file.

Owns: the copy, and how its gaps are told. Must not know: what is good in the file (``encfs.volume.rescue``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import click

from encfs.cli import auditing, options, output, progress, sources, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import ExitCode, NotEmptyError, UsageError, VolumeInUseError
from encfs.volume.rescue import Gap, Rescue


@options.command(
    "rescue",
    example="""
cloakfs rescue ~/practice.vault letters/mueller.pdf ~/mueller.pdf
cloakfs rescue ~/practice.vault lost+found/2026-11-22T010500Z/mueller.pdf ~/mueller.pdf""",
)
@click.argument("volume")
@click.argument("path")
@click.argument("dest")
@options.json_option
@secret_options
@auditing.recorded("volume.rescue")
def command(*, volume: str, path: str, dest: str, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Copy what is good of the damaged file at PATH inside VOLUME to DEST, in plain text, and list what is missing.

    DEST must not exist, or be a directory, into which the file goes under its own name. Everything good is at its
    right offset; gaps are zeros. The volume must not be mounted, and nothing in it is changed. Where the file's header
    is destroyed, a checkpoint that knows it is used. Exit status 0: nothing is missing; 25: there are gaps.
    """
    target = targets.find(volume)
    inside = os.fsencode(path).strip(b"/")
    to = _destination(target.volume, inside, dest)
    if target.mountpoint is not None:
        where = output.printable(target.mountpoint)
        hint = f"Lock it first: cloakfs lock {where}"
        raise VolumeInUseError(f"the volume is mounted at {where}, and rescue reads below it", hint=hint)
    config_of(target.volume)
    with unlock(target.volume, secret, read_only=True) as opened:
        with sources.named(inside):
            rescue = Rescue(opened, inside)
        with rescue:
            gaps = _copy(rescue, inside, to)
    if as_json:
        output.print_json(_as_json(target.volume, path, to, rescue, gaps))
    else:
        _tell(rescue, gaps, to)
    return ExitCode.DAMAGED_DATA if gaps else ExitCode.OK


def _destination(volume: str, inside: bytes, dest: str) -> bytes:
    """Where the copy goes.

    Raises:
        UsageError: into the volume directory.
        NotEmptyError: something is there already.
    """
    to = os.fsencode(dest)
    if os.path.isdir(to):
        to = os.path.join(to, inside.rpartition(b"/")[2])
    inner, outer = os.path.realpath(to), os.fsencode(os.path.realpath(volume))
    if inner == outer or inner.startswith(outer + b"/"):
        raise UsageError(
            "the destination lies in the volume directory, where only sealed files belong",
            hint="Choose a place outside of it.",
        )
    if os.path.lexists(to):
        raise NotEmptyError(f"{output.printable(to)}: this exists already", hint="Nothing is ever overwritten.")
    return to


@contextmanager
def _new_file(to: bytes) -> Iterator[int]:
    """The copy, open for writing; it is removed if the block fails."""
    fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    except BaseException:
        os.unlink(to)
        raise
    finally:
        os.close(fd)


def _copy(rescue: Rescue, inside: bytes, to: bytes) -> list[Gap]:
    gaps = []
    with _new_file(to) as fd, progress.bar("Rescuing") as shown:
        with sources.named(inside):
            steps = rescue.run()
        for step in steps:
            if isinstance(step, Gap):
                gaps.append(step)
                continue
            _write_all(fd, step.data, step.offset)
            shown.update(step.offset + len(step.data), rescue.size, output.plural(len(gaps), "gap"))
        os.truncate(fd, rescue.size)
        os.fsync(fd)
        os.utime(fd, ns=(rescue.stat.st_atime_ns, rescue.stat.st_mtime_ns))
        os.fchmod(fd, stat.S_IMODE(rescue.stat.st_mode) & 0o777)
    return gaps


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data, offset = data[count:], offset + count


def _missing(gaps: list[Gap]) -> int:
    return sum(gap.length for gap in gaps)


def _tell(rescue: Rescue, gaps: list[Gap], to: bytes) -> None:
    for gap in gaps:
        output.say(f"missing: {gap.length:,} bytes at {gap.offset:,}")
    if rescue.from_checkpoint:
        output.say("The file's own header is destroyed; the one of a checkpoint was used.")
    good = rescue.size - _missing(gaps)
    told = f"Rescued {output.human_size(good)} of {output.human_size(rescue.size)} to {output.printable(to)}"
    if gaps:
        output.say(f"{told}; {output.bold(output.plural(len(gaps), 'gap') + ' of zeros in it.')}")
    else:
        output.say(f"{told}. {output.bold('Nothing is missing.')}")


def _as_json(volume: str, path: str, to: bytes, rescue: Rescue, gaps: list[Gap]) -> dict[str, object]:
    return {
        "volume": volume,
        "path": path,
        "destination": os.fsdecode(to),
        "size": rescue.size,
        "bytes": rescue.size - _missing(gaps),
        "from_checkpoint": rescue.from_checkpoint,
        "gaps": [{"offset": gap.offset, "length": gap.length} for gap in gaps],
    }
