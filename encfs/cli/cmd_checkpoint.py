"""``cloakfs checkpoint``: writes down, sealed, what is in a volume now.

Owns: how that is told, and the copy elsewhere. Must not know: what a checkpoint holds (``checkpoint_make.py``).

A mounted volume's checkpoint is made by its own daemon, over the control socket, while programs go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TypeAlias

import click

from encfs import control
from encfs.cli import auditing, findings, options, output, progress, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import ExitCode
from encfs.format.limits import CHECKPOINTS_NAME
from encfs.volume import Volume
from encfs.volume.checkpoint_make import CheckpointMaker, CheckpointResult
from encfs.volume.steps import Waiting
from encfs.volume.verify import Finding, Progress

_Step: TypeAlias = Finding | Progress | CheckpointResult


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished checkpoint, and what was found on the way."""

    result: CheckpointResult
    findings: list[Finding]
    seconds: float


@options.command(
    "checkpoint",
    example="""
cloakfs checkpoint ~/practice.vault
cloakfs checkpoint ~/practice --output /media/other-stick/practice.checkpoint""",
)
@click.argument("volume")
@click.option("--output", "copy", metavar="FILE", help="Put a copy there too: best on another medium.")
@options.json_option
@secret_options
@auditing.recorded("volume.checkpoint")
def command(*, volume: str, copy: str | None, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Write a sealed list of everything in VOLUME, against which verify --checkpoint can compare it later.

    VOLUME is a volume directory or a mount point; a mounted volume needs no passphrase, and programs can go on. Files
    that have not changed since the last checkpoint are not read again. Exit status 3: something did not open, or is
    older than the last checkpoint has it; the checkpoint is made all the same.
    """
    target = targets.find(volume)
    with _steps(target, secret) as steps, progress.bar("Checkpoint") as shown:
        made = _collect(steps, shown, quiet=as_json)
    if copy is not None:
        _copy(target.volume, made.result.name, copy)
    if as_json:
        output.print_json(_as_json(target, made, copy))
    else:
        _tell(made, copy)
    return ExitCode.FINDINGS if _bad(made) else ExitCode.OK


@contextmanager
def _steps(target: targets.Target, secret: SecretOptions) -> Iterator[Iterator[_Step]]:
    if target.mounted is not None:
        yield _over_socket(target.mounted)
        return
    if target.mountpoint is not None:
        raise targets.not_reachable(target)
    config_of(target.volume)
    with unlock(target.volume, secret, read_only=False) as volume:
        yield _in_this_process(volume)


def _in_this_process(volume: Volume) -> Iterator[_Step]:
    maker = CheckpointMaker(volume, alone=True)
    for step in maker.run():
        if isinstance(step, Waiting):
            step.call()
        elif isinstance(step, Finding | Progress):
            yield step
    assert maker.result is not None
    yield maker.result


def _over_socket(mounted: control.Mounted) -> Iterator[_Step]:
    for reply in control.talk(mounted.socket, {"verb": "checkpoint"}):
        if "progress" in reply:
            yield Progress(**reply["progress"])
        elif "finding" in reply:
            yield findings.from_reply(reply["finding"])
        elif "checkpoint" in reply:
            yield CheckpointResult(**reply["checkpoint"])


def _collect(steps: Iterator[_Step], shown: progress.Bar, *, quiet: bool) -> _Made:
    started = time.monotonic()
    found: list[Finding] = []
    result: CheckpointResult | None = None
    for step in steps:
        if isinstance(step, Finding):
            found.append(step)
            if not quiet:
                shown.print(findings.line(step))
        elif isinstance(step, Progress):
            shown.update(step.bytes, step.total_bytes, output.plural(step.files, "entry", "entries"))
        else:
            result = step
    if result is None:
        raise AssertionError("internal error: a checkpoint ended without a result")
    return _Made(result, found, time.monotonic() - started)


def _bad(made: _Made) -> bool:
    return any(str(finding.severity) != "info" for finding in made.findings)


def _copy(volume: str, name: str, copy: str) -> None:
    """The sealed bytes of a checkpoint elsewhere, under their name only when they are on the disk there.

    Raises:
        OSError: it cannot be written.
    """
    with open(os.path.join(volume, os.fsdecode(CHECKPOINTS_NAME), name), "rb") as source:
        sealed = source.read()
    temporary = f"{copy}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, copy)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(copy) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _tell(made: _Made, copy: str | None) -> None:
    result = made.result
    counts = [output.plural(result.files, "file"), output.plural(result.directories, "directory", "directories")]
    if result.symlinks:
        counts.append(output.plural(result.symlinks, "symlink"))
    output.say(f"Checkpoint of {', '.join(counts)}, {output.human_size(result.bytes)} in {made.seconds:.1f} s.")
    rows = [
        ("read anew", output.plural(result.read, "file")),
        ("as in the last one", output.plural(result.reused, "file")),
    ]
    if result.changing:
        rows.append(("being written to", f"{output.plural(result.changing, 'file')}, taken without a digest"))
    if result.damaged:
        rows.append(("not in order", f"{output.plural(result.damaged, 'entry', 'entries')}: run cloakfs verify"))
    rows += [
        ("checkpoint", f"{os.fsdecode(CHECKPOINTS_NAME)}/{result.name} ({output.human_size(result.size)})"),
        ("digest", result.digest),
    ]
    if copy is not None:
        rows.append(("copy", output.printable(copy)))
    output.print_table(rows)


def _as_json(target: targets.Target, made: _Made, copy: str | None) -> dict[str, object]:
    return {
        "volume": target.volume,
        "mounted": target.mountpoint is not None,
        "seconds": round(made.seconds, 3),
        "checkpoint": asdict(made.result),
        "copy": None if copy is None else os.path.abspath(copy),
        "findings": [findings.as_json(finding) for finding in made.findings],
    }
