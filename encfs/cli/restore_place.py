"""Where a restore goes, and what somebody has to say yes to before anything is written there.

Owns: these questions. Must not know: backups, how anything is restored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from encfs.backup.restoring import InTheWay
from encfs.cli import mounts, output, terminal
from encfs.errors import NotEmptyError, UsageError
from encfs.format.limits import CONFIG_NAME


class Into(StrEnum):
    """What kind of place that is."""

    VOLUME = "volume"
    """A directory in a volume that is mounted."""
    PLAIN = "plain"
    """A directory somewhere else, where everybody who gets the disk can read it."""
    NEW_VOLUME = "new-volume"
    """A volume that is made for it, with keys of its own."""
    SAME_VOLUME = "same-volume"
    """The sealed volume itself, as it was, in a new directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the options say beforehand.

    Attributes:
        yes: files that are there are replaced.
        keep: files that are there stay.
        plain: it may go where nothing is encrypted.
    """

    yes: bool = False
    keep: bool = False
    plain: bool = False

    def __post_init__(self) -> None:
        if self.yes and self.keep:
            raise UsageError("--yes replaces what is there, --keep leaves it", hint="Give only one.")


def check_directory(to: str, answers: Answers) -> Into:
    """Before a backup is opened: whether plain files may go there.

    Raises:
        UsageError: they may not, or there is nobody to ask. EOFError: the answer was no.
    """
    name, real = output.printable(to), os.path.realpath(to)
    if _in_sealed(real):
        raise UsageError(
            f"{name}: this lies in the directory of a volume, where only sealed files belong",
            hint="Mount the volume, and give a directory at its mount point.",
        )
    kernel = mounts.top(real, mounts.all_mounts())
    if kernel is not None and kernel.fstype == mounts.FSTYPE:
        return Into.VOLUME
    if answers.plain:
        return Into.PLAIN
    text = f"{name} is not in a mounted volume: whoever gets this disk could read what is restored there"
    if not terminal.is_interactive():
        raise UsageError(
            text, hint="Give a directory at a mount point, or --new-volume; or add --plain if you mean it."
        )
    terminal.tell(f"{text}.\nBetter: a directory at a mount point, or --new-volume.")
    if terminal.ask('Write it there unencrypted all the same? Type "yes": ').strip().lower() != "yes":
        raise EOFError
    return Into.PLAIN


@contextmanager
def held(to: str, into: Into) -> Iterator[bytes]:
    """The directory itself, whatever its path leads to in the meantime; it is made if it is missing.

    Where a volume is locked at once, its path leads to the bare directory below, and what is restored must not lie
    there in plain text. As long as it is held, nobody but who forces it can lock the volume.

    Raises:
        UsageError: it is not in a mounted volume any more, or there is no directory for it. OSError.
    """
    made = not os.path.lexists(to)
    if made:
        if not os.path.isdir(os.path.dirname(os.path.abspath(to))):
            raise UsageError("there is no directory into which it could be restored", hint="Make it, or give another.")
        os.mkdir(to, 0o700)
    fd = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if into is not Into.PLAIN and not _is_mounted(fd):
            raise UsageError("the volume was locked in the meantime", hint="Mount it, and restore again.")
        yield b"/proc/self/fd/%d/." % fd
    except OSError as exc:
        if exc.filename is not None and os.fsdecode(exc.filename).startswith(f"/proc/self/fd/{fd}/"):
            exc.filename = to
        raise
    finally:
        os.close(fd)
        if made:
            with suppress(OSError):  # It is not empty: something was restored.
                os.rmdir(to)


def _is_mounted(fd: int) -> bool:
    """Whether it is in a mount of cloakfs."""
    device = os.fstat(fd).st_dev
    text = f"{os.major(device):02x}:{os.minor(device):02x}"
    return any(mount.device == text for mount in mounts.cloakfs_mounts())


def _in_sealed(path: str) -> bool:
    while True:
        if os.path.lexists(os.path.join(path, os.fsdecode(CONFIG_NAME))):
            return True
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above


def may_replace(found: InTheWay, to: str, answers: Answers, when: str) -> bool:
    """Whether what is there already is replaced; without anything there nobody is asked.

    Args:
        found: what stands in the way.
        to: where.
        answers: given beforehand.
        when: of which time the backup is, for people.

    Raises:
        NotEmptyError: there is nobody to ask. EOFError: nothing is to be done.
    """
    if not found.there or answers.keep:
        return False
    if answers.yes:
        return True
    name = output.printable(to)
    text = (
        f"{output.plural(found.there, 'file is', 'files are')} there already in {name}, of"
        f" {output.plural(found.entries, 'entry', 'entries')} ({output.human_size(found.size)}) to restore"
    )
    if not terminal.is_interactive():
        raise NotEmptyError(text, hint="Add --keep to leave them as they are, or --yes to replace those that differ.")
    terminal.tell(f'{text}.\n"keep" leaves them as they are. "yes" makes them what they were on {when}: what was')
    terminal.tell("written to them since then would be lost.")
    answer = terminal.ask('Type "keep" or "yes": ').strip().lower()
    if answer not in ("keep", "yes"):
        raise EOFError
    return answer == "yes"


def warn_of_room(found: InTheWay) -> None:
    """Say it beforehand where it will hardly fit."""
    if not found.there and found.size > found.free:
        output.warn(
            f"this needs {output.human_size(found.size)}, and there is room for {output.human_size(found.free)}"
        )
