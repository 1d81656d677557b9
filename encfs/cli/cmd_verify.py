"""``cloakfs verify``: reads and authenticates everything, and tells what it found.

Owns: how findings are shown. Must not know: what is checked (``encfs.volume.verify``).

A mounted volume is verified by its own daemon, over the control socket; nothing is unlocked a second time.
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
from encfs.cli import auditing, findings, mending, options, output, progress, sources, targets, verifications
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of, unlock
from encfs.errors import ExitCode, UsageError
from encfs.volume import Volume
from encfs.volume.checkpoint_verify import CheckpointVerifier, ComparisonSummary
from encfs.volume.steps import Waiting
from encfs.volume.told import counted, verdict, what_was_read
from encfs.volume.verify import Finding, Progress, Summary, Verifier

_Step: TypeAlias = Finding | Progress | Summary | ComparisonSummary
_Against: TypeAlias = bool | str
"""Whether to compare with the newest checkpoint in the volume, or the path of a copy."""


@dataclass(frozen=True, slots=True)
class _Result:
    """A finished verification. ``comparison``: with a checkpoint, if that was asked for."""

    summary: Summary
    comparison: ComparisonSummary | None
    findings: list[Finding]
    seconds: float

    @property
    def clean(self) -> bool:
        """No warning and no error."""
        return self.summary.clean and (self.comparison is None or self.comparison.clean)


@options.command(
    "verify",
    example="""
cloakfs verify ~/practice.vault
cloakfs verify ~/practice letters/2026
cloakfs verify ~/practice.vault --checkpoint
cloakfs verify ~/practice.vault --for 30m
cloakfs verify ~/practice.vault --repair""",
)
@click.argument("volume")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--checkpoint", is_flag=True, help="Also compare everything with the newest checkpoint in the volume.")
@click.option("--checkpoint-file", metavar="FILE", help="The same with a copy of a checkpoint that is kept elsewhere.")
@click.option("--repair", is_flag=True, help="Show what can be repaired, ask, and do it. Nothing is ever deleted.")
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
@click.option(
    "--for",
    "seconds",
    metavar="DURATION",
    type=options.Duration(),
    help="Stop reading after so long (90s, 30m, 2h); files that were checked longest ago come first.",
)
@options.json_option
@secret_options
@auditing.recorded("volume.verify")
def command(
    *,
    volume: str,
    paths: tuple[str, ...],
    checkpoint: bool,
    checkpoint_file: str | None,
    repair: bool,
    yes: bool,
    seconds: float | None,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Read and authenticate everything in VOLUME, or at each PATH inside it. Without --repair nothing is changed.

    VOLUME is a volume directory or a mount point; a mounted volume needs no passphrase. Each finding has a severity:
    "note" means that nothing is lost, "warning" that somebody should look, "ERROR" that something cannot be read or is
    not what was written. Exit status 0: no warning and no error; 3: there are some.
    """
    against = checkpoint if checkpoint_file is None else os.path.abspath(checkpoint_file)
    if against and paths:
        raise UsageError("a checkpoint is compared with the whole volume, not with paths in it", hint="Name no PATH.")
    target = targets.find(volume)
    wanted = [os.fsencode(path).strip(b"/") for path in paths]
    if yes and not repair:
        raise UsageError("--yes answers the question of --repair, which was not given")
    if repair or seconds is not None:
        if against:
            raise UsageError("a checkpoint is compared in a run of its own", hint="Leave --repair and --for out.")
        return mending.run(target, wanted, mending.Wishes(repair, yes, seconds, as_json), secret)
    # Unlocking may ask, so it comes before anything moves on the terminal.
    with _steps(target, wanted, against, secret) as steps, progress.bar("Verifying") as shown:
        result = _collect(steps, shown, quiet=as_json)
    if not wanted:
        verifications.whole(target.volume, verifications.wrong(result.findings))
    if as_json:
        output.print_json(_as_json(target, paths, result))
    else:
        _summarize(result)
    return ExitCode.OK if result.clean else ExitCode.FINDINGS


@contextmanager
def _steps(
    target: targets.Target, paths: list[bytes], against: _Against, secret: SecretOptions
) -> Iterator[Iterator[_Step]]:
    if target.mounted is not None:
        yield _over_socket(target.mounted, paths, against)
        return
    if target.mountpoint is not None:
        raise targets.not_reachable(target)
    config_of(target.volume)
    with unlock(target.volume, secret, read_only=True) as volume:
        for path in paths:
            with sources.named(path):
                volume.stat(path, follow=False)
        yield _in_this_process(volume, paths, against)


