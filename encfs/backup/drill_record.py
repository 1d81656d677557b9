"""What a trial of a backup is written down as: the record of a drill (FORMAT.md section 17, "Drill").

Owns: its fields, record <-> object of JSON. Must not know: where it is kept, who signs it, how a drill is made.

It has no name of a file, and no content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

from encfs.backup.plans import PLAN_ID_SIZE, EngineKind
from encfs.crypto import rng
from encfs.errors import FormatError
from encfs.format.canonical import Fields

FORMAT: Final = 1
ID_SIZE: Final = 8
SEED_MAX: Final = (1 << 64) - 1
TARGET_SECONDS: Final = 72 * 3600
"""How long the restoring of everything may take, unless somebody says otherwise."""
_VOLUME_ID_SIZE: Final = 16
_HEX: Final = "0123456789abcdef"
_D = TypeVar("_D")


class DrillOutcome(StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    FAILED = "failed"
    """Something is damaged, missing, or not what was taken."""
    BROKEN_OFF = "broken-off"
    """It could not be made to its end; what there is may be good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifested:
    """What the manifest of the run says, and who vouches for it.

    Attributes:
        made_at: when the run began, seconds since 1970.
        digest: SHA-256 of it, hexadecimal; empty where it could not be read.
        signer: fingerprint of the key that signed it.
        host: the name of the computer that made it.
        known: whether this computer has signed it, or had noted its digest at the run.
        files, bytes: that are in it.
        not_whole: files that the run took while they were written to, or not at all.
    """

    made_at: int = 0
    digest: str = ""
    signer: str = ""
    host: str = ""
    known: bool = False
    files: int = 0
    bytes: int = 0
    not_whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who made it; ``name`` may be empty."""

    login: str
    uid: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Which files were restored: all (``full``), or so many of so many, by a seed that picks the same ones again."""

    full: bool
    seed: int
    population: int = 0
    picked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIn:
    """What restoring came to.

    Attributes:
        files, bytes: restored, and right.
        tag_failures: files of which something does not authenticate.
        missing: files that are not there, or cannot be read.
        extra: files that nobody took; None where nobody looked for them.
        mismatches: files that are something else than was taken.
        metadata: files, folders and links whose modes, times, owners, attributes or targets are others.
    """

    files: int = 0
    bytes: int = 0
    tag_failures: int = 0
    missing: int = 0
    extra: int | None = None
    mismatches: int = 0
    metadata: int = 0

    @property
    def wrong(self) -> int:
        """All that is not as it has to be."""
        return self.tag_failures + self.missing + (self.extra or 0) + self.mismatches + self.metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """How long it took.

    Attributes:
        began, ended: seconds since 1970.
        ms: restoring alone.
        estimate: seconds for all of the run, by what was measured.
        target: seconds that this may take.
        age: seconds from the run to the drill; None where one of the clocks is wrong.
    """

    began: int
    ended: int
    ms: int = 0
    estimate: int = 0
    target: int = TARGET_SECONDS
    age: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One drill. The attributes are those of FORMAT.md section 17."""

    id: str
    plan: str
    volume: str
    engine: EngineKind
    run: str
    target: str
    label: str
    serial: str
    place: str
    manifest: Manifested
    people: People
    host: str
    other_host: bool
    method: Method
    key: str
    scratch: str
    found: FoundIn
    took: Took
    outcome: DrillOutcome
    why: str
    program: str
    format: int = FORMAT


def new_id() -> str:
    """A fresh one, hexadecimal."""
    return rng.random_bytes(ID_SIZE).hex()


def as_json(record: Record) -> dict[str, Any]:
    """The object."""
    return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(record).items()}


def parse(value: Mapping[str, Any]) -> Record:
    """The inverse of :func:`as_json`.

    Raises:
        FormatError: it is none, or of a later version.
    """
    taken = Fields(dict(value))
    try:
        record = Record(
            engine=EngineKind(taken.text("engine")),
            outcome=DrillOutcome(taken.text("outcome")),
            manifest=_part(Manifested, taken.object("manifest")),
            people=_part(People, taken.object("people")),
            method=_part(Method, taken.object("method")),
            found=_part(FoundIn, taken.object("found")),
            took=_part(Took, taken.object("took")),
            **{name: taken.text(name) for name in _TEXTS},
            other_host=taken.boolean("other_host"),
            format=taken.integer("format"),
        )
    except ValueError as exc:
        raise FormatError("a record of a drill says what this version does not know") from exc
    taken.finish()
    ids = ((record.id, ID_SIZE), (record.plan, PLAN_ID_SIZE), (record.volume, _VOLUME_ID_SIZE))
    if record.format != FORMAT or not all(_is_id(text, size) for text, size in ids):
        raise FormatError("a record of a drill is none that this version knows")
    return record


_TEXTS: Final = (
    *("id", "plan", "volume", "run", "target", "label", "serial", "place", "host", "key", "scratch", "why", "program"),
)


def _part(kind: Callable[..., _D], taken: Fields) -> _D:
    """One of the dataclasses above, each field with its type. Raises: FormatError."""
    take = {"int": taken.integer, "str": taken.text, "bool": taken.boolean, "int | None": taken.integer_or_null}
    made = kind(**{one.name: take[str(one.type)](one.name) for one in fields(kind)})  # type: ignore[arg-type]  # each is a dataclass
    taken.finish()
    return made


def _is_id(text: str, size: int) -> bool:
    return len(text) == 2 * size and not text.strip(_HEX)
