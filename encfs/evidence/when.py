"""A time as people give it, and how exactly they know it.

Owns: which texts are times. Must not know: what happened then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from encfs.errors import UsageError

_MS: Final = 1000
_TEXT: Final = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2})?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
)
_HINT: Final = 'Give it as "2026-11-20 14:30", or as a day alone where the hour is not known: 2026-11-20.'


@dataclass(frozen=True, slots=True)
class Span:
    """From ``first`` to ``last``, both included: milliseconds since 1970. It happened somewhere in between.

    Attributes:
        text: as it was given.
    """

    first: int
    last: int
    text: str

    @property
    def seconds(self) -> int:
        """When it began, in seconds."""
        return self.first // _MS


def parse_span(text: str, zone: tzinfo | None = None) -> Span:
    """What somebody means by a time: a day is all of that day, a minute all of that minute.

    An hour that comes twice, at the end of summer time, is both of them.

    Args:
        text: a day, or a time with or without seconds and zone.
        zone: where no zone is given; None for that of this computer.

    Raises:
        UsageError: it is no time.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no time", hint=_HINT)
    try:
        day = date.fromisoformat(found["day"])
        if found["minute"] is None:
            after = day + timedelta(days=1)
            return Span(min(_ms(day, "00:00", zone)), min(_ms(after, "00:00", zone)) - 1, text.strip())
        wanted = zone if found["zone"] is None else _zone(found["zone"])
        both = _ms(day, found["minute"] + (found["second"] or ":00"), wanted)
    except (ValueError, OverflowError, OSError) as exc:
        raise UsageError(f"{text!r} is no time", hint=_HINT) from exc
    length = 1 if found["second"] else 60
    return Span(min(both), max(both) + length * _MS - 1, text.strip())


def at_second(seconds: int, text: str) -> Span:
    """A time that a register has, in seconds since 1970."""
    return Span(seconds * _MS, seconds * _MS + _MS - 1, text)


def day_of(span: Span) -> date:
    """The day on which it began, here."""
    return datetime.fromtimestamp(span.seconds).astimezone().date()


def _zone(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    found = datetime.strptime(text, "%z").tzinfo
    assert found is not None
    return found


def _ms(day: date, clock: str, zone: tzinfo | None) -> tuple[int, int]:
    """Both meanings of a time of day; mostly they are one."""
    local = datetime.fromisoformat(f"{day.isoformat()}T{clock}")
    first, second = (int(local.replace(tzinfo=zone, fold=fold).timestamp()) * _MS for fold in (0, 1))
    return first, second
