"""A new stick's line in the register of media.

Owns: which label it gets; a stick is made also where the register cannot be written. Must not know: how a stick
is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from encfs.cli import media as same
from encfs.cli import medium_facts, output
from encfs.cli.medium_facts import Facts
from encfs.errors import AuditError, CloakfsError, UsageError
from encfs.registers import media
from encfs.registers.media import Medium, MediumState
from encfs.stick.devices import Device


@dataclass(frozen=True, slots=True)
class Label:
    """What the stick will be called in the register.

    Attributes:
        text: the label.
        is_known: the register has it already: the stick is made anew.
    """

    text: str
    is_known: bool


def choose(wanted: str | None, place: str, device: Device | None, name: str) -> Label | None:
    """The label that was asked for, or a free one after the name of the stick; None for what is no medium of its own.

    Nothing is written yet.

    Args:
        wanted: of --medium.
        place: the directory where it is mounted, or its device.
        device: that will be formatted, if one will be.
        name: what desktops will call that.

    Raises:
        UsageError: the label is that of another medium, or cannot be one.
    """
    if wanted is None and device is None and same.same_medium(place, "/"):
        return None
    facts = _facts(place, device)
    try:
        known = {one.label.casefold(): one for one in media.media()}
    except (AuditError, OSError, RuntimeError) as exc:
        if wanted is not None:
            raise
        output.warn(f"the stick will not be in the register of media: {exc}")
        return None
    if wanted is not None:
        media.check_label(wanted)
        there = known.get(wanted.casefold())
        if there is not None and not _is_same(there, facts):
            raise UsageError(
                f"there is another medium {output.printable(there.label)} in the register",
                hint="Nothing was changed. Choose another label, and write it on the stick.",
            )
        return Label(wanted, there is not None)
    base = name if device is not None else os.path.basename(os.path.realpath(place)) or name
    return _free(output.printable(base).strip() or name, facts, known)


def register(label: Label, volume_id: str, place: str) -> str | None:
    """Put the stick there; its label, or None where that fails, which is said. ``place``: as above."""
    facts = _facts(place, None)
    try:
        if not label.is_known:
            made = media.add(label.text, serial=facts.serial, filesystem=facts.filesystem, volumes=[volume_id])
            return made.label
        if media.medium(label.text).state is MediumState.LOST:
            media.found(label.text)
        made = media.set_content(label.text, serial=facts.serial, filesystem=facts.filesystem, volumes=[volume_id])
    except (CloakfsError, OSError, RuntimeError) as exc:
        output.warn(f"the stick is made, but it is not in the register of media: {exc}")
        return None
    return made.label


def _free(base: str, facts: Facts, known: Mapping[str, Medium]) -> Label:
    number = 1
    while True:
        text = base if number == 1 else f"{base} {number}"
        there = known.get(text.casefold())
        if there is None:
            return Label(text, is_known=False)
        if facts.serial and there.serial == facts.serial and _is_same(there, facts):
            return Label(there.label, is_known=True)
        number += 1


def _is_same(there: Medium, facts: Facts) -> bool:
    """Whether it can be the medium with these facts: one without a serial may be any."""
    serials_fit = not there.serial or not facts.serial or there.serial == facts.serial
    return there.state is not MediumState.DESTROYED and serials_fit


def _facts(place: str, device: Device | None) -> Facts:
    try:
        return medium_facts.of_path(place) if device is None else medium_facts.of_device(device)
    except (CloakfsError, OSError):
        return Facts()
