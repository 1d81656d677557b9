"""How the registers stand, for ``cloakfs status`` and ``cloakfs doctor``.

Owns: what is red and what is amber. Must not know: how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from encfs.checks import Checked, Light
from encfs.errors import RegisterError
from encfs.registers import exceptions, heartbeat, media, scans, volumes
from encfs.registers.exceptions import DataException
from encfs.registers.media import Medium, MediumState
from encfs.wording import human_date, printable

_SOON: Final = 14 * 86400
"""An exception is told of so many seconds before it has to be reviewed."""

_TOLD: Final = 60 * 86400
"""A medium that is lost is told of so long, which is how long 45 CFR 164.404 gives to tell people of a breach."""


def checks(now: float) -> list[Checked]:
    """One for each medium and exception that somebody has to look at, and for each register that cannot be read.

    Args:
        now: seconds since 1970.
    """
    return [*told(lambda: _of_media(now)), *told(lambda: _of_exceptions(now)), *told(_of_others)]


def told(look: Callable[[], Iterable[Checked]], what: str = "volumes and media") -> list[Checked]:
    """What somebody finds who reads registers; or that they cannot be read.

    Args:
        look: reads them. What it raises of RegisterError, OSError and RuntimeError becomes a check that is red.
        what: is written down there, for the user.
    """
    try:
        return list(look())
    except RegisterError as exc:
        found, remedy = str(exc), exc.hint
    except (OSError, RuntimeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        found = f"what this computer has written down of {what} cannot be read: {why}"
        remedy = "see whether the disk of the system is full or read-only, and who owns the state directory"
    return [Checked(code="register", title="register", light=Light.RED, found=found, remedy=remedy)]


def _of_media(now: float) -> Iterator[Checked]:
    for one in media.media():
        if media.is_overdue(one, now):
            yield _overdue(one)
        elif one.state is MediumState.LOST and now < one.since + _TOLD:
            yield Checked(
                code="medium-lost",
                title="medium",
                light=Light.AMBER,
                found=f"{printable(one.label)} is lost since {human_date(one.lost_at or one.since)}",
                remedy="what that means: cloakfs incident new; when it turns up: cloakfs media found LABEL",
            )


def _overdue(one: Medium) -> Checked:
    return Checked(
        code="medium-overdue",
        title="medium",
        light=Light.RED,
        found=f"{printable(one.label)} is out with {printable(one.holder)}, and was due on {human_date(one.due or 0)}",
        remedy="when it is back: cloakfs media check-in LABEL; when nobody has it: cloakfs media lost LABEL",
    )


def _of_exceptions(now: float) -> Iterator[Checked]:
    for one in exceptions.exceptions():
        remedy = f"if it holds on: cloakfs exception renew {one.id}; if not: cloakfs exception withdraw {one.id}"
        if exceptions.is_overdue(one, now):
            yield Checked(
                code="exception-overdue",
                title="exception",
                light=Light.RED,
                found=f"{_named(one)} was to be reviewed by {human_date(one.review)}",
                remedy=remedy,
            )
        elif one.withdrawn is None and one.review < now + _SOON:
            yield Checked(
                code="exception-soon",
                title="exception",
                light=Light.AMBER,
                found=f"{_named(one)} is to be reviewed by {human_date(one.review)}",
                remedy=remedy,
            )


def _named(one: DataException) -> str:
    return f"{one.id} ({printable(one.dataset)}, not encrypted)"


def _of_others() -> Iterator[Checked]:
    """Whether what is written down of volumes can be read; there is nothing else to look at."""
    volumes.known_volumes()
    heartbeat.beats()
    scans.scans()
    yield from ()
