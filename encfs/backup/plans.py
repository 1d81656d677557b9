"""The register ``backups``: what goes where, on which media, and what became of each run (FORMAT.md section 17).

Owns: what may follow what, how each backup stands. Must not know: how anything is copied, the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from encfs.crypto import rng
from encfs.errors import FormatError, UsageError
from encfs.format.canonical import Fields
from encfs.registers.folder import path_of, text_of
from encfs.registers.ledger import Check, Entry, Ledger, damaged
from encfs.registers.words import check_text
from encfs.units import VolumeId

NAME: Final = "backups"
PLAN_ID_SIZE: Final = 16


class EngineKind(StrEnum):
    """How a backup is made."""

    COPY = "copy"
    """The sealed tree, as it lies there. No key is needed."""
    RESTIC = "restic"
    """What programs see, through the mount, into a repository of restic with a key of its own."""


class Place(StrEnum):
    """Where a target is. A medium with a label is where the register of media says."""

    ONSITE = "onsite"
    OFFSITE = "offsite"


class KeyKind(StrEnum):
    """What opens the backup."""

    OWN = "own"
    """A key of its own, which opens nothing else."""
    VOLUME = "volume"
    """What opens the volume."""


class Result(StrEnum):
    """How a run ended."""

    DONE = "done"
    PARTLY = "partly"
    """What is there is good, but files are missing or were written to all the time."""
    FAILED = "failed"
    GUARD = "guard"
    """Too much had changed: nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many runs are kept: the newest of each of so many days, weeks and months."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, as it is written down.

    Attributes:
        id: hexadecimal; empty for one that failed before it had one.
        label: of the medium, or empty.
        begun, ended: seconds since 1970.
        files, bytes: what the backup has now.
        new_files, new_bytes: what was written to the target in this run.
        changed, removed, before: files that are different, gone, and how many there were: for the guard.
        not_whole: files that are older, live or missing.
        verified: bytes that were read back from the target and found right.
        manifest: SHA-256 of it, hexadecimal.
        why: for people, of one that is not done.
    """

    id: str
    label: str
    result: Result
    begun: int
    ended: int
    files: int = 0
    bytes: int = 0
    new_files: int = 0
    new_bytes: int = 0
    changed: int = 0
    removed: int = 0
    before: int = 0
    not_whole: int = 0
    verified: int = 0
    manifest: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """All of a backup was read back and held against its manifest; ``why``: what was wrong, empty if nothing."""

    at: int
    label: str
    run: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One backup of one volume.

    Attributes:
        id: hexadecimal.
        volume_id: hexadecimal; ``volume``: its path.
        target: as it was given: a directory, ``sftp:USER@HOST:PATH`` or ``rclone:REMOTE:PATH``.
        place: where a target without labelled media is.
        labels: of the media that take turns at ``target``.
        guard: percent of files that may change between two runs.
        schedule: when it runs by itself, as ``HH:MM``; empty if it does not.
        since: seconds since 1970.
        runs: oldest first.
        checks: oldest first.
    """

    id: str
    volume_id: str
    volume: str
    engine: EngineKind
    target: str
    place: Place
    key: KeyKind
    keep: Keep
    guard: int
    since: int
    schedule: str = ""
    labels: tuple[str, ...] = ()
    runs: tuple[Run, ...] = field(default=(), repr=False)
    checks: tuple[Checked, ...] = field(default=(), repr=False)

    def last_good(self, label: str | None = None) -> Run | None:
        """The last run that left something good, on any medium or on the one with this label."""
        for run in reversed(self.runs):
            if run.result in (Result.DONE, Result.PARTLY) and label in (None, run.label):
                return run
        return None

    def last_checked(self) -> Checked | None:
        return self.checks[-1] if self.checks else None


def new_plan_id() -> str:
    """A fresh one, hexadecimal."""
    return rng.random_bytes(PLAN_ID_SIZE).hex()


def plans() -> list[Plan]:
    """Those that have not been ended, the oldest first.

    Raises:
        RegisterError: the register is damaged; the hint says what to do.
        OSError, RuntimeError (a user without a home directory).
    """
    return list(_replay(Ledger(NAME).entries()).values())


def plans_of(volume_id: VolumeId) -> list[Plan]:
    """Those of a volume. Raises: as :func:`plans`."""
    return [one for one in plans() if one.volume_id == volume_id.hex()]


def plan(plan_id: str) -> Plan:
    """The one with this id. Raises: UsageError: there is none. As :func:`plans`."""
    return _named(_replay(Ledger(NAME).entries()), plan_id)


# -- what is written down --------------------------------------------------------------------------------------------


def add(new: Plan) -> None:
    """A backup begins.

    Raises:
        UsageError: the same volume goes there already, or a label cannot stand there.
        RegisterError: the register is damaged. AuditError, OSError: see :meth:`encfs.registers.ledger.Ledger.append`.
    """
    for label in new.labels:
        check_text("label", label, needed=True)

    def check(entries: Sequence[Entry]) -> None:
        for one in _replay(entries).values():
            if (one.volume_id, one.target) == (new.volume_id, new.target):
                raise UsageError(
                    "this volume is backed up there already",
                    hint="See: cloakfs backup status. One more medium that takes turns there: give its --label.",
                )

    data = {
        "plan": new.id,
        "volume": new.volume_id,
        "path": text_of(new.volume),
        "engine": str(new.engine),
        "target": text_of(new.target),
        "place": str(new.place),
        "key": str(new.key),
        "keep": [new.keep.daily, new.keep.weekly, new.keep.monthly],
        "guard": new.guard,
        "labels": list(new.labels),
    }
    _append("plan", data, new.volume_id, check)


