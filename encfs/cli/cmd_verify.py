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
from typing import Any, Final, TypeAlias

import click

from encfs.cli import control, options, output, progress, sources, targets
from encfs.cli.secrets import SecretOptions, config_of, secret_options, unlock
from encfs.errors import ExitCode
from encfs.volume import Volume
from encfs.volume.verify import Finding, Progress, Summary, Verifier

_Step: TypeAlias = Finding | Progress | Summary
_WORDS: Final = {"info": "note", "warning": "warning", "error": "ERROR"}


@dataclass(frozen=True, slots=True)
class _Result:
    """A finished verification."""

    summary: Summary
    findings: list[Finding]
    seconds: float


@options.command(
    "verify",
    example="""
cloakfs verify ~/practice.vault
cloakfs verify ~/practice letters/2026""",
)
@click.argument("volume")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.json_option
@secret_options
def command(*, volume: str, paths: tuple[str, ...], as_json: bool, secret: SecretOptions) -> ExitCode:
    """Read and authenticate everything in VOLUME, or at each PATH inside it. Nothing is changed.

    VOLUME is a volume directory or a mount point; a mounted volume needs no passphrase. Each finding has a severity:
    "note" means that nothing is lost, "warning" that somebody should look, "ERROR" that something cannot be read or is
    not what was written. Exit status 0: no warning and no error; 3: there are some.
    """
    target = targets.find(volume)
    wanted = [os.fsencode(path).strip(b"/") for path in paths]
    # Unlocking may ask, so it comes before anything moves on the terminal.
    with _steps(target, wanted, secret) as steps, progress.bar("Verifying") as shown:
        result = _collect(steps, shown, quiet=as_json)
    if as_json:
        output.print_json(_as_json(target, paths, result))
    else:
        _summarize(result)
    return ExitCode.OK if result.summary.clean else ExitCode.FINDINGS


@contextmanager
def _steps(target: targets.Target, paths: list[bytes], secret: SecretOptions) -> Iterator[Iterator[_Step]]:
    if target.mounted is not None:
        yield _over_socket(target.mounted, paths)
        return
    if target.mountpoint is not None:
        raise targets.not_reachable(target)
    config_of(target.volume)
    with unlock(target.volume, secret, read_only=True) as volume:
        for path in paths:
            with sources.named(path):
                volume.stat(path, follow=False)
        yield _in_this_process(volume, paths)


def _in_this_process(volume: Volume, paths: list[bytes]) -> Iterator[_Step]:
    verifier = Verifier(volume, paths)
    for step in verifier.run():
        if isinstance(step, Finding | Progress):
            yield step
    yield verifier.summary


def _over_socket(mounted: control.Mounted, paths: list[bytes]) -> Iterator[_Step]:
    through_mount = sources.MountSource(mounted.mountpoint)
    for path in paths:
        with sources.named(path):
            through_mount.stat(path)
    request = {"verb": "verify", "paths": [os.fsdecode(path) for path in paths]}
    for reply in control.talk(mounted.socket, request):
        if "progress" in reply:
            yield Progress(**reply["progress"])
        elif "finding" in reply:
            yield _finding(reply["finding"])
        elif "summary" in reply:
            fields = dict(reply["summary"])
            fields.pop("clean", None)
            yield Summary(**fields)


def _finding(fields: dict[str, Any]) -> Finding:
    names = {key: os.fsencode(fields[key]) for key in ("path", "lower_path")}
    return Finding(**{**fields, **names})


def _collect(steps: Iterator[_Step], shown: progress.Bar, *, quiet: bool) -> _Result:
    started = time.monotonic()
    findings: list[Finding] = []
    summary: Summary | None = None
    for step in steps:
        if isinstance(step, Finding):
            findings.append(step)
            if not quiet:
                shown.print(_line(step))
        elif isinstance(step, Progress):
            count = len(findings)
            note = output.plural(step.files, "entry", "entries") + (f", {count} found" if count else "")
            shown.update(step.bytes, step.total_bytes, note)
        else:
            summary = step
    if summary is None:
        raise AssertionError("internal error: a verification ended without a summary")
    return _Result(summary, findings, time.monotonic() - started)


def _line(finding: Finding) -> str:
    where = output.printable(finding.path) or "/"
    word = _WORDS.get(str(finding.severity), str(finding.severity))
    return f"{word}: {where}: {finding.detail} [{finding.code}, below: {output.printable(finding.lower_path)}]"


def _summarize(result: _Result) -> None:
    summary = result.summary
    counts = [output.plural(summary.files, "file"), output.plural(summary.directories, "directory", "directories")]
    if summary.symlinks:
        counts.append(output.plural(summary.symlinks, "symlink"))
    read = f"Read {', '.join(counts)}, {output.human_size(summary.bytes)} in {result.seconds:.1f} s."
    if summary.clean:
        output.say(f"{read} {output.bold('All of it is authentic.')}")
        return
    errors, warnings = summary.findings.get("error", 0), summary.findings.get("warning", 0)
    found = [output.plural(n, noun) for n, noun in ((errors, "error"), (warnings, "warning")) if n]
    output.say(f"{read} {output.bold(' and '.join(found) + ' found.')}")
    if errors:
        output.say("What has an error cannot be read in full. Take it from a backup; the rest is as it was written.")


def _as_json(target: targets.Target, paths: tuple[str, ...], result: _Result) -> dict[str, object]:
    return {
        "volume": target.volume,
        "mounted": target.mountpoint is not None,
        "paths": list(paths),
        "clean": result.summary.clean,
        "seconds": round(result.seconds, 3),
        "summary": asdict(result.summary),
        "findings": [
            {
                "severity": str(finding.severity),
                "code": finding.code,
                "path": os.fsdecode(finding.path),
                "lower_path": os.fsdecode(finding.lower_path),
                "detail": finding.detail,
            }
            for finding in result.findings
        ],
    }
