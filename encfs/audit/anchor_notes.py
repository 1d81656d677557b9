"""When and where to this log was anchored last.

Owns: the file ``anchored`` (FORMAT.md section 16). Must not know: how anchors are made. It proves nothing: it is there
so that somebody is reminded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from encfs.audit.home import Home
from encfs.audit.log import locked
from encfs.errors import FormatError
from encfs.format.canonical import Fields, canonical_json


class PlaceKind(StrEnum):
    """Where an anchor can go."""

    FILE = "file"
    SYSLOG = "syslog"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class LastAnchor:
    """The last one to a kind of place.

    Attributes:
        at: seconds since 1970.
        host: host and port; empty for a file, whose path is nobody's business.
    """

    at: int
    seq: int
    host: str = ""


def last_anchors(here: Home) -> dict[PlaceKind, LastAnchor]:
    """By kind; nothing where there is no note, or none that can be read. Raises: OSError."""
    with locked(here.store, here.dirfd, shared=True):
        return _read(here)


def note(here: Home, made: Mapping[PlaceKind, LastAnchor]) -> None:
    """Remember these in the place of earlier ones of their kinds. Raises: OSError."""
    with locked(here.store, here.dirfd):
        noted = {**_read(here), **made}
        content = {kind: {"at": last.at, "seq": last.seq, "host": last.host} for kind, last in noted.items()}
        here.note_anchored(canonical_json(content) + b"\n")


def _read(here: Home) -> dict[PlaceKind, LastAnchor]:
    raw = here.anchored()
    if raw is None:
        return {}
    try:
        fields = Fields(json.loads(raw))
        return {PlaceKind(kind): _last(fields.object(kind)) for kind in fields.names()}
    except (ValueError, RecursionError, FormatError):
        return {}


def _last(fields: Fields) -> LastAnchor:
    return LastAnchor(fields.integer("at"), fields.integer("seq"), fields.text("host"))