def add_medium(plan_id: str, label: str) -> None:
    """One more medium takes turns. Raises: UsageError: it does already. As :func:`add`."""
    check_text("label", label, needed=True)

    def check(entries: Sequence[Entry]) -> None:
        one = _named(_replay(entries), plan_id)
        if label.casefold() in {each.casefold() for each in one.labels}:
            raise UsageError(f'the medium "{label}" takes turns there already')

    _change("medium", plan_id, {"label": label}, check)


def set_schedule(plan_id: str, schedule: str) -> None:
    """When it runs by itself from now on; empty: not any more. Raises: as :func:`add`."""
    _change("schedule", plan_id, {"at": schedule})


def end(plan_id: str, why: str) -> None:
    """It is not made any more; what lies on its target stays. Raises: as :func:`add`."""
    check_text("reason", why, needed=True)
    _change("end", plan_id, {"why": why})


def note_run(plan_id: str, run: Run) -> None:
    """A run has ended. Raises: as :func:`add`."""
    data = {name: getattr(run, name) for name in _RUN_NUMBERS}
    texts = {"run": run.id, "label": run.label, "result": str(run.result), "manifest": run.manifest, "why": run.why}
    _change("run", plan_id, {**data, **texts})


def note_checked(plan_id: str, one: Checked) -> None:
    """All of it was read back. Raises: as :func:`add`."""
    _change("checked", plan_id, {"label": one.label, "run": one.run, "bytes": one.bytes, "why": one.why})


_RUN_NUMBERS: Final = (
    *("begun", "ended", "files", "bytes", "new_files", "new_bytes", "changed", "removed", "before", "not_whole"),
    "verified",
)


def _change(kind: str, plan_id: str, data: Mapping[str, Any], check: Check | None = None) -> None:
    volume_id = plan(plan_id).volume_id
    _append(kind, {"plan": plan_id, **data}, volume_id, check)


def _append(kind: str, data: Mapping[str, Any], volume_id: str, check: Check | None) -> None:
    Ledger(NAME).append(kind, data, volume_id=VolumeId(bytes.fromhex(volume_id)), check=check)


# -- what all entries say together -----------------------------------------------------------------------------------


def replay(entries: Iterable[Entry]) -> list[Plan]:
    """For whoever has read the register. Raises: RegisterError: an entry says what it cannot."""
    return list(_replay(entries).values())


def _named(found: Mapping[str, Plan], plan_id: str) -> Plan:
    one = found.get(plan_id)
    if one is None:
        raise UsageError("there is no such backup", hint="See which there are: cloakfs backup status")
    return one


def _replay(entries: Iterable[Entry]) -> dict[str, Plan]:
    found: dict[str, Plan] = {}
    for entry in entries:
        fields = Fields(entry.data)
        try:
            _take(found, entry, fields)
            fields.finish()
        except (FormatError, KeyError, ValueError) as exc:
            raise damaged(NAME, entry.seq) from exc
    return found


def _take(found: dict[str, Plan], entry: Entry, fields: Fields) -> None:
    """Raises: FormatError, KeyError, ValueError: it does not fit."""
    plan_id = fields.text("plan")
    if entry.kind == "plan":
        found[plan_id] = _plan(plan_id, entry, fields)
        return
    one = found[plan_id]
    match entry.kind:
        case "medium":
            found[plan_id] = replace(one, labels=(*one.labels, fields.text("label")))
        case "schedule":
            found[plan_id] = replace(one, schedule=fields.text("at"))
        case "run":
            found[plan_id] = replace(one, runs=(*one.runs, _run(fields)))
        case "checked":
            found[plan_id] = replace(one, checks=(*one.checks, _checked(entry, fields)))
        case "end":
            fields.text("why")
            del found[plan_id]
        case _:
            raise FormatError("an entry is of a kind that this version does not know")


def _plan(plan_id: str, entry: Entry, fields: Fields) -> Plan:
    daily, weekly, monthly = (_count(one) for one in fields.list("keep"))
    return Plan(
        id=plan_id,
        volume_id=fields.text("volume"),
        volume=path_of(fields.text("path")),
        engine=EngineKind(fields.text("engine")),
        target=path_of(fields.text("target")),
        place=Place(fields.text("place")),
        key=KeyKind(fields.text("key")),
        keep=Keep(daily=daily, weekly=weekly, monthly=monthly),
        guard=fields.integer("guard"),
        since=entry.at,
        labels=tuple(str(one) for one in fields.list("labels")),
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise FormatError("a number of runs is none")
    return value


def _run(fields: Fields) -> Run:
    return Run(
        id=fields.text("run"),
        label=fields.text("label"),
        result=Result(fields.text("result")),
        manifest=fields.text("manifest"),
        why=fields.text("why"),
        **{name: fields.integer(name) for name in _RUN_NUMBERS},
    )


def _checked(entry: Entry, fields: Fields) -> Checked:
    return Checked(
        at=entry.at,
        label=fields.text("label"),
        run=fields.text("run"),
        bytes=fields.integer("bytes"),
        why=fields.text("why"),
    )