def _in_this_process(volume: Volume, paths: list[bytes], against: _Against) -> Iterator[_Step]:
    comparison = CheckpointVerifier(volume, os.fsencode(against) if isinstance(against, str) else None)
    if against:
        comparison.load()
    verifier = Verifier(volume, paths)
    for step in verifier.run():
        if isinstance(step, Finding | Progress):
            yield step
    if against:
        for change in comparison.run():
            if isinstance(change, Waiting):
                change.call()
            elif isinstance(change, Finding | Progress):
                yield change
        assert comparison.summary is not None
        yield comparison.summary
    yield verifier.summary


def _over_socket(mounted: control.Mounted, paths: list[bytes], against: _Against) -> Iterator[_Step]:
    through_mount = sources.MountSource(mounted.mountpoint)
    for path in paths:
        with sources.named(path):
            through_mount.stat(path)
    request = {"verb": "verify", "paths": [os.fsdecode(path) for path in paths], "checkpoint": against}
    for reply in control.talk(mounted.socket, request):
        if "progress" in reply:
            yield Progress(**reply["progress"])
        elif "finding" in reply:
            yield findings.from_reply(reply["finding"])
        elif "comparison" in reply:
            yield ComparisonSummary(**reply["comparison"])
        elif "summary" in reply:
            fields = dict(reply["summary"])
            fields.pop("clean", None)
            yield Summary(**fields)


def _collect(steps: Iterator[_Step], shown: progress.Bar, *, quiet: bool) -> _Result:
    started = time.monotonic()
    found: list[Finding] = []
    summary: Summary | None = None
    comparison: ComparisonSummary | None = None
    for step in steps:
        if isinstance(step, Finding):
            found.append(step)
            if not quiet:
                shown.print(findings.line(step))
        elif isinstance(step, Progress):
            count = len(found)
            note = output.plural(step.files, "entry", "entries") + (f", {count} found" if count else "")
            shown.update(step.bytes, step.total_bytes, note)
        elif isinstance(step, ComparisonSummary):
            comparison = step
        else:
            summary = step
    if summary is None:
        raise AssertionError("internal error: a verification ended without a summary")
    return _Result(summary, comparison, found, time.monotonic() - started)


def _epochs_text(epochs: dict[str, int]) -> str:
    """Under which keys: one epoch, or several while a rotation is under way."""
    return " and ".join(f"under epoch {epoch} ({count:,})" for epoch, count in epochs.items())


def _summarize(result: _Result) -> None:
    summary = result.summary
    output.say(f"{what_was_read(summary, result.seconds)} {output.bold(verdict(summary, result.findings))}")
    output.say(f"Headers and records are sealed {_epochs_text(summary.epochs)}.")
    if summary.findings.get("error"):
        output.say("What has an error cannot be read in full. Take it from a backup; the rest is as it was written.")
        output.say("`verify --repair` says what can be put right; `cloakfs rescue` copies what is good in a file.")
    if result.comparison is not None:
        _summarize_comparison(result.comparison)


def _summarize_comparison(comparison: ComparisonSummary) -> None:
    when = output.human_time(comparison.made)
    counts = [f"{comparison.same:,} as they were"]
    for count, words in (
        (comparison.changed, "changed"),
        (comparison.added, "new"),
        (comparison.removed, "deleted or replaced"),
    ):
        if count:
            counts.append(f"{count:,} {words}")
    read = f"Checkpoint of {when}: {output.plural(comparison.files, 'file')}; {', '.join(counts)}."
    judged = "Nothing was put back or deleted below." if comparison.clean else counted(comparison.findings)
    output.say(f"{read} {output.bold(judged)}")


def _as_json(target: targets.Target, paths: tuple[str, ...], result: _Result) -> dict[str, object]:
    return {
        "volume": target.volume,
        "mounted": target.mountpoint is not None,
        "paths": list(paths),
        "clean": result.clean,
        "seconds": round(result.seconds, 3),
        "summary": asdict(result.summary),
        "checkpoint": None if result.comparison is None else asdict(result.comparison),
        "findings": [findings.as_json(finding) for finding in result.findings],
    }
