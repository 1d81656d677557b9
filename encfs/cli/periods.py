"""A stretch of time as somebody names it on the command line.

Owns: --since and --until, and which of them a text means. Must not know: what is looked at in that time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from encfs.cli.options import seconds_of
from encfs.errors import UsageError
from encfs.evidence.when import parse_span

_HINT = "Give a day (2026-11-01), a time (2026-11-01T08:00), or how long ago that is (30d)."


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since_ms`` to ``until_ms``, both included, milliseconds since 1970; None: no border."""

    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, wall_ms: int) -> bool:
        """Whether something that happened then is in it."""
        return (self.since_ms is None or self.since_ms <= wall_ms) and (
            self.until_ms is None or wall_ms <= self.until_ms
        )


def period(since: str | None, until: str | None) -> Period:
    """What two options say: a day is all of that day, in the zone of this computer.

    Raises:
        UsageError: one is no time, or it ends before it begins.
    """
    found = Period(
        None if since is None else _border(since, end=False), None if until is None else _border(until, end=True)
    )
    if found.since_ms is not None and found.until_ms is not None and found.since_ms > found.until_ms:
        raise UsageError("--until is before --since", hint=_HINT)
    return found


def _border(text: str, *, end: bool) -> int:
    try:
        return int((time.time() - seconds_of(text)) * 1000)
    except ValueError:
        pass
    try:
        span = parse_span(text)
    except UsageError as exc:
        raise UsageError(str(exc), hint=_HINT) from exc
    return span.last if end else span.first


since_option = click.option("--since", metavar="TIME", help="From then on: 2026-11-01, 2026-11-01T08:00, or 30d (ago).")
until_option = click.option("--until", metavar="TIME", help="Up to then; a day is all of that day.")
